//! `coordinator cluster …`: runs on Kubernetes, by name.

use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};
use ulda_run::RunEnd;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};
use ulda_kubernetes::RunName;
use ulda_kubernetes::cluster::{
    Blame, Cluster, ClusterError, ClusterRunState, Followed, LogOf, NewImages, RunView, StateVolume, summary,
};

use super::arguments::OutputFormat;
use super::cluster_arguments::{
    ClusterArguments, ClusterDeleteArguments, ClusterListArguments, ClusterLogsArguments,
    ClusterResumeArguments, ClusterRunArguments, ClusterStatusArguments, ClusterVerb,
};
use super::common::{block_on, columns, losses_text, print, print_json};
use super::follow_view::FollowView;
use super::submission::refuse_no_image;
use crate::exit::{Exit, Stop};

pub fn cluster(verb: &ClusterVerb) -> Result<Exit, Stop> {
    block_on(async {
        match verb {
            ClusterVerb::List(arguments) => list(arguments).await,
            ClusterVerb::Status(arguments) => status(arguments).await,
            ClusterVerb::Logs(arguments) => logs(arguments).await,
            ClusterVerb::Follow(arguments) => {
                follow(&connect(&arguments.cluster).await?, &arguments.run).await
            }
            ClusterVerb::Stop(arguments) => stop(arguments).await,
            ClusterVerb::Resume(arguments) => resume(arguments).await,
            ClusterVerb::Delete(arguments) => delete(arguments).await,
        }
    })?
}

/// What a cluster's refusal means for the exit code.
pub(super) fn refused(cause: ClusterError) -> Stop {
    match cause.blame() {
        Blame::Input => Stop::bad_input(cause),
        Blame::Passing => Stop::unavailable(cause),
    }
}

async fn connect(arguments: &ClusterArguments) -> Result<Cluster, Stop> {
    Cluster::connect(arguments.context.as_deref(), arguments.namespace.as_ref())
        .await
        .map_err(refused)
}

async fn list(arguments: &ClusterListArguments) -> Result<Exit, Stop> {
    let cluster = connect(&arguments.cluster).await?;
    let runs = cluster.runs().await.map_err(refused)?;
    match arguments.output {
        OutputFormat::Json => print_json(&runs)?,
        OutputFormat::Table if runs.is_empty() => eprintln!("no runs in namespace {}", cluster.namespace()),
        OutputFormat::Table => {
            let mut rows = vec![
                ["RUN", "STATE", "WORKERS", "STAGE", "STEP", "LEFT"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(runs.iter().map(line));
            print(&columns(&rows))?;
            for run in &runs {
                if let Some(why) = &run.log_missing {
                    eprintln!("run `{}`: {why}", run.run);
                }
            }
        }
    }
    Ok(Exit::Done)
}

fn line(run: &RunView) -> Vec<String> {
    let none = String::new;
    let progress = run.progress.as_ref();
    let left = progress
        .and_then(|progress| progress.seconds_left)
        .filter(|_| run.state == ClusterRunState::Training);
    vec![
        run.run.clone(),
        run.state.name().to_owned(),
        format!("{}/{}", run.workers_running, run.workers_wanted),
        progress.map_or_else(none, |progress| progress.stage.clone()),
        progress.map_or_else(none, |progress| format!("{}/{}", progress.step, progress.steps)),
        left.map_or_else(none, |seconds| {
            crate::durations::duration_text(std::time::Duration::from_secs(seconds))
        }),
    ]
}

async fn status(arguments: &ClusterStatusArguments) -> Result<Exit, Stop> {
    let cluster = connect(&arguments.of.cluster).await?;
    let run = cluster.run(&arguments.of.run).await.map_err(refused)?;
    match arguments.output {
        OutputFormat::Json => print_json(&run)?,
        OutputFormat::Table => print(&table(&run))?,
    }
    Ok(Exit::Done)
}

fn table(run: &RunView) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let state = match run.why.is_empty() {
        true => run.state.name().to_owned(),
        false => format!("{}: {}", run.state.name(), run.why),
    };
    let mut workers = format!(
        "{} wanted: {}",
        run.workers_wanted,
        summary(run.pods.iter().filter(|pod| pod.is_worker()))
    );
    if !run.workers_why.is_empty() {
        workers.push_str(&format!("; {}", run.workers_why));
    }
    let mut rows = vec![
        row("run", format!("{} in namespace {}", run.run, run.namespace)),
        row("state", state),
        row("image", run.image.clone()),
        row("workers", workers),
    ];
    if let Some(progress) = &run.progress {
        let mut text = format!("{} step {} of {}", progress.stage, progress.step, progress.steps);
        if let Some(rate) = progress.images_per_second {
            text.push_str(&format!(", {rate:.1} images/s"));
        }
        rows.push(row("progress", text));
        if !progress.losses.is_empty() {
            rows.push(row("losses", losses_text(&progress.losses)));
        }
    }
    let mut pods = vec![
        ["POD", "STATE", "RESTARTS", "NODE", "WHY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    pods.extend(run.pods.iter().map(|pod| {
        vec![
            pod.name.clone(),
            pod.state.name().to_owned(),
            pod.restarts.to_string(),
            pod.node.clone().unwrap_or_else(|| "-".to_owned()),
            pod.why.clone(),
        ]
    }));
    format!("{}\n{}", columns(&rows), columns(&pods))
}

