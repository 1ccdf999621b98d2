//! Parts of the page besides the scores: pictures, curves, times, what identifies the run.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use ulda_files::MOST_IMAGE_BYTES;
use ulda_run::stage::Stage;

use super::chart::{Chart, Drawing, Series};
use super::gather::{ReportData, StageTime};
use crate::durations::duration_text;
use crate::journal::MetricPoint;

pub(super) fn examples(data: &ReportData) -> Markup {
    let pictures: Vec<(&str, String, String)> = data
        .examples
        .iter()
        .filter_map(|example| {
            let bytes = ulda_files::read_file(&example.file, MOST_IMAGE_BYTES).ok()?;
            let name = example.file.file_stem()?.to_string_lossy().into_owned();
            Some((example.set.as_str(), name, STANDARD.encode(bytes)))
        })
        .collect();
    if pictures.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Examples" }
        @for (set, name, encoded) in &pictures {
            figure.strip.scroll {
                div.inner {
                    (panel_heads(data))
                    img alt=(format!("{set}, {name}: {}", data.panels().join(", "))) src=(format!("data:image/png;base64,{encoded}"));
                    figcaption.note { (set) " · " (name) }
                }
            }
        }
    }
}

/// Names above the panels of an example strip.
pub(crate) fn panel_heads(data: &ReportData) -> Markup {
    html! { div.heads { @for panel in data.panels() { span { (panel) } } } }
}

fn points(values: &[MetricPoint]) -> Vec<(f64, Option<f64>)> {
    values
        .iter()
        .map(|point| (point.step as f64, point.value))
        .collect()
}

/// "scene" → "L_scene", as METHOD-like texts name the terms; a total keeps its name.
fn loss_title(name: &str) -> String {
    if name == "total" {
        "total loss".to_owned()
    } else {
        format!("L_{name}")
    }
}

/// Curves with fewer points than this are drawn point by point.
const FEW: usize = 30;

/// Every loss and learning rate of every stage.
pub(crate) fn curves(data: &ReportData) -> Markup {
    html! {
        @for (stage, named) in &data.curves {
            @let charts: Vec<Chart> = charts_of(data, *stage, named);
            @if !charts.is_empty() {
                h2 { (stage_title(*stage)) }
                div.grid { @for chart in &charts { (chart.render()) } }
            }
        }
    }
}

fn charts_of(data: &ReportData, stage: Stage, named: &BTreeMap<String, Vec<MetricPoint>>) -> Vec<Chart> {
    let chart = |title: String, values: &[MetricPoint], many: Drawing| Chart {
        series: vec![Series {
            name: title.clone(),
            points: points(values),
        }],
        title,
        x_label: x_label(stage),
        drawing: if values.len() < FEW { Drawing::Marked } else { many },
    };
    // Validation scores have a chart of their own.
    let losses = named
        .iter()
        .filter_map(|(name, values)| Some((name.strip_prefix("loss.")?, values)));
    let losses = losses.filter(|(name, _)| !name.starts_with("validation"));
    let mut charts: Vec<Chart> = losses
        .map(|(name, values)| chart(loss_title(name), values, Drawing::Smoothed))
        .collect();
    charts.extend(validation(data, stage));
    let rates = named
        .iter()
        .filter_map(|(name, values)| Some((name.strip_prefix("lr.")?, values)));
    charts
        .extend(rates.map(|(name, values)| chart(format!("learning rate, {name}"), values, Drawing::Plain)));
    charts
}

/// mIoU on the source while a head trains.
fn validation(data: &ReportData, stage: Stage) -> Option<Chart> {
    let points = data.validation.iter().filter(|point| point.place.stage == stage);
    let points: Vec<_> = points
        .map(|point| (point.place.step as f64, point.mean_iou.map(|mean| mean * 100.0)))
        .collect();
    (!points.is_empty()).then(|| Chart {
        title: "mIoU on the source, %".into(),
        x_label: x_label(stage),
        series: vec![Series {
            name: "validation".into(),
            points,
        }],
        drawing: Drawing::Marked,
    })
}

fn stage_title(stage: Stage) -> &'static str {
    match stage {
        Stage::Pretrain => "Stage 0 · source training",
        Stage::Simulate => "Stage 1 · simulation of the domains",
        Stage::Adapt => "Stage 2 · adaptation",
        Stage::Evaluate => "Evaluation",
    }
}

fn x_label(stage: Stage) -> String {
    match stage {
        Stage::Simulate => "round (one batch with all its iterations)".into(),
        Stage::Pretrain | Stage::Adapt | Stage::Evaluate => "step".into(),
    }
}

pub(super) fn times(data: &ReportData) -> Markup {
    if data
        .stages
        .iter()
        .all(|stage| stage.seconds.is_none() && stage.phases.is_empty())
    {
        return html! {};
    }
    html! {
        h2 { "Where the time went" }
        div.card { @for stage in &data.stages { (stage_time(stage)) } }
        p.note { "Wall time per stage; the bar is the working time of all workers by phase." }
    }
}

fn stage_time(stage: &StageTime) -> Markup {
    let total: f64 = stage.phases.iter().map(|phase| phase.seconds).sum();
    let text = |seconds: f64| duration_text(Duration::from_secs_f64(seconds.max(0.0)));
    html! {
        div.stage {
            b { (stage.stage.name()) }
            span.sub {
                (stage.steps) @if stage.steps == 1 { " step" } @else { " steps" }
                @if let Some(seconds) = stage.seconds { " in " (text(seconds)) }
                @if let Some(rate) = stage.images_per_second() { " · " (format!("{rate:.2}")) " images/s" }
            }
            @if total > 0.0 {
                div.stack {
                    @for (index, phase) in stage.phases.iter().enumerate() {
                        i.{ "s" (index % 6) } style=(format!("width:{:.2}%", phase.seconds / total * 100.0))
                            title=(format!("{} {}", phase.name, text(phase.seconds))) {}
                    }
                }
                div {
                    @for (index, phase) in stage.phases.iter().enumerate() {
                        span.square.{ "s" (index % 6) } {
                            (phase.name) " " (text(phase.seconds)) " (" (format!("{:.0}", phase.seconds / total * 100.0)) " %)"
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn details(data: &ReportData) -> Markup {
    html! {
        h2 { "The run" }
        div.card {
            @if !data.domains.is_empty() {
                h3 style="margin-top:0" { "Prompts" }
                dl { @for domain in &data.domains { dt { (domain.name) } dd { (domain.prompt) } } }
            }
            h3 { "Digests" }
            dl {
                @for (name, digest) in &data.digests { dt { (name) } dd { code { (digest) } } }
                @for stage in &data.stages {
                    @if let Some(digest) = stage.digest.as_ref().filter(|digest| !digest.is_empty()) {
                        dt { "state after " (stage.stage.name()) } dd { code { (digest) } }
                    }
                }
            }
            h3 { "Software" }
            dl { @for (name, version) in &data.versions { dt { (name) } dd { (version) } } }
        }
        details.card style="margin-top:14px" {
            summary { "Resolved configuration" }
            pre { (data.config_toml) }
        }
    }
}
