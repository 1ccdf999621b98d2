//! What a person reads of a series of lives.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::fault::Kind;
use crate::life::Verdict;
use crate::recovery::{Alone, Recovery};
use crate::sequence::Sequence;

/// One line per life; what went wrong below it.
#[must_use]
pub fn line(sequence: &Sequence, verdict: &Verdict) -> String {
    let faults: Vec<String> = verdict
        .inflicted
        .iter()
        .map(|one| one.fault.to_string())
        .collect();
    let outcome = if verdict.fault.is_none() {
        "digest equal"
    } else {
        "FAILED"
    };
    let mut text = format!(
        "seed {:<6} {outcome}  {:5.1} s  {} workers{}  {} faults: {}",
        sequence.seed,
        verdict.wall.as_secs_f64(),
        sequence.workers,
        if sequence.wired { ", proxied" } else { "" },
        faults.len(),
        faults.join(", ")
    );
    if let Some(fault) = &verdict.fault {
        let _ = write!(text, "\n  {fault}");
    }
    text
}

/// Median and longest recovery per kind of fault, and what was done without a coordinator.
#[must_use]
pub fn summary(recoveries: &[Recovery], alone: &[Alone]) -> String {
    let mut by_kind: BTreeMap<Kind, Vec<Duration>> = BTreeMap::new();
    for recovery in recoveries {
        by_kind.entry(recovery.kind).or_default().push(recovery.time);
    }
    let mut text = format!(
        "{:<22}{:>7}{:>12}{:>10}\n",
        "fault to next step", "times", "median, s", "max, s"
    );
    for (kind, mut times) in by_kind {
        times.sort_unstable();
        let median = times[times.len() / 2].as_secs_f64();
        let most = times.last().map_or(0.0, Duration::as_secs_f64);
        let _ = writeln!(text, "{kind:<22}{:>7}{median:>12.2}{most:>10.2}", times.len());
    }
    if !alone.is_empty() {
        let steps: u64 = alone.iter().map(|one| one.steps).sum();
        let away: f64 = alone.iter().map(|one| one.away.as_secs_f64()).sum();
        let most = alone.iter().map(|one| one.steps).max().unwrap_or(0);
        let _ = writeln!(
            text,
            "without a coordinator: {steps} steps in {away:.1} s over {} kills, at most {most} at once",
            alone.len()
        );
    }
    text
}
