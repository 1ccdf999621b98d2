//! `coordinator` without a verb, `train` and `resume`.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::MultiProgress;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{Instrument, Span};
use ulda_core::ledger::Ledger;
use ulda_core::spec::{RecoveryConfig, RunConfig, RunSpec};
use ulda_telemetry::{Sender, TraceContext};

use super::arguments::{ResumeArguments, ServeArguments, Switch, TrainArguments};
use super::common::{block_on, configuration, host, print, run_directory, say, worker_binary};
use super::ledger;
use super::security::{Security, refuse_early, settle};
use super::supervised::{self, Farewell};
use super::view::refused as page_refused;
use crate::check::{Depth, Extent, examine, of_problems};
use crate::exit::{Exit, Stop};
use crate::history::{History, Standing};
use crate::http::{self, HttpServer, Site, Stopper};
use crate::journal::{JournalError, JournalReader};
use crate::observe::metrics::{Exposition, Metrics, MetricsRecorder, Past, SamplesPerStep};
use crate::observe::tensorboard::TensorBoard;
use crate::observe::{Bars, Lines, LiveRecorder, LogTarget, Traces, start_logging};
use crate::report;
use crate::rpc::{self, ServeError};
use crate::run::{Access, Audience, Ending, RunError, RunRequest, Signal, Supervision, serve_run};
use crate::run_directory::{RunDirectory, RunDirectoryError, Server};

/// A worker's exit code that says that configuration or input is wrong.
const WORKER_BAD_INPUT: i32 = ulda_core::machine::BAD_INPUT;

pub fn train(arguments: &TrainArguments) -> Result<Exit, Stop> {
    let mut config = configuration(&arguments.config)?;
    let state = arguments
        .supervised
        .state
        .as_ref()
        .map(std::path::absolute)
        .transpose()?;
    let directory = RunDirectory::of(&config).with_state(state.as_deref());
    let continues = arguments.resume && directory.holds_a_run();
    if continues {
        keep_resolved(&mut config, &directory.config().map_err(refused)?);
    }
    let spec = RunSpec::resolve(config, host(arguments.workers))
        .map_err(|problems| Stop::bad_input(of_problems(problems)))?;
    if let Some(refusal) = directory.conflict(&spec, continues).map_err(refused)? {
        return Err(refused(refusal));
    }
    let depth = if continues { None } else { Some(Depth::Headers) };
    let supervision = arguments.supervised.supervised.then(|| Supervision {
        attempt: arguments.supervised.attempt.clone(),
    });
    go(
        &spec,
        &directory,
        arguments.workers,
        &arguments.serve,
        depth,
        supervision,
    )
}

pub fn resume(arguments: &ResumeArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    let workers = arguments
        .workers
        .unwrap_or_else(|| workers_of_last_time(&directory));
    let spec = directory.spec(host(workers)).map_err(refused)?;
    go(&spec, &directory, workers, &arguments.serve, None, None)
}

/// Values that a run.toml leaves to the host stay what they were when the run was created.
fn keep_resolved(config: &mut RunConfig, there: &RunConfig) {
    let run = &mut config.run;
    run.shards = run.shards.or(there.run.shards);
    run.threads_per_shard = run.threads_per_shard.or(there.run.threads_per_shard);
    config.simulate.prompt_groups = config.simulate.prompt_groups.or(there.simulate.prompt_groups);
}

fn workers_of_last_time(directory: &RunDirectory) -> u32 {
    let facts = JournalReader::open(&directory.journal_file()).and_then(|reader| reader.facts());
    facts
        .ok()
        .and_then(|facts| facts.get("workers")?.parse().ok())
        .unwrap_or(1)
}

fn is_finished(directory: &RunDirectory) -> bool {
    let history =
        JournalReader::open(&directory.journal_file()).and_then(|journal| History::read(directory, &journal));
    history.is_ok_and(|history| matches!(history.standing, Standing::Finished { .. }))
}

