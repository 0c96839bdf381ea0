//! Charts as SVG files beside the text.

use crate::document::Document;
use crate::error::Error;
use crate::render::charts::{self, Chart};
use crate::words::escape;

/// A chart as a file of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// File name, made of letters, digits and hyphens.
    pub name: String,
    /// SVG that needs no style sheet.
    pub svg: String,
}

/// The charts that have a file, and where the files are.
#[derive(Default)]
pub(super) struct Charts {
    /// Percent-encoded.
    pub folder: String,
    pub findings: Vec<Vec<Chart>>,
    pub capture: Vec<Chart>,
    pub actions: Option<Chart>,
    pub states: Vec<Chart>,
}

impl Charts {
    pub fn new(document: &Document, folder: &str) -> Result<Self, Error> {
        let findings = document.findings.iter().enumerate();
        Ok(Self {
            folder: escape::url_path(folder),
            findings: findings
                .map(|(index, finding)| charts::of_finding(index, finding, &document.traces))
                .collect::<Result<_, _>>()?,
            capture: charts::of_capture(document)?,
            actions: charts::of_actions(document),
            states: charts::of_states(document)?,
        })
    }

    pub fn pictures(&self) -> Vec<Picture> {
        let of_findings = self.findings.iter().flatten();
        let of_capture = self.capture.iter().chain(&self.actions);
        let all = of_findings.chain(of_capture).chain(&self.states);
        all.map(|chart| Picture {
            name: format!("{}.svg", chart.id),
            svg: charts::standalone(chart),
        })
        .collect()
    }
}
