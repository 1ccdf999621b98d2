//! The loop that owns a run: waits for the next event, gives it to the driver, until the run is over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ulda_machine::{Launching, Machine, MachineEvent, MachineRules, RunOutcome, Stopping};
use ulda_run::spec::RunSpec;
use ulda_run::{Exit, RunEnd, hinted};
use ulda_storage::StorageCounters;

use super::clock::RunClock;
use super::drive::{Briefing, RunDriver, RunError};
use super::news::{Audience, News};
use super::previous::{adopt, past};
use super::signals::{Signal, StopSignals, listen};
use super::training_command::WorkerLaunch;
use crate::journal::{Journal, JournalEntry, taken_up_digest, taken_up_fact};
use crate::launch::{self, LocalLauncher, WorkerDeath};
use crate::logs::LogKeeper;
use crate::rpc::{self, Ask, Guard, WorkerService};
use crate::run_directory::RunDirectory;

/// How long noted measurements may wait for the disk.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Calls that wait for the owner.
const UNHEARD_CALLS: usize = 1024;
/// The journal's name for the try that was taken up last.
pub const ATTEMPT: &str = "attempt";
/// Workers of a run that failed or whose journal is broken get this long to leave.
const LEAVE_AFTER_FAILURE: Duration = Duration::from_secs(3);

/// A run to serve.
#[derive(Debug)]
pub struct RunRequest {
    pub spec: RunSpec,
    pub directory: RunDirectory,
    pub workers: u32,
    pub listener: TcpListener,
    /// Where the status page is served, to be told.
    pub page: Option<SocketAddr>,
    /// `None`: workers come from elsewhere.
    pub worker_binary: Option<std::path::PathBuf>,
    pub worker_log_filter: String,
    pub data_secret: Vec<u8>,
    pub access: Access,
    /// Somebody starts another coordinator when this one ends; `None`: a person does.
    pub supervision: Option<Supervision>,
    /// Where the workers' spans belong, if the run is traced.
    pub trace_parent: Option<String>,
    /// What this process asks of the run's storage, if the run has one.
    pub storage: Option<StorageCounters>,
}

/// What is different where a supervisor such as Kubernetes keeps one coordinator running.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Supervision {
    /// Names this try; a run that failed is tried again only under another name.
    pub attempt: Option<String>,
}

/// How workers come to a run.
#[derive(Debug)]
pub struct Access {
    pub guard: Guard,
    /// Folder of token and certificates, for workers that are started here.
    pub credentials: std::path::PathBuf,
    pub tls: bool,
    /// Whether workers encrypt what they tell each other.
    pub data_tls: bool,
}

/// How a run that was served came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// `None` of a run that goes on, without this coordinator until the next one comes.
    pub end: Option<RunEnd>,
    /// The first signal that asked for it.
    pub by: Option<Signal>,
    /// Of a failure: those of the slot where it began, or all.
    pub causes: Vec<WorkerDeath>,
}

/// Why the loop ended.
enum Over {
    Said { outcome: RunOutcome, by: Option<Signal> },
    HandedOver,
}

enum Happened {
    Signalled(Signal),
    ProcessEnded(launch::EndedProcess),
    Asked(Ask),
    FlushDue,
    Woke,
    ControlPlaneGone,
}

/// Serves the run until it is over or cannot be served. No process that this started or adopted is left, except
/// where only the journal refuses: then the workers train on, for the next coordinator to take over.
///
/// # Errors
/// The journal or the control plane failed.
pub async fn serve_run(
    request: RunRequest,
    mut stop: StopSignals,
    audience: Box<dyn Audience>,
) -> Result<Ending, RunError> {
    listen(&stop)?;
    serve(request, audience, &mut stop.received).await
}

