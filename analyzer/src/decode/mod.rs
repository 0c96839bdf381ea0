//! One frame in, one flat [`Packet`] out.
//!
//! Headers are read as far as the captured bytes go; lengths are the true ones from the headers.
//! Whatever cannot be decoded ends in a [`DecodeStop`] that is counted and named, never guessed.

mod checksum;
mod common;
mod decoder;
mod ether_encap;
mod ethernet;
mod f5_trailer;
mod gre;
mod icmp;
mod ip;
mod link;
mod linux_cooked;
mod mpls;
mod overlay;
mod packet;
mod ppp;
mod stats;
mod sums;
mod tcp;
mod tcp_option;
mod tunnel;
mod udp;
mod window;
mod wlan;

use crate::capture::{Interface, Slab};
use crate::time::Timestamp;

use decoder::{Decoder, Path};
use window::Window;

pub use packet::{
    CutSegment, DecodedSlab, Fragment, IcmpFields, IcmpKind, IpFields, Packet, PacketKind,
    SackBlock, TcpFields, TcpFlags, ip_from_octets,
};
pub use stats::{DecodeStats, DecodeStop, OpaqueFlow, Protocol};
pub use sums::{RightSums, SUM_KINDS, SumOf, Sums, WrongSum};

/// Decodes every frame of a slab into `out`, which is cleared first.
///
/// Pure: it may run for many slabs at once. A frame on an interface that `interfaces` does not
/// have is counted as [`DecodeStop::NoPacket`].
pub fn decode_slab(slab: &Slab, interfaces: &[Interface], out: &mut DecodedSlab) {
    out.clear();
    out.packets.reserve(slab.frames.len());
    let mut decoder = Decoder {
        out,
        number: 0,
        time: Timestamp::default(),
        wire_len: 0,
        reassembled: false,
        interface: None,
    };
    for frame in &slab.frames {
        decoder.frame(frame, slab.data(frame), interfaces);
    }
    if !slab.remarks.is_empty() {
        out.remarks.extend(slab.remarks.iter().cloned());
        out.remarks.sort_by_key(|remark| remark.frame);
    }
}

/// Decodes the payload of a reassembled datagram, appending to `out`.
///
/// `last` is the fragment that completed it: its frame, time and observation point are those of
/// the packets found. Their payloads lie in `payload`. `len` is the true length of the datagram;
/// less may have been captured.
pub(crate) fn decode_reassembled(
    payload: &[u8],
    len: usize,
    last: &Fragment,
    out: &mut DecodedSlab,
) {
    let mut decoder = Decoder {
        out,
        number: last.frame,
        time: last.time,
        wire_len: last.wire_len,
        reassembled: true,
        interface: None,
    };
    let window = Window {
        len: len.max(payload.len()),
        ..Window::whole(payload)
    };
    let path = Path {
        point: last.observation_point,
        depth: last.depth,
    };
    decoder.datagram(last.protocol, window, &last.ip, path);
}
