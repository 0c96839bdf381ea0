//! `udp-truncation`: datagrams larger than the receiver's buffer.

use std::collections::BTreeMap;

use analyzer::connection::SizeClass;
use analyzer::{Analysis, Connection, Endpoint};

use crate::model::context::Context;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::number;

declare_rule! {
    /// Datagrams are larger than the buffer their receiver reads them into.
    ///
    /// ## What it means
    /// A UDP receiver gets one datagram per read. What does not fit into the buffer of that read is
    /// discarded by the kernel, silently: the application sees a message that ends too early.
    ///
    /// ## Why it matters
    /// Part of the message is gone without an error on either side and without a trace on the wire.
    /// Only large messages suffer, so tests with small ones pass.
    ///
    /// ## How it is detected
    /// The cut happens inside the receiver, so only its consequences can be seen. Strongest first:
    /// *proved*: answers grow with the request up to one size and never beyond it, or requests up to a
    /// size are answered in one way and larger ones in another or never; *configured*: the receive
    /// buffer was given (`--udp-recv-buffer PORT=BYTES` or `[udp] recv_buffer`) and datagrams exceed it;
    /// *risk*: sizes lie on both sides of a buffer size that programs often use. Sizes are true UDP
    /// payload lengths after reassembly, never captured lengths.
    /// Severity: high when proved or configured, medium when large requests only stay unanswered, low
    /// for a risk. QUIC, RTP, tunnels and DNS are left out.
    ///
    /// ## What to do
    /// Read with a buffer of 65,535 bytes and check for truncation; keep datagrams within the agreed size
    /// and within the path MTU; or use TCP with framing.
    ///
    /// ## Known limits
    /// A receiver that never answers cannot be judged without its buffer size. A service that limits its
    /// answers on purpose looks like one whose buffer is too small. Loss of fragments also strikes
    /// only large datagrams; sizes near the MTU are therefore judged with less confidence.
    ///
    /// ## References
    /// - recv(2), `MSG_TRUNC`; RFC 8085 §3.2
    pub(crate) struct UdpTruncation {
        id: "udp-truncation",
        title: "Datagrams are larger than the receiver's buffer",
        severity: High,
        needs: [Udp],
        clouded_by: [CaptureDrops],
        figures: [
            receive_buffer_bytes: Bytes / Min,
            largest_datagram_bytes: Bytes / Max,
            datagrams: Count / Sum,
        ],
        thresholds: [
            min_risk_datagrams = 10.0: "Datagrams a server must get before sizes alone are called a risk.",
        ],
    }
}

/// Receive buffers that programs often use, in octets.
const COMMON_BUFFERS: [u32; 7] = [512, 1024, 1472, 1500, 2048, 4096, 8192];
/// Protocols for which message size says nothing about a reader's buffer.
const BY_DESIGN: [&str; 9] = [
    "quic",
    "rtp",
    "rtcp",
    "vxlan",
    "geneve",
    "wireguard",
    "gtp",
    "dns",
    "stun",
];
/// Around here a datagram no longer fits one Ethernet frame, and fragments may be the cause.
const FRAGMENT_SIZES: std::ops::RangeInclusive<u32> = 1_200..=1_500;

/// What one flow sent.
pub(crate) enum Fact {
    /// Datagrams of one size.
    Size(SizeClass),
    /// Payload octets and how many datagrams had them, by size.
    Counts(Vec<(u32, u64)>),
}

/// Why a buffer is thought to be too small, and between which sizes.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    ground: Ground,
    buffer: u32,
    /// Largest size known to be read whole.
    largest_worked: u32,
    /// Smallest size known or thought to be cut.
    smallest_failed: u32,
}

/// What the judgement rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ground {
    /// Small requests are answered in one way, larger ones in another or never.
    Answers,
    /// The user named the buffer.
    Configured,
    /// Answers follow the size up to one value.
    Proved,
    /// Sizes alone.
    Risk,
}

/// Datagrams of one size of one flow.
#[derive(Clone, Copy)]
struct Sent<'a> {
    note: &'a Note<Fact>,
    class: &'a SizeClass,
}

impl Rule for UdpTruncation {
    type Seen = Seen;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Fact>,
    ) {
        let Some(udp) = &conn.udp else { return };
        if udp
            .protocol
            .is_some_and(|protocol| BY_DESIGN.contains(&protocol))
        {
            return;
        }
        for class in &udp.size_classes {
            out.note(|| Note::new(conn, Fact::Size(class.clone())).at(class.first_request.time));
        }
        out.note(|| Note::new(conn, Fact::Counts(udp.size_counts.clone())));
    }

    fn on_capture(
        &self,
        _analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let mut servers = BTreeMap::<Endpoint, Vec<Sent<'_>>>::new();
        let mut counts = BTreeMap::<u64, &[(u32, u64)]>::new();
        for note in &collected.notes {
            match &note.fact {
                Fact::Size(class) => {
                    let server = note.connection.server;
                    servers
                        .entry(server)
                        .or_default()
                        .push(Sent { note, class });
                }
                Fact::Counts(sizes) => {
                    counts.insert(note.connection.first_frame, sizes);
                }
            }
        }
        let mut found = Vec::new();
        for (server, sent) in servers {
            let sizes = merged(&sent);
            let configured = ctx.settings().udp_recv_buffers.get(&server.port).copied();
            let verdict = echo_cap(&sizes)
                .or_else(|| configured.and_then(|buffer| exceeds(&sizes, buffer)))
                .or_else(|| answered_differently(&sizes))
                .or_else(|| risk(&sizes, ctx.threshold("min_risk_datagrams")));
            if let Some(verdict) = verdict {
                found.extend(observations(&sent, &counts, &verdict));
            }
        }
        collected.observations = found;
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        words::tell(group, draft)
    }
}

