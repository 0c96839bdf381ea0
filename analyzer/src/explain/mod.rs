//! One frame of a capture, and what it was judged to be.
//!
//! Reads the capture twice: once to find the frame's connection, once to follow that connection.

mod segment;
mod wireshark;

use crate::addr::Endpoint;
use crate::capture::{CaptureReader, Input, ReadOptions, Slab};
use crate::decode::{DecodedSlab, Packet, PacketKind, TcpFields, decode_slab};
use crate::error::Error;
use crate::flow::key::FlowKey;
use crate::flow::tcp::{TcpSettings, TcpTracker};
use crate::in_order::damage::DamageFinder;
use crate::in_order::doubles::{self, Doubles};

use segment::Explainer;

pub use segment::{Explanation, OtherReading};
pub use wireshark::WiresharkName;

/// The explanation of a frame with the connection it belongs to.
#[derive(Clone, PartialEq, Debug)]
pub struct ExplainedFrame {
    /// Who opened the connection.
    pub client: Endpoint,
    /// Who was called.
    pub server: Endpoint,
    /// The verdict and its reasons.
    pub explanation: Explanation,
}

/// What is said of a frame.
#[derive(Clone, PartialEq, Debug)]
pub enum FrameReading {
    /// The segment in it was judged.
    Judged(Box<ExplainedFrame>),
    /// It was damaged on its way: whom it reached discarded it.
    Damaged,
    /// The recording holds every frame twice, and this is a second copy.
    Doubled,
}

/// Explains frame `number` (Wireshark's `frame.number`). `None` when there is no such frame or it
/// holds no TCP segment.
///
/// # Errors
/// When the input cannot be read. The inputs are opened twice, so none may be a pipe.
pub fn explain_frame(
    inputs: &[Input],
    options: &ReadOptions,
    number: u64,
) -> Result<Option<FrameReading>, Error> {
    let mut key = None;
    let left_out = for_each_segment(inputs, options, number, |packet, _| {
        if packet.frame == number {
            key.get_or_insert(FlowKey::of(packet).0);
        }
    })?;
    if left_out.is_some() {
        return Ok(left_out);
    }
    let Some(key) = key else { return Ok(None) };
    let mut explainer = Explainer::new(number);
    let mut tracker: Option<TcpTracker> = None;
    let mut over = false;
    for_each_segment(inputs, options, number, |packet, tcp| {
        if over || FlowKey::of(packet).0 != key {
            return;
        }
        let is_new = tracker
            .as_ref()
            .is_none_or(|tracker| tracker.is_new_incarnation(packet, tcp));
        if is_new {
            // The next incarnation tells nothing about the frame any more.
            over = packet.frame > number;
            if over {
                return;
            }
            explainer = Explainer::new(number);
            tracker = Some(TcpTracker::new(packet, tcp, &TcpSettings::default()));
        }
        if let Some(tracker) = &mut tracker {
            tracker.in_turn(packet, tcp, &[], &mut |tracker, packet, tcp, _| {
                explainer.segment(tracker, packet, tcp);
            });
        }
    })?;
    if let Some(tracker) = &mut tracker {
        tracker.let_go(&mut |tracker, packet, tcp, _| explainer.segment(tracker, packet, tcp));
    }
    Ok(tracker.and_then(|tracker| {
        let explanation = explainer.finish(&tracker)?;
        let (client, server) = tracker.endpoints();
        Some(FrameReading::Judged(Box::new(ExplainedFrame {
            client,
            server,
            explanation,
        })))
    }))
}

/// Passes every segment that is judged; gives back why frame `number` was left out, if it was.
fn for_each_segment(
    inputs: &[Input],
    options: &ReadOptions,
    number: u64,
    mut take: impl FnMut(&Packet, &TcpFields),
) -> Result<Option<FrameReading>, Error> {
    let (mut doubles, mut damage) = (Doubles::default(), DamageFinder::default());
    let (mut hashes, mut signs) = (Vec::new(), Vec::new());
    let mut left_out = None;
    let mut reader = CaptureReader::open(inputs, options.clone())?;
    let (mut slab, mut decoded) = (Slab::default(), DecodedSlab::default());
    while reader.read_slab(&mut slab)? {
        decode_slab(&slab, reader.interfaces(), &mut decoded);
        let keys = decoded.packets.iter().map(|packet| FlowKey::of(packet).0);
        hashes.clear();
        hashes.extend(keys.map(|key| key.hash64()));
        let payload = |packet: &Packet| {
            let start = packet.payload_start as usize;
            let octets = slab.bytes.get(start..);
            let octets = octets.and_then(|it| it.get(..packet.payload_captured as usize));
            octets.unwrap_or_default()
        };
        doubles::signs(&decoded.packets, &hashes, payload, &mut signs);
        doubles.leave_out(&mut decoded, &signs);
        damage.leave_out(&mut decoded);
        if damage.found().contains(&number) {
            left_out = Some(FrameReading::Damaged);
        } else if doubles.found().contains(&number) {
            left_out = Some(FrameReading::Doubled);
        }
        for packet in &decoded.packets {
            if let PacketKind::Tcp(tcp) = packet.kind {
                take(packet, &tcp);
            }
        }
    }
    Ok(left_out)
}