/// What is wrong with a run directory, with the exit code that belongs to it.
fn refused(cause: RunDirectoryError) -> Stop {
    match cause {
        RunDirectoryError::Served { .. } => Stop::unavailable(cause),
        RunDirectoryError::NoSpace { .. } => Stop::disk_refuses(cause),
        RunDirectoryError::Io { .. } => cause.into(),
        _ => Stop::bad_input(cause),
    }
}

/// Why a run is served no longer, with the exit code that belongs to it.
fn unserved(cause: RunError) -> Stop {
    if cause.is_superseded() {
        Stop::unavailable(cause)
    } else if cause.is_of_the_disk() {
        Stop::disk_refuses(cause)
    } else {
        cause.into()
    }
}

fn go(
    spec: &RunSpec,
    directory: &RunDirectory,
    workers: u32,
    serve: &ServeArguments,
    depth: Option<Depth>,
    supervision: Option<Supervision>,
) -> Result<Exit, Stop> {
    if depth.is_none() && is_finished(directory) {
        say(format_args!(
            "run `{}` is finished already: nothing is left to train",
            shown(directory.root()).display()
        ));
    }
    if !serve.no_launch {
        enough_and_not_too_many(workers, &spec.config().recovery)?;
    }
    let people = serve.log.is_for_people(std::io::stderr().is_terminal());
    let bars = MultiProgress::new();
    start_logging(if people {
        LogTarget::Above(bars.clone())
    } else {
        LogTarget::Json
    });
    // People see one run only.
    let span = match people {
        true => Span::none(),
        false => tracing::info_span!("run", run = spec.config().run.name),
    };
    let bars = people.then_some(bars);
    let serving = prepare_and_serve(spec, directory, workers, serve, depth, bars, supervision);
    block_on(serving.instrument(span))?
}

/// Whether a run with so many workers could ever begin.
pub(super) fn enough_and_not_too_many(workers: u32, recovery: &RecoveryConfig) -> Result<(), Stop> {
    let (least, most) = (recovery.min_workers, recovery.max_workers.unwrap_or(u32::MAX));
    let (key, limit) = match workers {
        few if few < least => ("recovery.min_workers", least),
        many if many > most => ("recovery.max_workers", most),
        _ => return Ok(()),
    };
    Err(Stop::bad_input(anyhow::anyhow!(
        "--workers {workers} does not go with {key} = {limit}\n  hint: change the one or the other"
    )))
}

