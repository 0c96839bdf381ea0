//! A second reading of the capture, for what can only be chosen once the findings are known.
//!
//! The files are read in the same order as before, so frame numbers are the same. What is read is
//! as a [`Plan`] says.

use std::collections::HashMap;

use analyzer::capture::{CaptureReader, Frame, Input, Interface, ReadOptions, Slab};
use analyzer::decode::{DecodedSlab, Fragment, Packet, PacketKind, decode_slab};
use analyzer::{Endpoint, Error, Transport};
use foldhash::fast::FixedState;
use rayon::prelude::*;

use super::reread_plan::{Plan, Run, Until};
use crate::document::{ConnectionKey, Document};

/// One frame of the second reading.
pub(crate) struct FrameView<'a> {
    pub frame: &'a Frame,
    pub bytes: &'a [u8],
    pub packets: &'a [Packet],
    pub fragments: &'a [Fragment],
    pub interface: &'a Interface,
    /// Which stretch of frames it is in: between two of them frames are left out.
    pub run: usize,
}

/// Runs whose first slabs, which most have alone, are read and decoded side by side.
const LANES: usize = 16;

/// Reads `inputs` again and shows the frames of `plan`, in their order.
///
/// # Errors
/// When no input can be read any more.
pub(crate) fn reread(
    inputs: &[Input],
    options: &ReadOptions,
    plan: &Plan,
    mut see: impl FnMut(&FrameView<'_>),
) -> Result<(), Error> {
    // To open a set means to look at all its files.
    let side_by_side = if inputs.len() == 1 { LANES } else { 1 };
    let mut lanes = Vec::new();
    let mut before: Option<&Run> = None;
    let mut number = 0;
    for runs in plan.runs.chunks(side_by_side) {
        while lanes.len() < runs.len() {
            lanes.push(Lane::open(inputs, options)?);
        }
        let lanes = runs.par_iter().zip(&mut lanes);
        let begun = lanes.map(|(run, lane)| lane.begin(run).map(|more| (run, lane, more)));
        for (run, lane, mut more) in begun.collect::<Result<Vec<_>, Error>>()? {
            number += usize::from(before.is_some_and(|before| !run.continues(before)));
            before = Some(run);
            while more {
                more = lane.show(run, number, &mut see) && lane.read()?;
            }
        }
    }
    Ok(())
}

/// A reader of its own, with the slab it read last.
struct Lane {
    reader: CaptureReader,
    /// What it reads at one time where it reads on.
    slab_bytes: usize,
    slab: Slab,
    decoded: DecodedSlab,
}

impl Lane {
    fn open(inputs: &[Input], options: &ReadOptions) -> Result<Self, Error> {
        Ok(Self {
            reader: CaptureReader::open(inputs, options.clone())?,
            slab_bytes: options.slab_bytes,
            slab: Slab::default(),
            decoded: DecodedSlab::default(),
        })
    }

    /// Reads the first slab of a run; false when there is none.
    fn begin(&mut self, run: &Run) -> Result<bool, Error> {
        if let Some(mark) = &run.from {
            self.reader.go_to(mark)?;
        }
        let slab_bytes = match run.until {
            Until::Frame(_) => self.slab_bytes,
            Until::Bytes(bytes) => self.slab_bytes.min(bytes),
        };
        self.reader.read_in_slabs_of(slab_bytes);
        self.read()
    }

    fn read(&mut self) -> Result<bool, Error> {
        let more = self.reader.read_slab(&mut self.slab)?;
        if more {
            decode_slab(&self.slab, self.reader.interfaces(), &mut self.decoded);
        }
        Ok(more)
    }

    /// Shows the frames of the slab; whether the run goes on behind it.
    fn show(&self, run: &Run, number: usize, see: &mut impl FnMut(&FrameView<'_>)) -> bool {
        let mut packets = &self.decoded.packets[..];
        let mut fragments = &self.decoded.fragments[..];
        for frame in &self.slab.frames {
            if matches!(run.until, Until::Frame(end) if frame.number >= end) {
                return false;
            }
            let of_frame = split(&mut packets, |packet| packet.frame == frame.number);
            let pieces = split(&mut fragments, |piece| piece.frame == frame.number);
            if let Some(interface) = self.reader.interfaces().get(frame.interface as usize) {
                see(&FrameView {
                    frame,
                    bytes: self.slab.data(frame),
                    packets: of_frame,
                    fragments: pieces,
                    interface,
                    run: number,
                });
            }
        }
        let next = self.slab.frames.last().map_or(0, |last| last.number + 1);
        matches!(run.until, Until::Frame(end) if next < end)
    }
}

/// Takes the leading items that `belong` off `rest`.
fn split<'a, T>(rest: &mut &'a [T], belong: impl Fn(&T) -> bool) -> &'a [T] {
    let count = rest.iter().take_while(|item| belong(item)).count();
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

/// A five-tuple of which the smaller end stands first: the same for both directions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Flow {
    transport: Transport,
    low: Endpoint,
    high: Endpoint,
}

