//! Serves one run from the first look at its input to its end.

use indicatif::MultiProgress;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::block_in_place;
use ulda_run::RunEnd;
use ulda_run::spec::RunSpec;
use ulda_storage::StorageCounters;
use ulda_telemetry::{Sender, TraceContext};

use super::arguments::{ServeArguments, Switch};
use super::check::say_notes;
use super::common::{directory_refused, remote_refused, worker_binary};
use super::conclusion::{Served, conclude, concluded_late};
use super::ledger;
use super::security::{Security, refuse_early, settle};
use super::supervised::{self, TerminationSignals};
use super::view::refused as page_refused;
use crate::check::{Examination, Examined, Extent, examine};
use crate::exit::{Exit, Stop};
use crate::history::History;
use crate::http::{self, HttpServer, Site, Stopper};
use crate::journal::{JournalError, JournalReader};
use crate::observe::metrics::{MetricsRecorder, Past, RunExposition, RunMetrics, SamplesPerStep};
use crate::observe::tensorboard::TensorBoard;
use crate::observe::{Bars, LiveRecorder, LogReporter, Traces};
use crate::remote::RemoteRun;
use crate::rpc::{self, ServeError};
use crate::run::{Access, Audience, News, RunError, RunRequest, Supervision, serve_run};
use crate::run_directory::{RunDirectory, Server};

pub(super) async fn prepare_and_serve(
    spec: &RunSpec,
    directory: &RunDirectory,
    workers: u32,
    serve: &ServeArguments,
    examination: Option<Examination>,
    bars: Option<MultiProgress>,
    supervision: Option<Supervision>,
) -> Result<Exit, Stop> {
    let binary = if serve.no_launch {
        None
    } else {
        Some(worker_binary(serve.worker_binary.as_deref())?)
    };
    refuse_early(serve)?;
    let remote = RemoteRun::of(spec.config(), &StorageCounters::default()).map_err(remote_refused)?;
    let listener = listen(serve, directory).await?;
    let web = http::bind(serve.http).await.map_err(page_refused)?;
    let mut spec = spec.clone();
    if let Some(Examination { depth, places }) = examination {
        let extent = Extent {
            depth,
            worker_binary: binary.clone(),
            workers,
            listen: None,
        };
        let Examined { mut findings, advice } = examine(&spec, &extent).await;
        say_notes(&mut findings);
        if !findings.is_empty() {
            return Err(Stop {
                exit: findings.exit(),
                cause: findings.placed(&places).into(),
                hint: None,
            });
        }
        spec = spec.with_domains_at_once(advice.map_or(1, |advice| advice.domains_at_once));
        claim(&spec, remote.clone()).await?;
        directory.create(&spec).map_err(directory_refused)?;
    }
    let spec = &spec;
    let mut lock = directory.lock().map_err(directory_refused)?;
    let Security {
        folder: credentials,
        guard,
        tls,
        data_tls,
        stopper,
        stop_signals,
    } = settle(serve, directory, listener.local_addr()?)?;
    let page = web.as_ref().map(TcpListener::local_addr).transpose()?;
    lock.announce(&Server {
        process_id: std::process::id(),
        address: listener.local_addr()?.to_string(),
        tls,
        page: page.map(|page| format!("http://{page}/")),
    })
    .map_err(directory_refused)?;
    let mut audience: Vec<Box<dyn Audience>> = vec![match bars {
        Some(bars) => Box::new(Bars::new(spec.course(), bars)),
        None => Box::new(LogReporter::new(spec.course())),
    }];
    let end = supervision
        .as_ref()
        .and_then(|supervision| supervised::end_of(directory, supervision));
    if serve.tensorboard == Switch::On && end.is_none() {
        audience.push(Box::new(TensorBoard::start(spec, directory)?));
    }
    // Before anybody can see on the page that the run is over, and say that this coordinator is no longer wanted.
    let termination = TerminationSignals::listen()?;
    let server = web.map(|web| show(web, spec, directory, workers, &mut audience, stopper));
    let address = listener.local_addr()?;
    if let Some(end) = end {
        tell_end(&end, &mut audience);
        let concluded = block_in_place(|| concluded_late(&end, directory));
        let end = supervised::once_concluded(end, &concluded);
        supervised::linger(spec, listener, guard, end, termination).await;
        leave(server).await;
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
        storage: remote.map(|remote| remote.counters().clone()),
    };
    let ending = serve_run(request, stop_signals, Box::new(audience)).await;
    let end = ending.as_ref().ok().and_then(|ending| ending.end.clone());
    let finished = matches!(end, Some(RunEnd::Finished { .. }));
    let check = || block_in_place(|| ledger::checked(directory));
    let ledger = finished.then(check).flatten();
    if let (Some((_, metrics)), Some(ledger)) = (&server, &ledger) {
        metrics.ledger_checked(ledger.violations.len());
    }
    if let (Some(_), Some(end)) = (&supervision, &end) {
        let concluded = ending
            .map_err(unserved)
            .and_then(|ending| block_in_place(|| conclude(Served { ending, ledger }, directory)));
        if let Err(stop) = &concluded {
            tracing::error!("{stop}");
        }
        let end = supervised::once_concluded(end.clone(), &concluded);
        let listener = rpc::bind_again(address).await.map_err(taken)?;
        supervised::linger(spec, listener, guard, end, termination).await;
        leave(server).await;
        return concluded;
    }
    if let Some((server, _)) = &server
        && matches!(end, Some(RunEnd::Finished { .. } | RunEnd::Failed { .. }))
    {
        last_words(server).await?;
    }
    // Pages show a run that nobody serves any more.
    drop(lock);
    leave(server).await;
    let ending = ending.map_err(unserved)?;
    block_in_place(|| conclude(Served { ending, ledger }, directory))
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
    let traces = Traces::start(spec.config().run.name.as_str(), context, began_at)?;
    Ok(Some((traces, context)))
}

/// Says in the run's storage that the run is there.
async fn claim(spec: &RunSpec, remote: Option<RemoteRun>) -> Result<(), Stop> {
    let Some(remote) = remote else { return Ok(()) };
    let spec = spec.clone();
    let claimed = tokio::task::spawn_blocking(move || remote.claim(&spec)).await?;
    claimed.map_err(remote_refused)
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

/// Open pages hear how the run is left.
async fn leave(server: Option<(HttpServer, RunMetrics)>) {
    if let Some((server, _)) = server {
        server.close().await;
    }
}

/// Serves page and metrics of the run; what they show joins the audience.
fn show(
    web: TcpListener,
    spec: &RunSpec,
    directory: &RunDirectory,
    workers: u32,
    audience: &mut Vec<Box<dyn Audience>>,
    stopper: Stopper,
) -> (HttpServer, RunMetrics) {
    let exposition = RunExposition::new(spec, directory);
    let past = past(directory);
    let metrics = exposition.metrics();
    let recorder = MetricsRecorder::new(
        metrics.clone(),
        spec.course(),
        spec.classes(),
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
fn tell_end(end: &RunEnd, audience: &mut Vec<Box<dyn Audience>>) {
    for listener in audience {
        listener.hear(&News::Ended(end.clone()));
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
