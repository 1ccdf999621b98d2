//! The table of `bench`: both models, every step, each in a process of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::Failure;
use crate::case::{self, CaseSpec, IMAGES, Size};
use crate::flops;
use crate::steps::{PHASES, Step, Timing, median};

/// Measures and prints everything.
///
/// # Errors
/// When a step fails; its own message goes to stderr.
pub fn print(quick: bool, threads: u16) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let small = CaseSpec {
        size: Size::Small,
        crop: 128,
        domains: 6,
        photo: 256,
    };
    let large = CaseSpec {
        size: Size::Rn50,
        crop: if quick { 256 } else { 512 },
        domains: if quick { 2 } else { 6 },
        photo: if quick { 512 } else { 1024 },
    };
    println!(
        "{threads} thread(s), batch {IMAGES}, seconds, medians; `data` is read ahead by the trainer, not in `step`\n"
    );
    println!(
        "| model | crop | domains | step | step s (best) | CPU s | {} | peak RSS GiB | GFLOP | peak GFLOP/s | floor s |",
        PHASES.join(" | ")
    );
    println!("|{}", "--|".repeat(9 + PHASES.len() + 1));
    for (spec, repeats) in [(small, 9), (large, if quick { 2 } else { 3 })] {
        let name = name_of(spec.size);
        let at = folder.path().join(&name);
        case::prepare(&at, &spec)?;
        for step in [Step::Pretrain, Step::Simulate, Step::Adapt, Step::Evaluate] {
            let peak: f64 = measure(&["peak".into(), "--threads".into(), threads.to_string()])?
                .trim()
                .parse()?;
            let timing = step_apart(&at, step, threads, repeats)?;
            row(&name, &spec, step, &timing, peak);
        }
    }
    Ok(())
}

fn name_of(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

fn step_apart(folder: &Path, step: Step, threads: u16, repeats: usize) -> Result<Timing, Failure> {
    let arguments = [
        "step".to_owned(),
        folder.display().to_string(),
        name_of(step),
        "--threads".to_owned(),
        threads.to_string(),
        "--repeats".to_owned(),
        repeats.to_string(),
    ];
    Ok(serde_json::from_str(&measure(&arguments)?)?)
}

/// This program again, with other arguments; its stdout.
fn measure(arguments: &[String]) -> Result<String, Failure> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("`bench {}` ended with {}", arguments.join(" "), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn row(model: &str, spec: &CaseSpec, step: Step, timing: &Timing, peak: f64) {
    let flop = flops::of_step(step, spec.size, spec.crop, spec.domains, spec.photo);
    let best = timing.seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let phases = timing.phases.map(|seconds| format!("{seconds:.3}"));
    let crop = if step == Step::Evaluate {
        format!("{}x{}", 2 * spec.photo, spec.photo)
    } else {
        spec.crop.to_string()
    };
    println!(
        "| {model} | {crop} | {} | {} | {:.3} ({best:.3}) | {:.2} | {} | {:.2} | {:.0} | {:.0} | {:.3} |",
        spec.domains,
        name_of(step),
        median(timing.seconds.clone()),
        median(timing.cpu_seconds.clone()),
        phases.join(" | "),
        timing.peak_rss_bytes as f64 / f64::from(1 << 30),
        flop / 1e9,
        peak / 1e9,
        flop / peak,
    );
}
