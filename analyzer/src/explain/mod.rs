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
    let is_damaged = for_each_segment(inputs, options, number, |packet, _| {
        if packet.frame == number {
            key.get_or_insert(FlowKey::of(packet).0);
        }
    })?;
    if is_damaged {
        return Ok(Some(FrameReading::Damaged));
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
            explainer.segment(tracker, packet, tcp);
        }
    })?;
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

/// Passes every segment that is judged; gives back whether frame `number` was damaged.
fn for_each_segment(
    inputs: &[Input],
    options: &ReadOptions,
    number: u64,
    mut take: impl FnMut(&Packet, &TcpFields),
) -> Result<bool, Error> {
    let mut damage = DamageFinder::default();
    let mut is_damaged = false;
    let mut reader = CaptureReader::open(inputs, options.clone())?;
    let (mut slab, mut decoded) = (Slab::default(), DecodedSlab::default());
    while reader.read_slab(&mut slab)? {
        decode_slab(&slab, reader.interfaces(), &mut decoded);
        damage.leave_out(&mut decoded);
        is_damaged |= damage.found().contains(&number);
        for packet in &decoded.packets {
            if let PacketKind::Tcp(tcp) = packet.kind {
                take(packet, &tcp);
            }
        }
    }
    Ok(is_damaged)
}
