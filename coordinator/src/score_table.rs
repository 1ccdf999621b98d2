//! The table at the end of a run, in the style of mmsegmentation's logs.

use std::fmt::Write as _;

use ulda_dataset::Scores;
use ulda_run::Classes;

/// Per-class IoU and accuracy of one set for one or two models, then aAcc, mIoU, mAcc, in percent.
///
/// `models` are (name, scores of the classes), the reference first.
#[must_use]
pub fn score_table(set: &str, classes: &Classes, models: &[(&str, &Scores)]) -> String {
    let mut header = vec!["Class".to_owned()];
    for (name, _) in models {
        header.push(format!("IoU {name}"));
        header.push(format!("Acc {name}"));
    }
    let rows: Vec<Vec<String>> = classes
        .iter()
        .enumerate()
        .map(|(class, of)| {
            let mut row = vec![of.name.to_string()];
            for (_, scores) in models {
                row.push(percent(scores.iou(class)));
                row.push(percent(scores.accuracy(class)));
            }
            row
        })
        .collect();
    let mut text = format!("per class results, {set}:\n");
    frame(&mut text, &header, &rows);
    let summary: Vec<Vec<String>> = models
        .iter()
        .map(|(name, scores)| {
            vec![
                (*name).to_owned(),
                percent(scores.overall_accuracy),
                percent(scores.mean_iou),
                percent(scores.mean_accuracy),
            ]
        })
        .collect();
    text.push_str("summary:\n");
    frame(
        &mut text,
        &["Model", "aAcc", "mIoU", "mAcc"].map(str::to_owned),
        &summary,
    );
    text
}

/// mIoU of every model on every set, in percent: the last thing a run prints. Rows are sets, `models` names the columns;
/// `means` holds each model's mean over several sets, in the row `mean_name`, and its gain against the reference; empty
/// where there are no such rows.
#[must_use]
pub fn overview_table(
    models: &[&str],
    sets: &[(&str, Vec<Option<f64>>)],
    mean_name: &str,
    means: &[(Option<f64>, Option<f64>)],
) -> String {
    let row = |name: &str, cells: Vec<String>| [vec![name.to_owned()], cells].concat();
    let header = row("mIoU", models.iter().map(|&model| model.to_owned()).collect());
    let mut rows: Vec<Vec<String>> = sets
        .iter()
        .map(|(set, scores)| row(set, scores.iter().map(|&score| percent(score)).collect()))
        .collect();
    if !means.is_empty() {
        rows.push(row(
            mean_name,
            means.iter().map(|(mean, _)| percent(*mean)).collect(),
        ));
        // Without a reference nothing has a gain.
        if means.iter().any(|(_, gain)| gain.is_some()) {
            let gains = means.iter().map(|(_, gain)| difference(*gain)).collect();
            rows.push(row("gain", gains));
        }
    }
    let mut text = String::new();
    frame(&mut text, &header, &rows);
    text
}

/// Percent with two decimals, as the papers print it; "nan" where there is none.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "nan".to_owned(), |share| format!("{:.2}", share * 100.0))
}

/// Percent points with their sign; "nan" where there is none.
pub(crate) fn difference(share: Option<f64>) -> String {
    share.map_or_else(|| "nan".to_owned(), |share| format!("{:+.2}", share * 100.0))
}

/// A table in a frame; the first column starts at its left, the others end at their right.
pub(crate) fn frame(text: &mut String, header: &[String], rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            rows.iter()
                .chain([&header.to_vec()])
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let rule: String = widths
        .iter()
        .map(|width| format!("+{}", "-".repeat(width + 2)))
        .collect::<String>()
        + "+\n";
    let line = |row: &[String]| -> String {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column == 0 {
                    format!("| {cell:<width$} ")
                } else {
                    format!("| {cell:>width$} ")
                }
            })
            .collect();
        cells.concat() + "|\n"
    };
    text.push_str(&rule);
    text.push_str(&line(header));
    text.push_str(&rule);
    for row in rows {
        let _ = write!(text, "{}", line(row));
    }
    text.push_str(&rule);
}
