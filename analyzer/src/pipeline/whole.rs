//! The read model of the whole capture, from what its files, its order and its shards tell.

use crate::analysis::{Analysis, CaptureSummary};
use crate::capture::SetOfParts;
use crate::episodes::Episodes;
use crate::flow::tally::ShardTally;
use crate::hosts::Hosts;
use crate::in_order::steps::step_note;
use crate::in_order::times::clock_notes;

use super::sequencer::Sequencer;

/// Puts together what is known at the end. `tally` is that of all shards.
pub(super) fn whole(set: SetOfParts, sequencer: Sequencer, mut tally: ShardTally) -> Analysis {
    tally.note_doubles(sequencer.doubles.left_out());
    let times = &sequencer.times;
    let end = times.last().unwrap_or_default();
    let mut quality = set.notes;
    quality.extend(tally.quality());
    quality.extend(clock_notes(times));
    let steps = sequencer.steps.finish();
    quality.extend(step_note(&steps));
    quality.extend(sequencer.damage.note());
    let summary = CaptureSummary {
        files: set.files,
        interfaces: set.interfaces,
        packets: sequencer.stats.frames,
        bytes: sequencer.stats.wire_bytes,
        first: times.first(),
        last: times.last(),
        undecoded: sequencer
            .stats
            .stops
            .iter()
            .map(|(stop, count)| (stop.to_string(), *count))
            .collect(),
        protocols: sequencer.stats.protocols(),
    };
    let hosts = Hosts::of(tally.hosts, &tally.dns_names, sequencer.neighbours.finish());
    quality.extend(hosts.notes());
    let episodes = Episodes::of(tally.records, &hosts, &tally.dns_names, (&steps, end));
    quality.extend(episodes.note());
    quality.sort();
    Analysis {
        summary,
        hosts,
        episodes,
        quality,
        tcp_connections: tally.tcp_connections,
        udp_flows: tally.udp_flows,
        dns_names: tally.dns_names,
        listeners: tally.listeners,
        udp_servers: tally.udp_servers,
        icmp_errors: tally.icmp_errors,
        icmp_error_count: tally.icmp_error_count,
        intervals: tally.timeline.finish(),
        marks: set.marks,
        routing_loops: sequencer.loops.finish(),
        broadcast_loops: sequencer.broadcasts.finish(),
        address_conflicts: sequencer.conflicts.finish(),
        damaged: sequencer.damage.damaged(),
        clock_breaks: times.breaks().into_iter().chain(steps).collect(),
        is_clock_unit_wrong: times.is_unit_wrong(),
        is_one_way: tally.limits.is_one_way(),
    }
}
