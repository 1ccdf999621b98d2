//! What a run leaves for people: `report/index.html` (opens offline), `report.json`, `scores.csv`, and the score
//! tables on the terminal. Built from the journal and the run directory alone, at any time.

mod chart;
mod clip_note;
mod dates;
mod gather;
mod html;
mod manifest;
mod sections;
mod styles;
mod tables;

use std::path::PathBuf;

use ulda_run::hints;

pub(crate) use clip_note::{clip_banner, clip_note};
pub(crate) use dates::{date_text, rfc3339_text};
pub use gather::{
    DomainStyles, ExampleStrip, ModelScores, PhaseTime, ReportData, SetScores, StageTime, TargetMean,
    Validation, gather,
};
pub(crate) use gather::{SOURCE_ONLY, phase_place, set_scores};
pub use html::render;
pub(crate) use html::{STYLE, difference, percent, whole_page};
pub(crate) use manifest::FinalManifest;
pub use manifest::{FinalManifestError, clip_origin};
pub(crate) use sections::{curves, panel_heads};
pub(crate) use styles::styles;
pub(crate) use tables::MEAN_OF_TARGETS;
pub use tables::{scores_csv, terminal_tables};

use crate::journal::JournalError;
use crate::run_directory::{RunDirectory, RunDirectoryError, write_whole};

/// Why a run cannot be read, for its status, page or report.
#[derive(Debug, thiserror::Error)]
pub enum RunReadError {
    #[error(transparent)]
    Directory(#[from] RunDirectoryError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Manifest(#[from] FinalManifestError),
}

hints!(pub RunReadError {
    Self::Directory(error) => error.hint(),
    Self::Journal(error) => error.hint(),
    Self::Manifest(error) => error.hint(),
});

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    Run(#[from] RunReadError),
    #[error(transparent)]
    Directory(#[from] RunDirectoryError),
    #[error("create `{}`", path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("write the report as JSON")]
    Json { source: serde_json::Error },
    #[error("write the scores as CSV")]
    Csv { source: csv::Error },
}

hints!(pub ReportError {
    Self::Run(error) => error.hint(),
    Self::Directory(error) => error.hint(),
});

/// Gathers the report of a run and writes all its files.
///
/// # Errors
/// The run cannot be read or the files cannot be written.
pub fn write(directory: &RunDirectory) -> Result<ReportData, ReportError> {
    let data = gather(directory)?;
    let folder = directory.report();
    std::fs::create_dir_all(&folder).map_err(|source| ReportError::Create {
        path: folder.clone(),
        source,
    })?;
    let json = serde_json::to_vec_pretty(&data).map_err(|source| ReportError::Json { source })?;
    write_whole(&folder.join("report.json"), &json)?;
    write_whole(&folder.join("index.html"), render(&data).as_bytes())?;
    write_whole(&folder.join("scores.csv"), &scores_csv(&data)?)?;
    Ok(data)
}
