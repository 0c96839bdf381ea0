//! Collects time-sequence data of cited TCP connections in a second reading of the capture.
//!
//! Every connection is kept in a fixed number of slots, whatever it carried: a slot holds the
//! extremes of what fell into it, so nothing that stands out is lost.

use std::collections::BTreeMap;

use analyzer::capture::{Input, ReadOptions};
use analyzer::decode::{Packet, PacketKind, TcpFields};
use analyzer::seq::{RangeSet, SeqNumber, SeqRange};

use super::reread::{Connections, reread};
use super::reread_plan::{Plan, Stretch};
use crate::document::{ConnectionKey, Document, Trace, TraceSlot, TraceView};
use crate::gather::Draft;
use crate::words::format;

/// Connections drawn; each costs up to 150 kB of the page.
const MAX_TRACES: usize = 6;

/// Frames of its proofs around which all is drawn.
const MAX_PROOFS: usize = 16;

/// Slots of a view: more than a chart has pixels to separate on paper.
const SLOTS: u32 = 360;

/// Fewer segments with payload are read more easily in the ladder.
const MIN_SEGMENTS: u64 = 10;

/// An incident longer than this share of the connection is the connection.
const INCIDENT_SHARE: f64 = 0.6;

/// Holes followed per direction; beyond them what lies below the highest octet counts as resent.
const MAX_HOLES: usize = 4096;

/// Reads the capture again and draws up the traces of the connections that findings cite first.
///
/// # Errors
/// When no input can be read any more.
pub fn collect(
    draft: &Draft,
    inputs: &[Input],
    options: &ReadOptions,
) -> Result<Vec<Trace>, analyzer::Error> {
    let document = draft.document();
    let mut connections = Connections::new(document);
    let mut courses: BTreeMap<usize, Course> = BTreeMap::new();
    for (key, findings) in cited(document) {
        let course = Course::new(document, key, findings);
        if let (Some(course), Some(index)) = (course, connections.add(key)) {
            courses.insert(index, course);
        }
    }
    if courses.is_empty() {
        return Ok(Vec::new());
    }
    let mut stretches: Vec<Stretch> = courses
        .iter()
        .flat_map(|(&index, course)| {
            let wanted = &connections.wanted[index];
            course.stretches(wanted.first_frame, wanted.last_frame)
        })
        .collect();
    let proofs = courses.values().flat_map(|course| course.proofs(document));
    stretches.extend(proofs.map(Stretch::Proof));
    let plan = Plan::of(draft.marks(), &stretches, connections.last_frame());
    let mut shares = plan.shares.iter();
    for course in courses.values_mut() {
        course.take_shares(&mut shares);
    }
    reread(inputs, options, &plan, |view| {
        for packet in view.packets {
            let PacketKind::Tcp(tcp) = &packet.kind else {
                continue;
            };
            let Some(index) = connections.of_packet(packet) else {
                continue;
            };
            if let Some(course) = courses.get_mut(&index) {
                course.enter(view.run);
                let is_client = packet.source() == connections.wanted[index].client;
                course.packet(packet, tcp, usize::from(!is_client));
            }
        }
    })?;
    Ok(courses.into_values().filter_map(Course::finish).collect())
}

/// The first TCP connection that each finding cites, with all findings that do.
fn cited(document: &Document) -> Vec<(&ConnectionKey, Vec<String>)> {
    let mut all: Vec<(&ConnectionKey, Vec<String>)> = Vec::new();
    for finding in &document.findings {
        let mut steps = finding.evidence.iter();
        let Some(step) = steps.find(|step| step.connection.transport == "tcp") else {
            continue;
        };
        match all.iter().position(|(key, _)| **key == step.connection) {
            Some(known) => all[known].1.push(finding.id.clone()),
            None if all.len() < MAX_TRACES => {
                all.push((&step.connection, vec![finding.id.clone()]));
            }
            None => {}
        }
    }
    all
}

/// One connection while it is read.
struct Course {
    connection: ConnectionKey,
    findings: Vec<String>,
    halves: [Half; 2],
    /// The run of the plan that its latest packet was in.
    run: usize,
}

