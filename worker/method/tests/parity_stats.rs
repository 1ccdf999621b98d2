//! Statistics and the style module against `stats.safetensors`; learning rates against stage 2's record.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use tch::Tensor;
use ulda_golden::{Fixture, Report, Tolerance};
use ulda_method::optim::PolyDecay;
use ulda_method::pin::Style;
use ulda_method::stats::Stats;

const LIMIT: Tolerance = Tolerance::OfMax(5e-5);

#[test]
fn statistics_and_style_module() {
    let golden = Fixture::load("stats");
    let mut report = Report::new("stats");
    let feature = golden.f32("feat");
    let stats = Stats::of(&feature).unwrap();
    report.compare("stats", "mean", &stats.mean, &golden.f32("mean"), LIMIT);
    report.compare("stats", "std", &stats.std, &golden.f32("std"), LIMIT);

    let mut style = Style::from_content(&stats).unwrap();
    report.compare(
        "style module",
        "init mean",
        &style.mean,
        &golden.f32("pin.init_style_mean"),
        LIMIT,
    );
    report.compare(
        "style module",
        "init std",
        &style.std,
        &golden.f32("pin.init_style_std"),
        LIMIT,
    );
    let content_norm = stats.normalise(&feature).unwrap();
    report.compare(
        "style module",
        "content norm",
        &content_norm,
        &golden.f32("pin.content_norm"),
        LIMIT,
    );
    let started = style.forward(&content_norm).unwrap();
    report.compare(
        "style module",
        "forward at start",
        &started,
        &golden.f32("pin.forward_init"),
        LIMIT,
    );

    let moved = |value: &Tensor, delta: &str| value + golden.f32(delta);
    let mean = moved(&style.mean, "pin.delta_mean");
    let std = moved(&style.std, "pin.delta_std");
    report.compare(
        "style module",
        "perturbed mean",
        &mean,
        &golden.f32("pin.style_mean_perturbed"),
        LIMIT,
    );
    report.compare(
        "style module",
        "perturbed std",
        &std,
        &golden.f32("pin.style_std_perturbed"),
        LIMIT,
    );
    let mut style = Style::from_values(&mean, &std).unwrap();
    assert!(style.std.min().double_value(&[]) < 0.0);
    let styled = style.forward(&content_norm).unwrap();
    report.compare(
        "style module",
        "clamped std",
        &style.std,
        &golden.f32("pin.style_std_after_forward"),
        LIMIT,
    );
    report.compare(
        "style module",
        "forward",
        &styled,
        &golden.f32("pin.forward_perturbed"),
        LIMIT,
    );
    let gradient = Style::backward(&content_norm, &styled, &golden.f32("pin.out_weight")).unwrap();
    report.compare(
        "style module",
        "grad mean",
        &gradient.mean,
        &golden.f32("pin.grad_style_mean"),
        LIMIT,
    );
    report.compare(
        "style module",
        "grad std",
        &gradient.std,
        &golden.f32("pin.grad_style_std"),
        LIMIT,
    );
    report.finish();
}

#[test]
fn learning_rates() {
    for fixture in ["stage2", "poda_stage2"] {
        let settings = Fixture::load(fixture).json();
        let total = settings["hyper"]["total_itrs"].as_u64().unwrap();
        let mut report = Report::new(fixture);
        for (list, first_step) in [("lr_used", 1), ("lr_after_scheduler_step", 2)] {
            for (at, recorded) in settings[list].as_array().unwrap().iter().enumerate() {
                let recorded: Vec<f64> = recorded
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|lr| lr.as_f64().unwrap())
                    .collect();
                let ours: Vec<f64> = settings["param_groups_at_start"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|group| {
                        PolyDecay::published(group["lr"].as_f64().unwrap(), total).at(at as u64 + first_step)
                    })
                    .collect();
                report.compare_values(
                    "learning rates",
                    list,
                    &ours,
                    &recorded,
                    Tolerance::Absolute(1e-12),
                );
            }
        }
        report.finish();
    }
}
