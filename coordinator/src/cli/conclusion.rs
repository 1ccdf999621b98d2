//! What is left to do when a run is over: the report, the scores, the exit code.

use std::path::Path;

use ulda_machine::ledger::Ledger;
use ulda_run::{RunEnd, hinted};
use ulda_storage::StorageCounters;

use super::common::{print, say};
use super::ledger;
use crate::exit::{Exit, Stop};
use crate::remote::{RemoteError, RemoteRun};
use crate::report::{self, ReportData};
use crate::run::{Ending, Signal};
use crate::run_directory::RunDirectory;

/// A run that was served, and what its ledger says if it is finished.
pub(super) struct Served {
    pub ending: Ending,
    pub ledger: Option<Ledger>,
}

/// A coordinator may be moved after the run's last step and before its report.
pub(super) fn concluded_late(end: &RunEnd, directory: &RunDirectory) -> Result<Exit, Stop> {
    let reported = directory.report().join("index.html").is_file();
    if reported || !matches!(end, RunEnd::Finished { .. }) {
        return Ok(end.exit());
    }
    let ending = Ending {
        end: Some(end.clone()),
        by: None,
        causes: Vec::new(),
    };
    let ledger = ledger::checked(directory);
    conclude(Served { ending, ledger }, directory)
}

/// What is left to do when the run is over: the report, the scores, the exit code.
pub(super) fn conclude(served: Served, directory: &RunDirectory) -> Result<Exit, Stop> {
    let Ending { end, by, causes } = served.ending;
    match end {
        Some(RunEnd::Finished { .. }) => {
            directory.sweep_checkpoints();
            let data = write_report(directory)?;
            ledger::sound(directory)?;
            served.ledger.as_ref().map_or(Ok(()), ledger::verdict)?;
            print(&report::terminal_tables(&data))?;
            say(format_args!(
                "report: {}",
                directory.report().join("index.html").display()
            ));
            Ok(Exit::Done)
        }
        None => {
            say(format_args!(
                "the run goes on; the coordinator that is started next takes it up"
            ));
            Ok(Exit::Terminated)
        }
        Some(RunEnd::Stopped) => {
            say(format_args!(
                "continue with `coordinator resume {}`",
                shown(directory.root()).display()
            ));
            Ok(match by {
                Some(Signal::Interrupt) => Exit::Interrupted,
                Some(Signal::Terminate | Signal::Asked) | None => Exit::Terminated,
            })
        }
        Some(RunEnd::Failed { why, exit }) => {
            let mut text = why;
            for cause in causes {
                text.push_str(&format!("\n{cause}"));
            }
            Err(Stop {
                exit,
                cause: anyhow::anyhow!(text),
                hint: None,
            })
        }
    }
}

/// Writes the report with what lies in the run's storage, and keeps it there as well.
pub(super) fn write_report(directory: &RunDirectory) -> Result<ReportData, Stop> {
    let remote = remote_of(directory);
    if let Some(remote) = &remote {
        let lacks = "the report lacks what is only in the storage; `coordinator report` tries again";
        warn_of(remote.bring_results(directory), lacks);
    }
    let data = report::write(directory)?;
    if let Some(remote) = &remote {
        let lacks = "the report is not in the storage; `coordinator report` tries again";
        warn_of(remote.keep_report(directory), lacks);
    }
    Ok(data)
}

/// The finished run's place in its storage, if it has one that can be opened.
fn remote_of(directory: &RunDirectory) -> Option<RemoteRun> {
    let config = directory.config().ok()?;
    match RemoteRun::of(&config, &StorageCounters::default()) {
        Ok(remote) => remote,
        Err(cause) => {
            let cause = hinted(&cause, cause.hint());
            tracing::warn!("the report is not in the storage: {cause}");
            None
        }
    }
}

/// A run that is finished is finished, whatever becomes of its report.
fn warn_of(outcome: Result<(), RemoteError>, what: &str) {
    if let Err(cause) = outcome {
        tracing::warn!("{what}: {}", hinted(&cause, cause.hint()));
    }
}

/// Relative to the current directory where it lies below it.
pub(super) fn shown(path: &Path) -> std::path::PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}