/// What one end sent.
#[derive(Clone)]
struct Half {
    /// The whole and the incident.
    grids: Vec<Grid>,
    /// Unwrapped offset of the initial sequence number.
    base: Option<u64>,
    /// A recent offset, near which the next number lies.
    near: u64,
    /// One past the highest octet sent.
    high: u64,
    seen: RangeSet,
    /// Octets were left out since the last payload.
    skipped: bool,
    /// Window scale of this end's SYN.
    shift: Option<u8>,
}

impl Course {
    /// `None` when the document does not say when the connection took place.
    fn new(document: &Document, key: &ConnectionKey, findings: Vec<String>) -> Option<Self> {
        let rows = document.connections.iter();
        let row = rows
            .filter(|row| row.transport == "tcp")
            .find(|row| row.first_frame == key.first_frame)?;
        let capture = format::unix_nanos(document.capture.start.as_deref()?)?;
        let start = format::unix_nanos(&row.start)?;
        #[expect(clippy::cast_possible_truncation, reason = "a time in nanoseconds")]
        let end = start.saturating_add((row.duration_ms * 1e6) as i64);
        let moments = document
            .findings
            .iter()
            .flat_map(|finding| &finding.evidence)
            .filter(|step| step.connection == *key)
            .filter_map(|step| format::unix_nanos(&step.time));
        let (first, last) = moments.fold((i64::MAX, i64::MIN), |(first, last), at| {
            (first.min(at), last.max(at))
        });
        let mut grids = vec![Grid::new(capture, start, end)];
        if first <= last {
            // Enough before and after to see what was normal.
            let room = ((last - first) / 4).max((end - start) / 20).max(20_000_000);
            let (from, to) = ((first - room).max(start), (last + room).min(end));
            if ((to - from) as f64) < (end - start) as f64 * INCIDENT_SHARE {
                grids.push(Grid::new(capture, from, to));
            }
        }
        let half = Half {
            grids,
            base: None,
            near: 0,
            high: 0,
            seen: RangeSet::default(),
            skipped: false,
            shift: None,
        };
        Some(Self {
            connection: key.clone(),
            findings,
            halves: [half.clone(), half],
            run: 0,
        })
    }

    /// What must be read for its views, one stretch each.
    fn stretches(&self, first_frame: u64, last_frame: u64) -> Vec<Stretch> {
        let incidents = self.halves[0].grids.iter().skip(1);
        std::iter::once(Stretch::Frames(first_frame, last_frame))
            .chain(incidents.map(|grid| Stretch::Time(grid.from, grid.to)))
            .collect()
    }

    /// The frames that prove something about it, as many as are shown.
    fn proofs<'a>(&'a self, document: &'a Document) -> impl Iterator<Item = u64> + 'a {
        let steps = document
            .findings
            .iter()
            .flat_map(|finding| &finding.evidence);
        let own = steps.filter(|step| step.connection == self.connection);
        own.map(|step| step.frame).take(MAX_PROOFS)
    }

