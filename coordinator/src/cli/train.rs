//! `coordinator` without a verb, `train` and `resume`.

use std::io::IsTerminal;

use indicatif::MultiProgress;
use tracing::{Instrument, Span};
use ulda_run::spec::{RecoveryConfig, RunConfig, RunSpec};
use ulda_storage::StorageCounters;

use super::arguments::{ResumeArguments, ServeArguments, TrainArguments};
use super::common::{block_on, directory_refused, host, remote_refused, run_directory, say};
use super::conclusion::shown;
use super::dry_run::dry_run;
use super::serve::prepare_and_serve;
use super::stages::chosen_configuration;
use crate::check::{Depth, Examination, of_problems};
use crate::config::LoadedConfig;
use crate::exit::{Exit, Stop};
use crate::history::History;
use crate::journal::JournalReader;
use crate::observe::{LogTarget, start_logging};
use crate::remote::RemoteRun;
use crate::run::Supervision;
use crate::run_directory::RunDirectory;

pub fn train(arguments: &TrainArguments) -> Result<Exit, Stop> {
    let LoadedConfig { mut config, places } = chosen_configuration(&arguments.config, &arguments.stages)?;
    let state = arguments
        .supervised
        .state
        .as_ref()
        .map(std::path::absolute)
        .transpose()?;
    let directory = RunDirectory::of(&config).with_state(state.as_deref());
    let continues = arguments.resume && directory.holds_a_run();
    // Nothing is asked of a storage whose settings are wrong.
    let refused = |problems| Stop::bad_input(of_problems(problems).placed(&places));
    RunSpec::resolve(config.clone(), host(arguments.workers)).map_err(refused)?;
    let elsewhere = if arguments.resume && !continues {
        in_storage(&config)?
    } else {
        None
    };
    if continues {
        keep_resolved(&mut config, &directory.config().map_err(directory_refused)?);
    } else if let Some((_, there)) = &elsewhere {
        keep_resolved(&mut config, there);
    } else if directory.holds_a_run()
        && let Ok(there) = directory.config()
    {
        // The run that is there is refused below; what its host decided makes it no other one.
        let decided = there.simulate.domains_at_once;
        config.simulate.domains_at_once = config.simulate.domains_at_once.or(decided);
    }
    let spec = RunSpec::resolve(config, host(arguments.workers)).map_err(refused)?;
    if let Some(refusal) = directory.conflict(&spec, continues).map_err(directory_refused)? {
        return Err(directory_refused(refusal));
    }
    if let Some((remote, there)) = &elsewhere {
        remote.compare(there, &spec).map_err(remote_refused)?;
        directory.create(&spec).map_err(directory_refused)?;
        say(format_args!(
            "run `{}` is taken up from its storage",
            spec.config().run.name
        ));
    }
    let goes_on = continues || elsewhere.is_some();
    let examination = Examination {
        depth: Depth::Headers,
        places,
    };
    if arguments.dry_run {
        if !arguments.serve.no_launch {
            enough_and_not_too_many(arguments.workers, &spec.config().recovery)?;
        }
        return dry_run(&spec, &directory, arguments, &examination);
    }
    let examination = Some(examination).filter(|_| !goes_on);
    let supervision = arguments.supervised.supervised.then(|| Supervision {
        attempt: arguments.supervised.attempt.clone(),
    });
    go(
        &spec,
        &directory,
        arguments.workers,
        &arguments.serve,
        examination,
        supervision,
    )
}

/// The run's place in its storage and what lies there, if it is a run.
fn in_storage(config: &RunConfig) -> Result<Option<(RemoteRun, RunConfig)>, Stop> {
    let Some(remote) = RemoteRun::of(config, &StorageCounters::default()).map_err(remote_refused)? else {
        return Ok(None);
    };
    let there = remote.config().map_err(remote_refused)?;
    Ok(there.map(|there| (remote, there)))
}

pub fn resume(arguments: &ResumeArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    let workers = arguments
        .workers
        .unwrap_or_else(|| workers_of_last_time(&directory));
    let spec = directory.spec(host(workers)).map_err(directory_refused)?;
    go(&spec, &directory, workers, &arguments.serve, None, None)
}

/// Values that a run.toml leaves to the host stay what they were when the run was created.
fn keep_resolved(config: &mut RunConfig, there: &RunConfig) {
    let run = &mut config.run;
    run.shards = run.shards.or(there.run.shards);
    run.threads_per_shard = run.threads_per_shard.or(there.run.threads_per_shard);
    let (simulate, before) = (&mut config.simulate, &there.simulate);
    simulate.prompt_groups = simulate.prompt_groups.or(before.prompt_groups);
    simulate.domains_at_once = simulate.domains_at_once.or(before.domains_at_once);
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
    history.is_ok_and(|history| history.standing.is_finished())
}

fn go(
    spec: &RunSpec,
    directory: &RunDirectory,
    workers: u32,
    serve: &ServeArguments,
    examination: Option<Examination>,
    supervision: Option<Supervision>,
) -> Result<Exit, Stop> {
    if examination.is_none() && is_finished(directory) {
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
        false => tracing::info_span!("run", run = %spec.config().run.name),
    };
    let bars = people.then_some(bars);
    let serving = prepare_and_serve(spec, directory, workers, serve, examination, bars, supervision);
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
        "--workers {workers} does not go with {key} = {limit}"
    ))
    .with_hint("change the one or the other"))
}
