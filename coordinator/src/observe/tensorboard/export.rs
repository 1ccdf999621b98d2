//! Event files of a run from its journal: for runs that were trained without, or for another place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ulda_run::hints;
use ulda_run::spec::RunSpec;
use ulda_run::stage::{Cursor, Stage};

use super::board::TensorBoardEvents;
use super::file::{EventFile, EventFileError, holds_events};
use super::recorder::strips;
use crate::history::{History, RunStanding};
use crate::journal::{EvaluationRow, JournalError, JournalReader, MeasurementRow};
use crate::report::SOURCE_ONLY;
use crate::rpc::{Measured, Measures};
use crate::run_directory::RunDirectory;

/// Bytes of events after which they are written.
const FULL_BYTES: usize = 1 << 20;

/// Why a journal cannot be told as events.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    File(#[from] EventFileError),
    #[error("`{}` already holds event files", path.display())]
    AlreadyThere { path: PathBuf },
}

hints!(pub ExportError {
    Self::AlreadyThere { path } => format!(
        "show it with `tensorboard --logdir {}`, or give another folder with --out",
        path.display()
    ),
    Self::Journal(error) => error.hint(),
});

/// Writes one event file with all of the run's history into `folder`. Phase times, of which the journal keeps sums,
/// are told once per stage.
///
/// # Errors
/// The journal cannot be read, the folder holds events already, or the disk refuses.
pub fn export(directory: &RunDirectory, spec: &RunSpec, folder: &Path) -> Result<(), ExportError> {
    if holds_events(folder) {
        return Err(ExportError::AlreadyThere {
            path: folder.to_owned(),
        });
    }
    let journal = JournalReader::open(&directory.journal_file())?;
    let history = History::read(directory, &journal)?;
    let began = seconds(history.began_at.unwrap_or_default());
    let mut board = TensorBoardEvents::new(spec.course(), spec.classes(), began);
    let mut file = EventFile::create(folder, began)?;
    file.note(&board.configuration(began, &spec.to_toml()));
    for (place, (at, measures)) in steps(journal.measurements()?) {
        for event in board.step(at, 0, place, &measures) {
            file.note(&event);
        }
        if file.pending_bytes() > FULL_BYTES {
            file.write()?;
        }
    }
    let phases = journal.phases()?;
    for stage in journal.stages()? {
        let of_stage = phases.iter().filter(|row| row.stage == stage.stage);
        let totals: Vec<(u32, String, f64)> = of_stage
            .filter(|row| row.name != "images")
            .map(|row| (row.slot, row.name.clone(), row.amount))
            .collect();
        let told = board.stage_phases(seconds(stage.at_millis), stage.stage, &totals);
        told.iter().for_each(|event| file.note(event));
    }
    for row in journal.evaluations()? {
        evaluation(&board, directory, &row, &mut file);
    }
    if let RunStanding::Ended(end) = &history.standing {
        let at = seconds(history.last_at.unwrap_or_default());
        board.ended(at, end).iter().for_each(|event| file.note(event));
    }
    Ok(file.write()?)
}

fn evaluation(
    board: &TensorBoardEvents,
    directory: &RunDirectory,
    row: &EvaluationRow,
    file: &mut EventFile,
) {
    let at = seconds(row.at_millis);
    let scores = board.evaluated(at, row.set.as_str(), &row.model, row.place, &row.confusion);
    let pictures = (row.place.stage == Stage::Evaluate && row.model == SOURCE_ONLY).then(|| {
        let strips = strips(&directory.examples().join(&row.set));
        board.examples(at, row.set.as_str(), row.place, &strips)
    });
    for event in scores.iter().chain(pictures.flatten().iter()) {
        file.note(event);
    }
}

/// What was measured, by the step it belongs to.
fn steps(rows: Vec<MeasurementRow>) -> BTreeMap<Cursor, (f64, Measures)> {
    let mut steps: BTreeMap<Cursor, (f64, Measures)> = BTreeMap::new();
    for row in rows {
        let (at, measures) = steps.entry(row.place).or_default();
        *at = at.max(seconds(row.at_millis));
        let value = row.value.unwrap_or(f64::NAN);
        match row.name.split_once('.') {
            Some(("loss", name)) => measures.losses.push(Measured::new(name, value)),
            Some(("lr", name)) => measures.learning_rates.push(Measured::new(name, value)),
            Some(_) | None => {}
        }
    }
    steps
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1e3
}
