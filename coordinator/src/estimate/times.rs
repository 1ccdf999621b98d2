//! How long a stage will take: as a run that computed the same took, or by a rate.

use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};
use ulda_run::StageCost;
use ulda_run::spec::{RunConfig, RunSpec};
use ulda_run::stage::Stage;

use crate::history::History;
use crate::journal::JournalReader;
use crate::run_directory::RunDirectory;

/// What a time stands on.
#[derive(Clone, Debug, PartialEq)]
pub enum TimeSource {
    /// A run of that name below `run.directory`, in which the stage computed the same with as many workers.
    Run { name: String, seconds_per_step: f64 },
    /// Operations over a rate: floating-point operations per second that one worker sustains.
    Rate,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedTime {
    pub duration: Duration,
    pub source: TimeSource,
}

/// The time of a stage of so many steps, if something is known about it. `rate` comes first.
#[must_use]
pub fn stage_time(
    spec: &RunSpec,
    stage: Stage,
    workers: u32,
    cost: Option<&StageCost>,
    rate: Option<f64>,
) -> Option<ExpectedTime> {
    if let Some(rate) = rate {
        let shards = f64::from(shards_of_a_worker(spec, workers));
        let seconds = cost?.shard_flop? * shards / rate;
        return Some(ExpectedTime {
            duration: Duration::try_from_secs_f64(seconds).ok()?,
            source: TimeSource::Rate,
        });
    }
    let (name, seconds_per_step) = as_before(spec.config(), stage, workers)?;
    let seconds = seconds_per_step * spec.course().steps(stage) as f64;
    Some(ExpectedTime {
        duration: Duration::try_from_secs_f64(seconds).ok()?,
        source: TimeSource::Run {
            name,
            seconds_per_step,
        },
    })
}

/// Shards that the busiest worker serves.
#[must_use]
pub fn shards_of_a_worker(spec: &RunSpec, workers: u32) -> u32 {
    spec.shards().div_ceil(workers.clamp(1, spec.shards()))
}

/// The newest run beside this one that computed the stage the same, and the seconds of its steps.
fn as_before(config: &RunConfig, stage: Stage, workers: u32) -> Option<(String, f64)> {
    let wanted = what_costs(config, stage);
    let folders = std::fs::read_dir(&config.run.directory).ok()?;
    let runs = folders.flatten().filter_map(|entry| {
        let measured = of_run(&entry.path(), stage, workers, &wanted)?;
        Some((measured, entry.file_name().to_string_lossy().into_owned()))
    });
    let ((_, seconds), name) = runs.max_by_key(|((at_millis, _), _)| *at_millis)?;
    Some((name, seconds))
}

/// When the run in `folder` ended the stage, and the seconds of a step; of an undisturbed run that computed what is wanted.
fn of_run(folder: &Path, stage: Stage, workers: u32, wanted: &Table) -> Option<(i64, f64)> {
    let directory = RunDirectory::at(folder);
    let config = directory.config().ok()?;
    let journal = JournalReader::open(&directory.journal_file()).ok()?;
    let same = what_costs(&config, stage) == *wanted;
    let as_many = journal.facts().ok()?.get("workers")?.parse::<u32>() == Ok(workers);
    // Later generations begin in the middle of a stage.
    let undisturbed = History::read(&directory, &journal).ok()?.generation == 1;
    let row = journal
        .stages()
        .ok()?
        .into_iter()
        .find(|row| row.stage == stage)?;
    let steps = steps_of(&config, stage);
    (same && as_many && undisturbed && steps > 0).then(|| (row.at_millis, row.seconds / steps as f64))
}

/// As the course of a resolved configuration has them.
fn steps_of(config: &RunConfig, stage: Stage) -> u64 {
    let host = ulda_run::spec::Host { workers: 1, cores: 1 };
    RunSpec::resolve(config.clone(), host).map_or(0, |spec| spec.course().steps(stage))
}

/// Everything of a resolved configuration that the time of a step depends on.
fn what_costs(config: &RunConfig, stage: Stage) -> Table {
    const ALWAYS: [&str; 6] = [
        "clip.checkpoint",
        "source",
        "classes",
        "compute",
        "run.shards",
        "run.threads_per_shard",
    ];
    let own: &[&str] = match stage {
        Stage::Pretrain => &[
            "pretrain.batch",
            "pretrain.crop",
            "pretrain.head_channels",
            "pretrain.validate_every",
        ],
        Stage::Simulate => &[
            "simulate.batch",
            "simulate.crop",
            "simulate.iterations",
            "simulate.styles",
            "simulate.data_shards",
            "simulate.prompt_groups",
            "simulate.domains_at_once",
            "simulate.scene_pool",
            "simulate.resize_feature",
            "simulate.projector_hidden",
            "simulate.lambda_pixel",
            "simulate.lambda_region",
            "simulate.lambda_seg",
            "simulate.lambda_intra",
            "simulate.lambda_cross",
            "pretrain.head_channels",
        ],
        Stage::Adapt => &[
            "adapt.batch",
            "adapt.crop",
            "adapt.rectifier",
            "adapt.validate_every",
            "pretrain.head_channels",
        ],
        Stage::Evaluate => &["evaluate.set", "run.end_after", "pretrain.head_channels"],
    };
    let tree = config.to_table();
    let keys = ALWAYS.iter().chain(own);
    let mut costs: Table = keys
        .filter_map(|key| Some(((*key).to_owned(), value_of(&tree, key)?.clone())))
        .collect();
    if stage == Stage::Simulate {
        let domains = i64::try_from(config.domains.len()).unwrap_or(i64::MAX);
        costs.insert("domains".to_owned(), Value::Integer(domains));
    }
    costs
}

fn value_of<'a>(tree: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => tree.get(key),
        Some((section, rest)) => value_of(tree.get(section)?.as_table()?, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_costs_the_same_whatever_its_rate_and_its_number() {
        let costs = |change: fn(&mut RunConfig)| {
            let mut config = RunConfig::default();
            change(&mut config);
            what_costs(&config, Stage::Pretrain)
        };
        let same = costs(|_| ());
        for change in [
            |config: &mut RunConfig| config.pretrain.steps = 7,
            |config: &mut RunConfig| config.pretrain.lr = 0.5,
            |config: &mut RunConfig| config.run.seed = 7,
            |config: &mut RunConfig| config.adapt.batch = 7,
        ] {
            assert_eq!(costs(change), same);
        }
        for change in [
            |config: &mut RunConfig| config.pretrain.batch = 7,
            |config: &mut RunConfig| config.pretrain.crop = 64,
            |config: &mut RunConfig| config.run.shards = Some(7),
            |config: &mut RunConfig| config.clip.checkpoint = "other".into(),
        ] {
            assert_ne!(costs(change), same);
        }
    }
}
