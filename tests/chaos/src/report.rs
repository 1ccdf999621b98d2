//! What a person reads of a series of lives.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::fault::Kind;
use crate::life::Verdict;
use crate::recovery::{Alone, Inflicted, Recovery};
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
        "seed {:<6} {outcome}  {:5.1} s  {} workers, {}  {} faults: {}",
        sequence.seed,
        verdict.wall.as_secs_f64(),
        sequence.workers,
        sequence.site,
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
pub fn summary(recoveries: &[Recovery], inflicted: &[Inflicted]) -> String {
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
    let alone: Vec<(Alone, i64)> = inflicted
        .iter()
        .filter_map(|one| Some((one.alone?, one.over_at - one.at)))
        .collect();
    if !alone.is_empty() {
        let steps: u64 = alone.iter().map(|(alone, _)| alone.steps).sum();
        let away = alone.iter().map(|(_, millis)| *millis as f64).sum::<f64>() / 1e3;
        let expected = alone.iter().filter(|(alone, _)| alone.expected).count();
        let _ = writeln!(
            text,
            "without a coordinator, {} times, {away:.1} s in all: checkpoints grew by {steps} steps, and in each of the \
             {expected} times that a generation at work was left alone for a second",
            alone.len()
        );
    }
    text
}
