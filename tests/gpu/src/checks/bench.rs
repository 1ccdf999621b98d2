//! Step times, in each precision.

use std::time::Duration;

use crate::Device;
use crate::place::Place;
use crate::program::run;
use crate::table::{Checked, Table};

const LIMIT: Duration = Duration::from_secs(300);
/// Largest relative change of a loss by bfloat16.
const BF16_LOSS: f64 = 0.02;

/// Size of what is timed.
struct Case {
    crop: &'static str,
    photo: &'static str,
    model: &'static str,
}

pub fn rows(place: &Place, table: &mut Table) {
    let (case, precisions): (Case, &[&str]) = match place.device {
        Device::Cuda => (
            Case {
                crop: "768",
                photo: "1024",
                model: "rn50",
            },
            &["fp32", "tf32", "bf16"],
        ),
        Device::Cpu => (
            Case {
                crop: "128",
                photo: "128",
                model: "small",
            },
            &["fp32", "bf16"],
        ),
    };
    let folder = place.folder().join("case");
    let mut ready = false;
    table.row("bench, prepare", || {
        let mut command = place.command("bench");
        command.arg("prepare").arg(&folder);
        command.args(["--size", case.model, "--crop", case.crop, "--photo", case.photo]);
        run(command, LIMIT)?.expect(0)?;
        ready = true;
        Ok(format!("{}, crop {}, 6 domains, batch 2", case.model, case.crop))
    });
    if !ready {
        return;
    }
    for step in ["pretrain", "simulate", "adapt", "evaluate"] {
        table.row(&format!("bench, {step}"), || step_row(place, step, precisions));
    }
}

fn step_row(place: &Place, step: &str, precisions: &[&str]) -> Checked {
    let mut told = Vec::new();
    let mut exact: Option<Vec<f64>> = None;
    for precision in precisions {
        let timed = timing(place, step, precision, false)?;
        let losses = losses(&timing(place, step, precision, true)?);
        let exact = exact.get_or_insert_with(|| losses.clone());
        let apart = losses
            .iter()
            .zip(exact.iter())
            .map(|(ours, exact)| (ours - exact).abs() / exact.abs().max(1e-6))
            .fold(0.0, f64::max);
        // The class sum of an evaluation counts pixels, of which some change sides.
        if step != "evaluate" && apart > BF16_LOSS {
            return Err(format!("a loss in {precision} is {apart:.1e} off float32"));
        }
        told.push(format!(
            "{precision} {:.1} ms, {:.2} GiB, losses {apart:.0e} off",
            median(&timed["seconds"]) * 1e3,
            timed["peak_device_bytes"]
                .as_f64()
                .or(timed["peak_rss_bytes"].as_f64())
                .unwrap_or(0.0)
                / f64::from(1 << 30),
        ));
    }
    Ok(told.join(" / "))
}

fn timing(place: &Place, step: &str, precision: &str, agree: bool) -> Result<serde_json::Value, String> {
    let mut command = place.command("bench");
    command.args([
        "step",
        "case",
        step,
        "--device",
        place.device.name(),
        "--precision",
        precision,
    ]);
    match agree {
        true => command.args(["--agree", "--repeats", "1", "--warm-up", "0"]),
        false => command.args(["--repeats", "5", "--warm-up", "2"]),
    };
    let ended = run(command, LIMIT)?.expect(0)?;
    serde_json::from_str(&ended.out).map_err(|error| format!("bench wrote no JSON: {error}"))
}

fn losses(timing: &serde_json::Value) -> Vec<f64> {
    let named = timing["losses"].as_array().into_iter().flatten();
    named.filter_map(|pair| pair[1].as_f64()).collect()
}

fn median(seconds: &serde_json::Value) -> f64 {
    let mut values: Vec<f64> = seconds
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_f64)
        .collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
