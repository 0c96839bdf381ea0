//! What a rule is: the places where the engine calls it.
//!
//! A rule holds no state, so one value serves every thread; what it saw goes into
//! [`Observations`], what it concludes into a [`Narrative`].

use analyzer::{Analysis, Connection};

use crate::model::context::Context;
use crate::model::meta::RuleMeta;
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observations};

/// One failing state and how it is recognised.
pub trait Rule: Sync {
    /// The declaration.
    fn meta(&self) -> &'static RuleMeta;

    /// Called once per finished connection that satisfies the rule's needs, on any thread and in
    /// any order; nothing may be concluded here from other connections.
    fn on_connection(&self, _conn: &Connection, _ctx: &Context<'_>, _out: &mut Observations) {}

    /// Called once at the end with everything the rule collected, ordered by first frame. May
    /// drop, add, adjust or regroup (by [`crate::model::observation::Observation::cause`]) observations.
    fn on_capture(&self, _analysis: &Analysis, _ctx: &Context<'_>, _collected: &mut Collected) {}

    /// Words and judgement for one group of observations that share a cause. `draft` holds the
    /// engine's defaults: the declared title, the highest severity and the typical confidence
    /// of the observations.
    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative;
}
