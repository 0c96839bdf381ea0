//! The end of an analysis whose files and shards were taken by different processes.

use crate::analysis::Analysis;
use crate::capture::SetOfParts;
use crate::error::Error;
use crate::flow::tally::ShardTally;

use super::judge::ShardPart;
use super::segment::FileFacts;
use super::sequencer::Sequencer;
use super::settings::Settings;
use super::whole::whole;

/// The read model of a set, from its files in the order in which they are read
/// ([`crate::capture::reading_order`]) and its shards by number. A shard that took no packet may be
/// left out.
///
/// # Errors
/// When no file could be read.
pub fn conclude(
    files: Vec<FileFacts>,
    settings: &Settings,
    shards: impl IntoIterator<Item = ShardPart>,
) -> Result<Analysis, Error> {
    let set = SetOfParts::of(files.iter().map(|facts| &facts.part))?;
    let mut starts = files
        .iter()
        .filter_map(|facts| facts.part.summary.as_ref()?.first);
    let start = starts.next().unwrap_or_default();
    let start = settings.filter.from.map_or(start, |from| from.max(start));
    let mut sequencer = Sequencer::default();
    let mut frames = 0;
    for facts in files {
        let of_file = facts.part.frames();
        sequencer.replay(facts.found, frames);
        frames += of_file;
    }
    let mut tally = ShardTally::new(start);
    for ShardPart(of_shard) in shards {
        tally.merge(of_shard);
    }
    Ok(whole(set, sequencer, tally))
}
