//! Packets that were damaged on their way: their destination discarded them, so nothing is to be
//! concluded from them (RFC 1122 §3.2.1.2, RFC 9293 §3.1).
//!
//! A wrong checksum alone does not say so. A host that leaves sums to its network card and a tool that
//! changes addresses or contents write wrong ones, too: all or most sums of a sender are wrong then,
//! or they are wrong by the same amount again and again. Damage is what befalls single packets of a
//! sender whose sums are right. A sender is asked about each kind of packet by itself, for what is
//! rewritten may be those with data only.
//!
//! What is known of a sender is what came before: the first few packets of a capture are never judged.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use foldhash::fast::FixedState;

use serde::{Deserialize, Serialize};

use crate::decode::{
    DecodedSlab, Packet, RightSums, SUM_KINDS, SumOf, Sums, WrongSum, ip_from_octets,
};
use crate::event::At;
use crate::quality::{QualityKind, QualityNote};

/// Right sums from which a sender is known to write them.
const PROOF: u32 = 3;
/// Senders that are told apart; those that come later are not judged.
const SENDERS: usize = 65_536;
/// Damaged IPv4 headers from which the whole capture is known to have damaged octets.
const DAMAGED_HEADERS: u32 = 3;
/// Senders of damaged packets that are told.
const TOLD: usize = 256;
/// Frames told of each.
const EXAMPLES: usize = 3;

/// Wrong sums of one kind.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
struct WrongSums {
    count: u32,
    /// Those that are wrong by as much as the one before.
    alike: u32,
    difference: u16,
    excess: Option<u16>,
}

impl WrongSums {
    /// Adds one.
    fn take(&mut self, wrong: &WrongSum) {
        let same_excess = wrong.excess.is_some() && wrong.excess == self.excess;
        let same = wrong.difference == self.difference || same_excess;
        if self.count > 0 && same && !is_one_bit(wrong.difference) {
            self.alike += 1;
        }
        self.count += 1;
        (self.difference, self.excess) = (wrong.difference, wrong.excess);
    }

    /// At least half of them are wrong by as much as another: somebody rewrote the packets.
    const fn are_alike(&self) -> bool {
        self.alike > 0 && (self.alike + 1) * 2 >= self.count
    }
}

/// A difference that one flipped bit makes: the same bit may flip again.
const fn is_one_bit(difference: u16) -> bool {
    difference.is_power_of_two() || (!difference).is_power_of_two()
}

/// What is known of a sender.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
struct Sender {
    right: RightSums,
    wrong: [WrongSums; SUM_KINDS],
    damaged: u64,
}

/// Damaged packets of one sender.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DamagedPackets {
    /// The sender, as their headers say.
    pub source: IpAddr,
    /// Where the first of them was for.
    pub destination: IpAddr,
    /// The first three.
    pub first: Vec<At>,
    /// How many.
    pub count: u64,
    /// Packets of the sender whose checksums are right, as far as they were computed.
    pub right: u64,
}

/// Finds damaged packets. Feed it in the order of the capture.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct DamageFinder {
    senders: HashMap<[u8; 16], Sender, FixedState>,
    /// IPv4 headers of all senders.
    headers: u32,
    wrong_headers: WrongSums,
    damaged_headers: u32,
    damaged: u64,
    /// Frames of the latest slab, ascending.
    #[serde(skip)]
    found: Vec<u64>,
    /// Those that a transport's header could be read of.
    packets: BTreeMap<[u8; 16], DamagedPackets>,
}

impl DamageFinder {
    /// Takes the next slab and gives the frames in it that were damaged, ascending.
    pub fn take(&mut self, sums: &Sums) -> &[u64] {
        self.found.clear();
        for wrong in &sums.wrong {
            // One sum of a frame is enough.
            if self.found.last() != Some(&wrong.frame) && self.is_damage(wrong) {
                self.found.push(wrong.frame);
            }
        }
        for (src, right) in &sums.senders {
            if let Some(sender) = self.sender(src) {
                for (known, more) in sender.right.iter_mut().zip(right) {
                    *known = known.saturating_add(*more);
                }
            }
        }
        self.headers = self.headers.saturating_add(sums.headers);
        self.damaged += self.found.len() as u64;
        &self.found
    }

