//! A small capture per finding: the frames of its connections, with comments on those that prove
//! it.
//!
//! What does not fit is left out in this order: frames of other affected connections, then frames
//! of the cited connections far from the incident, then those near it; proving frames last.
//! Times, interfaces and lengths are the original ones.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::io::{self, Write};

use analyzer::capture::{Input, Interface, ReadOptions};

use super::pcapng::{self, InterfaceBlock, PacketBlock};
use super::reread::{Connections, FrameView, reread};
use super::reread_plan::Plan;
use crate::document::{Document, FindingView};
use crate::redact::Redactor;

/// Frames in one file: what a person looks through, and Wireshark opens at once.
const MAX_FRAMES: usize = 20_000;

/// Captured bytes in one file.
const MAX_BYTES: usize = 16 << 20;

/// Captured bytes held for all files together.
const MAX_BYTES_IN_ALL: usize = 256 << 20;

/// Frames at the start of a cited connection that belong to the incident: they hold the handshake,
/// without which no window and no relative number can be read.
const HEAD_FRAMES: u64 = 10;

/// What lies this close to a proving frame belongs to the incident, in nanoseconds. Longer than
/// the shortest retransmission timers and delayed acknowledgements, so that they are included.
const INCIDENT_NANOS: i64 = 2_000_000_000;

/// How much a frame is needed; less is more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Need {
    Proves,
    Incident,
    Cited,
    Affected,
}

/// One capture to be written.
#[derive(Debug)]
pub struct EvidenceFile {
    /// The finding's id, such as `F1`.
    pub finding: String,
    /// Its rule.
    pub rule: String,
    /// Frames of its connections that did not fit.
    pub frames_left_out: u64,
    frames: Vec<Kept>,
    notes: BTreeMap<u64, Vec<String>>,
    interfaces: BTreeMap<u32, Interface>,
}

impl EvidenceFile {
    /// `F1-keepalive-race.pcapng`
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}.pcapng", self.finding, self.rule)
    }

    /// Frames in the file.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Writes it as pcapng. With a redactor, addresses are mapped, names masked and payload is
    /// cut.
    ///
    /// # Errors
    /// Fails only if `out` cannot be written.
    pub fn write(&self, mut out: impl Write, redactor: Option<&Redactor>) -> io::Result<()> {
        let masked = |text: &str| redactor.map_or_else(|| text.to_owned(), |r| r.text(text));
        let mut comment = format!(
            "{} {}: {} frames",
            self.finding,
            self.rule,
            self.frames.len()
        );
        if self.frames_left_out > 0 {
            comment.push_str(&format!(", {} left out", self.frames_left_out));
        }
        pcapng::section(&mut out, &comment)?;
        let offset_s = self.offset_s();
        let used: BTreeSet<u32> = self.frames.iter().map(|kept| kept.interface).collect();
        let mut written = HashMap::new();
        for (number, index) in used.into_iter().enumerate() {
            let Some(interface) = self.interfaces.get(&index) else {
                continue;
            };
            let name = interface.name.as_deref().map(|name| match redactor {
                Some(_) => format!("interface-{}", index + 1),
                None => name.to_owned(),
            });
            let block = InterfaceBlock {
                link_type: interface.link_type.0,
                snaplen: interface.snaplen,
                name,
                description: None,
                fcs_len: if redactor.is_some() {
                    0
                } else {
                    interface.fcs_len
                },
                offset_s,
            };
            pcapng::interface(&mut out, &block)?;
            written.insert(index, u32::try_from(number).unwrap_or(u32::MAX));
        }
        for kept in &self.frames {
            let (Some(&interface), Some(link)) = (
                written.get(&kept.interface),
                self.interfaces.get(&kept.interface),
            ) else {
                continue;
            };
            let notes = self.notes.get(&kept.frame).map_or(&[][..], Vec::as_slice);
            let comments: Vec<_> = notes
                .iter()
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

    /// pcapng counts from 1970 upwards; a capture from before needs an offset.
    fn offset_s(&self) -> i64 {
        let earliest = self.frames.iter().map(|kept| kept.nanos).min().unwrap_or(0);
        earliest.div_euclid(1_000_000_000).min(0)
    }
}

/// A frame that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Kept {
    need: Need,
    frame: u64,
    nanos: i64,
    interface: u32,
    original_len: u32,
    bytes: Vec<u8>,
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What is needed least, and of that the latest, is the greatest.
impl Ord for Kept {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.need, self.frame).cmp(&(other.need, other.frame))
    }
}

/// Reads the capture again and collects the frames of the findings that `choose` takes.
///
/// `document` is the one before redaction: its addresses are those of the frames.
///
/// # Errors
/// When no input can be read any more.
pub fn collect(
    document: &Document,
    inputs: &[Input],
    options: &ReadOptions,
    choose: impl Fn(&FindingView) -> bool,
) -> Result<Vec<EvidenceFile>, analyzer::Error> {
    let mut connections = Connections::new(document);
    let mut collector = EvidenceCollector::new(document, choose, &mut connections);
    let plan = Plan::whole(connections.last_frame());
    reread(inputs, options, &plan, |view| {
        collector.frame(view, &connections);
    })?;
    Ok(collector.finish())
}

/// Collects the frames of findings during a second reading.
#[derive(Debug)]
struct EvidenceCollector {
    findings: Vec<Selection>,
    /// For each wanted connection: which findings want it, and whether they cite it.
    uses: HashMap<usize, Vec<(usize, bool)>>,
    /// Frames of each wanted connection so far.
    seen: HashMap<usize, u64>,
    interfaces: BTreeMap<u32, Interface>,
    max_bytes: usize,
}

