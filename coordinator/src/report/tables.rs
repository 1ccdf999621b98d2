//! Scores as tables: for the terminal and as CSV.

use super::ReportError;
use super::clip_note::clip_note;
use super::gather::ReportData;
use crate::score_table::{overview_table, score_table};

/// What the row or column of the mean over the target sets is called.
pub(crate) const MEAN_OF_TARGETS: &str = "mean of targets";

/// One table per evaluation set, source-only beside adapted; and a note on the CLIP weights.
#[must_use]
pub fn terminal_tables(data: &ReportData) -> String {
    let mut text = String::new();
    for set in &data.sets {
        let models: Vec<_> = set
            .models
            .iter()
            .map(|model| (model.model.as_str(), &model.scores))
            .collect();
        text.push_str(&score_table(&set.set, &data.classes, &models));
        text.push('\n');
    }
    text.push_str(&overview(data));
    if !data.adapts() {
        text.push_str("note: this run ends before adapt; it has no adapted model\n");
    }
    if let Some(note) = clip_note(data.clip.training) {
        text.push_str(&format!("{note}\n"));
    }
    text
}

fn overview(data: &ReportData) -> String {
    let Some(first) = data.sets.first() else {
        return String::new();
    };
    let models: Vec<&str> = first.models.iter().map(|model| model.model.as_str()).collect();
    let sets: Vec<_> = data
        .sets
        .iter()
        .map(|set| {
            let scores = models.iter().map(|name| set.mean_iou(name));
            (set.set.as_str(), scores.collect())
        })
        .collect();
    let of = |name: &str| data.target_means.iter().find(|mean| mean.model == name);
    let means: Vec<_> = match data.target_means[..] {
        [] => Vec::new(),
        _ => models
            .iter()
            .map(|name| of(name).map_or((None, None), |mean| (mean.mean_iou, mean.gain)))
            .collect(),
    };
    overview_table(&models, &sets, MEAN_OF_TARGETS, &means)
}

/// One line per model, set and class, then mIoU, mAcc and aAcc; last, each model's mean mIoU over the target sets and its
/// gain against the source-only model. Shares in 0..1, empty where undefined.
///
/// # Errors
/// Never for the values a report holds; the writer's error is passed on.
pub fn scores_csv(data: &ReportData) -> Result<Vec<u8>, ReportError> {
    let csv = |source| ReportError::Csv { source };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(["model", "set", "class", "iou", "accuracy"])
        .map_err(csv)?;
    let text = |share: Option<f64>| share.map_or_else(String::new, |share| share.to_string());
    for set in &data.sets {
        for model in &set.models {
            let scores = &model.scores;
            let mut line = |class: &str, iou: String, accuracy: String| {
                writer
                    .write_record([model.model.as_str(), &set.set, class, &iou, &accuracy])
                    .map_err(csv)
            };
            for (index, class) in data.classes.iter().enumerate() {
                line(&class.name, text(scores.iou(index)), text(scores.accuracy(index)))?;
            }
            line("mIoU", text(scores.mean_iou), String::new())?;
            line("mAcc", String::new(), text(scores.mean_accuracy))?;
            line("aAcc", String::new(), text(scores.overall_accuracy))?;
        }
    }
    for mean in &data.target_means {
        for (what, value) in [("mIoU", mean.mean_iou), ("mIoU gain", mean.gain)] {
            writer
                .write_record([&mean.model, MEAN_OF_TARGETS, what, &text(value), ""])
                .map_err(csv)?;
        }
    }
    writer
        .into_inner()
        .map_err(|cause| csv(cause.into_error().into()))
}
