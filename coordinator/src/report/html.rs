//! The report as one HTML file that needs nothing else: styles, charts and pictures are inside.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use ulda_run::spec::{EndAfter, StyleSource};

use super::clip_note::clip_banner;
use super::dates::date_text;
use super::gather::{ReportData, SOURCE_ONLY};
use super::sections::{curves, details, examples, times};
use super::styles::styles;
use super::tables::MEAN_OF_TARGETS;
use crate::durations::duration_text;

/// Style sheet of the report; the status page builds on it.
pub(crate) const STYLE: &str = include_str!("style.css");

/// Renders the whole page. Example pictures that cannot be read are left out.
#[must_use]
pub fn render(data: &ReportData) -> String {
    let main = html! {
        (head(data))
        (overview(data))
        (examples(data))
        (classes(data))
        (styles(data))
        (curves(data))
        (times(data))
        (details(data))
    };
    whole_page(&format!("{} · ULDA report", data.run), &main)
}

/// A page that needs no other file, with `main` in it.
pub(crate) fn whole_page(title: &str, main: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (main) } }
        }
    };
    page.into_string()
}

fn head(data: &ReportData) -> Markup {
    let took = data
        .began_at
        .zip(data.last_at)
        .map(|(began, last)| std::time::Duration::from_millis((last - began).unsigned_abs()));
    html! {
        h1 { (data.run) }
        p.sub { "Unified language-driven zero-shot domain adaptation: " (subject(data)) }
        span.chip.(data.standing.name()) { (data.standing.name()) }
        @if let Some(began) = data.began_at { span.chip { (date_text(began)) } }
        @if let Some(took) = took { span.chip { (duration_text(took)) } }
        span.chip { (data.shards) @if data.shards == 1 { " shard" } @else { " shards" } }
        @if let Some(workers) = &data.workers { span.chip { (workers) @if workers == "1" { " worker" } @else { " workers" } } }
        @if data.standing.name() != "finished" { p { (data.standing.why()) } }
        (clip_banner(data.clip.training))
    }
}

fn subject(data: &ReportData) -> Markup {
    let stage = match data.end_after {
        EndAfter::Pretrain => "pretrain",
        EndAfter::Simulate => "simulate",
        EndAfter::Adapt if data.given_model => {
            return html! { "scores of an adapted model that the run was given; it trains none." };
        }
        EndAfter::Adapt => {
            return html! {
                "one segmentation model for " (data.domains.len())
                @if data.domains.len() == 1 { " domain" } @else { " domains" } " described in words"
            };
        }
    };
    html! { "the source-only segmentation model. This run ends after " (stage) ", so it has no adapted model." }
}

/// "53.31", as the papers print it.
pub(crate) fn percent(share: Option<f64>) -> Markup {
    match share {
        Some(share) => html! { (format!("{:.2}", share * 100.0)) },
        None => html! { span.none title="occurs in neither truth nor prediction" { "–" } },
    }
}

/// Percent points with their sign.
pub(crate) fn difference(points: Option<f64>) -> Markup {
    let Some(points) = points.map(|points| points * 100.0) else {
        return html! { span.none { "–" } };
    };
    let kind = if points >= 0.005 {
        "up"
    } else if points <= -0.005 {
        "down"
    } else {
        "none"
    };
    html! { span class=(kind) { (format!("{points:+.2}")) } }
}

fn overview(data: &ReportData) -> Markup {
    if data.sets.is_empty() {
        return html! { h2 { "Scores" } p.note { "No model of this run has been evaluated yet." } };
    }
    let average = |model: &str| data.target_means.iter().find(|mean| mean.model == model);
    let mean_iou = |model: &str| average(model).and_then(|mean| mean.mean_iou);
    let gain = |model: &str| average(model).and_then(|mean| mean.gain);
    let bar = |share: Option<f64>, kind: &str| {
        html! {
            td.bar.(kind) {
                (percent(share))
                @if let Some(share) = share { i style=(format!("width:{:.1}%", share * 100.0)) {} }
            }
        }
    };
    let (adapted, source) = (adapted_columns(data), data.source_model);
    html! {
        h2 { "mIoU by domain" }
        div.card.scroll {
            table.big {
                tr {
                    th { "Evaluation set" } th { "Images" } @if source { th { "Source-only" } }
                    @for (_, title) in &adapted { th { (title) } @if source { th { "Gain" } } }
                }
                @for set in &data.sets {
                    tr {
                        td { (set.set) @if let Some(domain) = data.domains.iter().find(|domain| domain.name.as_str() == set.set) { div.note { "“" (domain.prompt) "”" } } }
                        td { (set.images) }
                        @if source { (bar(set.mean_iou(SOURCE_ONLY), "source")) }
                        @for (model, _) in &adapted {
                            (bar(set.mean_iou(model), ""))
                            @if source { td { (difference(set.gain(model))) } }
                        }
                    }
                }
                @if !data.target_means.is_empty() {
                    tr.total {
                        td { (MEAN_OF_TARGETS) } td {}
                        @if source { td { (percent(mean_iou(SOURCE_ONLY))) } }
                        @for (model, _) in &adapted {
                            td { (percent(mean_iou(model))) }
                            @if source { td { (difference(gain(model))) } }
                        }
                    }
                }
            }
        }
        p.note { "Percent. Mean over the classes that occur, from one confusion matrix summed over all images. Target sets are those "
            "whose images are not the source's. " (styles_note(data)) }
    }
}

