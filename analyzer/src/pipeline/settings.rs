//! What an analysis is told beside its input.

use crate::capture::ReadOptions;
use crate::filter::PacketFilter;
use crate::flow::tcp::TcpSettings;

use super::item::SHARDS;

/// What an analysis needs to know beyond its input.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How files are read.
    pub read: ReadOptions,
    /// How connections are followed.
    pub tcp: TcpSettings,
    /// Which packets are analysed.
    pub filter: PacketFilter,
    /// Roughly the octets that the analysis may take.
    pub memory: Memory,
}

/// A bound on memory, in octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory(pub u64);

impl Default for Memory {
    /// 1 GiB.
    fn default() -> Self {
        Self(1 << 30)
    }
}

impl Memory {
    /// Reading, decoding and the bounded lists of a report.
    const FIXED: u64 = 128 << 20;

    /// What the live flows of one shard may take: half of what the fixed parts leave. The other
    /// half is room for estimates that fall short and for what allocators hold back.
    pub(super) fn per_shard(self) -> usize {
        let left = self.0.saturating_sub(Self::FIXED).max(Self::FIXED / 4);
        usize::try_from(left / 2 / SHARDS as u64).unwrap_or(usize::MAX)
    }
}
