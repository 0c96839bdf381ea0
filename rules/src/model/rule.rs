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
pub trait Rule: Sync + 'static {
    /// What its words need of one occurrence beyond the declared figures.
    type Seen: Send + Sync + 'static;
    /// What it keeps of a connection for the end of the capture.
    type Fact: Send + Sync + 'static;

    /// The declaration.
    fn meta(&self) -> &'static RuleMeta;

    /// Called once per finished connection that satisfies the rule's needs, on any thread and in
    /// any order; nothing may be concluded here from other connections.
    fn on_connection(
        &self,
        _conn: &Connection,
        _ctx: &Context<'_>,
        _out: &mut Observations<Self::Seen, Self::Fact>,
    ) {
    }

    /// Called once at the end with everything the rule collected, ordered by first frame. May
    /// drop, add, adjust or regroup (by [`crate::model::observation::Observation::cause`])
    /// observations.
    fn on_capture(
        &self,
        _analysis: &Analysis,
        _ctx: &Context<'_>,
        _collected: &mut Collected<Self::Seen, Self::Fact>,
    ) {
    }

    /// Words and judgement for one group of observations that share a cause. `draft` holds the
    /// engine's defaults: the declared title, the highest severity and the typical confidence
    /// of the observations.
    fn describe(&self, group: &Group<'_, Self::Seen, Self::Fact>, draft: Narrative) -> Narrative;
}

/// Somebody to whom the catalogue shows its rules, each with its own types.
pub(crate) trait RuleVisitor {
    /// Takes the next rule.
    fn visit<R: Rule>(&mut self, rule: &'static R);
}
