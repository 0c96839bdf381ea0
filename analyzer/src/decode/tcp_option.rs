//! TCP options (RFC 9293 §3.2): those that analysis needs; unknown kinds are skipped.
//!
//! etherparse's iterator ends at the first kind it does not know (MPTCP, fast open, MD5), and a
//! timestamp after it would be lost.

use super::packet::{SackBlock, TcpFields};
use crate::seq::SeqNumber;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const MULTIPATH: u8 = 30;
/// RFC 7323 §2.3: a larger shift is used as 14.
const MAX_WINDOW_SHIFT: u8 = 14;

/// Reads the options into `tcp`; ends at the first that contradicts itself or is cut.
#[inline]
pub(super) fn read(options: &[u8], tcp: &mut TcpFields) {
    // What nearly every segment of a modern connection carries (RFC 7323 appendix A).
    if let [NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10, value @ ..] = options
        && value.len() == 8
    {
        tcp.timestamps = two_words(value);
        return;
    }
    read_each(options, tcp);
}

fn read_each(options: &[u8], tcp: &mut TcpFields) {
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        match *kind {
            END => return,
            NO_OPERATION => {
                rest = tail;
                continue;
            }
            _ => {}
        }
        let Some(&len) = tail.first() else { return };
        let Some((option, next)) = rest.split_at_checked(len.into()) else {
            if let (SACK, [_, blocks @ ..], true) = (*kind, tail, tcp.options_cut) {
                one(SACK, captured_blocks(blocks, len), tcp);
            }
            return;
        };
        let [_, _, value @ ..] = option else { return };
        one(*kind, value, tcp);
        rest = next;
    }
}

/// The whole blocks of a SACK option of this length that the snap length left. The first of them is the
/// one that reports duplicates (RFC 2883 §4).
fn captured_blocks(blocks: &[u8], len: u8) -> &[u8] {
    match len {
        10 | 18 | 26 | 34 => &blocks[..blocks.len() - blocks.len() % 8],
        _ => &[],
    }
}

/// What MP_TCPRST says of a reset (RFC 8684 §3.6): a clause with its reason, and whether it may pass.
pub(super) fn reset_reason(options: &[u8]) -> Option<String> {
    const RESET: u8 = 8;
    const TRANSIENT: u8 = 1;
    const REASONS: [&str; 7] = [
        "unspecified error",
        "MPTCP-specific error",
        "lack of resources",
        "administratively prohibited",
        "too much outstanding data",
        "unacceptable performance",
        "middlebox interference",
    ];
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        if *kind == END {
            return None;
        }
        if *kind == NO_OPERATION {
            rest = tail;
            continue;
        }
        let (option, next) = rest.split_at_checked((*tail.first()?).into())?;
        match option {
            [MULTIPATH, 4, what, reason] if what >> 4 == RESET => {
                let words = REASONS.get(usize::from(*reason)).unwrap_or(&"not assigned");
                let passes = if what & TRANSIENT == 0 {
                    ""
                } else {
                    ", transient"
                };
                return Some(format!(
                    "its MP_TCPRST option states reason {reason}, {words}{passes}"
                ));
            }
            [_, _, ..] => rest = next,
            _ => return None,
        }
    }
    None
}

fn one(kind: u8, value: &[u8], tcp: &mut TcpFields) {
    match (kind, value) {
        (MAXIMUM_SEGMENT_SIZE, [a, b]) => tcp.mss = Some(u16::from_be_bytes([*a, *b])),
        (WINDOW_SCALE, [shift]) => tcp.window_shift = Some((*shift).min(MAX_WINDOW_SHIFT)),
        (SACK_PERMITTED, []) => tcp.sack_permitted = true,
        (MULTIPATH, _) => tcp.multipath = tcp.flags.syn(),
        (TIMESTAMPS, value) if value.len() == 8 => tcp.timestamps = two_words(value),
        (SACK, blocks) if blocks.len() % 8 == 0 => {
            for (slot, block) in tcp.sack_blocks.iter_mut().zip(blocks.chunks_exact(8)) {
                if let Some((left, right)) = two_words(block) {
                    *slot = SackBlock {
                        left_edge: SeqNumber(left),
                        right_edge: SeqNumber(right),
                    };
                }
            }
            tcp.sack_count = u8::try_from((blocks.len() / 8).min(4)).unwrap_or(4);
        }
        _ => {}
    }
}

