//! Why a report could not be made.

/// Why a report could not be made. All but [`Error::Write`] and [`Error::Read`] are defects of
/// ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output could not be written.
    #[error("could not write the report: {0}")]
    Write(#[from] std::io::Error),
    /// A result file is not one of ours, or of a version we do not know.
    #[error("{0}")]
    Read(String),
    /// A table of the dataset could not be made.
    #[error("could not make a table: {0}")]
    Table(#[from] polars::error::PolarsError),
    /// A template does not fit the view model.
    #[error("could not render the page: {0}")]
    Template(#[from] minijinja::Error),
    /// A chart could not be drawn.
    #[error("could not draw a chart: {0}")]
    Chart(String),
}
