//! What is compared, and how.

use std::sync::Arc;

use analyzer::capture::Input;
use analyzer::{Analysis, Connection, pipeline};
use rules::RuleSettings;
use rules::host::Witness;

/// One point as it is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PointInput {
    /// Its name in the report.
    pub name: String,
    /// Its captures, which are one set.
    pub inputs: Vec<Input>,
}

/// How points are compared.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For reading and for the analysis of each point.
    pub analysis: pipeline::Settings,
    /// For the rules, those of single captures and those of comparisons.
    pub rules: RuleSettings,
    /// The hosts' own files beside the captures, one entry for each point; empty without any.
    pub witnesses: Vec<Option<Arc<Witness>>>,
}

/// Takes names out of what the rules see; addresses are masked in the document.
pub trait Mask: Sync {
    /// A connection without names.
    fn connection(&self, connection: &Connection) -> Connection;
    /// An analysis without names.
    fn analysis(&self, analysis: Analysis) -> Analysis;
}
