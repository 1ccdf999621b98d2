//! `--dry-run`: what a run would need. Starts no worker that trains, and writes nothing.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use ulda_run::StageCost;
use ulda_run::spec::{DeviceChoice, RunSpec};
use ulda_run::stage::{Stage, StageLength};

use super::arguments::TrainArguments;
use super::check::say_notes;
use super::common::{block_on, columns, print, say, worker_binary};
use super::conclusion::shown;
use crate::check::{DiskNeed, Examination, Examined, Extent, examine};
use crate::durations::duration_text;
use crate::estimate::{ExpectedTime, TimeSource, shards_of_a_worker, stage_costs, stage_time};
use crate::exit::{Exit, Stop};
use crate::run_directory::RunDirectory;

/// FLOP/s in a GFLOP/s.
const GIGA: f64 = 1e9;

/// Examines the run as its start would, and tells what it would need.
pub(super) fn dry_run(
    spec: &RunSpec,
    directory: &RunDirectory,
    arguments: &TrainArguments,
    examination: &Examination,
) -> Result<Exit, Stop> {
    let serve = &arguments.serve;
    let worker = match serve.no_launch {
        true => None,
        false => Some(worker_binary(serve.worker_binary.as_deref())?),
    };
    let extent = Extent {
        depth: examination.depth,
        worker_binary: worker.clone(),
        workers: arguments.workers,
        listen: Some(serve.listen),
    };
    for note in spec.notes(arguments.workers) {
        say(format_args!("note: {note}"));
    }
    let Examined { mut findings, advice } = block_on(examine(spec, &extent))?;
    let spec = &spec.with_domains_at_once(advice.map_or(1, |advice| advice.domains_at_once));
    say_notes(&mut findings);
    findings.0.extend(super::security::findings(serve));
    if !findings.is_empty() {
        return Err(Stop {
            exit: findings.exit(),
            cause: findings.placed(&examination.places).into(),
            hint: None,
        });
    }
    let costs = match &worker {
        None => Err("--no-launch: only a worker can read the shapes of checkpoints".to_owned()),
        Some(binary) => block_on(stage_costs(spec, binary))?,
    };
    let forecast = Forecast::new(spec, arguments.workers, arguments.gflops, costs);
    print(&forecast.text(directory.root()))?;
    Ok(Exit::Done)
}

/// A stage, and what is known about it.
struct StageForecast {
    length: StageLength,
    cost: Option<StageCost>,
    time: Option<ExpectedTime>,
}

struct Forecast<'a> {
    spec: &'a RunSpec,
    workers: u32,
    rate: Option<f64>,
    stages: Vec<StageForecast>,
    /// Why there are no costs.
    unknown: Option<String>,
    disk: DiskNeed,
}

