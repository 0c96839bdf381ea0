//! The first and the last of something.

use serde::{Deserialize, Serialize};

use crate::event::At;

/// First and last of something, by frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ends {
    pub first: Option<At>,
    pub last: Option<At>,
}

impl Ends {
    pub fn note(&mut self, at: At) {
        if self.first.is_none_or(|known| at.frame < known.frame) {
            self.first = Some(at);
        }
        if self.last.is_none_or(|known| at.frame > known.frame) {
            self.last = Some(at);
        }
    }

    pub fn join(&mut self, other: &Self) {
        for at in [other.first, other.last].into_iter().flatten() {
            self.note(at);
        }
    }
}
