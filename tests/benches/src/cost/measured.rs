//! Points that were measured, one JSON object a line: those kept with the program, and those of a file.

use std::path::Path;

use serde::Deserialize;
use ulda_run::stage::Stage;

use super::model::{DOMAINS, Job};
use crate::Failure;

/// The points kept in the repository.
const KEPT: &str = include_str!("../../measured.jsonl");

/// Milliseconds of an all-reduce of this project's data plane, on 2026-11-27 with 2 shared cores, AMD EPYC, AVX2:
/// processes, bytes, least and most of the medians.
pub const ALL_REDUCES: [(u32, f64, f64, f64); 9] = [
    (2, 1024.0, 0.035, 0.123),
    (4, 1024.0, 0.230, 0.275),
    (8, 1024.0, 0.88, 0.94),
    (2, 1048576.0, 0.71, 0.76),
    (4, 1048576.0, 1.9, 2.0),
    (8, 1048576.0, 7.3, 8.8),
    (2, 67108864.0, 36.0, 37.0),
    (4, 67108864.0, 123.0, 130.0),
    (8, 67108864.0, 325.0, 369.0),
];

/// PyTorch's Gloo beside it, in the same order.
pub const GLOO: [(f64, f64); 9] = [
    (0.9, 1.7),
    (6.4, 6.6),
    (24.0, 25.0),
    (1.6, 3.2),
    (6.6, 8.2),
    (27.0, 28.0),
    (65.0, 91.0),
    (160.0, 186.0),
    (359.0, 401.0),
];

/// A measured throughput.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Such as "H100 SXM" or "CPU Xeon, 1 thread"; what starts with "CPU" is drawn and predicted as one.
    pub device: String,
    pub stage: String,
    pub workers: u32,
    /// Of simulate: images whose styles of all `domains` are finished, per second.
    pub images_per_second: f64,
    /// Side of the square crop; of evaluate the height of an image twice as wide.
    pub crop: u32,
    /// Images per step over all workers; of simulate per data shard.
    pub batch: u32,
    pub precision: String,
    pub date: String,
    #[serde(default = "domains")]
    pub domains: u32,
    #[serde(default = "iterations")]
    pub iterations: u32,
    #[serde(default = "heads")]
    pub heads: u32,
    /// Anything a reader should know.
    #[serde(default)]
    pub note: String,
}

fn domains() -> u32 {
    DOMAINS
}

fn iterations() -> u32 {
    Job::published(Stage::Simulate).iterations
}

fn heads() -> u32 {
    Job::published(Stage::Evaluate).heads
}

impl Point {
    pub fn stage(&self) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.name() == self.stage)
    }

    pub fn on_cpu(&self) -> bool {
        self.device.starts_with("CPU")
    }

    /// What was run, for the model.
    pub fn job(&self) -> Option<Job> {
        let stage = self.stage()?;
        let side = f64::from(self.crop);
        Some(Job {
            stage,
            pixels: if stage == Stage::Evaluate {
                2.0 * side * side
            } else {
                side * side
            },
            batch: self.batch,
            domains: self.domains,
            iterations: self.iterations,
            heads: self.heads,
        })
    }

    fn check(self, line: usize, origin: &str) -> Result<Self, Failure> {
        let sensible = self.images_per_second > 0.0 && self.images_per_second.is_finite();
        let counts = [
            self.workers,
            self.crop,
            self.batch,
            self.domains,
            self.iterations,
            self.heads,
        ];
        if self.stage().is_none() || !sensible || counts.contains(&0) {
            let stages = Stage::ALL.map(Stage::name).join(", ");
            return Err(format!(
                "{origin}, line {line}: a point needs a stage ({stages}) and positive numbers, got {self:?}"
            )
            .into());
        }
        Ok(self)
    }
}

/// The points kept with the program, and those of `file`.
///
/// # Errors
/// When the file is unreadable or a line is no point.
pub fn with_file(file: Option<&Path>) -> Result<Vec<Point>, Failure> {
    let mut points = parse(KEPT, "measured.jsonl")?;
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
        points.extend(parse(&text, &path.display().to_string())?);
    }
    Ok(points)
}

fn parse(text: &str, origin: &str) -> Result<Vec<Point>, Failure> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let point: Point =
                serde_json::from_str(line).map_err(|error| format!("{origin}, line {}: {error}", at + 1))?;
            point.check(at + 1, origin)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_line_and_a_bad_one_is_named() {
        let good = r#"{"device":"H100 SXM","stage":"adapt","workers":8,"images_per_second":900,"crop":768,"batch":64,"precision":"tf32","date":"2026-12-01"}"#;
        let points = parse(&format!("{good}\n\n{good}\n"), "here").unwrap();
        assert_eq!(
            (points.len(), points[0].domains, points[0].on_cpu()),
            (2, 6, false)
        );
        let bad = good.replace("adapt", "adopt");
        let message = parse(&format!("{good}\n{bad}"), "here").unwrap_err().to_string();
        assert!(
            message.starts_with("here, line 2: a point needs a stage"),
            "{message}"
        );
        assert!(parse(&good.replace("900", "0"), "here").is_err());
        assert!(
            parse("{}", "here")
                .unwrap_err()
                .to_string()
                .starts_with("here, line 1: ")
        );
    }
}
