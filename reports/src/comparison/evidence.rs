//! A small capture per finding with an interface for each point, on one clock.
//!
//! Of the cited connections it holds the first frames, those near a proving frame, and the proving
//! frames themselves, as each point captured them. Times are brought to the clock of the first
//! point; each interface says by how much.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};

use analyzer::capture::{CaptureReader, Frame, Input, Interface, ReadOptions, Slab};
use analyzer::decode::{DecodedSlab, Packet, PacketKind, decode_slab};
use analyzer::{Endpoint, Transport};

use super::{ClockView, ComparisonDocument};
use crate::Redactor;
use crate::again::pcapng::{self, InterfaceBlock, PacketBlock};
use crate::words::format::unix_nanos;

/// Frames in one file.
const MAX_FRAMES: usize = 20_000;

/// Captured bytes in one file.
const MAX_BYTES: usize = 16 << 20;

/// Frames at the start of a cited connection: they hold the handshake.
const HEAD_FRAMES: u64 = 10;

/// What lies this close to a proving frame belongs to the incident, in nanoseconds.
const INCIDENT_NANOS: i64 = 2_000_000_000;

/// One capture to be written.
#[derive(Debug, Default)]
pub struct PathEvidence {
    /// The finding's id.
    pub finding: String,
    /// Its rule.
    pub rule: String,
    /// Frames that did not fit.
    pub frames_left_out: u64,
    frames: Vec<Kept>,
    bytes: usize,
    interfaces: BTreeMap<(usize, u32), Interface>,
    points: Vec<String>,
    descriptions: Vec<String>,
}

/// A frame that is kept.
#[derive(Debug)]
struct Kept {
    /// Common time.
    nanos: i64,
    point: usize,
    frame: u64,
    interface: u32,
    original_len: u32,
    bytes: Vec<u8>,
    notes: Vec<String>,
}

impl PathEvidence {
    /// `F1-loss-between.pcapng`
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}.pcapng", self.finding, self.rule)
    }

    /// Frames in the file.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Writes it as pcapng. With a redactor, addresses are mapped, names masked and payload is cut.
    ///
    /// # Errors
    /// Fails only if `out` cannot be written.
    pub fn write(&self, mut out: impl Write, redactor: Option<&Redactor>) -> io::Result<()> {
        let masked = |text: &str| redactor.map_or_else(|| text.to_owned(), |r| r.text(text));
        let comment = format!(
            "{} {}: {} frames",
            self.finding,
            self.rule,
            self.frames.len()
        );
        pcapng::section(&mut out, &comment)?;
        let earliest = self.frames.iter().map(|kept| kept.nanos).min().unwrap_or(0);
        let offset_s = earliest.div_euclid(1_000_000_000).min(0);
        let mut written = HashMap::new();
        for (number, ((point, index), interface)) in self.interfaces.iter().enumerate() {
            let name = match redactor {
                Some(_) => format!("point-{}", point + 1),
                None => self.points[*point].clone(),
            };
            let block = InterfaceBlock {
                link_type: interface.link_type.0,
                snaplen: interface.snaplen,
                name: Some(name),
                description: Some(self.descriptions[*point].clone()),
                fcs_len: if redactor.is_some() {
                    0
                } else {
                    interface.fcs_len
                },
                offset_s,
            };
            pcapng::interface(&mut out, &block)?;
            written.insert((*point, *index), u32::try_from(number).unwrap_or(u32::MAX));
        }
        for kept in &self.frames {
            let key = (kept.point, kept.interface);
            let (Some(&interface), Some(link)) = (written.get(&key), self.interfaces.get(&key))
            else {
                continue;
            };
            let notes = kept.notes.iter();
            let comments: Vec<String> = notes
                .map(|note| masked(&format!("{}: {note}", self.finding)))
                .collect();
            let bytes = match redactor {
                Some(redactor) => &redactor.frame(link.link_type, &kept.bytes),
                None => &kept.bytes,
            };
            let nanos = i128::from(kept.nanos) - i128::from(offset_s) * 1_000_000_000;
            let packet = PacketBlock {
                interface,
                nanos: u64::try_from(nanos).unwrap_or(0),
                bytes,
                original_len: kept.original_len,
                comments: &comments,
            };
            pcapng::packet(&mut out, &packet)?;
        }
        out.flush()
    }
}

type Ends = (Transport, Endpoint, Endpoint);

