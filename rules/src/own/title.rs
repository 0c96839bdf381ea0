//! Titles with places for values: `Orders API slow for {client}`.

use super::tables::{ColumnInfo, find};

/// A title taken apart.
pub(super) struct Title {
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    /// The value of a column, by its place in the table.
    Column(usize),
    /// Rows of the group.
    Count,
}

impl Title {
    /// Takes a title apart; `{{` and `}}` are braces.
    ///
    /// # Errors
    /// The reason in words: a brace without its other, or a name that is no column.
    pub(super) fn new(text: &str, columns: &[ColumnInfo]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            match letter {
                '{' | '}' if rest.peek() == Some(&letter) => {
                    plain.push(letter);
                    rest.next();
                }
                '{' => {
                    let name: String = rest.by_ref().take_while(|letter| *letter != '}').collect();
                    let name = name.trim();
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    pieces.push(match name {
                        "count" => Piece::Count,
                        _ => Piece::Column(find(columns, name)?),
                    });
                }
                '}' => return Err("`}` without `{`; write `}}` for a brace".to_owned()),
                letter => plain.push(letter),
            }
        }
        pieces.push(Piece::Text(plain));
        Ok(Self { pieces })
    }

    /// Places of the columns it names.
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column(at) => Some(*at),
            Piece::Text(_) | Piece::Count => None,
        })
    }

    /// The title with its values, in the order of [`Self::columns`].
    pub(super) fn text(&self, values: &[String], count: u64) -> String {
        let mut values = values.iter();
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Column(_) => values.next().cloned().unwrap_or_default(),
            Piece::Count => count.to_string(),
        };
        let text: String = self.pieces.iter().map(piece).collect();
        text.trim_end_matches('.').to_owned()
    }
}
