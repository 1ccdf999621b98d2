//! A run's journal, read for people: how it stands and why. Used by `status`, `list` and the report.

use serde::Serialize;
use ulda_machine::{Record, Resume, fold};
use ulda_run::spec::RunSpec;
use ulda_run::stage::{Course, Cursor};
use ulda_run::{RunEnd, hinted};

use crate::journal::{JournalError, JournalReader, RecordRow};
use crate::run_directory::RunDirectory;

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RunStanding {
    /// A coordinator serves it now.
    Running { why: String },
    /// No coordinator serves it, and none said goodbye.
    Interrupted,
    /// Created, and nothing happened yet.
    New,
    #[serde(untagged)]
    Ended(RunEnd),
}

impl RunStanding {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running { .. } => "running",
            Self::Ended(end) => end.name(),
            Self::Interrupted => "interrupted",
            Self::New => "new",
        }
    }

    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Running { why } | Self::Ended(RunEnd::Failed { why, .. }) => why,
            Self::Ended(RunEnd::Finished { .. }) => "all stages are done",
            Self::Ended(RunEnd::Stopped) => "it was asked to stop; `coordinator resume` continues it",
            Self::Interrupted => "its coordinator is gone; `coordinator resume` continues it",
            Self::New => "no coordinator has taken it up",
        }
    }

    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Ended(RunEnd::Finished { .. }))
    }
}

/// What the records of a journal come to.
#[derive(Clone, Debug)]
pub struct History {
    pub standing: RunStanding,
    pub committed: Option<Cursor>,
    pub generation: u64,
    pub term: u64,
    pub resume: Resume,
    /// Milliseconds since 1970.
    pub began_at: Option<i64>,
    pub last_at: Option<i64>,
}

impl History {
    /// Reads the run in `directory` through its open journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn read(directory: &RunDirectory, journal: &JournalReader) -> Result<Self, JournalError> {
        let rows = journal.records()?;
        let records = known_records(&rows);
        let resume = fold(&records).unwrap_or_default();
        Ok(Self {
            standing: standing(&records, directory.server().is_some()),
            committed: resume.committed.as_ref().map(|state| state.cursor),
            generation: resume.generation,
            term: resume.term,
            began_at: rows.first().map(|row| row.at_millis),
            last_at: rows.last().map(|row| row.at_millis),
            resume,
        })
    }

    /// Steps done of all steps of the run; all of them when it is finished.
    #[must_use]
    pub fn share_done(&self, spec: &RunSpec) -> f64 {
        if self.standing.is_finished() {
            return 1.0;
        }
        let course = spec.course();
        let total: u64 = course.stages().iter().map(|length| length.steps).sum();
        let done = self.committed.map_or(0, |cursor| steps_before(&course, cursor));
        if total == 0 {
            0.0
        } else {
            done as f64 / total as f64
        }
    }
}

/// The records that can be read; each other one is logged and left out, so that the rest can be shown.
#[must_use]
pub fn known_records(rows: &[RecordRow]) -> Vec<Record> {
    let known = rows.iter().zip(1..).filter_map(|(row, number): (_, usize)| {
        serde_json::from_str(&row.json)
            .inspect_err(|cause| tracing::warn!("record {number} of the journal is left out: {cause}"))
            .ok()
    });
    known.collect()
}

/// Steps of the whole run that lie before `cursor`.
#[must_use]
pub fn steps_before(course: &Course, cursor: Cursor) -> u64 {
    let earlier = course
        .stages()
        .iter()
        .filter(|length| length.stage < cursor.stage);
    earlier.map(|length| length.steps).sum::<u64>() + cursor.step.min(course.steps(cursor.stage))
}

fn standing(records: &[Record], served: bool) -> RunStanding {
    let Some(last_start) = records
        .iter()
        .rposition(|record| matches!(record, Record::RunStarted { .. }))
    else {
        return RunStanding::New;
    };
    let mut generation = 0;
    let mut why = "gathering workers".to_owned();
    for record in &records[last_start..] {
        match record {
            Record::Finished { digest } => {
                return RunStanding::Ended(RunEnd::Finished {
                    digest: digest.to_string(),
                });
            }
            Record::Failed { reason, exit, .. } => {
                return RunStanding::Ended(RunEnd::Failed {
                    why: hinted(reason, reason.hint()),
                    exit: *exit,
                });
            }
            Record::Stopped => return RunStanding::Ended(RunEnd::Stopped),
            Record::GenerationFormed {
                generation: formed,
                formation,
            } => {
                generation = formed.0;
                why = format!(
                    "generation {generation} forms with {} workers",
                    formation.members.len()
                );
            }
            Record::GenerationStarted { .. } => why = format!("generation {generation} trains"),
            Record::GenerationAbandoned {
                generation,
                why: cause,
            } => {
                why = format!("{generation} was abandoned: {cause}");
            }
            Record::RunStarted { .. }
            | Record::WorkerJoined { .. }
            | Record::Committed { .. }
            | Record::WorkerLost { .. }
            | Record::Restarted { .. } => {}
        }
    }
    if let Some(Record::Finished { digest }) = records
        .iter()
        .find(|record| matches!(record, Record::Finished { .. }))
    {
        return RunStanding::Ended(RunEnd::Finished {
            digest: digest.to_string(),
        });
    }
    if served {
        RunStanding::Running { why }
    } else {
        RunStanding::Interrupted
    }
}