impl Flow {
    fn new(transport: Transport, one: Endpoint, other: Endpoint) -> Self {
        Self {
            transport,
            low: one.min(other),
            high: one.max(other),
        }
    }
}

/// One incarnation of a five-tuple that somebody asked for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Wanted {
    pub client: Endpoint,
    pub server: Endpoint,
    pub transport: Transport,
    pub first_frame: u64,
    /// `u64::MAX` when the document does not say.
    pub last_frame: u64,
}

/// Finds the connection of a packet among those asked for.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub wanted: Vec<Wanted>,
    /// Indices into `wanted`, by five-tuple; incarnations in the order of their first frames.
    flows: HashMap<Flow, Vec<usize>, FixedState>,
    last_frames: HashMap<u64, u64>,
}

impl Connections {
    /// `document` says where connections end.
    pub fn new(document: &Document) -> Self {
        let rows = document.connections.iter();
        Self {
            last_frames: rows.map(|row| (row.first_frame, row.last_frame)).collect(),
            ..Self::default()
        }
    }

    /// The index of a connection, which is added when it is new. `None` for a key that is not an
    /// address and a port.
    pub fn add(&mut self, key: &ConnectionKey) -> Option<usize> {
        let transport = match key.transport.as_str() {
            "tcp" => Transport::Tcp,
            _ => Transport::Udp,
        };
        let (client, server) = (endpoint(&key.client)?, endpoint(&key.server)?);
        let flow = self
            .flows
            .entry(Flow::new(transport, client, server))
            .or_default();
        let at = flow.partition_point(|&index| self.wanted[index].first_frame < key.first_frame);
        if let Some(&known) = flow.get(at)
            && self.wanted[known].first_frame == key.first_frame
        {
            return Some(known);
        }
        let index = self.wanted.len();
        self.wanted.push(Wanted {
            client,
            server,
            transport,
            first_frame: key.first_frame,
            last_frame: self
                .last_frames
                .get(&key.first_frame)
                .copied()
                .unwrap_or(u64::MAX),
        });
        flow.insert(at, index);
        Some(index)
    }

    /// The connection that a packet belongs to (for an ICMP error: the one it quotes).
    pub fn of_packet(&self, packet: &Packet) -> Option<usize> {
        let transport = match packet.kind {
            PacketKind::Tcp(_) => Transport::Tcp,
            PacketKind::Udp => Transport::Udp,
            PacketKind::IcmpError { transport, .. } => transport,
        };
        let flow = Flow::new(transport, packet.source(), packet.destination());
        self.incarnation(self.flows.get(&flow)?, packet.frame)
    }

    /// A connection between the addresses of a fragment.
    pub fn of_fragment(&self, fragment: &Fragment) -> Option<usize> {
        let transport = match fragment.protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            _ => return None,
        };
        let (from, to) = (fragment.ip.source(), fragment.ip.destination());
        if let Some((source, destination)) = fragment.ports {
            let ends = (Endpoint::new(from, source), Endpoint::new(to, destination));
            let flow = self.flows.get(&Flow::new(transport, ends.0, ends.1))?;
            return self.incarnation(flow, fragment.frame);
        }
        // Later fragments name no ports: those of the same pair of hosts are near enough.
        self.wanted.iter().position(|wanted| {
            wanted.transport == transport
                && [
                    (wanted.client.ip, wanted.server.ip),
                    (wanted.server.ip, wanted.client.ip),
                ]
                .contains(&(from, to))
                && (wanted.first_frame..=wanted.last_frame).contains(&fragment.frame)
        })
    }

    /// The last one that had begun, unless it is over.
    fn incarnation(&self, flow: &[usize], frame: u64) -> Option<usize> {
        let begun = flow.partition_point(|&index| self.wanted[index].first_frame <= frame);
        let index = *flow.get(begun.checked_sub(1)?)?;
        (frame <= self.wanted[index].last_frame).then_some(index)
    }

    /// The last frame of all of them.
    pub fn last_frame(&self) -> u64 {
        let frames = self.wanted.iter().map(|wanted| wanted.last_frame);
        frames.max().unwrap_or(0)
    }
}

/// Reads the contract's text of an endpoint: `192.0.2.1:80`, `[2001:db8::1]:80`.
fn endpoint(text: &str) -> Option<Endpoint> {
    let address: std::net::SocketAddr = text.parse().ok()?;
    Some(Endpoint::new(address.ip(), address.port()))
}
