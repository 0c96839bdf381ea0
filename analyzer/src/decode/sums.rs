//! What the checksums of a slab's packets say, sender by sender.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Senders whose place is remembered; a power of two.
const RECENT: usize = 16;

/// Kinds of sums that are told apart: what writes wrong sums on purpose often does so for one only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SumOf {
    /// An IPv4 header.
    Ipv4Header,
    /// A TCP segment without data.
    TcpBare,
    /// A TCP segment with data.
    TcpData,
    /// A UDP datagram.
    Udp,
}

/// How many kinds of sums there are.
pub const SUM_KINDS: usize = 4;

/// Right sums by kind.
pub type RightSums = [u32; SUM_KINDS];

/// A sum that does not fit, and is none that a network card was to complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongSum {
    /// The frame.
    pub frame: u64,
    /// Source address.
    pub src: [u8; 16],
    /// What it is the sum of.
    pub of: SumOf,
    /// What the field is too large by, in one's complement. A tool that changes addresses leaves the
    /// same difference in every packet of a pair.
    pub difference: u16,
    /// What the field is above the sum of the pseudo-header. The same in all packets of a host that
    /// leaves its sums to the network card, whose addresses were changed later.
    pub excess: Option<u16>,
    /// Right sums of the sender in this slab so far.
    pub right_before: RightSums,
    /// Right sums of IPv4 headers in this slab so far, of all senders.
    pub headers_before: u32,
}

/// The sums of a slab's packets.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Right sums of each sender, in the order of their first.
    pub senders: Vec<([u8; 16], RightSums)>,
    /// Those that are wrong, in frame order.
    pub wrong: Vec<WrongSum>,
    /// Right sums of IPv4 headers.
    pub headers: u32,
    places: HashMap<[u8; 16], usize, FixedState>,
    recent: [usize; RECENT],
}

impl Sums {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.senders.clear();
        self.wrong.clear();
        self.headers = 0;
        self.places.clear();
        self.recent = [0; RECENT];
    }

    /// The counts of a sender.
    #[inline(always)]
    fn of(&mut self, src: &[u8; 16]) -> &mut RightSums {
        let slot = usize::from(src[14].rotate_left(2) ^ src[15]) % RECENT;
        let mut place = self.recent[slot];
        let recent = self.senders.get(place);
        if recent.is_none_or(|(known, _)| known != src) {
            place = self.place(src, slot);
        }
        &mut self.senders[place].1
    }

    #[inline(never)]
    fn place(&mut self, src: &[u8; 16], slot: usize) -> usize {
        let next = self.senders.len();
        let place = *self.places.entry(*src).or_insert(next);
        if place == next {
            self.senders.push((*src, RightSums::default()));
        }
        self.recent[slot] = place;
        place
    }

    /// Counts a packet whose sums are right as far as they tell: that of an IPv4 `header` if it has
    /// one, and that of its transport.
    #[inline]
    pub(super) fn count_right(&mut self, src: &[u8; 16], header: bool, of: Option<SumOf>) {
        let header = u32::from(header);
        self.headers += header;
        let known = self.of(src);
        known[SumOf::Ipv4Header as usize] += header;
        if let Some(of) = of {
            known[of as usize] += 1;
        }
    }

    /// Takes what the sums of a packet's IPv4 header and of its transport say, where one is wrong.
    pub(super) fn take(
        &mut self,
        frame: u64,
        src: &[u8; 16],
        header: Reading,
        (of, transport): (SumOf, Reading),
    ) {
        let known = self.of(src);
        let header_right = u32::from(header == Reading::Right);
        known[SumOf::Ipv4Header as usize] += header_right;
        known[of as usize] += u32::from(transport == Reading::Right);
        let right_before = *known;
        self.headers += header_right;
        for (of, reading) in [(SumOf::Ipv4Header, header), (of, transport)] {
            if let Reading::Wrong { difference, excess } = reading {
                self.wrong.push(WrongSum {
                    frame,
                    src: *src,
                    of,
                    difference,
                    excess,
                    right_before,
                    headers_before: self.headers,
                });
            }
        }
    }
}

/// What one sum says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    Right,
    /// Nothing: left to the network card, absent, or not computed here.
    Untold,
    Wrong {
        difference: u16,
        excess: Option<u16>,
    },
}