/// What one finding wants of one point.
#[derive(Default)]
struct Wanted {
    /// Cited connections by their ends, with how many frames of each were seen.
    flows: HashMap<Ends, u64>,
    /// Proving frames with their notes.
    notes: BTreeMap<u64, Vec<String>>,
}

/// Reads all points again and collects the frames of every finding.
///
/// `document` is the one before redaction; `inputs` are those of its points, by name.
///
/// # Errors
/// When a point cannot be read any more.
pub fn collect(
    document: &ComparisonDocument,
    inputs: &BTreeMap<String, Vec<Input>>,
    options: &ReadOptions,
) -> Result<Vec<PathEvidence>, analyzer::Error> {
    let descriptions: Vec<String> = (0..document.points.len())
        .map(|point| description(document, point))
        .collect();
    let points: Vec<String> = document
        .points
        .iter()
        .map(|point| point.name.clone())
        .collect();
    let mut files: Vec<PathEvidence> = document
        .findings
        .iter()
        .map(|placed| PathEvidence {
            finding: placed.finding.id.clone(),
            rule: placed.finding.rule.clone(),
            points: points.clone(),
            descriptions: descriptions.clone(),
            ..PathEvidence::default()
        })
        .collect();
    let moments: Vec<Vec<i64>> = (0..files.len())
        .map(|index| moments(document, index))
        .collect();
    for (point, name) in points.iter().enumerate() {
        let mut wanted: Vec<Wanted> = (0..files.len())
            .map(|index| wanted(document, index, name))
            .collect();
        let Some(inputs) = inputs.get(name) else {
            continue;
        };
        let mut reader = CaptureReader::open(inputs, options.clone())?;
        let (mut slab, mut decoded) = (Slab::default(), DecodedSlab::default());
        while reader.read_slab(&mut slab)? {
            decode_slab(&slab, reader.interfaces(), &mut decoded);
            let mut by_number: HashMap<u64, &Frame> = HashMap::new();
            by_number.extend(slab.frames.iter().map(|frame| (frame.number, frame)));
            for packet in &decoded.packets {
                let (Some(frame), key) = (by_number.get(&packet.frame), ends(packet)) else {
                    continue;
                };
                for (index, wanted) in wanted.iter_mut().enumerate() {
                    let Some(seen) = wanted.flows.get_mut(&key) else {
                        continue;
                    };
                    *seen += 1;
                    let nanos = common(document, point, frame.time.as_nanos());
                    let notes = wanted.notes.remove(&frame.number);
                    let is_near = near(&moments[index], nanos) || *seen <= HEAD_FRAMES;
                    if notes.is_some() || is_near {
                        let interface = reader.interfaces().get(frame.interface as usize);
                        let kept = kept(&slab, frame, point, nanos, notes);
                        files[index].add(kept, interface);
                    }
                }
            }
        }
    }
    for file in &mut files {
        file.frames
            .sort_by_key(|kept| (kept.nanos, kept.point, kept.frame));
    }
    files.retain(|file| !file.frames.is_empty());
    Ok(files)
}

fn kept(slab: &Slab, frame: &Frame, point: usize, nanos: i64, notes: Option<Vec<String>>) -> Kept {
    Kept {
        nanos,
        point,
        frame: frame.number,
        interface: frame.interface,
        original_len: frame.original_len,
        bytes: slab.data(frame).to_vec(),
        notes: notes.unwrap_or_default(),
    }
}

impl PathEvidence {
    fn add(&mut self, kept: Kept, interface: Option<&Interface>) {
        let is_full = self.frames.len() >= MAX_FRAMES || self.bytes >= MAX_BYTES;
        if is_full && kept.notes.is_empty() {
            self.frames_left_out += 1;
            return;
        }
        if let Some(interface) = interface {
            let key = (kept.point, kept.interface);
            self.interfaces
                .entry(key)
                .or_insert_with(|| interface.clone());
        }
        self.bytes += kept.bytes.len();
        self.frames.push(kept);
    }
}

/// The ends of a packet, whoever sent it; of an ICMP error those of what it quotes.
fn ends(packet: &Packet) -> Ends {
    let transport = match packet.kind {
        PacketKind::Tcp(_) => Transport::Tcp,
        PacketKind::Udp => Transport::Udp,
        PacketKind::IcmpError { transport, .. } => transport,
    };
    let (one, other) = (packet.source(), packet.destination());
    (transport, one.min(other), one.max(other))
}