/// Two words in network order.
#[inline]
fn two_words(bytes: &[u8]) -> Option<(u32, u32)> {
    let [a, b, c, d, e, f, g, h] = *bytes.first_chunk::<8>()?;
    Some((
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(bytes: &[u8]) -> TcpFields {
        let mut tcp = TcpFields::default();
        read(bytes, &mut tcp);
        tcp
    }

    #[test]
    fn timestamps_alone_and_behind_an_unknown_kind() {
        let alone = options(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(alone.timestamps, Some((1, 2)));
        let behind = options(&[30, 4, 0, 0, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4]);
        assert_eq!(behind.timestamps, Some((3, 4)));
    }

    #[test]
    fn syn_options() {
        let syn = options(&[
            2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 15,
        ]);
        assert_eq!(syn.mss, Some(1460));
        assert!(syn.sack_permitted);
        assert_eq!(syn.timestamps, Some((9, 0)));
        assert_eq!(syn.window_shift, Some(14), "RFC 7323 §2.3");
    }

    #[test]
    fn sack_blocks_in_the_order_sent() {
        let sack = options(&[1, 1, 5, 18, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 3]);
        assert_eq!(sack.sacks().len(), 2);
        assert_eq!(sack.sacks()[0].left_edge, SeqNumber(5));
        assert_eq!(sack.sacks()[1].right_edge, SeqNumber(3));
    }

    /// The options of a frame that ends within them.
    fn cut(bytes: &[u8]) -> TcpFields {
        let mut tcp = TcpFields {
            options_cut: true,
            ..TcpFields::default()
        };
        read(bytes, &mut tcp);
        tcp
    }

    #[test]
    fn sack_blocks_that_the_snap_length_left() {
        let blocks = [1, 1, 5, 18, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 3];
        for (length, count) in [(20, 2), (19, 1), (13, 1), (12, 1), (11, 0), (4, 0), (3, 0)] {
            let sack = cut(&blocks[..length]);
            assert_eq!(sack.sacks().len(), count, "{length}");
            assert!(
                sack.sacks()
                    .first()
                    .is_none_or(|first| first.left_edge == SeqNumber(5))
            );
        }
        // A length that no SACK option has, and one that lies in a whole header.
        assert!(cut(&[5, 17, 0, 0, 0, 5, 0, 0, 0, 9]).sacks().is_empty());
        assert!(options(&blocks[..19]).sacks().is_empty());
    }

    #[test]
    fn multipath_resets_state_their_reason() {
        let reason = |bytes: &[u8]| reset_reason(bytes);
        assert_eq!(
            reason(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 30, 4, 0x81, 3]).as_deref(),
            Some("its MP_TCPRST option states reason 3, administratively prohibited, transient")
        );
        assert_eq!(
            reason(&[30, 4, 0x80, 9]).as_deref(),
            Some("its MP_TCPRST option states reason 9, not assigned")
        );
        // Another subtype, cut, and lengths that lie.
        for other in [
            &[30, 4, 0x70, 3][..],
            &[30, 4, 0x80],
            &[30, 0, 0x80, 3],
            &[30],
            &[0, 30, 4, 0x80, 3],
        ] {
            assert_eq!(reason(other), None, "{other:?}");
        }
    }

    #[test]
    fn lying_lengths_end_the_walk() {
        assert_eq!(options(&[8, 0]), TcpFields::default());
        assert_eq!(options(&[8, 1, 8, 10]), TcpFields::default());
        assert_eq!(options(&[8, 200, 1]), TcpFields::default());
        assert_eq!(options(&[8]), TcpFields::default());
    }
}