    /// Takes the next slab and leaves out what was damaged; whether that was anything.
    pub fn leave_out(&mut self, decoded: &mut DecodedSlab) -> bool {
        self.take(&decoded.sums);
        if self.found.is_empty() {
            return false;
        }
        let damaged = &self.found;
        let is_damaged = |packet: &&Packet| damaged.binary_search(&packet.frame).is_ok();
        for packet in decoded.packets.iter().filter(is_damaged) {
            note(&mut self.packets, packet);
        }
        let is_whole = |frame: u64| damaged.binary_search(&frame).is_err();
        decoded.packets.retain(|packet| is_whole(packet.frame));
        decoded.fragments.retain(|piece| is_whole(piece.frame));
        true
    }

    /// Frames of the latest slab that were damaged, ascending.
    pub fn found(&self) -> &[u64] {
        &self.found
    }

    fn sender(&mut self, src: &[u8; 16]) -> Option<&mut Sender> {
        if self.senders.len() >= SENDERS && !self.senders.contains_key(src) {
            return None;
        }
        Some(self.senders.entry(*src).or_default())
    }

    fn is_damage(&mut self, wrong: &WrongSum) -> bool {
        let kind = wrong.of as usize;
        let damaged_headers = self.damaged_headers;
        let Some(sender) = self.sender(&wrong.src) else {
            return false;
        };
        let right = sender.right[kind].saturating_add(wrong.right_before[kind]);
        let of_sender = &mut sender.wrong[kind];
        of_sender.take(wrong);
        let mostly_right = of_sender.count < right;
        let of_sender = *of_sender;
        let is_damage = if wrong.of == SumOf::Ipv4Header {
            // The address itself may be what was damaged: then nothing is known of its sender.
            let is_unknown = right == 0 && of_sender.count <= 2;
            let headers = self.headers.saturating_add(wrong.headers_before);
            self.wrong_headers.take(wrong);
            let sporadic = self.wrong_headers.count < headers && !self.wrong_headers.are_alike();
            headers >= PROOF && sporadic && (mostly_right || is_unknown)
        } else {
            // Nobody but damage makes single IPv4 headers wrong. Where they are, so is the rest.
            let sporadic = mostly_right || damaged_headers >= DAMAGED_HEADERS;
            right >= PROOF && sporadic && !of_sender.are_alike()
        };
        if is_damage {
            self.damaged_headers += u32::from(wrong.of == SumOf::Ipv4Header);
            if let Some(sender) = self.sender(&wrong.src) {
                sender.damaged += 1;
            }
        }
        is_damage
    }

    /// Adds what was found in a file that follows, of which the first frame has the number after
    /// `offset`. In it was judged by itself: its first few packets of a sender never were.
    pub fn append(&mut self, next: Self, offset: u64) {
        for (src, more) in next.senders {
            let Some(sender) = self.sender(&src) else {
                continue;
            };
            for (known, more) in sender.right.iter_mut().zip(more.right) {
                *known = known.saturating_add(more);
            }
            sender.damaged += more.damaged;
        }
        self.headers = self.headers.saturating_add(next.headers);
        self.damaged += next.damaged;
        for (src, more) in next.packets {
            if self.packets.len() >= TOLD && !self.packets.contains_key(&src) {
                continue;
            }
            let first = more.first.iter().map(|at| At {
                frame: at.frame + offset,
                time: at.time,
            });
            if let Some(known) = self.packets.get_mut(&src) {
                known.count += more.count;
                let room = EXAMPLES.saturating_sub(known.first.len());
                known.first.extend(first.take(room));
            } else {
                let first = first.collect();
                self.packets.insert(src, DamagedPackets { first, ..more });
            }
        }
    }

    /// Senders with damaged packets, by address; at most 256.
    pub fn damaged(&self) -> Vec<DamagedPackets> {
        let right = |src| {
            let sender = self.senders.get(src);
            let right = sender.map(|sender| sender.right.iter().copied().max());
            u64::from(right.flatten().unwrap_or_default())
        };
        let all = self.packets.iter();
        all.map(|(src, one)| DamagedPackets {
            right: right(src),
            ..one.clone()
        })
        .collect()
    }