/// Times of the proving frames of a finding on the common clock, sorted.
fn moments(document: &ComparisonDocument, finding: usize) -> Vec<i64> {
    let evidence = document.findings[finding].finding.evidence.iter();
    let mut moments: Vec<i64> = evidence
        .filter_map(|one| {
            let name = one.point.as_ref()?;
            let point = document
                .points
                .iter()
                .position(|point| point.name == *name)?;
            Some(common(document, point, unix_nanos(&one.time)?))
        })
        .collect();
    moments.sort_unstable();
    moments
}

fn near(moments: &[i64], nanos: i64) -> bool {
    let after = moments.partition_point(|moment| *moment < nanos);
    let before = after.checked_sub(1).and_then(|at| moments.get(at));
    let around = [before, moments.get(after)].into_iter().flatten();
    around
        .into_iter()
        .any(|moment| moment.abs_diff(nanos) <= INCIDENT_NANOS.unsigned_abs())
}

/// What a finding wants of a point: its cited connections as that point saw them.
fn wanted(document: &ComparisonDocument, finding: usize, name: &str) -> Wanted {
    let mut wanted = Wanted::default();
    let finding = &document.findings[finding].finding;
    let mut cited: BTreeSet<(&str, &str, u64)> = BTreeSet::new();
    for one in &finding.evidence {
        let point = one.point.as_deref().unwrap_or_default();
        let key = &one.connection;
        cited.insert((point, key.client.as_str(), key.first_frame));
        if point == name {
            wanted
                .notes
                .entry(one.frame)
                .or_default()
                .push(one.note.clone());
            if let Some(ends) = parse(&key.transport, &key.client, &key.server) {
                wanted.flows.insert(ends, 0);
            }
        }
    }
    for connection in &document.connections {
        let is_cited = connection.at.iter().any(|(point, ends)| {
            let first = ends.first_frame;
            cited.contains(&(point.as_str(), ends.client.as_str(), first))
        });
        if let Some(here) = connection.at.get(name).filter(|_| is_cited)
            && let Some(ends) = parse(&connection.transport, &here.client, &here.server)
        {
            wanted.flows.insert(ends, 0);
        }
    }
    wanted
}

fn parse(transport: &str, client: &str, server: &str) -> Option<Ends> {
    let endpoint = |text: &str| {
        let address: std::net::SocketAddr = text.parse().ok()?;
        Some(Endpoint::new(address.ip(), address.port()))
    };
    let (one, other) = (endpoint(client)?, endpoint(server)?);
    let transport = if transport == "udp" {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    Some((transport, one.min(other), one.max(other)))
}

/// A time of a point on the clock of the first point.
fn common(document: &ComparisonDocument, point: usize, nanos: i64) -> i64 {
    let names = |clock: &&ClockView| {
        document
            .points
            .windows(2)
            .take(point)
            .any(|pair| pair[0].name == clock.from && pair[1].name == clock.to)
    };
    let clocks = document.clocks.iter().filter(names);
    nanos - clocks.map(|clock| difference(clock, nanos)).sum::<i64>()
}

/// What a clock is ahead at a moment, in nanoseconds.
fn difference(clock: &ClockView, nanos: i64) -> i64 {
    let Some(offset_ms) = clock.offset_ms else {
        return 0;
    };
    let at = unix_nanos(&clock.at).unwrap_or(nanos);
    let steps = clock
        .steps
        .iter()
        .filter(|step| unix_nanos(&step.time).is_some_and(|time| time <= nanos && time > at));
    let stepped: f64 = steps.map(|step| step.ms * 1e6).sum();
    let drifted = (nanos - at) as f64 * clock.skew_ppm / 1e6;
    (offset_ms * 1e6 + stepped + drifted).round() as i64
}

fn description(document: &ComparisonDocument, point: usize) -> String {
    let first = document
        .points
        .first()
        .map_or("", |first| first.name.as_str());
    if point == 0 {
        return "times as captured".to_owned();
    }
    let start = document.points[point].start.as_str();
    let ahead = unix_nanos(start).map_or(0, |start| start - common(document, point, start));
    format!(
        "{:.3} ms taken off the times as captured, so that they follow the clock of {first}",
        ahead as f64 / 1e6
    )
}
