//! Tables of the page: every number already formatted.

use std::fmt::Write as _;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::document::{Cell, Table};
use crate::words::{escape, format};

/// A table. Serialised, its rows are a body of markup.
pub(super) struct TablePage {
    pub id: String,
    pub title: String,
    pub note: Option<String>,
    pub heads: Vec<HeadPage>,
    pub rows: Vec<Vec<CellPage>>,
    pub left_out: Option<String>,
}

impl TablePage {
    /// The rows as markup: a page has thousands of cells, and a template takes its time for each.
    fn body(&self) -> String {
        let mut body = String::new();
        for row in &self.rows {
            body.push_str("<tr>");
            for (cell, head) in row.iter().zip(&self.heads) {
                body.push_str(if head.number {
                    "<td class=\"n\""
                } else {
                    "<td"
                });
                if let Some(sort) = cell.sort {
                    // Writing to a string cannot fail.
                    let _ = write!(body, " data-sort=\"{sort}\"");
                }
                let _ = write!(body, ">{}</td>", escape::html(&cell.text));
            }
            body.push_str("</tr>\n");
        }
        body
    }
}

impl Serialize for TablePage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = serializer.serialize_struct("TablePage", 6)?;
        table.serialize_field("id", &self.id)?;
        table.serialize_field("title", &self.title)?;
        table.serialize_field("note", &self.note)?;
        table.serialize_field("heads", &self.heads)?;
        table.serialize_field("body", &self.body())?;
        table.serialize_field("left_out", &self.left_out)?;
        table.end()
    }
}

#[derive(Serialize)]
pub(super) struct HeadPage {
    pub label: String,
    pub number: bool,
}

pub(super) struct CellPage {
    text: String,
    /// What numbers are sorted by.
    sort: Option<f64>,
}

pub(super) fn table(table: &Table) -> TablePage {
    TablePage {
        id: table.id.clone(),
        title: table.title.clone(),
        note: table.note.clone(),
        heads: table
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| HeadPage {
                label: column.label.clone(),
                number: table
                    .rows
                    .iter()
                    .any(|row| matches!(row.get(index), Some(Cell::Count(_) | Cell::Number(_)))),
            })
            .collect(),
        rows: table
            .rows
            .iter()
            .map(|row| {
                let cells = row.iter().zip(&table.columns);
                cells
                    .map(|(cell, column)| cell_page(cell, &column.name))
                    .collect()
            })
            .collect(),
        left_out: (table.rows_left_out > 0).then(|| {
            format!(
                "{} left out.",
                format::counted(table.rows_left_out, "more row")
            )
        }),
    }
}

fn cell_page(cell: &Cell, column: &str) -> CellPage {
    match cell {
        Cell::Count(count) => number_cell(*count as f64, format::table_count(column, *count)),
        Cell::Number(number) => {
            number_cell(*number, format::figure(column, &serde_json::json!(number)))
        }
        Cell::Text(text) => text_cell(text.clone()),
        Cell::Missing(()) => text_cell("–".to_owned()),
    }
}

pub(super) const fn number_cell(sort: f64, text: String) -> CellPage {
    CellPage {
        text,
        sort: Some(sort),
    }
}

pub(super) const fn text_cell(text: String) -> CellPage {
    CellPage { text, sort: None }
}
