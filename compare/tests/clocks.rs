//! Clocks that are set while a capture runs: the change is found, and nothing else seems to happen.

mod common;

use common::{each_way, set_clock, with_both};

const MS: i64 = 1_000_000;
const YEAR: i64 = 365 * 86_400_000 * MS;

#[test]
fn a_clock_that_is_set_changes_no_count() {
    for case in ["clean", "loss-1", "paced-writer", "loss-2-v6"] {
        let plain = each_way(&with_both(case, |_| {}, |_| {}));
        for size in [-30 * MS, 60 * MS, -400 * MS, -3_600_000 * MS, YEAR] {
            for at_server in [false, true] {
                let set = |here: bool| {
                    move |frames: &mut Vec<common::Frame>| {
                        if here {
                            set_clock(frames, 0.5, size);
                        }
                    }
                };
                let result = with_both(case, set(!at_server), set(at_server));
                let told = format!("{case}: {size} ns at the server: {at_server}");
                assert_eq!(each_way(&result), plain, "{told}");
                let expected = if at_server { size } else { -size } as f64 / MS as f64;
                let steps = &result.clocks[0].steps;
                assert_eq!(steps.len(), 1, "{told}: {steps:?}");
                assert!((steps[0].1 - expected).abs() < 2.0, "{told}: {steps:?}");
            }
        }
    }
}

#[test]
fn two_settings_of_one_clock_are_two_steps() {
    for case in ["clean", "loss-1", "paced-writer"] {
        let plain = each_way(&with_both(case, |_| {}, |_| {}));
        let result = with_both(
            case,
            |_| {},
            |frames| {
                set_clock(frames, 0.66, -1500 * MS);
                set_clock(frames, 0.4, 700 * MS);
            },
        );
        let steps: Vec<i64> = result.clocks[0]
            .steps
            .iter()
            .map(|s| s.1.round() as i64)
            .collect();
        assert_eq!(steps.len(), 2, "{case}: {steps:?}");
        assert_eq!(each_way(&result), plain, "{case}: {steps:?}");
    }
}
