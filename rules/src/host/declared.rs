//! Rules whose findings only host files show.

use crate::model::meta::RuleMeta;

use super::udp_buffer_full::UdpBufferFull;

/// All of them.
pub const ALL: [&RuleMeta; 1] = [&UdpBufferFull::META];