async fn logs(arguments: &ClusterLogsArguments) -> Result<Exit, Stop> {
    let cluster = connect(&arguments.of.cluster).await?;
    let run = &arguments.of.run;
    let of = match arguments.worker {
        None => LogOf::Coordinator(run.clone()),
        Some(slot) => LogOf::Worker(run.clone(), slot),
    };
    if !arguments.follow {
        let text = cluster
            .log(&of, arguments.tail.map(i64::from))
            .await
            .map_err(refused)?;
        print(&text)?;
        return Ok(Exit::Done);
    }
    let mut tell = |line: String| print(&format!("{line}\n")).is_ok();
    until_interrupted(cluster.follow_log(&of, &mut tell)).await?;
    Ok(Exit::Done)
}

async fn stop(arguments: &ClusterRunArguments) -> Result<Exit, Stop> {
    let cluster = connect(&arguments.cluster).await?;
    let run = &arguments.run;
    eprintln!("asking the workers of run `{run}` to leave after a checkpoint");
    cluster.stop(run).await.map_err(refused)?;
    eprintln!("stopped; continue with `coordinator cluster resume {run}`");
    Ok(Exit::Done)
}

async fn resume(arguments: &ClusterResumeArguments) -> Result<Exit, Stop> {
    for image in arguments.image.iter().chain(&arguments.coordinator_image) {
        refuse_no_image(image)?;
    }
    let images = NewImages {
        all: arguments.image.clone(),
        coordinator: arguments.coordinator_image.clone(),
    };
    let cluster = connect(&arguments.of.cluster).await?;
    let run = &arguments.of.run;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    cluster
        .resume(run, &now.as_secs().to_string(), &images)
        .await
        .map_err(refused)?;
    eprintln!("run `{run}` goes on; follow it with `coordinator cluster follow {run}`");
    Ok(Exit::Done)
}

async fn delete(arguments: &ClusterDeleteArguments) -> Result<Exit, Stop> {
    let cluster = connect(&arguments.of.cluster).await?;
    let run = &arguments.of.run;
    let state = match arguments.state {
        true => StateVolume::Delete,
        false => StateVolume::Keep,
    };
    let deleted = cluster.delete(run, state).await.map_err(refused)?;
    match arguments.output {
        OutputFormat::Json => print_json(&deleted)?,
        OutputFormat::Table => {
            for object in &deleted {
                eprintln!("deleted {} {}", object.kind, object.name);
            }
            if state == StateVolume::Keep {
                let claim = run.state_claim();
                eprintln!(
                    "kept claim {claim} with the journal; `coordinator cluster delete --state {run}` removes it"
                );
            }
        }
    }
    Ok(Exit::Done)
}

/// Follows a run to its end; Ctrl-C leaves it running.
pub(super) async fn follow(cluster: &Cluster, run: &RunName) -> Result<Exit, Stop> {
    let mut view = FollowView::new(std::io::stderr().is_terminal());
    let followed = until_interrupted(cluster.follow(run, &mut |happening| view.tell(happening))).await;
    view.close();
    match followed? {
        None => {
            eprintln!("run `{run}` goes on; follow it again with `coordinator cluster follow {run}`");
            Ok(Exit::Interrupted)
        }
        Some(Followed::Over(RunEnd::Finished { digest })) => {
            eprintln!("run `{run}` is finished, digest {digest}");
            Ok(Exit::Done)
        }
        Some(Followed::Over(RunEnd::Failed { why, exit })) => {
            let exit = match exit {
                Exit::BadInput => Exit::BadInput,
                _ => Exit::Failed,
            };
            let hint = format!(
                "`coordinator cluster logs {run}` has the rest; once mended, `coordinator cluster resume {run}` tries \
                 again; until then, `coordinator cluster stop {run}` frees the nodes that its workers may hold"
            );
            Err(Stop::new(exit, anyhow!("run `{run}` failed: {why}")).with_hint(hint))
        }
        Some(Followed::Stuck { why, exit }) => Err(Stop::new(
            exit,
            anyhow!("the coordinator of run `{run}` cannot start: {why}"),
        )
        .with_hint(format!(
            "once mended it starts by itself; `coordinator cluster delete {run}` gives up"
        ))),
        Some(Followed::Over(RunEnd::Stopped) | Followed::Gone) => {
            eprintln!("run `{run}` was stopped or deleted");
            Ok(Exit::Terminated)
        }
    }
}

/// `None` when a person or a supervisor ends the waiting first.
async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, ClusterError>>,
) -> Result<Option<T>, Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Ok(None),
        _ = terminate.recv() => Ok(None),
        done = work => done.map(Some).map_err(refused),
    }
}