/// What is kept for one finding.
#[derive(Debug)]
struct Selection {
    finding: String,
    rule: String,
    notes: BTreeMap<u64, Vec<String>>,
    /// Times of the proving frames, sorted.
    moments: Vec<i64>,
    heap: BinaryHeap<Kept>,
    bytes: usize,
    left_out: u64,
}

impl EvidenceCollector {
    /// For the findings that `choose` takes; their connections are added to `connections`.
    pub fn new(
        document: &Document,
        choose: impl Fn(&FindingView) -> bool,
        connections: &mut Connections,
    ) -> Self {
        let mut uses: HashMap<usize, Vec<(usize, bool)>> = HashMap::new();
        let mut findings = Vec::new();
        for finding in document.findings.iter().filter(|finding| choose(finding)) {
            let number = findings.len();
            let cited = finding.evidence.iter().map(|step| (&step.connection, true));
            let affected = finding.connections.iter().map(|key| (key, false));
            for (key, cited) in cited.chain(affected) {
                let Some(index) = connections.add(key) else {
                    continue;
                };
                let users = uses.entry(index).or_default();
                if !users.iter().any(|&(user, _)| user == number) {
                    users.push((number, cited));
                }
            }
            findings.push(Selection::new(finding));
        }
        let share = MAX_BYTES_IN_ALL / findings.len().max(1);
        Self {
            findings,
            uses,
            seen: HashMap::new(),
            interfaces: BTreeMap::new(),
            max_bytes: share.min(MAX_BYTES),
        }
    }

    /// Takes a frame if it belongs to a connection of a finding.
    pub fn frame(&mut self, view: &FrameView<'_>, connections: &Connections) {
        let of_packets = view.packets.iter().filter_map(|p| connections.of_packet(p));
        let of_fragments = view
            .fragments
            .iter()
            .filter_map(|f| connections.of_fragment(f));
        let mut takers: BTreeMap<usize, Need> = BTreeMap::new();
        for index in of_packets.chain(of_fragments) {
            let seen = self.seen.entry(index).or_default();
            *seen += 1;
            let is_head = *seen <= HEAD_FRAMES;
            for &(number, cited) in self.uses.get(&index).into_iter().flatten() {
                let need = self.findings[number].need(view, cited, is_head);
                let known = takers.entry(number).or_insert(need);
                *known = need.min(*known);
            }
        }
        if takers.is_empty() {
            return;
        }
        self.interfaces
            .entry(view.frame.interface)
            .or_insert_with(|| view.interface.clone());
        for (number, need) in takers {
            self.findings[number].keep(view, need, self.max_bytes);
        }
    }

    /// The files, in the order of the findings; a finding without a frame has none.
    pub fn finish(self) -> Vec<EvidenceFile> {
        let Self {
            findings,
            interfaces,
            ..
        } = self;
        let files = findings.into_iter().map(|selection| {
            let mut frames = selection.heap.into_vec();
            frames.sort_by_key(|kept| kept.frame);
            EvidenceFile {
                finding: selection.finding,
                rule: selection.rule,
                frames_left_out: selection.left_out,
                frames,
                notes: selection.notes,
                interfaces: interfaces.clone(),
            }
        });
        files.filter(|file| !file.frames.is_empty()).collect()
    }
}

impl Selection {
    fn new(finding: &FindingView) -> Self {
        let mut notes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for step in &finding.evidence {
            let of_frame = notes.entry(step.frame).or_default();
            if !of_frame.contains(&step.note) {
                of_frame.push(step.note.clone());
            }
        }
        let times = finding.evidence.iter().map(|step| step.time.as_str());
        let mut moments: Vec<_> = times.filter_map(crate::words::format::unix_nanos).collect();
        moments.sort_unstable();
        Self {
            finding: finding.id.clone(),
            rule: finding.rule.clone(),
            notes,
            moments,
            heap: BinaryHeap::new(),
            bytes: 0,
            left_out: 0,
        }
    }

    fn need(&self, view: &FrameView<'_>, cited: bool, is_head: bool) -> Need {
        if self.notes.contains_key(&view.frame.number) {
            return Need::Proves;
        }
        if !cited {
            return Need::Affected;
        }
        if is_head || self.is_close(view.frame.time.as_nanos()) {
            return Need::Incident;
        }
        Need::Cited
    }

    /// Whether a proving frame is near.
    fn is_close(&self, nanos: i64) -> bool {
        let after = self.moments.partition_point(|&moment| moment < nanos);
        let before = after.checked_sub(1).and_then(|at| self.moments.get(at));
        let near = [before, self.moments.get(after)];
        near.into_iter()
            .flatten()
            .any(|moment| moment.abs_diff(nanos) <= INCIDENT_NANOS.unsigned_abs())
    }

    fn keep(&mut self, view: &FrameView<'_>, need: Need, max_bytes: usize) {
        self.bytes += view.bytes.len();
        self.heap.push(Kept {
            need,
            frame: view.frame.number,
            nanos: view.frame.time.as_nanos(),
            interface: view.frame.interface,
            original_len: view.frame.original_len,
            bytes: view.bytes.to_vec(),
        });
        while self.heap.len() > MAX_FRAMES || self.bytes > max_bytes && self.heap.len() > 1 {
            let Some(least) = self.heap.pop() else { break };
            self.bytes -= least.bytes.len();
            self.left_out += 1;
        }
    }
}
