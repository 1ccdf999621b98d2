//! A comparison as one HTML file that needs nothing else, in the style of the report.

use maud::{Markup, html};

use super::text::cell;
use super::{Comparison, Estimate};
use crate::report::{clip_banner, percent, whole_page};
use crate::score_table;

/// Renders the whole page.
#[must_use]
pub fn html(comparison: &Comparison) -> String {
    let main = html! {
        (head(comparison))
        (scores(comparison))
        @if !comparison.differences.is_empty() { (differences(comparison)) }
        (seeds(comparison))
    };
    whole_page("ULDA comparison", &main)
}

fn head(comparison: &Comparison) -> Markup {
    let runs = comparison.methods.iter().flat_map(|method| &method.seeds);
    let runs: usize = runs.map(|seed| seed.runs.len()).sum();
    html! {
        h1 { "Comparison" }
        p.sub { "Unified language-driven zero-shot domain adaptation: "
            (comparison.methods.len()) @if comparison.methods.len() == 1 { " method, " } @else { " methods, " }
            (runs) @if runs == 1 { " run" } @else { " runs" } }
        @for (training, labels) in &comparison.clip {
            @if comparison.clip.len() > 1 { p.note { (labels.iter().cloned().collect::<Vec<_>>().join(", ")) ":" } }
            (clip_banner(*training))
        }
        @if !comparison.warnings.is_empty() {
            div.banner role="note" {
                strong { "Runs that differ" }
                @for warning in &comparison.warnings { p { (warning) } }
            }
        }
    }
}

fn scores(comparison: &Comparison) -> Markup {
    html! {
        h2 { "mIoU by method" }
        div.card.scroll {
            table.big {
                tr { th { "Method" } th { "Model" } @for column in &comparison.columns { th { (column) } } th { "Seeds" } }
                @for method in &comparison.methods {
                    tr {
                        td { (method.label) } td { (method.model) }
                        @for estimate in &method.estimates { td { (cell(*estimate, score_table::percent, method.seeds.len())) } }
                        td { (method.seeds.len()) }
                    }
                }
            }
        }
        p.note { "Percent; mean ± standard deviation over seeds. Target sets are those whose images are not the source's." }
    }
}

fn differences(comparison: &Comparison) -> Markup {
    html! {
        h2 { "Above " (comparison.reference) }
        div.card.scroll {
            table.big {
                tr { th { "Method" } @for column in &comparison.columns { th { (column) } } th { "Common seeds" } }
                @for method in &comparison.differences {
                    tr {
                        td { (method.label) }
                        @for estimate in &method.estimates { td { (gain(*estimate, method.common_seeds)) } }
                        td { (method.common_seeds) }
                    }
                }
            }
        }
        p.note { "Percent points; mean ± standard error of the differences over the seeds that both have." }
    }
}

/// Coloured where the mean is more than its standard error away from none.
fn gain(estimate: Option<Estimate>, seeds: usize) -> Markup {
    let clear = estimate.filter(|estimate| estimate.spread.is_some_and(|error| estimate.mean.abs() > error));
    let kind = match clear {
        Some(estimate) if estimate.mean > 0.0 => "up",
        Some(_) => "down",
        None => "none",
    };
    html! { span class=(kind) { (cell(estimate, score_table::difference, seeds)) } }
}

fn seeds(comparison: &Comparison) -> Markup {
    html! {
        h2 { "mIoU by seed" }
        div.card.scroll {
            table {
                tr { th { "Method" } th { "Seed" } @for column in &comparison.columns { th { (column) } } th { "Runs" } }
                @for method in &comparison.methods {
                    @for seed in &method.seeds {
                        tr {
                            td { (method.label) } td { (seed.seed) }
                            @for value in &seed.values { td { (percent(*value)) } }
                            td { @for run in &seed.runs { div { (run.display()) } } }
                        }
                    }
                }
            }
        }
    }
}