impl<'a> Forecast<'a> {
    fn new(
        spec: &'a RunSpec,
        workers: u32,
        gflops: Option<f64>,
        costs: Result<Vec<StageCost>, String>,
    ) -> Self {
        let (costs, unknown) = match costs {
            Ok(costs) => (costs, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let rate = gflops.map(|gflops| gflops * GIGA);
        let of_stage = |length: &StageLength| {
            let stage = length.stage;
            let cost = costs.iter().find(|cost| cost.stage == stage).copied();
            StageForecast {
                length: *length,
                cost,
                time: stage_time(spec, stage, workers, cost.as_ref(), rate),
            }
        };
        Self {
            spec,
            workers,
            rate,
            stages: spec.course().stages().iter().map(of_stage).collect(),
            unknown,
            disk: DiskNeed::of(spec),
        }
    }

    fn text(&self, directory: &Path) -> String {
        let spec = self.spec;
        let mut text = format!(
            "run `{}`, in `{}`: {} of {} with {} of computation each\nnothing was started or written\n\n{}\n",
            spec.config().run.name,
            shown(directory).display(),
            counted(u64::from(spec.shards()), "shard"),
            counted(u64::from(self.workers), "worker"),
            counted(u64::from(spec.threads_per_shard()), "thread"),
            columns(&self.rows())
        );
        let _ = write!(
            text,
            "{}{}{}",
            self.about_time(),
            self.about_memory(),
            self.about_disk()
        );
        text
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            ["STAGE", "STEPS", "IMAGES", "TIME", "MEMORY PER WORKER", "DISK"]
                .map(str::to_owned)
                .into(),
        ];
        for stage in &self.stages {
            let StageLength { stage: name, steps } = stage.length;
            let images = stage.cost.and_then(|cost| cost.images);
            rows.push(vec![
                name.to_string(),
                match name {
                    Stage::Simulate => counted(steps, "round"),
                    Stage::Evaluate => counted(steps, "set"),
                    Stage::Pretrain | Stage::Adapt => steps.to_string(),
                },
                images.map_or_else(unknown, |images| images.to_string()),
                stage
                    .time
                    .as_ref()
                    .map_or_else(unknown, |time| about(time.duration)),
                stage.cost.map_or_else(unknown, |cost| gib(self.memory(&cost))),
                mib(self.disk.of_stage(name)),
            ]);
        }
        rows.push(vec![
            "at the end".to_owned(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            mib(self.disk.at_the_end),
        ]);
        rows.push(vec![
            "in all".to_owned(),
            String::new(),
            String::new(),
            self.duration().map_or_else(unknown, about),
            self.most_memory().map_or_else(unknown, gib),
            mib(self.disk.total()),
        ]);
        rows
    }

    /// Of all stages, if that of each is known and their sum is a time.
    fn duration(&self) -> Option<Duration> {
        let mut stages = self.stages.iter();
        stages.try_fold(Duration::ZERO, |all, stage| {
            all.checked_add(stage.time.as_ref()?.duration)
        })
    }

    /// Bytes of the busiest worker in a stage.
    fn memory(&self, cost: &StageCost) -> u64 {
        let shards = u64::from(shards_of_a_worker(self.spec, self.workers));
        cost.worker_bytes
            .saturating_add(cost.shard_bytes.saturating_mul(shards))
    }

    fn most_memory(&self) -> Option<u64> {
        let all = self.stages.iter().filter_map(|stage| stage.cost.as_ref());
        all.map(|cost| self.memory(cost)).max()
    }

    fn about_time(&self) -> String {
        if let Some(rate) = self.rate {
            let lacking = match self.duration() {
                Some(_) => "",
                None => "; a stage without one has images of unknown size",
            };
            return format!(
                "time: operations of the busiest worker at the {} GFLOP/s that --gflops gives; reading images, exchanges and \
                 checkpoints not counted{lacking}\n",
                rate / GIGA
            );
        }
        let mut text = String::new();
        for stage in &self.stages {
            if let Some(ExpectedTime {
                source:
                    TimeSource::Run {
                        name,
                        seconds_per_step,
                    },
                ..
            }) = &stage.time
            {
                let step = duration_text(Duration::from_secs_f64(*seconds_per_step));
                let _ = writeln!(
                    text,
                    "time of {}: as in run `{name}`, {step} a step",
                    stage.length.stage
                );
            }
        }
        if self.duration().is_none() {
            let which = if text.is_empty() {
                "is"
            } else {
                "of the other stages is"
            };
            let _ = writeln!(
                text,
                "time: {which} unknown, since no run in `{}` computed the same with {}, undisturbed; a dry run measures nothing\n  \
                 hint: --gflops N takes N GFLOP/s per worker; docs/cost-model.md has what CPUs and GPUs reach",
                shown(&self.spec.config().run.directory).display(),
                counted(u64::from(self.workers), "worker"),
            );
        }
        text
    }

    fn about_memory(&self) -> String {
        if let Some(why) = &self.unknown {
            return format!("memory: is unknown ({why})\n");
        }
        let Some(most) = self.most_memory() else {
            return String::new();
        };
        let mut text =
            "memory: by the sizes of weights and activations, within a third of what was measured on CPUs\n"
                .to_owned();
        let all = most.saturating_mul(u64::from(self.workers));
        let cpu = self.spec.config().compute.device == DeviceChoice::Cpu;
        if let Some(free) = available_bytes().filter(|free| all > *free) {
            let _ = writeln!(
                text,
                "warning: {} need {} together{}, and this host has {} available",
                counted(u64::from(self.workers), "worker"),
                gib(all),
                if cpu { "" } else { ", if they compute on CPUs" },
                gib(free)
            );
        }
        text
    }

    fn about_disk(&self) -> String {
        let free = self.disk.free_bytes;
        let free = free.map_or_else(String::new, |free| format!("; {} are free", gib(free)));
        format!("disk: what each stage adds at most{free}\n")
    }
}

fn unknown() -> String {
    "?".to_owned()
}

fn counted(count: u64, of: &str) -> String {
    format!("{count} {of}{}", if count == 1 { "" } else { "s" })
}

/// No estimate is good to the second.
fn about(duration: Duration) -> String {
    format!("about {}", duration_text(duration))
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

fn mib(bytes: u64) -> String {
    match bytes {
        0 => "-".to_owned(),
        bytes => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

/// What the kernel says can be had without swapping.
fn available_bytes() -> Option<u64> {
    let table = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