/// One request size towards one server, over all flows.
#[derive(Clone, Copy, Default)]
struct Size {
    requests: u64,
    answered: u64,
    answer_min: u32,
    answer_max: u32,
}

impl Size {
    /// All answers to this size had one length: that length.
    fn answer(&self) -> Option<u32> {
        (self.answered > 0 && self.answer_min == self.answer_max).then_some(self.answer_max)
    }
}

/// Why datagrams of a server are thought to be cut.
struct Verdict {
    seen: Seen,
    confidence: f64,
    severity: Severity,
}

fn merged(sent: &[Sent<'_>]) -> BTreeMap<u32, Size> {
    let mut sizes = BTreeMap::<u32, Size>::new();
    for Sent { class, .. } in sent {
        let size = sizes.entry(class.request_len).or_default();
        if class.answered > 0 {
            size.answer_min = if size.answered > 0 {
                size.answer_min.min(class.answer_min)
            } else {
                class.answer_min
            };
            size.answer_max = size.answer_max.max(class.answer_max);
        }
        size.requests += class.requests;
        size.answered += class.answered;
    }
    sizes
}

/// Answers are as long as the request (plus a constant) up to a size, and never longer.
fn echo_cap(sizes: &BTreeMap<u32, Size>) -> Option<Verdict> {
    let answers: Vec<(i64, i64)> = sizes
        .iter()
        .filter_map(|(len, size)| Some((i64::from(*len), i64::from(size.answer()?))))
        .collect();
    let cap = answers.iter().map(|(_, answer)| *answer).max()?;
    let extra = answers.first().map(|(len, answer)| answer - len)?;
    let buffer = cap - extra;
    let follows = |&&(len, answer): &&(i64, i64)| len <= buffer && answer == len + extra;
    let capped = |&&(len, answer): &&(i64, i64)| len > buffer && answer == cap;
    let followers = answers.iter().filter(|pair| follows(pair)).count();
    let cut: Vec<i64> = answers
        .iter()
        .filter(|pair| capped(pair))
        .map(|(len, _)| *len)
        .collect();
    // Constant answers follow nothing, and one small size alone proves no growth.
    let enough = followers >= 2 || (followers == 1 && extra == 0 && cut.len() >= 2);
    if cut.is_empty() || !enough || followers + cut.len() < answers.len() || buffer <= 0 {
        return None;
    }
    Some(Verdict {
        seen: Seen {
            ground: Ground::Proved,
            buffer: u32::try_from(buffer).ok()?,
            largest_worked: u32::try_from(buffer).ok()?,
            smallest_failed: u32::try_from(*cut.iter().min()?).ok()?,
        },
        confidence: if followers >= 2 { 0.95 } else { 0.8 },
        severity: Severity::High,
    })
}

/// Datagrams exceed a buffer that the user named.
fn exceeds(sizes: &BTreeMap<u32, Size>, buffer: u32) -> Option<Verdict> {
    let (smallest, _) = sizes.range(buffer + 1..).next()?;
    let echoed = sizes
        .range(buffer + 1..)
        .any(|(len, size)| size.answer() == Some(*len));
    (!echoed).then_some(Verdict {
        seen: Seen {
            ground: Ground::Configured,
            buffer,
            largest_worked: buffer,
            smallest_failed: *smallest,
        },
        confidence: 0.95,
        severity: Severity::High,
    })
}

/// Small requests are answered in one way, all larger ones in another way or never.
fn answered_differently(sizes: &BTreeMap<u32, Size>) -> Option<Verdict> {
    let list: Vec<(u32, Size)> = sizes.iter().map(|(len, size)| (*len, *size)).collect();
    let border = (1..list.len()).find(|&border| {
        let (small, large) = list.split_at(border);
        let served = small
            .iter()
            .filter(|(_, size)| number(size.answered) >= number(size.requests) * 0.9)
            .count();
        let small_answered: u64 = small.iter().map(|(_, size)| size.answered).sum();
        let large_requests: u64 = large.iter().map(|(_, size)| size.requests).sum();
        let never = large.iter().all(|(_, size)| size.answered == 0);
        let one = |part: &[(u32, Size)]| {
            let first = part[0].1.answer()?;
            (part.len() >= 2 && part.iter().all(|(_, size)| size.answer() == Some(first)))
                .then_some(first)
        };
        let other_answer = matches!((one(small), one(large)), (Some(a), Some(b)) if a != b);
        let silent = never && served == small.len() && small_answered >= 3 && large_requests >= 2;
        silent || other_answer
    })?;
    let (works, fails) = (list[border - 1].0, list[border].0);
    // Between the two a buffer that programs often use is the best guess, when there is one.
    let mut usual = COMMON_BUFFERS
        .into_iter()
        .filter(|buffer| (works..fails).contains(buffer));
    let buffer = match (usual.next(), usual.next()) {
        (Some(only), None) => only,
        _ => works,
    };
    let fragments = FRAGMENT_SIZES.contains(&works) || (works < 1_473 && fails > 1_472);
    Some(Verdict {
        seen: Seen {
            ground: Ground::Answers,
            buffer,
            largest_worked: works,
            smallest_failed: fails,
        },
        confidence: if fragments { 0.5 } else { 0.7 },
        severity: if fragments {
            Severity::Low
        } else {
            Severity::Medium
        },
    })
}

/// Sizes lie on both sides of a common buffer, and nothing shows that the large ones arrive whole.
fn risk(sizes: &BTreeMap<u32, Size>, min_datagrams: f64) -> Option<Verdict> {
    let total: u64 = sizes.values().map(|size| size.requests).sum();
    // A service that echoes its largest request reads all of it.
    let whole = sizes
        .iter()
        .rev()
        .find_map(|(len, size)| (size.answered > 0 && size.answer_max >= *len).then_some(*len));
    let buffer = COMMON_BUFFERS.iter().rev().copied().find(|buffer| {
        let above: u64 = sizes
            .range(buffer + 1..)
            .map(|(_, size)| size.requests)
            .sum();
        above > 0 && above * 2 < total && whole.is_none_or(|whole| whole <= *buffer)
    })?;
    let smallest_failed = *sizes.range(buffer + 1..).next()?.0;
    (number(total) >= min_datagrams).then_some(Verdict {
        seen: Seen {
            ground: Ground::Risk,
            buffer,
            largest_worked: buffer,
            smallest_failed,
        },
        confidence: 0.3,
        severity: Severity::Low,
    })
}

/// One observation per flow that sent datagrams above the buffer.
fn observations(
    sent: &[Sent<'_>],
    counts: &BTreeMap<u64, &[(u32, u64)]>,
    verdict: &Verdict,
) -> Vec<Observation<Seen>> {
    let buffer = verdict.seen.buffer;
    let mut flows = BTreeMap::<u64, Vec<Sent<'_>>>::new();
    for one in sent.iter().filter(|one| one.class.request_len > buffer) {
        let flow = flows.entry(one.note.connection.first_frame).or_default();
        flow.push(*one);
    }
    let fit = sent.iter().filter_map(|one| {
        let answer = one.class.first_answer?;
        (one.class.request_len <= buffer).then_some((*one, answer))
    });
    let fit = fit.max_by_key(|(one, _)| {
        let first_frame = one.note.connection.first_frame;
        (one.class.request_len, std::cmp::Reverse(first_frame))
    });
    let flows = flows.into_iter().map(|(first_frame, flow)| {
        let sizes = counts.get(&first_frame).copied().unwrap_or_default();
        let above = sizes.iter().filter(|(len, _)| *len > buffer);
        let count: u64 = above.clone().map(|(_, count)| count).sum();
        let largest_size = above.map(|(len, _)| *len).max().unwrap_or(0);
        let longest = |one: &&Sent<'_>| one.class.request_len;
        let largest = flow.iter().max_by_key(longest).copied().unwrap_or(flow[0]);
        let mut observation = of_flow(largest, verdict)
            .count(count)
            .figure("receive_buffer_bytes", f64::from(buffer))
            .figure("largest_datagram_bytes", f64::from(largest_size))
            .figure("datagrams", number(count));
        if verdict.severity >= Severity::Medium {
            observation = observation.cost("messages_damaged", number(count));
        }
        if let Some((fit, answer)) =
            fit.filter(|(fit, _)| fit.note.connection == largest.note.connection)
        {
            let (len, answer_len) = (fit.class.request_len, fit.class.answer_max);
            observation = observation
                .evidence(fit.class.first_request, format!("datagram of {len} bytes"))
                .evidence(answer, format!("answer of {answer_len} bytes"));
        }
        observation.seen(verdict.seen)
    });
    flows.collect()
}

/// The observation of a flow by its `largest` datagrams.
fn of_flow(largest: Sent<'_>, verdict: &Verdict) -> Observation {
    let class = largest.class;
    Observation::from_note(largest.note, verdict.confidence, verdict.severity)
        .weight(f64::from(class.request_len))
        .evidence(
            class.first_request,
            format!("datagram of {} bytes", class.request_len),
        )
        .evidence_if(
            class.first_answer,
            format!(
                "answer to it or to the first answered one of its size: {} bytes",
                class.answer_max
            ),
        )
}

mod words;

#[cfg(test)]
mod tests;
