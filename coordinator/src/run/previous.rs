//! What earlier coordinators left of a run: its records, and processes that still run.

use ulda_machine::{ExitKind, MachineEvent, Record, Resume, fold};
use ulda_run::ids::Slot;

use super::drive::RunError;
use crate::journal::{JournalReader, ProcessRow};
use crate::launch::{LocalLauncher, ProcessIdentity, Started};
use crate::run_directory::RunDirectory;

/// What the journal tells of the run so far, and the highest term that was claimed in it.
pub(super) fn past(directory: &RunDirectory) -> Result<(Option<Resume>, Vec<ProcessRow>, u64), RunError> {
    let reader = JournalReader::open(&directory.journal_file())?;
    let records: Vec<Record> = reader
        .records()?
        .iter()
        .enumerate()
        .map(|(index, row)| {
            serde_json::from_str(&row.json).map_err(|source| RunError::OldRecord { index, source })
        })
        .collect::<Result<_, _>>()?;
    let resume = fold(&records);
    let recorded = resume.as_ref().map_or(0, |resume| resume.term);
    let last_term = reader.claimed_term()?.unwrap_or(0).max(recorded);
    Ok((resume, reader.processes()?, last_term))
}

/// Takes over what an earlier coordinator left running; what is gone becomes a fact for the machine. Without
/// a launcher, processes are none of ours.
pub(super) fn adopt(
    launcher: &mut LocalLauncher,
    processes: &[ProcessRow],
    resume: Option<&Resume>,
    directory: &RunDirectory,
    launches: bool,
) -> Vec<MachineEvent> {
    if !launches {
        return Vec::new();
    }
    for row in processes {
        let identity = ProcessIdentity {
            process_id: row.process_id,
            started_ticks: row.started_ticks,
        };
        let started = Started {
            slot: row.slot,
            attempt: row.attempt,
            identity,
        };
        launcher.adopt(started, &directory.worker_log(row.slot));
    }
    let known = resume.map(|resume| resume.workers.values()).into_iter().flatten();
    known
        .filter(|worker| !launcher.runs(worker.slot.0))
        .map(|worker| MachineEvent::ProcessEnded {
            slot: Slot(worker.slot.0),
            attempt: worker.attempt,
            exit: ExitKind::Signal(libc::SIGKILL),
            last_words: Some("its process was gone when the coordinator came back".into()),
        })
        .collect()
}
