//! What a coordinator does that a supervisor keeps running, once nothing is left to train: it stays, so that it is
//! not started again and again, shows the page, and tells workers that come late how the run ended.

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use ulda_machine::Record;
use ulda_run::spec::RunSpec;

use crate::exit::{Exit, Stop};
use crate::history::{History, RunStanding};
use crate::journal::{JournalError, JournalReader};
use crate::rpc::{self, Guard, Refusal};
use crate::run::{ATTEMPT, Ending, News, Supervision};
use crate::run_directory::RunDirectory;

/// How a run ended for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupervisedEnd {
    Finished {
        digest: String,
    },
    Failed {
        why: String,
        exit_code: i32,
    },
    /// By a person, on the status page.
    Stopped,
}

impl SupervisedEnd {
    /// Nothing, if the run goes on or can.
    pub fn of(ending: &Ending) -> Option<Self> {
        match ending {
            Ending::Finished { digest } => Some(Self::Finished {
                digest: digest.clone(),
            }),
            Ending::Failed { why, exit_code, .. } => Some(Self::Failed {
                why: why.clone(),
                exit_code: *exit_code,
            }),
            Ending::Stopped { .. } => Some(Self::Stopped),
            Ending::HandedOver => None,
        }
    }

    pub fn news(&self) -> News {
        match self {
            Self::Finished { digest } => News::Finished {
                digest: digest.clone(),
            },
            Self::Failed { why, .. } => News::Failed { why: why.clone() },
            Self::Stopped => News::Stopped,
        }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Finished { .. } => Exit::Done,
            Self::Failed { exit_code, .. } if *exit_code == ulda_machine::BAD_INPUT => Exit::BadInput,
            Self::Failed { .. } => Exit::Failed,
            Self::Stopped => Exit::Terminated,
        }
    }

    /// A run without its report, or with a ledger that is wrong, is not to be taken for done.
    pub fn once_concluded(self, concluded: &Result<Exit, Stop>) -> Self {
        match (self, concluded) {
            (Self::Finished { .. }, Err(stop)) => Self::Failed {
                why: stop.to_string(),
                exit_code: i32::from(stop.exit.code()),
            },
            (end, _) => end,
        }
    }

    fn refusal(&self) -> Refusal {
        match self {
            Self::Finished { .. } => Refusal::Over {
                why: "the run is finished".into(),
                exit_code: 0,
            },
            Self::Stopped => Refusal::Over {
                why: "the run was stopped".into(),
                exit_code: 0,
            },
            Self::Failed { why, exit_code } => Refusal::Over {
                why: format!("the run failed: {why}"),
                exit_code: match *exit_code {
                    ulda_machine::BAD_INPUT => ulda_machine::BAD_INPUT,
                    _ => ulda_machine::RUN_FAILED,
                },
            },
        }
    }
}

/// How the journal says that the run ended. Nothing where there is something to train, or where a run that failed or was
/// stopped is to be tried again: `supervision` names another try than the last one.
pub fn end_of(directory: &RunDirectory, supervision: &Supervision) -> Option<SupervisedEnd> {
    let read = || {
        let journal = JournalReader::open(&directory.journal_file())?;
        let history = History::read(directory, &journal)?;
        let failed = journal
            .records()?
            .iter()
            .rev()
            .find_map(|row| match serde_json::from_str(&row.json) {
                Ok(Record::Failed { exit_code, .. }) => Some(exit_code),
                Ok(_) | Err(_) => None,
            });
        Ok::<_, JournalError>((history.standing, failed, journal.facts()?.remove(ATTEMPT)))
    };
    let (standing, exit_code, last) = read().ok()?;
    let again = supervision.attempt.is_some() && supervision.attempt != last;
    match standing {
        RunStanding::Finished { digest } => Some(SupervisedEnd::Finished { digest }),
        RunStanding::Failed { .. } | RunStanding::Stopped if again => None,
        RunStanding::Failed { why } => Some(SupervisedEnd::Failed {
            why,
            exit_code: exit_code.unwrap_or(1),
        }),
        RunStanding::Stopped => Some(SupervisedEnd::Stopped),
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

    async fn said(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Stays until the farewell, turning workers away with the run's end.
pub async fn linger(
    spec: &RunSpec,
    listener: TcpListener,
    guard: Guard,
    end: SupervisedEnd,
    mut farewell: TerminationSignals,
) {
    let closing = CancellationToken::new();
    let late = tokio::spawn(rpc::turn_away(
        listener,
        guard,
        spec.clone(),
        end.refusal(),
        closing.clone(),
    ));
    match &end {
        SupervisedEnd::Finished { digest } => {
            tracing::info!(state = "finished", digest, exit_code = 0, "over")
        }
        SupervisedEnd::Stopped => tracing::info!(state = "stopped", exit_code = 0, "over"),
        SupervisedEnd::Failed { why, exit_code } => tracing::error!(state = "failed", why, exit_code, "over"),
    }
    farewell.said().await;
    closing.cancel();
    let _ = tokio::time::timeout(rpc::CLOSE_DEADLINE, late).await;
}
