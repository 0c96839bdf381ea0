//! `udp-truncation`: datagrams larger than the receiver's buffer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use analyzer::connection::SizeClass;
use analyzer::{Analysis, Connection, Endpoint};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::number;

use seen::{Fact, Ground, Seen};

declare_rule! {
    /// Datagrams are larger than the buffer their receiver reads them into.
    ///
    /// ## What it means
    /// A UDP receiver gets one datagram per read. The kernel silently discards what does not fit into the
    /// buffer of that read, and the application sees a message that ends too early.
    ///
    /// ## Why it matters
    /// Part of the message is lost without an error on either side and without a trace on the wire. Only large
    /// messages are affected, so tests with small ones pass.
    ///
    /// ## How it is detected
    /// The cut happens inside the receiver, so only its consequences are visible. Strongest first:
    /// - *proved*: responses grow with the request up to one size and never beyond it;
    /// - *configured*: the receive buffer was given (`--udp-recv-buffer PORT=BYTES` or `[udp] recv_buffer`) and
    ///   datagrams exceed it;
    /// - *answers*: on both sides of a buffer size that programs often use, all requests below it are answered
    ///   in one way and all above it in another, or those above are retried and never answered.
    ///
    /// Sizes are true UDP payload lengths after reassembly, never captured lengths.
    ///
    /// What proves it: the response that stops growing or differs, the retried request, the datagram above the
    /// given buffer.
    ///
    /// What refutes it: a larger request that is answered as the smaller ones are; datagrams that expect no
    /// response (acknowledgments, announcements), which nobody retries. Sizes alone prove nothing.
    ///
    /// Multicast and broadcast, QUIC, RTP, tunnels and DNS are left out. Severity follows the number of cut
    /// datagrams; it is info where lost fragments explain it as well.
    ///
    /// ## What to do
    /// Read with a buffer of 65,535 bytes and check for truncation; keep datagrams within the agreed size
    /// and within the path MTU; or use TCP with framing.
    ///
    /// ## Known limits
    /// A receiver that never responds cannot be judged without its buffer size. A service that limits its
    /// responses on purpose looks like one whose buffer is too small. Loss of fragments also affects only large
    /// datagrams; sizes near the MTU are therefore judged with less confidence.
    ///
    /// ## References
    /// - recv(2), `MSG_TRUNC`; RFC 8085 §3.2
    pub(crate) struct UdpTruncation {
        id: "udp-truncation",
        group: UdpAndIp,
        title: "Datagrams are larger than the receiver's buffer",
        severity: High,
        needs: [Udp],
        clouded_by: [CaptureDrops],
        figures: [
            receive_buffer_bytes: Bytes / Min,
            largest_datagram_bytes: Bytes / Max,
            datagrams: Count / Sum,
        ],
        thresholds: [],
        host_evidence: [ReceiveBuffer, Owner],
    }
}

/// Receive buffers that programs often use, in bytes.
const COMMON_BUFFERS: [u32; 7] = [512, 1024, 1472, 1500, 2048, 4096, 8192];
/// Protocols for which message size says nothing about a reader's buffer.
const BY_DESIGN: [&str; 11] = [
    "quic",
    "rtp",
    "rtcp",
    "vxlan",
    "geneve",
    "wireguard",
    "gtp",
    "dtls",
    "ipsec",
    "dns",
    "stun",
];
/// Around here a datagram no longer fits one Ethernet frame, and fragments may be the cause.
const FRAGMENT_SIZES: std::ops::RangeInclusive<u32> = 1_200..=1_500;

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
        let by_design = udp.protocol.is_some_and(|name| BY_DESIGN.contains(&name));
        let server = conn.server.ip;
        if by_design || server.is_multicast() || server == IpAddr::V4(Ipv4Addr::BROADCAST) {
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
                .or_else(|| answered_differently(&sizes));
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
    /// One was sent again because no answer had come.
    repeated: bool,
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
    /// Nothing but a cut explains it.
    proved: bool,
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
        size.repeated |= class.first_repeat.is_some();
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
        confidence: if followers >= 2 {
            confidence::PROVED
        } else {
            confidence::LIKELY
        },
        proved: true,
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
        confidence: confidence::PROVED,
        proved: true,
    })
}

