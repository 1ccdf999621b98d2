//! A comparison for a terminal: percent with two decimals.

use super::{Comparison, Estimate};
use crate::report::clip_note;
use crate::score_table::{difference, frame, percent};

/// Whether scores of single seeds are shown as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedRows {
    Shown,
    Hidden,
}

/// The comparison as tables, and what its CLIP weights mean for the scores.
#[must_use]
pub fn text(comparison: &Comparison, seed_rows: SeedRows) -> String {
    let mut text = "mIoU in percent, mean ± standard deviation over seeds:\n".to_owned();
    let header = header(&["Method", "Model"], comparison, &["seeds"]);
    frame(&mut text, &header, &score_rows(comparison));
    if !comparison.differences.is_empty() {
        text.push_str(&format!(
            "above `{}` in percent points, mean ± standard error over common seeds:\n",
            comparison.reference
        ));
        frame(
            &mut text,
            &difference_header(comparison),
            &difference_rows(comparison),
        );
    }
    if seed_rows == SeedRows::Shown {
        text.push_str("mIoU in percent by seed:\n");
        frame(&mut text, &seed_header(comparison), &rows_of_seeds(comparison));
    }
    let mixed = comparison.clip.len() > 1;
    for (training, labels) in &comparison.clip {
        if let Some(note) = clip_note(*training) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let whose = if mixed {
                format!(" ({})", labels.join(", "))
            } else {
                String::new()
            };
            text.push_str(&format!("{note}{whose}\n"));
        }
    }
    text
}

fn header(before: &[&str], comparison: &Comparison, after: &[&str]) -> Vec<String> {
    let columns = comparison.columns.iter().map(String::as_str);
    let all = before.iter().copied().chain(columns).chain(after.iter().copied());
    all.map(str::to_owned).collect()
}

fn difference_header(comparison: &Comparison) -> Vec<String> {
    header(&["Method"], comparison, &["common seeds"])
}

fn seed_header(comparison: &Comparison) -> Vec<String> {
    header(&["Method", "seed"], comparison, &[])
}

fn score_rows(comparison: &Comparison) -> Vec<Vec<String>> {
    let row = |method: &super::MethodScores| {
        let mut row = vec![method.label.clone(), method.model.clone()];
        let cells = method.estimates.iter();
        row.extend(cells.map(|estimate| cell(*estimate, percent, method.seeds.len())));
        row.push(method.seeds.len().to_string());
        row
    };
    comparison.methods.iter().map(row).collect()
}

fn difference_rows(comparison: &Comparison) -> Vec<Vec<String>> {
    let row = |method: &super::MethodDifferences| {
        let mut row = vec![method.label.clone()];
        let cells = method.estimates.iter();
        row.extend(cells.map(|estimate| cell(*estimate, difference, method.common_seeds)));
        row.push(method.common_seeds.to_string());
        row
    };
    comparison.differences.iter().map(row).collect()
}

fn rows_of_seeds(comparison: &Comparison) -> Vec<Vec<String>> {
    let rows = comparison.methods.iter().flat_map(|method| {
        method.seeds.iter().map(|seed| {
            let mut row = vec![method.label.clone(), seed.seed.to_string()];
            row.extend(seed.values.iter().map(|value| percent(*value)));
            row
        })
    });
    rows.collect()
}

/// "53.31 ± 0.42", with the number of seeds where not all of them have a value.
pub(super) fn cell(estimate: Option<Estimate>, show: fn(Option<f64>) -> String, seeds: usize) -> String {
    let Some(Estimate { mean, spread, count }) = estimate else {
        return show(None);
    };
    let mut cell = show(Some(mean));
    if let Some(spread) = spread {
        cell.push_str(&format!(" ± {}", percent(Some(spread))));
    }
    if count != seeds {
        cell.push_str(&format!(" ({count} of {seeds})"));
    }
    cell
}
