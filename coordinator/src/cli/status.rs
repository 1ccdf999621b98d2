//! `coordinator status`.

use std::collections::BTreeMap;

use serde::Serialize;
use ulda_core::stage::{Cursor, Stage};

use super::arguments::{OutputFormat, StatusArguments};
use super::common::{columns, host, print, print_json, run_directory};
use crate::exit::{Exit, Stop};
use crate::history::{History, Standing};
use crate::journal::{CheckpointRow, EventRow, JournalReader, StageRow};
use crate::run_directory::{RunDirectory, Server};

const EVENTS_SHOWN: u32 = 5;

#[derive(Debug, Serialize)]
struct Status {
    run: String,
    #[serde(flatten)]
    standing: Standing,
    coordinator: Option<Server>,
    term: u64,
    generation: u64,
    committed: Option<Cursor>,
    steps_of_stage: Option<u64>,
    share_done: f64,
    shards: u32,
    losses: BTreeMap<String, f64>,
    workers: Vec<Worker>,
    stages: Vec<StageRow>,
    last_checkpoint: Option<CheckpointRow>,
    evaluations: Vec<Evaluation>,
    last_events: Vec<EventRow>,
}

#[derive(Debug, Serialize)]
struct Worker {
    worker: u64,
    slot: u32,
    device: String,
    data_address: String,
}

#[derive(Debug, Serialize)]
struct Evaluation {
    model: String,
    set: String,
    place: Cursor,
    images: u64,
    mean_iou: Option<f64>,
}

pub fn status(arguments: &StatusArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    let status = gather(&directory)?;
    match arguments.output {
        OutputFormat::Json => print_json(&status)?,
        OutputFormat::Table => print(&table(&status))?,
    }
    Ok(Exit::Done)
}

fn gather(directory: &RunDirectory) -> Result<Status, Stop> {
    let spec = directory.spec(host(1)).map_err(Stop::bad_input)?;
    let journal = JournalReader::open(&directory.journal_file())?;
    let history = History::read(directory, &journal)?;
    let stage = history.committed.map_or(Stage::Pretrain, |cursor| cursor.stage);
    let losses = journal.latest(stage)?.into_iter();
    let losses = losses
        .filter_map(|(name, value)| Some((name.strip_prefix("loss.")?.to_owned(), value)))
        .collect();
    let evaluations = journal.evaluations()?.into_iter().map(|row| Evaluation {
        model: row.model,
        set: row.set,
        place: row.place,
        images: row.images,
        mean_iou: row.mean_iou,
    });
    let running = matches!(history.standing, Standing::Running { .. });
    let workers = history
        .resume
        .workers
        .iter()
        .filter(|_| running)
        .map(|(worker, known)| Worker {
            worker: worker.0,
            slot: known.slot.0,
            device: known.device.clone(),
            data_address: known.data_address.clone(),
        });
    Ok(Status {
        run: spec.config().run.name.clone(),
        coordinator: directory.server(),
        term: history.term,
        generation: history.generation,
        committed: history.committed,
        steps_of_stage: history.committed.map(|cursor| spec.course().steps(cursor.stage)),
        share_done: history.share_done(&spec),
        shards: spec.shards(),
        losses,
        workers: workers.collect(),
        stages: journal.stages()?,
        last_checkpoint: journal.checkpoints()?.pop(),
        evaluations: evaluations.collect(),
        last_events: journal.last_events(EVENTS_SHOWN)?,
        standing: history.standing,
    })
}

fn table(status: &Status) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("run", status.run.clone()),
        row(
            "state",
            format!("{}: {}", status.standing.name(), status.standing.why()),
        ),
        row("progress", progress(status)),
    ];
    if let Some(server) = &status.coordinator {
        rows.push(row(
            "coordinator",
            format!("process {} at {}", server.process_id, server.address),
        ));
    }
    if !status.losses.is_empty() {
        let losses: Vec<String> = status
            .losses
            .iter()
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        rows.push(row("losses", losses.join(" · ")));
    }
    for worker in &status.workers {
        let Worker {
            worker,
            slot,
            device,
            data_address,
        } = worker;
        rows.push(row(
            "worker",
            format!("{worker} in slot {slot}, {device}, {data_address}"),
        ));
    }
    for stage in &status.stages {
        rows.push(row(
            "done",
            format!(
                "{} in {:.1} s, digest {}",
                stage.stage, stage.seconds, stage.digest
            ),
        ));
    }
    if let Some(checkpoint) = &status.last_checkpoint {
        rows.push(row(
            "checkpoint",
            format!("{} at {}", checkpoint.path, checkpoint.place),
        ));
    }
    let mut text = columns(&rows);
    if !status.evaluations.is_empty() {
        let mut rows = vec![
            ["MODEL", "SET", "AT", "IMAGES", "mIoU"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(status.evaluations.iter().map(|evaluation| {
            let mean = evaluation
                .mean_iou
                .map_or_else(|| "nan".to_owned(), |mean| format!("{:.2}", mean * 100.0));
            vec![
                evaluation.model.clone(),
                evaluation.set.clone(),
                evaluation.place.to_string(),
                evaluation.images.to_string(),
                mean,
            ]
        }));
        text.push('\n');
        text.push_str(&columns(&rows));
    }
    if !status.last_events.is_empty() {
        text.push_str("\nlast events\n");
        for event in &status.last_events {
            let slot = event
                .slot
                .map_or_else(String::new, |slot| format!(" slot {slot}"));
            text.push_str(&format!(
                "  {}{slot}: {}\n",
                event.level,
                event.text.replace('\n', "\n  ")
            ));
        }
    }
    text
}

fn progress(status: &Status) -> String {
    let percent = status.share_done * 100.0;
    match (status.committed, status.steps_of_stage) {
        (Some(cursor), Some(steps)) => format!(
            "{percent:.1} % of all steps; {} step {} of {steps}",
            cursor.stage, cursor.step
        ),
        _ => format!("{percent:.1} % of all steps"),
    }
}
