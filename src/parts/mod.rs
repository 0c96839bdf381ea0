//! An analysis in parts that different processes do, on one machine or on many.
//!
//! `segment` takes one file after the other and hands on the packets of each with the shard that they
//! belong to, or has judged at once what no other file has a part in ([`settling`]); `judge` takes the
//! packets of shards and hands on what became of their connections; `conclude` puts that together. They
//! speak in rows of one form ([`rows`]), of which docs/distributed.md is the description. The analysis
//! itself is the analyzer's and the rules': nothing is judged here.

pub mod dataset;
pub mod files;
pub mod format;
pub mod judging;
pub mod rows;
pub mod settling;
pub mod state;

use analyzer::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::settings::Settings;

/// What judges need to know of a file before they take its packets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Number of the file in the set, as given.
    pub source: i32,
    /// Its bytes could be opened.
    pub is_there: bool,
    /// Time of its first frame, as far as its beginning tells.
    pub first: Option<Timestamp>,
    /// Frames read from it.
    pub frames: u64,
    /// Time of the first frame read.
    pub start: Option<Timestamp>,
    /// Time of the latest frame that is analysed.
    pub end: Option<Timestamp>,
    /// Shards that its packets are spread over.
    pub shards: u32,
    /// What the file was read with; see [`reading_options`].
    pub options: u64,
}

/// Stands for the options that say which packets are taken and how connections are followed. All
/// parts of one analysis must have the same.
pub fn reading_options(settings: &Settings) -> u64 {
    let analysis = &settings.analysis;
    digest(&format!("{:?} {:?}", analysis.tcp, analysis.filter))
}

/// Stands for those and for the rules and their limits.
pub fn judging_options(settings: &Settings) -> u64 {
    digest(&format!(
        "{} {:?}",
        reading_options(settings),
        settings.rules
    ))
}

fn digest(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    let start = digest.iter().take(8);
    start.fold(0, |sum, octet| sum << 8 | u64::from(*octet))
}

/// Says that parts do not belong together.
pub fn must_agree(ours: u64, theirs: u64, which: &str) -> Result<(), Failure> {
    if ours == theirs {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{which} with other options than these: segment, judge and conclude must be given the same \
         filters, framings, rules and configuration"
    )))
}