/// What the run read of its target domains.
fn styles_note(data: &ReportData) -> &'static str {
    match data.styles {
        _ if data.given_model => "This run trained nothing.",
        _ if data.end_after == EndAfter::Pretrain => "No image of a target domain was read in training.",
        StyleSource::Learned if data.domains.iter().any(|domain| !domain.images.is_empty()) => {
            "The images that the domains name were compared with the learned styles; nothing was trained on them."
        }
        StyleSource::Learned => "No image of a target domain was read in training.",
        StyleSource::Content => {
            "Control: the styles are the statistics of the source images themselves, not learned from the prompts."
        }
        StyleSource::Images => {
            "The styles are the statistics of images that the domains name, not learned from the prompts."
        }
        StyleSource::Bank => "The styles come from a bank that the run was given.",
    }
}

/// The adapted models of the run with their titles; the best one on the source only where validation found one.
fn adapted_columns(data: &ReportData) -> Vec<(&'static str, &'static str)> {
    let evaluated = |model: &str| data.sets.iter().any(|set| set.model(model).is_some());
    let columns = [("adapted", "Adapted"), ("adapted-best", "Best on source")];
    columns
        .into_iter()
        .filter(|(model, _)| evaluated(model))
        .collect()
}

fn classes(data: &ReportData) -> Markup {
    if data.sets.is_empty() {
        return html! {};
    }
    let (adapts, has_source) = (data.adapts(), data.source_model);
    let columns = if adapts && has_source { "3" } else { "1" };
    let cells = |source: Option<f64>, adapted: Option<f64>| {
        html! {
            @if has_source { td.set { (percent(source)) } }
            @if adapts {
                td { (percent(adapted)) }
                @if has_source { td { (difference(adapted.zip(source).map(|(one, other)| one - other))) } }
            }
        }
    };
    html! {
        h2 { "IoU by class" }
        div.card.scroll {
            table {
                tr { th {} @for set in &data.sets { th.set.edge colspan=(columns) { (set.set) } } }
                tr { th { "Class" } @for _ in &data.sets {
                    @if has_source { th.edge { "Source" } }
                    @if adapts { th { "Adapted" } @if has_source { th { "Gain" } } }
                } }
                @for (index, class) in data.classes.iter().enumerate() {
                    tr {
                        td { span.swatch style=(format!("background:rgb({},{},{})", class.colour[0], class.colour[1], class.colour[2])) {} (class.name) }
                        @for set in &data.sets {
                            @let of = |name: &str| set.model(name).and_then(|model| model.scores.iou(index));
                            (cells(of(SOURCE_ONLY), of("adapted")))
                        }
                    }
                }
                @for (name, pick) in summaries() {
                    tr class=(if name == "mIoU" { "total" } else { "" }) {
                        td { (name) }
                        @for set in &data.sets {
                            @let of = |model: &str| set.model(model).and_then(|model| pick(&model.scores));
                            (cells(of(SOURCE_ONLY), of("adapted")))
                        }
                    }
                }
            }
        }
        p.note { "Accuracies per class are in scores.csv, confusion matrices in report.json." }
    }
}

type Pick = fn(&ulda_dataset::Scores) -> Option<f64>;

fn summaries() -> [(&'static str, Pick); 4] {
    [
        ("mIoU", |scores| scores.mean_iou),
        ("mAcc", |scores| scores.mean_accuracy),
        ("aAcc", |scores| scores.overall_accuracy),
        ("FreqW IoU", |scores| Some(scores.freq_weighted_accuracy)),
    ]
}
