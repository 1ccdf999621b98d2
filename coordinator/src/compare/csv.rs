//! A comparison as CSV: one line per number, shares in 0..1, empty where there is none.

use super::{Comparison, Estimate};

const HEADER: [&str; 8] = [
    "row",
    "method",
    "model",
    "reference",
    "seed",
    "set",
    "miou",
    "spread",
];

/// Rows `seed` hold the score of one seed, rows `score` mean and standard deviation over the seeds, rows `difference` mean
/// and standard error of the paired differences to the reference.
///
/// # Errors
/// Never for the values of a comparison; the writer's error is passed on.
pub fn csv(comparison: &Comparison) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = HEADER.iter().chain(&["seeds"]);
    writer.write_record(header)?;
    let share = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let mut line = |kind: [&str; 5], set: &str, value: Option<f64>, spread: Option<f64>, seeds: String| {
        let numbers = [share(value), share(spread), seeds];
        let fields = kind
            .into_iter()
            .chain([set])
            .chain(numbers.iter().map(String::as_str));
        writer.write_record(fields)
    };
    for method in &comparison.methods {
        for seed in &method.seeds {
            let number = seed.seed.to_string();
            let kind = ["seed", &method.label, &method.model, "", &number];
            for (set, value) in comparison.columns.iter().zip(&seed.values) {
                line(kind, set, *value, None, String::new())?;
            }
        }
    }
    let mut estimates = |kind: [&str; 5], values: &[Option<Estimate>]| {
        for (set, value) in comparison.columns.iter().zip(values) {
            let count = value.map_or(0, |value| value.count).to_string();
            let mean = value.map(|value| value.mean);
            line(kind, set, mean, value.and_then(|value| value.spread), count)?;
        }
        Ok::<_, csv::Error>(())
    };
    for method in &comparison.methods {
        estimates(["score", &method.label, &method.model, "", ""], &method.estimates)?;
    }
    for method in &comparison.differences {
        let model = comparison
            .methods
            .iter()
            .find(|other| other.label == method.label);
        let model = model.map_or("", |method| method.model.as_str());
        let kind = ["difference", &method.label, model, &comparison.reference, ""];
        estimates(kind, &method.estimates)?;
    }
    let bytes = writer.into_inner().map_err(|cause| cause.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