async fn prepare_and_serve(
    spec: &RunSpec,
    directory: &RunDirectory,
    workers: u32,
    serve: &ServeArguments,
    depth: Option<Depth>,
    bars: Option<MultiProgress>,
    supervision: Option<Supervision>,
) -> Result<Exit, Stop> {
    let binary = if serve.no_launch {
        None
    } else {
        Some(worker_binary(serve.worker_binary.as_deref())?)
    };
    refuse_early(serve)?;
    let listener = listen(serve, directory).await?;
    let web = http::bind(serve.http).await.map_err(page_refused)?;
    if let Some(depth) = depth {
        let extent = Extent {
            depth,
            worker_binary: binary.clone(),
            listen: None,
        };
        let findings = examine(spec, &extent).await;
        if !findings.is_empty() {
            return Err(Stop::bad_input(findings));
        }
        directory.create(spec).map_err(refused)?;
    }
    let mut lock = directory.lock().map_err(refused)?;
    let Security {
        folder: credentials,
        guard,
        tls,
        data_tls,
        stopper,
        ear,
    } = settle(serve, directory, listener.local_addr()?)?;
    let page = web.as_ref().map(TcpListener::local_addr).transpose()?;
    lock.announce(&Server {
        process_id: std::process::id(),
        address: listener.local_addr()?.to_string(),
        tls,
        page: page.map(|page| format!("http://{page}/")),
    })
    .map_err(refused)?;
    let mut audience: Vec<Box<dyn Audience>> = vec![match bars {
        Some(bars) => Box::new(Bars::new(spec.course(), bars)),
        None => Box::new(Lines::new(spec.course())),
    }];
    let end = supervision
        .as_ref()
        .and_then(|supervision| supervised::end_of(directory, supervision));
    if serve.tensorboard == Switch::On && end.is_none() {
        audience.push(Box::new(TensorBoard::start(spec, directory)?));
    }
    // Before anybody can see on the page that the run is over, and say that this coordinator is no longer wanted.
    let farewell = Farewell::listen()?;
    let server = web.map(|web| show(web, spec, directory, workers, &mut audience, stopper));
    let address = listener.local_addr()?;
    if let Some(end) = end {
        tell_end(&end, &mut audience);
        let concluded = tokio::task::block_in_place(|| concluded_late(&end, directory));
        let end = end.once_concluded(&concluded);
        supervised::linger(&spec.config().run.name, listener, guard, end, farewell).await;
        return concluded;
    }
    let traces = trace(spec, directory)?;
    let trace_parent = traces.as_ref().map(|(_, context)| context.to_string());
    if let Some((traces, _)) = traces {
        audience.push(Box::new(traces));
    }
    let request = RunRequest {
        spec: spec.clone(),
        directory: directory.clone(),
        workers,
        listener,
        page,
        worker_binary: binary,
        worker_log_filter: std::env::var("ULDA_LOG").unwrap_or_else(|_| "info".into()),
        data_secret: directory.secret()?,
        access: Access {
            guard: guard.clone(),
            credentials,
            tls,
            data_tls,
        },
        supervision: supervision.clone(),
        trace_parent,
    };
    let ending = serve_run(request, ear, Box::new(audience)).await;
    let finished = matches!(ending, Ok(Ending::Finished { .. }));
    let check = || tokio::task::block_in_place(|| ledger::checked(directory));
    let ledger = finished.then(check).flatten();
    if let Some((_, metrics)) = &server {
        metrics.ledger_checked(ledger.as_ref().map_or(0, |ledger| ledger.violations.len()));
    }
    let last = supervision
        .and(ending.as_ref().ok())
        .and_then(supervised::End::of);
    if let Some(end) = last {
        let concluded = ending
            .map_err(unserved)
            .and_then(|ending| conclude(Served { ending, ledger }, directory));
        if let Err(stop) = &concluded {
            tracing::error!("{stop}");
        }
        let end = end.once_concluded(&concluded);
        let listener = rpc::bind_again(address).await.map_err(taken)?;
        supervised::linger(&spec.config().run.name, listener, guard, end, farewell).await;
        return concluded;
    }
    if let Some((server, _)) = server {
        if matches!(ending, Ok(Ending::Finished { .. } | Ending::Failed { .. })) {
            last_words(&server).await?;
        }
        server.close().await;
    }
    drop(lock);
    let ending = ending.map_err(unserved)?;
    conclude(Served { ending, ledger }, directory)
}

/// A run that was served, and what its ledger says if it is finished.
struct Served {
    ending: Ending,
    ledger: Option<Ledger>,
}

/// Traces of the run where the environment names a collector. The run's secret stays with it, and tells it from all
/// others.
fn trace(spec: &RunSpec, directory: &RunDirectory) -> Result<Option<(Traces, TraceContext)>, Stop> {
    if !Sender::is_wanted() {
        return Ok(None);
    }
    let context = TraceContext::of(&directory.secret()?);
    let began_at = JournalReader::open(&directory.journal_file())
        .and_then(|journal| History::read(directory, &journal))
        .ok()
        .and_then(|history| history.began_at);
    let traces = Traces::start(&spec.config().run.name, context, began_at)?;
    Ok(Some((traces, context)))
}

/// Waits until the run's end was seen by who scrapes it; a signal ends the wait.
async fn last_words(server: &HttpServer) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        () = server.until_scraped() => {}
    }
    Ok(())
}