/// Small requests are answered in one way, all larger ones in another way or, although they are sent
/// again, never; a buffer that programs often use lies between.
fn answered_differently(sizes: &BTreeMap<u32, Size>) -> Option<Verdict> {
    let list: Vec<(u32, Size)> = sizes.iter().map(|(len, size)| (*len, *size)).collect();
    let (border, buffer) = (1..list.len()).find_map(|border| {
        let (small, large) = list.split_at(border);
        let between = list[border - 1].0..list[border].0;
        let mut usual = COMMON_BUFFERS.into_iter();
        let buffer = usual.find(|buffer| between.contains(buffer))?;
        let served = small
            .iter()
            .filter(|(_, size)| number(size.answered) >= number(size.requests) * 0.9)
            .count();
        let small_answered: u64 = small.iter().map(|(_, size)| size.answered).sum();
        let asked_again = large.iter().any(|(_, size)| size.repeated);
        let never = large.iter().all(|(_, size)| size.answered == 0);
        let one = |part: &[(u32, Size)]| {
            let first = part[0].1.answer()?;
            (part.len() >= 2 && part.iter().all(|(_, size)| size.answer() == Some(first)))
                .then_some(first)
        };
        let other_answer = matches!((one(small), one(large)), (Some(a), Some(b)) if a != b);
        let silent = never && served == small.len() && small_answered >= 3 && asked_again;
        (silent || other_answer).then_some((border, buffer))
    })?;
    let (works, fails) = (list[border - 1].0, list[border].0);
    let fragments = FRAGMENT_SIZES.contains(&works) || (works < 1_473 && fails > 1_472);
    Some(Verdict {
        seen: Seen {
            ground: Ground::Answers,
            buffer,
            largest_worked: works,
            smallest_failed: fails,
        },
        confidence: if fragments {
            confidence::EVEN
        } else {
            confidence::PROBABLE
        },
        proved: !fragments,
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
        let observation = of_flow(largest, &flow, verdict, count)
            .count(count)
            .figure("receive_buffer_bytes", f64::from(buffer))
            .figure("largest_datagram_bytes", f64::from(largest_size))
            .figure("datagrams", number(count));
        let mut observation = if verdict.proved {
            observation.cost("messages_damaged", number(count))
        } else {
            observation
        };
        if let Some((fit, answer)) =
            fit.filter(|(fit, _)| fit.note.connection == largest.note.connection)
        {
            let (len, answer_len) = (fit.class.request_len, fit.class.answer_max);
            observation = observation
                .evidence(fit.class.first_request, format!("datagram of {len} bytes"))
                .evidence(answer, format!("response of {answer_len} bytes"));
        }
        observation.seen(verdict.seen)
    });
    flows.collect()
}

/// The observation of a flow of which `count` datagrams, those of `flow`, are above the buffer.
fn of_flow(largest: Sent<'_>, flow: &[Sent<'_>], verdict: &Verdict, count: u64) -> Observation {
    let class = largest.class;
    let text = format!("datagram of {} bytes", class.request_len);
    let observation = Observation::from_note(
        largest.note,
        verdict.confidence,
        Impact::requests_lost(count),
    )
    .weight(f64::from(class.request_len));
    let answer = format!(
        "response to it or to the first answered one of its size: {} bytes",
        class.answer_max
    );
    if !verdict.proved {
        return observation
            .evidence(class.first_request, text)
            .evidence_if(class.first_answer, answer);
    }
    let again = flow.iter().find_map(|one| one.class.first_repeat);
    let again = again.filter(|_| verdict.seen.ground == Ground::Answers);
    let observation = if verdict.seen.ground == Ground::Configured {
        observation.proof(class.first_request, text)
    } else {
        observation.evidence(class.first_request, text)
    };
    observation
        .proof_if(class.first_answer, answer)
        .proof_if(again, "the large request again: no response had come")
}

mod seen;
mod words;

#[cfg(test)]
mod tests;