async fn serve(
    request: RunRequest,
    audience: Box<dyn Audience>,
    signalled: &mut mpsc::Receiver<Signal>,
) -> Result<Ending, RunError> {
    let mut journal = Journal::open(&request.directory.journal_file())?;
    let (resume, processes, last_term) = past(&request.directory)?;
    let term = last_term + 1;
    journal.claim(term);
    for (key, value) in facts(&request) {
        journal.note(JournalEntry::Fact {
            key: key.into(),
            value,
        });
    }
    journal.note(JournalEntry::Fact {
        key: taken_up_fact(term),
        value: taken_up_digest(resume.as_ref()),
    });
    journal.commit().await?;

    let address = request.listener.local_addr().map_err(|source| {
        RunError::Serve(rpc::ServeError::Bind {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            source,
        })
    })?;
    let launching = if request.worker_binary.is_some() {
        Launching::Here
    } else {
        Launching::Elsewhere
    };
    let rules = MachineRules::of(&request.spec, request.workers, launching);
    let drain = rules.deadlines.drain;
    let heartbeat = rules.deadlines.heartbeat;
    let launch = request.worker_binary.map(|binary| WorkerLaunch {
        binary,
        run: request.spec.config().run.name.to_string(),
        coordinator: address,
        tls: request.access.tls,
        credentials: request.access.credentials,
        threads: request.spec.threads_per_shard(),
        device: request.spec.config().compute.device,
        directory: request.directory.clone(),
        log_filter: request.worker_log_filter.clone(),
    });

    let clock = RunClock::new();
    let (ended_sender, mut ended) = mpsc::channel(64);
    let mut launcher = LocalLauncher::new(ended_sender);
    let gone = adopt(
        &mut launcher,
        &processes,
        resume.as_ref(),
        &request.directory,
        launch.is_some(),
    );
    let machine = Machine::new(rules, term, clock.now(), resume);
    let briefing = Briefing {
        spec_toml: request.spec.to_toml(),
        run_directory: request.directory.root().to_string_lossy().into_owned(),
        heartbeat_millis: u64::try_from((heartbeat / 5).as_millis())
            .unwrap_or(u64::MAX)
            .max(50),
        term,
        data_secret: request.data_secret,
        data_tls: request.access.data_tls,
        trace_parent: request.trace_parent.unwrap_or_default(),
    };
    let mut driver = RunDriver::new(
        machine,
        journal,
        launcher,
        launch,
        request.spec.course(),
        briefing,
        audience,
    );
    driver.storage = request.storage;
    driver.tell(News::Serving {
        run: request.spec.config().run.name.to_string(),
        address: address.to_string(),
        page: request.page.map(|page| format!("http://{page}/")),
        directory: request.directory.root().to_owned(),
    });

    let (asks_sender, mut asks) = mpsc::channel(UNHEARD_CALLS);
    let closing = CancellationToken::new();
    let tasks = TaskTracker::new();
    let service = WorkerService::new(
        &request.spec,
        term,
        asks_sender,
        closing.clone(),
        tasks.clone(),
        heartbeat,
    )
    .within_host(!request.access.data_tls);
    let service = match driver.launch {
        Some(_) => service,
        None => service.keeping_logs(LogKeeper::new(request.directory.clone())),
    };
    let mut server = tokio::spawn(rpc::serve(request.listener, service, request.access.guard));

    let mut inputs = Inputs {
        signalled,
        ended: &mut ended,
        asks: &mut asks,
        server: &mut server,
        clock: &clock,
        hands_over: request.supervision.is_some(),
    };
    let result = until_over(&mut driver, &mut inputs, gone).await;
    let ending = close(&mut driver, &mut inputs, &result, drain).await;

    closing.cancel();
    tasks.close();
    drop(asks);
    // The streams' tasks end with the token; a client that keeps its connection open must not keep us.
    let _ = tokio::time::timeout(Duration::from_secs(2), async {
        tasks.wait().await;
        let _ = (&mut server).await;
    })
    .await;
    server.abort();
    let flushed = driver.flush().await;
    let over = result?;
    flushed?;
    ending?;
    Ok(match over {
        Over::Said { outcome, by } => ending_of(&outcome, by, driver.first_causes, &request.directory),
        Over::HandedOver => Ending {
            end: None,
            by: None,
            causes: Vec::new(),
        },
    })
}