    /// A caveat when packets were left out.
    pub fn note(&self) -> Option<QualityNote> {
        /// Senders that are named.
        const NAMED: usize = 3;
        let mut senders: Vec<_> = self
            .senders
            .iter()
            .filter(|(_, one)| one.damaged > 0)
            .collect();
        senders.sort_by_key(|(src, one)| (std::cmp::Reverse(one.damaged), **src));
        let named: Vec<String> = senders
            .iter()
            .take(NAMED)
            .map(|(src, one)| format!("{} from {}", one.damaged, ip_from_octets(**src)))
            .collect();
        (self.damaged > 0).then(|| QualityNote {
            kind: QualityKind::BadChecksum,
            count: self.damaged,
            note: format!(
                "{} with a wrong checksum, while other packets of the senders have right ones ({}{}): \
                 damaged on the way, and discarded by whom they reached, so they are left out of judgement",
                if self.damaged == 1 {
                    "1 packet".to_owned()
                } else {
                    format!("{} packets", self.damaged)
                },
                named.join(", "),
                if senders.len() > NAMED { ", …" } else { "" },
            ),
        })
    }
}

/// Counts a damaged packet for its sender.
fn note(packets: &mut BTreeMap<[u8; 16], DamagedPackets>, packet: &Packet) {
    if packets.len() >= TOLD && !packets.contains_key(&packet.src) {
        return;
    }
    let one = packets.entry(packet.src).or_insert_with(|| DamagedPackets {
        source: ip_from_octets(packet.src),
        destination: ip_from_octets(packet.dst),
        first: Vec::new(),
        count: 0,
        right: 0,
    });
    one.count += 1;
    if one.first.len() < EXAMPLES {
        let (frame, time) = (packet.frame, packet.time);
        one.first.push(At { frame, time });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRC: [u8; 16] = [1; 16];

    fn wrong(frame: u64, of: SumOf, difference: u16, right: u32) -> WrongSum {
        let mut right_before = RightSums::default();
        right_before[of as usize] = right;
        WrongSum {
            frame,
            src: SRC,
            of,
            difference,
            excess: None,
            right_before,
            headers_before: 0,
        }
    }

    fn found(wrong: &[WrongSum]) -> Vec<u64> {
        let mut sums = Sums::default();
        sums.wrong = wrong.to_vec();
        DamageFinder::default().take(&sums).to_vec()
    }

    #[test]
    fn a_single_wrong_sum_of_one_who_writes_right_ones_is_damage() {
        assert_eq!(found(&[wrong(9, SumOf::TcpData, 0x1234, 5)]), [9]);
        assert_eq!(
            found(&[wrong(2, SumOf::TcpData, 0x1234, 1)]),
            [] as [u64; 0]
        );
    }

    #[test]
    fn sums_that_are_wrong_by_the_same_are_rewritten_packets() {
        let by = |differences: [u16; 4]| {
            let all: Vec<_> = differences
                .into_iter()
                .zip(10_u64..)
                .map(|(difference, frame)| wrong(frame, SumOf::TcpBare, difference, 50))
                .collect();
            found(&all)
        };
        // The first cannot be told.
        assert_eq!(by([0x2617; 4]), [10]);
        assert_eq!(by([0x2617, 0x1111, 0x8123, 0x0f0f]), [10, 11, 12, 13]);
        // The same bit, again and again.
        assert_eq!(by([0x0400; 4]), [10, 11, 12, 13]);
    }

    #[test]
    fn a_sender_whose_sums_are_mostly_wrong_leaves_them_to_its_card() {
        let all: Vec<_> = (0_u16..9)
            .map(|n| wrong(u64::from(n) + 1, SumOf::TcpBare, 0x3001 * (n + 1), 4))
            .collect();
        assert_eq!(found(&all), [1, 2, 3]);
    }

    #[test]
    fn what_came_in_slabs_before_counts() {
        let mut finder = DamageFinder::default();
        let mut sums = Sums::default();
        (sums.senders, sums.headers) = (vec![(SRC, [7, 7, 7, 7])], 7);
        assert_eq!(finder.take(&sums), [] as [u64; 0]);
        let mut sums = Sums::default();
        sums.wrong = vec![wrong(30, SumOf::Ipv4Header, 0x77, 0)];
        assert_eq!(finder.take(&sums), [30]);
        assert_eq!(finder.note().map(|note| note.count), Some(1));
    }
}
