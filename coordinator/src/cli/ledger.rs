//! `coordinator ledger`, and the check at the end of a run.

use serde::Serialize;
use ulda_dataset::Dataset;
use ulda_machine::ledger::{Ledger, LedgerLine, SampleCounts, ledger as read_ledger};
use ulda_run::ids::{Shard, Slot, WorkerId};
use ulda_run::plan::SampleAt;
use ulda_run::spec::{DatasetConfig, RunSpec};
use ulda_run::stage::Stage;
use ulda_storage::StorageCounters;
use ulda_storage::fetch::Inputs;

use super::arguments::{LedgerArguments, OutputFormat};
use super::common::{columns, host, print, run_directory, say};
use crate::exit::{Exit, Stop};
use crate::history::known_records;
use crate::journal::{JournalReader, Sound, Unsound, audit_journal};
use crate::run_directory::RunDirectory;

/// The data sets of a run by name of their samples.
struct Names {
    train: Vec<String>,
    sets: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct StepOut<'a> {
    stage: Stage,
    step: u64,
    generation: u64,
    shares: Vec<ShareOut<'a>>,
}

#[derive(Serialize)]
struct ShareOut<'a> {
    shard: Shard,
    slot: Option<Slot>,
    worker: Option<WorkerId>,
    epoch: Option<u64>,
    samples: Vec<&'a str>,
}

pub fn ledger(arguments: &LedgerArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    let spec = directory.spec(host(1)).map_err(Stop::bad_input)?;
    let names = names(&spec)?;
    let ledger = read(&directory, &spec, &names)?;
    let wanted = |line: &&LedgerLine| arguments.stage.is_none_or(|stage| stage == line.stage);
    let lines = ledger.lines.iter().filter(wanted);
    match arguments.output {
        OutputFormat::Table => print(&table(lines, &names))?,
        OutputFormat::Json => {
            for line in lines {
                print(&format!("{}\n", serde_json::to_string(&step_out(line, &names))?))?;
            }
        }
    }
    say(format_args!(
        "{} steps, {} of them repeated because all workers that held their result were lost",
        ledger.lines.len(),
        ledger.done_again
    ));
    if ledger.done_elsewhere > 0 {
        say(format_args!(
            "the first {} are from before this journal, which took the run up from its storage",
            ledger.done_elsewhere
        ));
    }
    verdict(&ledger)?;
    say(format_args!("every sample was used exactly once per epoch"));
    let sound = sound(&directory)?;
    say(format_args!(
        "the journal is consistent: {} records of {} coordinators",
        sound.records, sound.coordinators
    ));
    Ok(Exit::Done)
}

/// The journal of a run, if it can be trusted.
///
/// # Errors
/// It does not hang together.
pub fn sound(directory: &RunDirectory) -> Result<Sound, Stop> {
    let audited = JournalReader::open(&directory.journal_file())
        .map_err(Unsound::from)
        .and_then(|journal| audit_journal(&journal));
    audited.map_err(|cause| Stop {
        exit: Exit::Failed,
        hint: cause.hint(),
        cause: anyhow::Error::new(cause).context(format!(
            "the journal `{}` does not hang together",
            directory.journal_file().display()
        )),
    })
}

/// The ledger of a run that is over. Where the journal or a data set cannot be read, nothing is known to be wrong
/// with it.
pub fn checked(directory: &RunDirectory) -> Option<Ledger> {
    let found = directory
        .spec(host(1))
        .map_err(Stop::bad_input)
        .and_then(|spec| read(directory, &spec, &names(&spec)?));
    found
        .inspect_err(|stop| tracing::warn!("sample ledger not checked: {stop}"))
        .ok()
}

/// # Errors
/// The ledger has a violation.
pub fn verdict(ledger: &Ledger) -> Result<(), Stop> {
    if ledger.violations.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = ledger
        .violations
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    Err(Stop {
        exit: Exit::Failed,
        cause: anyhow::anyhow!(
            "the sample ledger has {} violations:\n  {}",
            ledger.violations.len(),
            lines.join("\n  ")
        ),
        hint: None,
    })
}

fn names(spec: &RunSpec) -> Result<Names, Stop> {
    // What was fetched by URL is listed where it lies; what is not on this host cannot be.
    let config = spec.config();
    let cache = std::env::var_os("ULDA_CACHE").map(Into::into);
    let config = &Inputs::new(config, cache, StorageCounters::default()).already_here(config);
    let classes = &spec.classes();
    let list = |set: &DatasetConfig| -> Result<Vec<String>, Stop> {
        let dataset = Dataset::list(set).map_err(Stop::bad_input)?;
        Ok(dataset.samples.into_iter().map(|sample| sample.name).collect())
    };
    Ok(Names {
        train: match config.trains() {
            true => list(&config.source.training_set(classes))?,
            false => Vec::new(),
        },
        sets: config
            .evaluate
            .sets
            .iter()
            .map(|set| list(&set.dataset(classes)))
            .collect::<Result<_, _>>()?,
    })
}

fn read(directory: &RunDirectory, spec: &RunSpec, names: &Names) -> Result<Ledger, Stop> {
    let rows = JournalReader::open(&directory.journal_file())
        .and_then(|journal| journal.records())
        .map_err(Stop::bad_input)?;
    let records = known_records(&rows);
    let counts = SampleCounts {
        train: names.train.len(),
        sets: names.sets.iter().map(Vec::len).collect(),
    };
    Ok(read_ledger(spec, &counts, &records))
}

impl Names {
    fn of(&self, stage: Stage, sample: SampleAt) -> &str {
        let set = match stage {
            Stage::Evaluate => usize::try_from(sample.epoch)
                .ok()
                .and_then(|set| self.sets.get(set)),
            Stage::Pretrain | Stage::Simulate | Stage::Adapt => Some(&self.train),
        };
        set.and_then(|set| set.get(sample.index))
            .map_or("", String::as_str)
    }
}

fn step_out<'a>(line: &LedgerLine, names: &'a Names) -> StepOut<'a> {
    let epoch = |samples: &[SampleAt]| samples.first().map(|sample| sample.epoch);
    let shares = line.shares.iter().map(|share| ShareOut {
        shard: share.shard,
        slot: share.served_by.map(|(_, slot)| slot),
        worker: share.served_by.map(|(worker, _)| worker),
        epoch: epoch(&share.samples).filter(|_| line.stage != Stage::Evaluate),
        samples: share
            .samples
            .iter()
            .map(|sample| names.of(line.stage, *sample))
            .collect(),
    });
    StepOut {
        stage: line.stage,
        step: line.step,
        generation: line.generation.0,
        shares: shares.collect(),
    }
}

fn table<'a>(lines: impl Iterator<Item = &'a LedgerLine>, names: &Names) -> String {
    let mut rows = vec![
        [
            "STAGE",
            "STEP",
            "GENERATION",
            "SHARD",
            "SLOT",
            "WORKER",
            "SAMPLES",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for line in lines {
        for share in &line.shares {
            let unknown = || "-".to_owned();
            let samples: Vec<&str> = share
                .samples
                .iter()
                .map(|sample| names.of(line.stage, *sample))
                .collect();
            rows.push(vec![
                line.stage.to_string(),
                line.step.to_string(),
                line.generation.0.to_string(),
                share.shard.0.to_string(),
                share
                    .served_by
                    .map_or_else(unknown, |(_, slot)| slot.0.to_string()),
                share
                    .served_by
                    .map_or_else(unknown, |(worker, _)| worker.0.to_string()),
                samples.join(" "),
            ]);
        }
    }
    columns(&rows)
}
