//! Options of pcapng blocks: resolution, offset, drop counts, comments.
//!
//! Options are cut by pcap-parser; their integers are read here, because pcap-parser reads them
//! little-endian in every section and knows no resolution in powers of two.

use pcap_parser::{PcapNGOption, parse_option_be, parse_option_le};

/// `opt_comment`, in every block.
pub(super) const COMMENT: u16 = 1;
/// `if_name` of an interface description.
pub(super) const IF_NAME: u16 = 2;
/// `if_tsresol` of an interface description.
pub(super) const IF_TSRESOL: u16 = 9;
/// `if_fcslen` of an interface description.
pub(super) const IF_FCSLEN: u16 = 13;
/// `if_tsoffset` of an interface description.
pub(super) const IF_TSOFFSET: u16 = 14;
/// `epb_flags` of an enhanced packet.
pub(super) const EPB_FLAGS: u16 = 2;
/// `epb_processid_threadid` of an enhanced packet.
pub(super) const EPB_PROCESS: u16 = 8;
/// Apple's number of a Darwin process block, of an enhanced packet.
pub(super) const EPB_DARWIN_PROCESS: u16 = 0x8001;
/// `epb_dropcount` of an enhanced packet.
pub(super) const EPB_DROPCOUNT: u16 = 4;
/// `isb_ifdrop` of interface statistics.
pub(super) const ISB_IFDROP: u16 = 5;
/// `isb_osdrop` of interface statistics.
pub(super) const ISB_OSDROP: u16 = 7;

/// The value of an option without its padding.
pub(super) fn value<'a>(option: &'a PcapNGOption<'_>) -> &'a [u8] {
    option.as_bytes().unwrap_or(&[])
}

/// An option's value as an integer of 1 to 8 bytes in the section's byte order.
pub(super) fn integer(option: &PcapNGOption<'_>, big_endian: bool) -> Option<u64> {
    let bytes = value(option);
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let fold = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
    Some(if big_endian {
        bytes.iter().fold(0, fold)
    } else {
        bytes.iter().rev().fold(0, fold)
    })
}

/// Calls `each` for the options in `bytes` until the end-of-options mark; `false` when one claims
/// more than is there.
pub(super) fn for_each(
    bytes: &[u8],
    big_endian: bool,
    mut each: impl FnMut(&PcapNGOption<'_>),
) -> bool {
    let mut rest = bytes;
    while rest.len() >= 4 {
        let parsed = if big_endian {
            parse_option_be::<pcap_parser::PcapError<&[u8]>>(rest)
        } else {
            parse_option_le::<pcap_parser::PcapError<&[u8]>>(rest)
        };
        let Ok((next, option)) = parsed else {
            return false;
        };
        if option.code.0 == 0 {
            return true;
        }
        each(&option);
        rest = next;
    }
    true
}

/// Units of time in which an interface counts, and how to make nanoseconds of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimeUnits {
    /// Nanoseconds per unit.
    Coarse(u64),
    /// Units per nanosecond: 10¹⁰ and more per second.
    Fine(u64),
    /// 2ⁿ units per second.
    Binary(u8),
    /// So fine that every stated time is less than a nanosecond.
    Nothing,
}

impl TimeUnits {
    /// Reads `if_tsresol`: the top bit chooses powers of two, the rest is the exponent.
    pub const fn from_tsresol(tsresol: u8) -> Self {
        let exponent = tsresol & 0x7f;
        if tsresol & 0x80 != 0 {
            return Self::Binary(exponent);
        }
        match exponent {
            0..=9 => Self::Coarse(10_u64.pow(9 - exponent as u32)),
            10..=28 => Self::Fine(10_u64.pow(exponent as u32 - 9)),
            _ => Self::Nothing,
        }
    }

    /// Nanoseconds of a stated time; saturates at the end of what can be told (the year 2262).
    pub fn nanos(self, units: u64) -> i64 {
        let clamp = |nanos: u128| i64::try_from(nanos).unwrap_or(i64::MAX);
        match self {
            Self::Coarse(each) => match units.checked_mul(each) {
                Some(nanos) => i64::try_from(nanos).unwrap_or(i64::MAX),
                None => i64::MAX,
            },
            Self::Fine(per_nano) => i64::try_from(units / per_nano).unwrap_or(i64::MAX),
            Self::Binary(exponent) => clamp((u128::from(units) * 1_000_000_000) >> exponent),
            Self::Nothing => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions_of_both_bases() {
        assert_eq!(TimeUnits::from_tsresol(6).nanos(1_500_000), 1_500_000_000);
        assert_eq!(TimeUnits::from_tsresol(0).nanos(7), 7_000_000_000);
        assert_eq!(TimeUnits::from_tsresol(12).nanos(1_999), 1);
        assert_eq!(
            TimeUnits::from_tsresol(0x80 | 10).nanos(1536),
            1_500_000_000
        );
        assert_eq!(TimeUnits::from_tsresol(0x80 | 127).nanos(u64::MAX), 0);
        assert_eq!(TimeUnits::from_tsresol(0x7f).nanos(u64::MAX), 0);
        assert_eq!(TimeUnits::from_tsresol(0).nanos(u64::MAX), i64::MAX);
    }
}
