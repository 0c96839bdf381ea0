//! What requests of several protocols are read by: words of commands, and statements that were prepared.

use std::collections::VecDeque;

/// Longest command.
const WORD_MAX: usize = 24;
/// Prepared statements remembered of a connection.
const PREPARED_MAX: usize = 32;

/// The word that octets begin with: letters and `_`, then no more of a word.
pub(super) fn word(octets: &[u8]) -> Option<&[u8]> {
    let is_letter = |octet: &&u8| octet.is_ascii_alphabetic() || **octet == b'_';
    let length = octets.iter().take_while(is_letter).count();
    let ends = octets.get(length).is_none_or(u8::is_ascii_whitespace);
    (ends && (2..=WORD_MAX).contains(&length)).then(|| &octets[..length])
}

/// The word that a command begins with, in capital letters.
pub(super) fn command(octets: &[u8]) -> Option<String> {
    let word = std::str::from_utf8(word(octets)?).ok()?;
    Some(word.to_ascii_uppercase())
}

/// What prepared statements are, by their names or numbers.
#[derive(Debug, Default)]
pub(super) struct Prepared(VecDeque<(Vec<u8>, String)>);

impl Prepared {
    /// Remembers a statement, in place of one of that name.
    pub(super) fn add(&mut self, name: &[u8], statement: &str) {
        self.0.retain(|(known, _)| known != name);
        if self.0.len() == PREPARED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((name.to_owned(), statement.to_owned()));
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&str> {
        let known = self.0.iter().find(|(known, _)| known == name);
        known.map(|(_, statement)| statement.as_str())
    }
}
