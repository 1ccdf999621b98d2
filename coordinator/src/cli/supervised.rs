//! What a coordinator does that a supervisor keeps running, once nothing is left to train: it stays, so that it is
//! not started again and again, shows the page, and tells workers that come late how the run ended.

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use ulda_run::spec::RunSpec;
use ulda_run::{RunEnd, log_event};

use crate::exit::{Exit, Stop};
use crate::history::{History, RunStanding};
use crate::journal::{JournalError, JournalReader};
use crate::rpc::{self, Guard, Refusal};
use crate::run::{ATTEMPT, Supervision};
use crate::run_directory::RunDirectory;

/// A run without its report, or with a ledger that is wrong, is not to be taken for done.
pub fn once_concluded(end: RunEnd, concluded: &Result<Exit, Stop>) -> RunEnd {
    match (end, concluded) {
        (RunEnd::Finished { .. }, Err(stop)) => RunEnd::Failed {
            why: stop.to_string(),
            exit: stop.exit,
        },
        (end, _) => end,
    }
}

/// What a worker that comes late is told.
fn refusal(end: &RunEnd) -> Refusal {
    let why = match end {
        RunEnd::Finished { .. } => "the run is finished".to_owned(),
        RunEnd::Stopped => "the run was stopped".to_owned(),
        RunEnd::Failed { why, .. } => format!("the run failed: {why}"),
    };
    Refusal::Over {
        why,
        exit: end.worker_exit(),
    }
}

/// How the journal says that the run ended. Nothing where there is something to train, or where a run that failed or was
/// stopped is to be tried again: `supervision` names another try than the last one.
pub fn end_of(directory: &RunDirectory, supervision: &Supervision) -> Option<RunEnd> {
    let read = || {
        let journal = JournalReader::open(&directory.journal_file())?;
        let history = History::read(directory, &journal)?;
        Ok::<_, JournalError>((history.standing, journal.facts()?.remove(ATTEMPT)))
    };
    let (standing, last) = read().ok()?;
    let again = supervision.attempt.is_some() && supervision.attempt != last;
    match standing {
        RunStanding::Ended(RunEnd::Failed { .. } | RunEnd::Stopped) if again => None,
        RunStanding::Ended(end) => Some(end),
        RunStanding::Running { .. } | RunStanding::Interrupted | RunStanding::New => None,
    }
}

/// SIGTERM and Ctrl-C, heard from the moment this exists.
#[derive(Debug)]
pub struct TerminationSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl TerminationSignals {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Stays until it is told to end, turning workers away with the run's end.
pub async fn linger(
    spec: &RunSpec,
    listener: TcpListener,
    guard: Guard,
    end: RunEnd,
    mut signals: TerminationSignals,
) {
    let closing = CancellationToken::new();
    let late = tokio::spawn(rpc::turn_away(
        listener,
        guard,
        spec.clone(),
        refusal(&end),
        closing.clone(),
    ));
    let (event, state, exit_code) = (log_event::RUN_ENDED, end.name(), end.exit().code());
    match &end {
        RunEnd::Finished { digest } => tracing::info!(event, state, digest, exit_code, "the run is finished"),
        RunEnd::Stopped => tracing::info!(event, state, exit_code, "the run was stopped"),
        RunEnd::Failed { why, .. } => tracing::error!(event, state, why, exit_code, "the run failed"),
    }
    signals.received().await;
    closing.cancel();
    let _ = tokio::time::timeout(rpc::CLOSE_DEADLINE, late).await;
}
