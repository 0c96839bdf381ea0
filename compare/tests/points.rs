//! Second and third points made of one capture, as devices, clocks and captures change it.

mod common;

use common::{Frame, compared, kernel, read, scratch, write};
use compare::Comparison;

/// Sums over both directions of all connections at the first hop: segments, delivered, lost,
/// reordered, duplicated, made.
fn counts(result: &Comparison) -> [u64; 6] {
    let ways = result.connections.iter().flat_map(|one| &one.hops);
    let mut sums = [0; 6];
    for way in ways.flat_map(|hop| [&hop.client_to_server, &hop.server_to_client]) {
        let counts = [
            way.segments,
            way.delivered,
            way.lost,
            way.reordered,
            way.duplicated,
            way.made,
        ];
        sums.iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    sums
}

/// Compares a client's capture with a server's that was changed; the name of the case is its folder.
fn with_server(case: &str, change: impl Fn(&mut Vec<Frame>)) -> Comparison {
    let folder = scratch();
    let file = folder.path().join("server.pcap");
    let mut frames = read(&kernel(case, "server"));
    change(&mut frames);
    write(&file, &frames);
    compared(&[("client", kernel(case, "client")), ("server", file)])
}

#[test]
fn translated_addresses_and_rewritten_numbers_pair_all_the_same() {
    for case in ["loss-2-full", "paused-turns"] {
        let plain = with_server(case, |_| {});
        let translated = with_server(case, |frames| {
            for frame in frames {
                frame.set_client([192, 0, 2, 9], 1000);
            }
        });
        assert_eq!(counts(&translated), counts(&plain), "{case}");
        assert!(translated.connections.iter().all(|one| one.translated));
        let renumbered = with_server(case, |frames| {
            for frame in frames {
                frame.add_to_numbers(0x1234_5678, 0x9abc_def0);
            }
        });
        assert_eq!(
            renumbered.connections.len(),
            plain.connections.len(),
            "{case}"
        );
        assert!(
            renumbered
                .connections
                .iter()
                .all(|one| one.sequence_rewritten)
        );
        assert_eq!(counts(&renumbered), counts(&plain), "{case}");
    }
}

#[test]
fn clocks_far_apart_change_nothing_but_the_offset() {
    let plain = with_server("loss-2-full", |_| {});
    let year = 365 * 86_400 * 1_000_000_000_i64;
    let moved = with_server("loss-2-full", |frames| {
        let start = frames[0].time;
        for frame in frames {
            frame.time += year + (frame.time - start) / 5000;
        }
    });
    assert_eq!(counts(&moved), counts(&plain));
    let offset = |result: &Comparison| result.clocks[0].offset_ms.unwrap();
    let error = moved.clocks[0].error_ms.unwrap();
    let off = (offset(&moved) - offset(&plain) - year as f64 / 1e6).abs();
    assert!(off <= error, "off by {off} ms, error {error} ms");
}

#[test]
fn a_step_of_a_clock_is_no_loss() {
    for size in [-400_000_000, 250_000_000_i64] {
        let plain = with_server("paced-writer", |_| {});
        let stepped = with_server("paced-writer", |frames| {
            let (first, last) = (frames[0].time, frames[frames.len() - 1].time);
            for frame in frames {
                if frame.time > first + (last - first) / 2 {
                    frame.time += size;
                }
            }
        });
        let steps = &stepped.clocks[0].steps;
        assert_eq!(steps.len(), 1, "{steps:?}");
        assert!((steps[0].1 - size as f64 / 1e6).abs() < 2.0, "{steps:?}");
        assert_eq!(counts(&stepped), counts(&plain), "{size}");
    }
}

#[test]
fn what_the_middle_point_missed_the_last_one_saw() {
    let folder = scratch();
    let (middle, mut frames) = (
        folder.path().join("middle.pcap"),
        read(&kernel("loss-2-full", "server")),
    );
    let all = frames.len();
    let mut number = 0;
    frames.retain(|_| {
        number += 1;
        number % 20 != 7
    });
    write(&middle, &frames);
    let result = compared(&[
        ("client", kernel("loss-2-full", "client")),
        ("middle", middle),
        ("server", kernel("loss-2-full", "server")),
    ]);
    let names: Vec<&str> = result
        .points
        .iter()
        .map(|point| point.name.as_str())
        .collect();
    assert_eq!(names, ["client", "middle", "server"]);
    let missed = result.points[1].missed;
    let dropped = (all - frames.len()) as u64;
    assert!(
        missed.abs_diff(dropped) * 50 <= dropped,
        "{missed} of {dropped}"
    );
    let behind = &result.hops[1].ways;
    assert_eq!(behind[0].total.lost + behind[1].total.lost, 0);
    let ends = with_server("loss-2-full", |_| {});
    let lost = |result: &Comparison| {
        let ways = result.hops[0].ways.iter();
        ways.map(|way| way.total.lost).sum::<u64>()
    };
    assert_eq!(lost(&result), lost(&ends));
}

#[test]
fn a_reset_that_the_server_never_sent_was_made_between() {
    let folder = scratch();
    let file = folder.path().join("client.pcap");
    let mut frames = read(&kernel("loss-1", "client"));
    let model = frames[100..]
        .iter()
        .find(|frame| frame.is_from_server() && frame.has_payload_or_ack());
    let mut reset = model.unwrap().clone();
    reset.make_reset(250);
    reset.time += 1000;
    frames.push(reset);
    frames.sort_by_key(|frame| frame.time);
    write(&file, &frames);
    let result = compared(&[("client", file), ("server", kernel("loss-1", "server"))]);
    assert_eq!(counts(&result)[5], 1);
    let made = result
        .findings
        .iter()
        .find(|one| one.finding.rule == "made-between")
        .unwrap();
    assert_eq!(made.place, compare::Place::Between(0, 1));
}

#[test]
fn one_large_segment_is_its_pieces() {
    for case in ["clean", "loss-2-full"] {
        let folder = scratch();
        let file = folder.path().join("client.pcap");
        let mut frames = read(&kernel(case, "client"));
        let before = frames.len();
        common::merge_from_client(&mut frames);
        assert!(frames.len() < before);
        write(&file, &frames);
        let merged = compared(&[("client", file), ("server", kernel(case, "server"))]);
        let plain = with_server(case, |_| {});
        assert_eq!(counts(&merged), counts(&plain), "{case}");
    }
}
