//! What nearly every frame is, read in one step: IPv4 without options, and in it a TCP segment or a UDP
//! datagram whose header was captured whole.
//!
//! Everything else is left to the decoder that goes layer by layer (`ip`, `tcp`), with which this
//! one must agree on every packet: tests decode frames with and without it.

use super::checksum::{TCP, UDP};
use super::decoder::{Decoder, Path, mapped};
use super::packet::{IpFields, Packet, PacketKind, TcpFields, TcpFlags};
use super::stats::Protocol;
use super::tcp_option;
use super::tunnel::may_be_tunnel;
use super::window::Window;
use crate::seq::SeqNumber;

/// An IPv4 header without options and a TCP header without options.
const HEADERS: usize = 40;
/// The same and a UDP header.
const DATAGRAM_HEADERS: usize = 28;

impl Decoder<'_> {
    /// Reads the IPv4 packet if it is a common one; false when it is not, and nothing was done.
    #[inline]
    pub fn common_segment(&mut self, window: Window<'_>, path: Path) -> bool {
        let Some(header) = window.head::<HEADERS>() else {
            return false;
        };
        let u16_at = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let u32_at = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let total = usize::from(u16_at(2));
        let more_or_offset = u16_at(6) & 0x3fff;
        if header[0] != 0x45 || header[9] != TCP || more_or_offset != 0 {
            return false;
        }
        let header_len = 20 + usize::from(header[32] >> 4) * 4;
        if header_len < HEADERS || total < header_len || window.bytes.len() < header_len {
            return false;
        }
        self.met(Protocol::Ipv4);
        self.met(Protocol::Tcp);
        let segment = window.limit(total).skip(20);
        let mut payload = segment.skip(header_len - 20);
        let (ip_header, _) = header.split_first_chunk().unwrap_or((&[0; 20], &[]));
        let padding = self.note_plain_sums(ip_header, (TCP, segment), total <= window.len);
        if padding > 0 {
            payload = payload.limit(payload.len - padding);
        }
        let mut tcp = TcpFields {
            seq: SeqNumber(u32_at(24)),
            ack: SeqNumber(u32_at(28)),
            flags: TcpFlags(header[33]),
            window_field: u16_at(34),
            ..TcpFields::default()
        };
        if header_len > HEADERS {
            let options = &window.bytes[HEADERS..header_len];
            tcp_option::read(options, &mut tcp);
            if tcp.flags.rst() {
                self.reset_reason(options);
            }
        }
        let ip = IpFields {
            src: mapped([header[12], header[13], header[14], header[15]]),
            dst: mapped([header[16], header[17], header[18], header[19]]),
            identification: Some(u16_at(4)),
            hop_limit: header[8],
            ecn: header[1] & 3,
            dont_fragment: header[6] & 0x40 != 0,
        };
        self.out.packets.push(Packet {
            frame: self.number,
            time: self.time,
            src: ip.src,
            dst: ip.dst,
            src_port: u16_at(20),
            dst_port: u16_at(22),
            wire_len: self.wire_len,
            payload_len: u32::try_from(payload.len).unwrap_or(u32::MAX),
            payload_start: u32::try_from(payload.at).unwrap_or(u32::MAX),
            payload_captured: u32::try_from(payload.bytes.len()).unwrap_or(0),
            ip_id: ip.identification,
            hop_limit: ip.hop_limit,
            ecn: ip.ecn,
            dont_fragment: ip.dont_fragment,
            reassembled: self.reassembled,
            observation_point: path.point,
            kind: PacketKind::Tcp(tcp),
        });
        true
    }

    /// The same of a UDP datagram that no tunnel can be in.
    #[inline]
    pub fn common_datagram(&mut self, window: Window<'_>, path: Path) -> bool {
        let Some(header) = window.head::<DATAGRAM_HEADERS>() else {
            return false;
        };
        let u16_at = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (total, len) = (usize::from(u16_at(2)), usize::from(u16_at(24)));
        let (src_port, dst_port) = (u16_at(20), u16_at(22));
        let more_or_offset = u16_at(6) & 0x3fff;
        if header[0] != 0x45 || header[9] != UDP || more_or_offset != 0 {
            return false;
        }
        let has_header = total >= DATAGRAM_HEADERS && len >= DATAGRAM_HEADERS - 20;
        let datagram = window.limit(total).skip(20);
        let payload = datagram.limit(len).skip(DATAGRAM_HEADERS - 20);
        if !has_header || may_be_tunnel((src_port, dst_port), payload) {
            return false;
        }
        self.met(Protocol::Ipv4);
        self.met(Protocol::Udp);
        let (ip_header, _) = header.split_first_chunk().unwrap_or((&[0; 20], &[]));
        self.note_plain_sums(ip_header, (UDP, datagram), total <= window.len);
        self.out.packets.push(Packet {
            frame: self.number,
            time: self.time,
            src: mapped([header[12], header[13], header[14], header[15]]),
            dst: mapped([header[16], header[17], header[18], header[19]]),
            src_port,
            dst_port,
            wire_len: self.wire_len,
            payload_len: u32::try_from(payload.len).unwrap_or(u32::MAX),
            payload_start: u32::try_from(payload.at).unwrap_or(u32::MAX),
            payload_captured: u32::try_from(payload.bytes.len()).unwrap_or(0),
            ip_id: Some(u16_at(4)),
            hop_limit: header[8],
            ecn: header[1] & 3,
            dont_fragment: header[6] & 0x40 != 0,
            reassembled: self.reassembled,
            observation_point: path.point,
            kind: PacketKind::Udp,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::{CaptureReader, Input, ReadOptions, Slab};
    use crate::decode::DecodedSlab;
    use crate::time::Timestamp;

    /// What the two decoders make of the octets from the IPv4 header on; the first gives `None`
    /// where it leaves the packet to the other.
    fn both(bytes: &[u8], len: usize) -> (Option<DecodedSlab>, DecodedSlab) {
        let decode = |common: bool| {
            let mut out = DecodedSlab::default();
            let mut decoder = Decoder {
                out: &mut out,
                number: 7,
                time: Timestamp::from_nanos(9),
                wire_len: 1514,
                reassembled: false,
                interface: None,
            };
            let (window, path) = (Window { bytes, len, at: 14 }, Path { point: 3, depth: 0 });
            let taken = if common {
                decoder.common_segment(window, path) || decoder.common_datagram(window, path)
            } else {
                decoder.ipv4(window, path);
                true
            };
            assert!(taken || (out.packets.is_empty() && out.stats == Default::default()));
            taken.then_some(out)
        };
        (decode(true), decode(false).unwrap_or_default())
    }

    fn agree(bytes: &[u8], len: usize) -> bool {
        let (common, reference) = both(bytes, len);
        if let Some(common) = &common {
            assert_eq!(common.packets, reference.packets);
            assert_eq!(common.stats, reference.stats);
            assert_eq!(common.sums.senders, reference.sums.senders);
            assert_eq!(common.sums.wrong, reference.sums.wrong);
            assert_eq!(common.sums.headers, reference.sums.headers);
            assert!(common.fragments.is_empty() && reference.fragments.is_empty());
        }
        common.is_some()
    }

    #[test]
    fn agrees_with_the_layers_on_every_capture() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
        let mut folders = vec![folder];
        let mut common = 0_u64;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let Ok(mut reader) =
                    CaptureReader::open(&[Input::Path(path)], ReadOptions::default())
                else {
                    continue;
                };
                let mut slab = Slab::default();
                while reader.read_slab(&mut slab).unwrap() {
                    for frame in &slab.frames {
                        // Wherever an IPv4 header could begin.
                        for at in [0, 4, 14, 16, 18, 20] {
                            if let Some(bytes) = slab.data(frame).get(at..)
                                && bytes.first() == Some(&0x45)
                            {
                                let len = frame.original_len as usize - at;
                                common += u64::from(agree(bytes, len));
                            }
                        }
                    }
                }
            }
        }
        assert!(common > 100_000, "only {common} segments were common");
    }

    /// A segment with timestamps and ten octets of payload, as Linux sends it.
    const SEGMENT: [u8; 62] = [
        0x45, 0, 0, 62, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        0x9c, 0x40, 0, 80, 0, 0, 0, 5, 0, 0, 0, 9, 0x80, 0x18, 1, 0xf6, 0, 0, 0, 0, // TCP
        1, 1, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4, // timestamps
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ];

    proptest! {
        #[test]
        fn agrees_with_the_layers_whatever_the_header_says(
            changes in proptest::collection::vec((0..52_usize, any::<u8>()), 0..4),
            captured in 0..=62_usize,
            padding in 0..20_usize,
            cut in 0..20_usize,
        ) {
            let mut bytes = SEGMENT.to_vec();
            for (at, value) in changes {
                bytes[at] = value;
            }
            bytes.truncate(captured);
            bytes.resize(captured + padding, 0);
            agree(&bytes, bytes.len() + cut);
        }

        #[test]
        fn agrees_with_etherparse(
            numbers in any::<(u32, u32, u16, u16, u8, u32, u32)>(),
        ) {
            let (seq, ack, source, window, flags, value, echo) = numbers;
            let mut bytes = SEGMENT;
            bytes[20..22].copy_from_slice(&source.to_be_bytes());
            bytes[24..28].copy_from_slice(&seq.to_be_bytes());
            bytes[28..32].copy_from_slice(&ack.to_be_bytes());
            bytes[33] = flags;
            bytes[34..36].copy_from_slice(&window.to_be_bytes());
            bytes[44..48].copy_from_slice(&value.to_be_bytes());
            bytes[48..52].copy_from_slice(&echo.to_be_bytes());
            let (Some(common), _) = both(&bytes, bytes.len()) else {
                return Err(TestCaseError::fail("it is a common segment"));
            };
            let sliced = etherparse::SlicedPacket::from_ip(&bytes).unwrap();
            let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else {
                return Err(TestCaseError::fail("it is TCP"));
            };
            let packet = &common.packets[0];
            let PacketKind::Tcp(ours) = packet.kind else {
                return Err(TestCaseError::fail("it is TCP"));
            };
            prop_assert_eq!(ours.seq.0, tcp.sequence_number());
            prop_assert_eq!(ours.ack.0, tcp.acknowledgment_number());
            prop_assert_eq!(ours.window_field, tcp.window_size());
            prop_assert_eq!(packet.src_port, tcp.source_port());
            prop_assert_eq!(packet.dst_port, tcp.destination_port());
            prop_assert_eq!(ours.flags.syn(), tcp.syn());
            prop_assert_eq!(ours.flags.fin(), tcp.fin());
            prop_assert_eq!(ours.flags.has(TcpFlags::PSH), tcp.psh());
            prop_assert_eq!(packet.payload_len as usize, tcp.payload().len());
            let timestamps = tcp.options_iterator().find_map(|option| match option {
                Ok(etherparse::TcpOptionElement::Timestamp(value, echo)) => Some((value, echo)),
                _ => None,
            });
            prop_assert_eq!(ours.timestamps, timestamps);
        }
    }
}
