//! `coordinator status`.

use super::arguments::{OutputFormat, StatusArguments};
use super::common::{columns, losses_text, print, print_json, run_directory};
use crate::exit::{Exit, Stop};
use crate::report::RunReadError;
use crate::report::clip_note;
use crate::status::{Status, StatusWorker, gather};

pub fn status(arguments: &StatusArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    let status = gather(&directory).map_err(|cause| match cause {
        RunReadError::Directory(cause) => Stop::bad_input(cause),
        RunReadError::Journal(cause) => cause.into(),
        RunReadError::Manifest(cause) => Stop::bad_input(cause),
    })?;
    match arguments.output {
        OutputFormat::Json => print_json(&status)?,
        OutputFormat::Table => print(&table(&status))?,
    }
    Ok(Exit::Done)
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
        if let Some(page) = &server.page {
            rows.push(row("page", page.clone()));
        }
    }
    if !status.losses.is_empty() {
        rows.push(row("losses", losses_text(&status.losses)));
    }
    for worker in &status.workers {
        let StatusWorker {
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
        if let Some(note) = clip_note(status.clip.training) {
            text.push_str(&format!("{note}\n"));
        }
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
