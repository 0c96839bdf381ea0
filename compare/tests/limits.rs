//! Captures with limits of their own: what they lack is not taken for what the network did.

mod common;

use common::{each_way, with_both};
use compare::Comparison;
use rules::finding::Severity;

fn findings_above_low(result: &Comparison) -> Vec<String> {
    let all = result.findings.iter();
    all.filter(|one| one.finding.severity >= Severity::Medium)
        .map(|one| one.finding.title.clone())
        .collect()
}

/// Sums of one column of the counts.
fn sum(result: &Comparison, column: usize) -> u64 {
    each_way(result)
        .iter()
        .map(|(_, counts)| counts[column])
        .sum()
}

const LOST: usize = 1;
const MADE: usize = 6;

#[test]
fn a_direction_that_a_point_does_not_capture_is_not_lost() {
    for from_server in [false, true] {
        let result = with_both(
            "clean",
            |_| {},
            |frames| frames.retain(|frame| frame.is_from_server() == from_server),
        );
        assert_eq!(sum(&result, LOST), 0, "{:?}", each_way(&result));
        assert_eq!(sum(&result, MADE), 0, "{:?}", each_way(&result));
        assert_eq!(findings_above_low(&result), Vec::<String>::new());
    }
}

#[test]
fn what_is_under_way_when_a_capture_ends_is_not_lost() {
    for share in [3, 5, 7] {
        let result = with_both(
            "clean",
            |_| {},
            |frames| frames.truncate(frames.len() * share / 10),
        );
        assert_eq!(sum(&result, LOST), 0, "{share}: {:?}", each_way(&result));
        let result = with_both(
            "clean",
            |_| {},
            |frames| {
                frames.drain(..frames.len() * share / 10);
            },
        );
        assert_eq!(sum(&result, MADE), 0, "{share}: {:?}", each_way(&result));
    }
}

#[test]
fn a_packet_that_one_capture_records_twice_is_one() {
    for case in ["clean", "loss-1"] {
        let plain = each_way(&with_both(case, |_| {}, |_| {}));
        let result = with_both(
            case,
            |_| {},
            |frames| {
                let twice = frames.iter().enumerate().flat_map(|(number, frame)| {
                    let mut copy = frame.clone();
                    copy.time += 3_000;
                    let copy = (number % 10 == 3).then_some(copy);
                    std::iter::once(frame.clone()).chain(copy)
                });
                *frames = twice.collect();
            },
        );
        assert_eq!(each_way(&result), plain, "{case}");
    }
}

#[test]
fn what_a_capture_drops_on_a_clean_path_is_missed() {
    for at_server in [false, true] {
        let drop = |here: bool| {
            move |frames: &mut Vec<common::Frame>| {
                if here {
                    let mut number = 0;
                    frames.retain(|_| {
                        number += 1;
                        number % 20 != 7 && !(60..68).contains(&(number % 150))
                    });
                }
            }
        };
        let result = with_both("clean", drop(!at_server), drop(at_server));
        assert_eq!(sum(&result, LOST), 0, "{:?}", each_way(&result));
        assert_eq!(sum(&result, MADE), 0, "{:?}", each_way(&result));
        assert_eq!(findings_above_low(&result), Vec::<String>::new());
    }
}

#[test]
fn what_drops_or_loss_may_have_taken_is_undecided_and_never_wrong() {
    let dropped = |frames: &mut Vec<common::Frame>| {
        let mut number = 0;
        frames.retain(|_| {
            number += 1;
            number % 25 != 7
        });
    };
    for case in ["loss-1", "loss-8", "loss-2-full"] {
        let plain = with_both(case, |_| {}, |_| {});
        for at_server in [false, true] {
            let change = |here: bool| {
                move |frames: &mut Vec<common::Frame>| {
                    if here {
                        dropped(frames);
                    }
                }
            };
            let result = with_both(case, change(!at_server), change(at_server));
            let told = format!("{case}, at the server: {at_server}");
            // More is lost than is said, and no more than what is undecided.
            let totals = || {
                result
                    .hops
                    .iter()
                    .flat_map(|hop| &hop.ways)
                    .map(|way| &way.total)
            };
            let likely: u64 = totals().map(|total| total.undecided_lost).sum();
            let (lost, known) = (sum(&plain, LOST), sum(&result, LOST) - likely);
            assert!(known <= lost, "{told}: {known} of {lost}");
            let open: u64 = totals().map(|total| total.undecided).sum();
            let unseen = lost.saturating_sub(known + open);
            // What left while the upstream capture missed it is not counted as lost by anybody.
            assert!(
                unseen <= lost / 10,
                "{told}: {unseen} of {lost}, {open} undecided"
            );
            let said = result
                .notices
                .iter()
                .any(|one| one.contains("nothing shows which"));
            assert_eq!(said, open > 0, "{told}");
        }
    }
}

#[test]
fn segments_cut_before_their_flags_are_followed_by_what_is_left() {
    let cut = |octets: usize| {
        move |frames: &mut Vec<common::Frame>| {
            frames
                .iter_mut()
                .for_each(|frame| frame.bytes.truncate(octets));
        }
    };
    // Of IPv6 over Ethernet this leaves ten octets of each TCP header, at one point or at both.
    for (client, server) in [(64, 64), (96, 64)] {
        let plain = with_both("loss-2-v6", |_| {}, |_| {});
        let result = with_both("loss-2-v6", cut(client), cut(server));
        assert_eq!(result.connections.len(), plain.connections.len());
        let delivered_and_lost = |result: &Comparison| {
            let ways = each_way(result).into_iter();
            let counts = ways.map(|(way, counts)| (way, counts[0], counts[1]));
            counts.collect::<Vec<_>>()
        };
        assert_eq!(delivered_and_lost(&result), delivered_and_lost(&plain));
        assert!(result.notices.iter().any(|one| one.contains("cut before")));
    }
}
