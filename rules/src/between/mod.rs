//! Rules of comparisons: what only captures of several points can show. One file each, in order of
//! their ids.
//!
//! Here they are declared; `pcapdoc-compare`, which knows the points, judges by them.

use crate::model::meta::RuleMeta;

mod capture_missed;
mod changed_between;
mod copied_between;
mod delay_between;
mod loss_between;
mod made_between;

/// Every rule of comparisons, by id.
pub const ALL: [&RuleMeta; 6] = [
    &capture_missed::CaptureMissed::META,
    &changed_between::ChangedBetween::META,
    &copied_between::CopiedBetween::META,
    &delay_between::DelayBetween::META,
    &loss_between::LossBetween::META,
    &made_between::MadeBetween::META,
];