struct Inputs<'a> {
    signalled: &'a mut mpsc::Receiver<Signal>,
    ended: &'a mut mpsc::Receiver<launch::EndedProcess>,
    asks: &'a mut mpsc::Receiver<Ask>,
    server: &'a mut tokio::task::JoinHandle<Result<(), rpc::ServeError>>,
    clock: &'a RunClock,
    /// On SIGTERM the run goes on and waits for the next coordinator.
    hands_over: bool,
}

async fn until_over(
    driver: &mut RunDriver,
    inputs: &mut Inputs<'_>,
    gone: Vec<MachineEvent>,
) -> Result<Over, RunError> {
    let mut first_signal = None;
    let said = |outcome, by| Ok(Over::Said { outcome, by });
    let now = inputs.clock.now();
    if let Some(outcome) = driver.carry_out(now).await? {
        return said(outcome, first_signal);
    }
    for event in gone {
        if let Some(outcome) = driver.feed(now, event).await? {
            return said(outcome, first_signal);
        }
    }
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let wake = driver
            .machine
            .poll_timeout()
            .map(|(tick, _)| inputs.clock.instant(tick));
        let happened = tokio::select! {
            biased;
            Some(signal) = inputs.signalled.recv() => Happened::Signalled(signal),
            Some(outcome) = inputs.ended.recv() => Happened::ProcessEnded(outcome),
            _ = flush.tick() => Happened::FlushDue,
            Some(ask) = inputs.asks.recv() => Happened::Asked(ask),
            () = sleep_until(wake) => Happened::Woke,
            _ = &mut *inputs.server => Happened::ControlPlaneGone,
        };
        let now = inputs.clock.now();
        let ended = match happened {
            Happened::Signalled(Signal::Terminate) if inputs.hands_over => return Ok(Over::HandedOver),
            Happened::Signalled(signal) => {
                let again = first_signal.replace(signal).is_some();
                let stopping = if again { Stopping::Now } else { Stopping::Drain };
                if again {
                    driver.launcher.signal_all(libc::SIGKILL);
                    driver.tell(News::Ended(RunEnd::Stopped));
                    return said(RunOutcome::Stopped, first_signal);
                }
                driver.stop(now, stopping, signal.why()).await?
            }
            Happened::ProcessEnded(outcome) => driver.process_ended(now, outcome).await?,
            Happened::Asked(ask) => driver.asked(now, ask).await?,
            Happened::FlushDue => {
                driver.flush().await?;
                driver.look(now);
                None
            }
            Happened::Woke => driver.feed(now, MachineEvent::Woke).await?,
            Happened::ControlPlaneGone => return Err(RunError::ControlPlaneGone),
        };
        if let Some(outcome) = ended {
            return said(outcome, first_signal);
        }
    }
}

