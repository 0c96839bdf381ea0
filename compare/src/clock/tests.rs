//! Clocks with known offsets, skews and steps, over paths with known delays.

use proptest::prelude::*;

use super::{Clock, Frames, Passage, estimate};

/// A second clock and a path to it.
#[derive(Clone, Debug)]
struct World {
    /// Nanoseconds.
    offset: i64,
    ppm: f64,
    /// When, in nanoseconds since the beginning, and by how much the second clock is set forward.
    steps: Vec<(i64, i64)>,
    /// Least delay from the first point to the second, and back.
    least: [i64; 2],
    /// Largest additional delay of each way.
    queue: [i64; 2],
    seconds: i64,
    packets: usize,
    seed: u64,
}

const START: i64 = 1_700_000_000_000_000_000;

impl World {
    fn difference(&self, passed: i64) -> i64 {
        let steps = self.steps.iter().filter(|(at, _)| *at <= passed);
        let stepped: i64 = steps.map(|(_, size)| size).sum();
        self.offset + stepped + (passed as f64 * self.ppm / 1e6) as i64
    }

    /// Packets of both directions in turn; queues grow and shrink as a walk does.
    fn passages(&self) -> Vec<Passage> {
        let mut state = self.seed | 1;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let gap = self.seconds * 1_000_000_000 / self.packets as i64;
        let mut level = [0.0_f64; 2];
        let mut all: Vec<(i64, i64, Passage)> = Vec::new();
        for number in 0..self.packets {
            let way = number % 2;
            level[way] = (level[way] + (random() - 0.6) * 0.4).clamp(0.0, 1.0);
            let sent = number as i64 * gap;
            let delay = self.least[way]
                + (level[way] * self.queue[way] as f64) as i64
                + (random() * 30_000.0) as i64;
            let (first, second) = if way == 0 {
                (sent, sent + delay)
            } else {
                (sent + delay, sent)
            };
            all.push((
                first,
                second,
                Passage {
                    from_frame: 0,
                    to_frame: 0,
                    from_time: START + first,
                    to_time: START + second + self.difference(second),
                    is_downstream: way == 0,
                },
            ));
        }
        all.sort_by_key(|(first, ..)| *first);
        let mut passages = Vec::new();
        for (number, (_, second, mut passage)) in all.into_iter().enumerate() {
            passage.from_frame = number as u64 + 1;
            passages.push((second, passage));
        }
        passages.sort_by_key(|(second, _)| *second);
        for (number, (_, passage)) in passages.iter_mut().enumerate() {
            passage.to_frame = number as u64 + 1;
        }
        passages.sort_by_key(|(_, passage)| passage.from_frame);
        passages.into_iter().map(|(_, passage)| passage).collect()
    }

    fn asymmetry(&self) -> i64 {
        (self.least[0] - self.least[1]).abs()
    }
}

fn known(world: &World) -> Clock {
    estimate(&world.passages(), &Frames::default).unwrap()
}

fn world() -> impl Strategy<Value = World> {
    (
        -30_000_000_000_000_000..30_000_000_000_000_000_i64,
        -200.0..200.0_f64,
        [50_000..60_000_000_i64, 50_000..60_000_000_i64],
        [0..20_000_000_i64, 0..20_000_000_i64],
        60..300_i64,
        400..4000_usize,
        any::<u64>(),
    )
        .prop_map(
            |(offset, ppm, least, queue, seconds, packets, seed)| World {
                offset,
                ppm,
                steps: Vec::new(),
                least,
                queue,
                seconds,
                packets,
                seed,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn offset_is_within_its_error_and_skew_is_close(world in world()) {
        let clock = known(&world);
        let error = clock.error.unwrap();
        let off = (clock.offset_at(START) - world.offset).abs();
        prop_assert!(off <= error, "off by {off}, error {error}, {clock:?}");
        prop_assert!(off <= 2_000_000 + world.asymmetry() / 2, "off by {off}");
        prop_assert!((clock.skew * 1e6 - world.ppm).abs() <= 5.0, "skew {} of {}", clock.skew * 1e6, world.ppm);
        prop_assert!(clock.steps().is_empty(), "{:?}", clock.steps());
    }

    #[test]
    fn steps_are_found(
        mut world in world(),
        share in 0.2..0.8_f64,
        size in prop_oneof![-3_000_000_000..-60_000_000_i64, 60_000_000..3_000_000_000_i64],
    ) {
        let at = (world.seconds as f64 * share * 1e9) as i64;
        world.steps = vec![(at, size)];
        let clock = known(&world);
        let steps = clock.steps();
        prop_assert_eq!(steps.len(), 1, "{:?}", steps);
        let (time, found) = steps[0];
        prop_assert!((found - size).abs() <= 3_000_000, "{} of {}", found, size);
        prop_assert!((time - START - at).abs() <= 2_000_000_000, "{} of {}", time - START, at);
        let off = (clock.offset_at(START) - world.offset).abs();
        prop_assert!(off <= clock.error.unwrap(), "off by {off}");
    }
}

#[test]
fn one_way_tells_no_offset() {
    let world = World {
        offset: 5_000_000,
        ppm: 0.0,
        steps: Vec::new(),
        least: [1_000_000, 1_000_000],
        queue: [0, 0],
        seconds: 10,
        packets: 100,
        seed: 7,
    };
    let mut passages = world.passages();
    passages.retain(|passage| passage.is_downstream);
    let clock = estimate(&passages, &Frames::default).unwrap();
    assert_eq!(clock.error, None);
    assert!(estimate(&[], &Frames::default).is_none());
}

#[test]
fn a_queue_that_drains_is_no_skew() {
    let ms = 1_000_000;
    let mut passages: Vec<Passage> = (0..400)
        .map(|number| {
            let (sent, is_downstream) = (START + number * 2 * ms, number % 2 == 0);
            let delay = ms
                + if is_downstream {
                    0
                } else {
                    (400 - number) * ms / 20
                };
            let (from, to) = if is_downstream {
                (0, delay)
            } else {
                (delay, 0)
            };
            Passage {
                from_frame: 0,
                to_frame: number as u64 + 1,
                from_time: sent + from,
                to_time: sent + to,
                is_downstream,
            }
        })
        .collect();
    passages.sort_by_key(|passage| passage.from_time);
    for (number, passage) in passages.iter_mut().enumerate() {
        passage.from_frame = number as u64 + 1;
    }
    let clock = estimate(&passages, &Frames::default).unwrap();
    assert_eq!(clock.skew, 0.0);
    let off = clock.offset_at(START).abs();
    assert!(off <= clock.error.unwrap(), "off by {off}");
}