    /// Takes the share of each of its stretches that will be read.
    fn take_shares<'a>(&mut self, shares: &mut impl Iterator<Item = &'a f64>) {
        for view in 0..self.halves[0].grids.len() {
            let Some(&share) = shares.next() else { return };
            for half in &mut self.halves {
                half.grids[view].read_share = share;
            }
        }
    }

    /// Its next packet is in this run: what lies before was not all read.
    fn enter(&mut self, run: usize) {
        if std::mem::replace(&mut self.run, run) != run {
            self.halves.iter_mut().for_each(Half::skip);
        }
    }

    /// `from` is 0 for the client's packets, 1 for the server's.
    fn packet(&mut self, packet: &Packet, tcp: &TcpFields, from: usize) {
        let time = packet.time.as_nanos();
        let sender = &mut self.halves[from];
        let is_syn = tcp.flags.syn();
        sender.begin(tcp.seq, is_syn);
        if is_syn {
            sender.shift = tcp.window_shift;
        }
        let start = tcp.seq.unwrap_near(sender.near);
        if packet.payload_len > 0 {
            // A SYN takes one number before its payload (RFC 9293 §3.4).
            let first = start + u64::from(is_syn);
            sender.payload(time, first, first + u64::from(packet.payload_len));
        }
        let scale = match (self.halves[0].shift, self.halves[1].shift) {
            (Some(_), Some(_)) if !is_syn => self.halves[from].shift,
            _ => None,
        };
        if tcp.flags.rst() {
            for half in &mut self.halves {
                half.each(time, |slot| slot.reset = true);
            }
        } else if tcp.flags.ack() {
            self.halves[1 - from].acknowledged(time, tcp, scale);
        }
    }

    /// The side whose data say more; `None` when neither sent enough for a graph.
    fn finish(self) -> Option<Trace> {
        let Self {
            connection,
            findings,
            halves: [client, server],
            ..
        } = self;
        let (sender, half) = if client.weight() >= server.weight() {
            ("client", client)
        } else {
            ("server", server)
        };
        (half.grids[0].segments >= MIN_SEGMENTS).then(|| Trace {
            connection,
            findings,
            sender: sender.to_owned(),
            views: half.grids.into_iter().map(Grid::finish).collect(),
        })
    }
}

impl Half {
    /// Sets where relative numbers begin, at the first number that is seen.
    fn begin(&mut self, seq: SeqNumber, is_syn: bool) {
        if self.base.is_none() {
            // One turn of 2³² in front, so that nothing falls below zero.
            let first = (1 << 32) + u64::from(seq.0);
            self.base = Some(first - u64::from(!is_syn));
            self.near = first;
            self.high = first;
        }
    }

    /// Octets were left out: those below the next ones count as sent.
    fn skip(&mut self) {
        self.skipped = self.base.is_some();
        self.grids.iter_mut().for_each(|grid| grid.last = None);
    }

    fn relative(&self, offset: u64) -> u64 {
        offset.saturating_sub(self.base.unwrap_or(0))
    }

    fn each(&mut self, time: i64, mut change: impl FnMut(&mut TraceSlot)) {
        for grid in &mut self.grids {
            if let Some(slot) = grid.slot(time) {
                change(slot);
            }
        }
    }

    fn payload(&mut self, time: i64, start: u64, end: u64) {
        let range = SeqRange::new(start, end);
        if std::mem::take(&mut self.skipped) {
            self.seen.insert(SeqRange::new(0, start));
        }
        let is_resent = self.seen.contains(range);
        let fills = !is_resent && start < self.high;
        if self.seen.ranges().len() < MAX_HOLES {
            self.seen.insert(range);
        }
        self.near = start.max(self.near);
        self.high = end.max(self.high);
        let (first, last) = (self.relative(start), self.relative(end));
        for grid in &mut self.grids {
            grid.count(time, is_resent);
        }
        self.each(time, |slot| {
            let place = if is_resent {
                &mut slot.resent
            } else if fills {
                &mut slot.filled
            } else {
                &mut slot.sent
            };
            widen(place, first, last);
        });
    }

    fn acknowledged(&mut self, time: i64, tcp: &TcpFields, shift: Option<u8>) {
        self.begin(SeqNumber(tcp.ack.0.wrapping_sub(1)), true);
        let ack = self.relative(tcp.ack.unwrap_near(self.near));
        // RFC 7323 §2.3: more than 14 counts as 14.
        let window = shift.map(|shift| ack + (u64::from(tcp.window_field) << shift.min(14)));
        let sacks: Vec<_> = tcp
            .sacks()
            .iter()
            .map(|block| {
                let edge = |edge: SeqNumber| self.relative(edge.unwrap_near(self.near));
                (edge(block.left_edge), edge(block.right_edge))
            })
            .filter(|(left, right)| left < right && *left >= ack)
            .collect();
        self.each(time, |slot| {
            slot.acked = slot.acked.max(Some(ack));
            slot.window = window.or(slot.window);
            for &(left, right) in &sacks {
                widen(&mut slot.sacked, left, right);
            }
        });
    }