/// Serves page and metrics of the run; what they show joins the audience.
fn show(
    web: TcpListener,
    spec: &RunSpec,
    directory: &RunDirectory,
    workers: u32,
    audience: &mut Vec<Box<dyn Audience>>,
    stopper: Stopper,
) -> (HttpServer, Metrics) {
    let exposition = Exposition::new(spec, directory);
    let past = past(directory);
    let metrics = exposition.metrics();
    let recorder = MetricsRecorder::new(
        metrics.clone(),
        spec.course(),
        SamplesPerStep::of(spec),
        workers,
        &past,
    );
    let (live, read) = LiveRecorder::new(spec.course());
    audience.push(Box::new(recorder));
    audience.push(Box::new(live));
    let site = Site::of_served(directory.clone(), exposition, read).stopped_by(stopper);
    (http::serve(web, site), metrics)
}

/// What metrics start from; nothing where there is no journal yet. One that cannot be read ends the run where
/// it is needed.
fn past(directory: &RunDirectory) -> Past {
    let read = || {
        let journal = JournalReader::open(&directory.journal_file())?;
        Ok::<_, JournalError>(Past {
            committed: History::read(directory, &journal)?.committed,
            stages: journal.stages()?,
            last_checkpoint: journal.checkpoints()?.pop(),
            evaluations: journal.evaluations()?,
        })
    };
    read().unwrap_or_default()
}

/// Listens where asked. A run that is continued takes its former address if it can, so that workers that
/// outlived their coordinator find the next one.
async fn listen(serve: &ServeArguments, directory: &RunDirectory) -> Result<TcpListener, Stop> {
    if serve.listen.port() == 0
        && let Some(former) = directory.last_server()
        && let Ok(address) = former.address.parse()
        && let Ok(listener) = rpc::bind(address).await
    {
        return Ok(listener);
    }
    rpc::bind(serve.listen).await.map_err(taken)
}

fn taken(cause: ServeError) -> Stop {
    match cause {
        ServeError::Taken { .. } => Stop::unavailable(cause),
        cause => Stop::bad_input(cause),
    }
}

/// Page and metrics of a run that ended before this coordinator came show its end.
fn tell_end(end: &supervised::End, audience: &mut Vec<Box<dyn Audience>>) {
    for listener in audience {
        listener.hear(&end.news());
    }
}

/// A coordinator may be moved after the run's last step and before its report.
fn concluded_late(end: &supervised::End, directory: &RunDirectory) -> Result<Exit, Stop> {
    match end {
        supervised::End::Finished { digest } if !directory.report().join("index.html").is_file() => {
            let ending = Ending::Finished {
                digest: digest.clone(),
            };
            let ledger = ledger::checked(directory);
            conclude(Served { ending, ledger }, directory)
        }
        end => Ok(end.exit()),
    }
}

/// What is left to do when the run is over: the report, the scores, the exit code.
fn conclude(served: Served, directory: &RunDirectory) -> Result<Exit, Stop> {
    match served.ending {
        Ending::Finished { .. } => {
            directory.sweep_checkpoints();
            let data = report::write(directory)?;
            ledger::sound(directory)?;
            served.ledger.as_ref().map_or(Ok(()), ledger::verdict)?;
            print(&report::terminal_tables(&data))?;
            say(format_args!(
                "report: {}",
                directory.report().join("index.html").display()
            ));
            Ok(Exit::Done)
        }
        Ending::HandedOver => {
            say(format_args!(
                "the run goes on; the coordinator that is started next takes it up"
            ));
            Ok(Exit::Terminated)
        }
        Ending::Stopped { by } => {
            say(format_args!(
                "continue with `coordinator resume {}`",
                shown(directory.root()).display()
            ));
            Ok(match by {
                Some(Signal::Interrupt) => Exit::Interrupted,
                Some(Signal::Terminate | Signal::Asked) | None => Exit::Terminated,
            })
        }
        Ending::Failed {
            why,
            exit_code,
            causes,
        } => {
            let mut text = why;
            for cause in causes {
                text.push_str(&format!("\n{cause}"));
            }
            let exit = if exit_code == WORKER_BAD_INPUT {
                Exit::BadInput
            } else {
                Exit::Failed
            };
            Err(Stop {
                exit,
                cause: anyhow::anyhow!(text),
            })
        }
    }
}

/// Relative to the current directory where it lies below it.
fn shown(path: &Path) -> std::path::PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}
