//! `corruption`: packets arrive damaged.

use analyzer::analysis::DamagedPackets;
use analyzer::event::SegmentRef;
use analyzer::{Analysis, Direction, Endpoint, Transport};

use crate::model::confidence;
use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation};
use crate::model::rule::Rule;
use crate::model::text::{many, number, percent, share};

declare_rule! {
    /// Single packets of a sender arrive with a wrong checksum: they were damaged on the path.
    ///
    /// ## What it means
    /// A device or its memory changes bits after it has checked a frame and before it forwards it, so that the
    /// link's own checksum is correct again: a router, switch or host with defective memory, a faulty driver or
    /// offload.
    ///
    /// ## Why it matters
    /// The receiver silently discards such packets; each costs a timeout or a retransmission. The 16-bit
    /// checksum misses one damaged packet in 65,000, which then reaches the program.
    ///
    /// ## How it is detected
    /// - The checksum of TCP or UDP is wrong in frames that were captured whole, three times or more.
    /// - Most packets of the same sender and kind are right, and the wrong ones are not wrong by the same
    ///   amount. That rules out a host that leaves checksums to its network card and a tool that rewrote the
    ///   capture.
    ///
    /// The damaged frames prove it. Equal differences in all of them would refute it. All other rules leave
    /// these frames out. Low: lost data was retransmitted, and other findings measure the cost.
    ///
    /// ## What to do
    /// Compare captures hop by hop until the frame is right; replace or disable what lies between.
    ///
    /// ## Known limits
    /// Packets of more than 576 bytes are not checked, nor are those cut by the snap length. Damage that the
    /// link detects never reaches the capture. Packets damaged on purpose, as by a fuzzer, look the same.
    ///
    /// ## References
    /// - RFC 9293 §3.1, RFC 768, RFC 1071 (checksums)
    pub(crate) struct Corruption {
        id: "corruption",
        group: LossAndPath,
        title: "Packets arrive damaged",
        severity: Low,
        needs: [],
        traits: [],
        clouded_by: [Snaplen],
        figures: [packets: Count / Sum, share_percent: Percent / Max],
        thresholds: [
            min_packets = 3.0: "Damaged packets of one sender; fewer may be coincidence.",
        ],
    }
}

/// Damaged packets of one sender.
pub(crate) struct Seen {
    count: u64,
    right: u64,
}

impl Rule for Corruption {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let least = ctx.threshold("min_packets");
        let damaged = analysis.damaged.iter();
        let damaged = damaged.filter(|one| number(one.count) >= least);
        collected
            .observations
            .extend(damaged.filter_map(observation));
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let source = group.client().ip;
        let Seen { count, right } = group.best().seen;
        draft
            .title(format!("Packets of {source} arrive damaged"))
            .summary(format!(
                "{} of {source} {} a wrong checksum, while at least {} of the same kind are right. They were changed on the path before the capture point, and their receiver discards them.",
                many(count, "packet"),
                if count == 1 { "has" } else { "have" },
                many(right, "packet"),
            ))
            .confidence(confidence::LIKELY, "The sender's other checksums are right, and the differences vary.")
            .because(format!("{} of the checksums that could be verified are wrong", percent(share(count, count + right))))
            .not("checksum offload", "a host that leaves checksums to its NIC has none right, or the same difference in all")
            .not("packet-loss", "the packets were not lost but discarded by their receiver")
            .advise("network", format!("capture hop by hop on the path from {source}: the device behind which checksums are wrong is at fault; check its memory errors"))
            .set("Linux", "rule the host's own offloads out", "ethtool -K DEV rx off tx off")
            .verify("both", "nstat -az TcpInCsumErrors UdpInCsumErrors Ip6InDiscards IpExtInCsumErrors", "grows where damaged packets arrive")
    }
}

fn observation(one: &DamagedPackets) -> Option<Observation<Seen>> {
    let first = one.first.first()?;
    let connection = ConnectionRef {
        first_frame: first.frame,
        transport: Transport::Udp,
        client: Endpoint::new(one.source, 0),
        server: Endpoint::new(one.destination, 0),
        translated_to: None,
    };
    let note = Note {
        connection,
        at: first.time,
        fact: (),
        limits: Vec::new(),
        owner: None,
    };
    let mut found = Observation::from_note(&note, confidence::LIKELY, Impact::recovered(one.count))
        .cause(one.source.to_string())
        .weight(number(one.count))
        .count(one.count)
        .figure("packets", number(one.count))
        .figure(
            "share_percent",
            share(one.count, one.count + one.right) * 100.0,
        );
    for at in &one.first {
        let place = SegmentRef::place(at.frame, at.time, Direction::ClientToServer);
        found = found.proof(place, "wrong checksum of TCP or UDP");
    }
    Some(found.seen(Seen {
        count: one.count,
        right: one.right,
    }))
}

#[cfg(test)]
mod tests {
    use analyzer::event::At;

    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{at, figure, findings_in};

    fn damaged(count: u64) -> Analysis {
        let first = (1..=count.min(3)).map(|frame| At {
            frame,
            time: at(0.0),
        });
        let one = DamagedPackets {
            source: [10, 0, 0, 7].into(),
            destination: [10, 0, 0, 1].into(),
            first: first.collect(),
            count,
            right: 95,
        };
        Analysis {
            damaged: vec![one],
            ..Analysis::default()
        }
    }

    #[test]
    fn damage_again_and_again_is_told() {
        let findings = findings_in("corruption", &[], &damaged(5));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!((figure(&findings[0], "share_percent") - 5.0).abs() < 0.01);
        assert_eq!(
            findings[0].evidence.iter().filter(|one| one.proves).count(),
            3
        );
    }

    #[test]
    fn one_or_two_may_be_an_accident() {
        assert!(findings_in("corruption", &[], &damaged(2)).is_empty());
    }
}