    /// A retransmission says more than a first copy.
    fn weight(&self) -> (u64, u64) {
        (self.grids[0].resent, self.relative(self.high))
    }
}

/// Slots over a stretch of time.
#[derive(Clone)]
struct Grid {
    /// Time of the capture's first frame; all times in nanoseconds.
    capture: i64,
    from: i64,
    to: i64,
    /// See [`TraceView::read_share`].
    read_share: f64,
    slots: BTreeMap<u32, TraceSlot>,
    segments: u64,
    resent: u64,
    last: Option<i64>,
    pause: (i64, i64),
}

impl Grid {
    const fn new(capture: i64, from: i64, to: i64) -> Self {
        Self {
            capture,
            from,
            to,
            read_share: 1.0,
            slots: BTreeMap::new(),
            segments: 0,
            resent: 0,
            last: None,
            pause: (0, 0),
        }
    }

    fn width(&self) -> i64 {
        ((self.to - self.from) / i64::from(SLOTS)).max(1)
    }

    fn slot(&mut self, time: i64) -> Option<&mut TraceSlot> {
        if !(self.from..=self.to).contains(&time) {
            return None;
        }
        let number = u32::try_from((time - self.from) / self.width()).ok()?;
        let number = number.min(SLOTS - 1);
        let slot = self.slots.entry(number).or_default();
        slot.slot = number;
        Some(slot)
    }

    fn count(&mut self, time: i64, is_resent: bool) {
        if !(self.from..=self.to).contains(&time) {
            return;
        }
        self.segments += 1;
        self.resent += u64::from(is_resent);
        if let Some(last) = self.last
            && time - last > self.pause.0
        {
            self.pause = (time - last, last);
        }
        self.last = Some(time);
    }

    fn finish(self) -> TraceView {
        let since = |at: i64| seconds(at - self.capture);
        TraceView {
            from_s: since(self.from),
            to_s: since(self.to),
            slot_s: self.width() as f64 / 1e9,
            read_share: self.read_share,
            segments: self.segments,
            resent: self.resent,
            pause_s: seconds(self.pause.0),
            pause_from_s: since(self.pause.1),
            slots: self.slots.into_values().collect(),
        }
    }
}

/// To the microsecond.
fn seconds(nanos: i64) -> f64 {
    (nanos as f64 / 1e3).round() / 1e6
}

fn widen(place: &mut Option<(u64, u64)>, first: u64, last: u64) {
    *place = Some(match *place {
        Some((low, high)) => (low.min(first), high.max(last)),
        None => (first, last),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half() -> Half {
        Half {
            grids: vec![Grid::new(0, 0, 3_600_000_000)],
            base: None,
            near: 0,
            high: 0,
            seen: RangeSet::default(),
            skipped: false,
            shift: None,
        }
    }

    #[test]
    fn a_repeated_segment_is_told_from_one_that_fills_a_hole() {
        let mut half = half();
        half.begin(SeqNumber(99), true);
        let at = |octet: u64| (1 << 32) + 99 + octet;
        half.payload(0, at(1), at(101));
        half.payload(10_000_000, at(201), at(301));
        half.payload(20_000_000, at(101), at(201));
        half.payload(30_000_000, at(1), at(101));
        let view = half.grids[0].clone().finish();
        assert_eq!((view.segments, view.resent), (4, 1));
        let slots: Vec<_> = view
            .slots
            .iter()
            .map(|s| (s.sent, s.filled, s.resent))
            .collect();
        assert_eq!(
            slots,
            [
                (Some((1, 101)), None, None),
                (Some((201, 301)), None, None),
                (None, Some((101, 201)), None),
                (None, None, Some((1, 101))),
            ]
        );
        assert_eq!(view.pause_s, 0.01);
    }

    #[test]
    fn numbers_run_on_where_sequence_numbers_wrap() {
        let mut half = half();
        half.begin(SeqNumber(u32::MAX - 10), true);
        let start = SeqNumber(5).unwrap_near(half.near);
        half.payload(0, start, start + 10);
        assert_eq!(half.grids[0].clone().finish().slots[0].sent, Some((16, 26)));
    }
}
