//! Several captures of one path: where on it something happens.
//!
//! Each point is read once more than its own analysis needs; its flows and packets are kept as
//! small records within a bound. Flows are paired by what stands in their packets, the points are
//! put in order, their clocks are compared, and every packet is followed from point to point.
//! Nothing here reads a clock or the environment, and results do not depend on the thread count.
#![forbid(unsafe_code)]

mod assess;
mod both_ends;
mod clock;
mod doubles;
mod findings;
mod forwarded;
mod hops;
mod input;
mod matching;
mod pairing;
mod path;
mod reading;
mod requests;
mod result;
mod tally;
mod verdict;

use analyzer::Error;
use rayon::prelude::*;

pub use both_ends::{BothEnds, both_ends};
pub use input::{Mask, PointInput, Settings};
pub use pairing::PairedBy;
pub use result::{
    ClockSummary, Comparison, ConnectionHop, ConnectionSummary, HopSummary, Place, PlacedFinding,
    PointSummary, RequestTimes, Slice, Verdict, WaySummary,
};
pub use verdict::{Changed, Delays, Tally};

use reading::{Point, ReadPlan, Record};

/// Compares points.
///
/// # Errors
/// When a point cannot be read at all.
pub fn compare(
    inputs: &[PointInput],
    settings: &Settings,
    mask: Option<&dyn Mask>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Comparison, Error> {
    let assessed = inputs
        .iter()
        .enumerate()
        .map(|(at, point)| {
            let witness = settings.witnesses.get(at).and_then(Option::as_deref);
            assess::assess(point, settings, (mask, witness), progress)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut points = read(inputs, settings, progress)?;
    let pairing = pairing::pair(&points);
    doubles::mark(&mut points, &pairing.groups);
    let mut route = path::route(&points, &pairing.groups);
    let forwarded = forwarded::forwarded(&points, &pairing, &mut route);
    let groups = 0..pairing.groups.len();
    let mut traversed: Vec<hops::Traversed> = groups
        .into_par_iter()
        .map(|index| hops::traverse(&points, &pairing.groups, index, &route))
        .collect();
    tally::settle_all(&mut traversed, &route);
    let facts = tally::Facts {
        points: &points,
        pairing: &pairing,
        route: &route,
        traversed: &traversed,
        forwarded: &forwarded,
    };
    Ok(findings::conclude(&facts, assessed, settings))
}

/// Reads all points side by side, each within its share of the memory.
fn read(
    inputs: &[PointInput],
    settings: &Settings,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Point>, Error> {
    // Half of the bound for records and flows; pairing and matching need as much again.
    let share = usize::try_from(settings.analysis.memory.0).unwrap_or(usize::MAX)
        / (2 * inputs.len().max(1));
    let plan = ReadPlan {
        options: &settings.analysis.read,
        filter: &settings.analysis.filter,
        records: share * 3 / 4 / size_of::<Record>(),
        flows: share / 4 / FLOW_BYTES,
    };
    let points = inputs
        .par_iter()
        .map(|point| reading::read_point(&point.name, &point.inputs, &plan, progress));
    let mut points = points.collect::<Result<Vec<_>, _>>()?;
    reading::blunt(&mut points);
    Ok(points)
}

/// A flow with its entry in the table, in octets.
const FLOW_BYTES: usize = 320;