/// Sees every process out: those of a finished or stopped run leave by themselves, within the drain deadline;
/// those that obey another coordinator are none of ours.
async fn close(
    driver: &mut RunDriver,
    inputs: &mut Inputs<'_>,
    result: &Result<Over, RunError>,
    drain: Duration,
) -> Result<(), RunError> {
    let outcome = match result {
        Ok(Over::HandedOver) => return Ok(()),
        Ok(Over::Said { outcome, .. }) => Ok(outcome),
        Err(cause) => Err(cause),
    };
    let patience = match outcome {
        Ok(RunOutcome::Finished { .. } | RunOutcome::Stopped) => drain,
        Ok(RunOutcome::Failed { .. }) | Err(_) => LEAVE_AFTER_FAILURE,
    };
    driver.tell(News::Ended(match outcome {
        Ok(outcome) => end_of(outcome),
        Err(cause) => RunEnd::Failed {
            why: hinted(cause, cause.hint()),
            exit: Exit::Failed,
        },
    }));
    if result.as_ref().is_err_and(RunError::is_superseded) {
        return Ok(());
    }
    if result.as_ref().is_err_and(RunError::is_of_the_disk) {
        driver.leave_workers();
        return Ok(());
    }
    let deadline = Instant::now() + patience;
    let last_lines = match outcome {
        Ok(RunOutcome::Finished { .. }) => deadline,
        Ok(RunOutcome::Stopped | RunOutcome::Failed { .. }) | Err(_) => Instant::now() + LEAVE_AFTER_FAILURE,
    };
    let mut healthy = result.is_ok();
    // A worker of another host has sent the last of its log when its stream ends.
    let talks = |driver: &RunDriver, healthy: bool| {
        healthy && driver.streams.count() > 0 && Instant::now() < last_lines
    };
    while driver.launcher.count() > 0 || talks(driver, healthy) {
        let happened = tokio::select! {
            biased;
            Some(_) = inputs.signalled.recv() => break,
            Some(outcome) = inputs.ended.recv() => Happened::ProcessEnded(outcome),
            Some(ask) = inputs.asks.recv(), if healthy => Happened::Asked(ask),
            () = tokio::time::sleep_until(deadline) => break,
            () = tokio::time::sleep_until(last_lines), if driver.launcher.count() == 0 => break,
        };
        let now = inputs.clock.now();
        let handled = match happened {
            Happened::ProcessEnded(outcome) if healthy => {
                driver.process_ended(now, outcome).await.map(|_| ())
            }
            Happened::ProcessEnded(outcome) => {
                driver.launcher.forget(&outcome);
                Ok(())
            }
            Happened::Asked(ask) => driver.asked(now, ask).await.map(|_| ()),
            Happened::Signalled(_) | Happened::FlushDue | Happened::Woke | Happened::ControlPlaneGone => {
                Ok(())
            }
        };
        if let Err(cause) = handled {
            tracing::error!("{}", hinted(&cause, cause.hint()));
            healthy = false;
        }
    }
    let stubborn = driver.launcher.end_all(LEAVE_AFTER_FAILURE).await;
    if !stubborn.is_empty() {
        tracing::warn!(slots = ?stubborn, "workers did not leave and were killed");
    }
    Ok(())
}

fn end_of(outcome: &RunOutcome) -> RunEnd {
    match outcome {
        RunOutcome::Finished { digest } => RunEnd::Finished {
            digest: digest.to_string(),
        },
        RunOutcome::Stopped => RunEnd::Stopped,
        RunOutcome::Failed { reason, .. } => RunEnd::Failed {
            why: hinted(reason, reason.hint()),
            exit: reason.exit(),
        },
    }
}

/// The run's end with what led to a failure.
fn ending_of(
    outcome: &RunOutcome,
    by: Option<Signal>,
    mut causes: BTreeMap<u32, WorkerDeath>,
    directory: &RunDirectory,
) -> Ending {
    let end = end_of(outcome);
    let causes = match outcome {
        RunOutcome::Finished { .. } | RunOutcome::Stopped => Vec::new(),
        RunOutcome::Failed { cause, .. } => match cause.slot {
            Some(slot) => vec![causes.remove(&slot.0).unwrap_or_else(|| {
                let log = directory.worker_log(slot.0);
                let code = end.worker_exit().code();
                launch::first_cause(slot.0, format!("exit code {code}"), &log, 0)
            })],
            None => causes.into_values().collect(),
        },
    };
    Ending {
        end: Some(end),
        by,
        causes,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn facts(request: &RunRequest) -> Vec<(&'static str, String)> {
    let digest = blake3::hash(request.spec.to_toml().as_bytes());
    let mut facts = vec![
        ("run", request.spec.config().run.name.to_string()),
        ("spec digest", digest.to_hex().to_string()),
        ("coordinator version", env!("CARGO_PKG_VERSION").to_owned()),
        ("workers", request.workers.to_string()),
    ];
    let attempt = request
        .supervision
        .as_ref()
        .and_then(|supervision| supervision.attempt.clone());
    facts.extend(attempt.map(|attempt| (ATTEMPT, attempt)));
    facts
}
