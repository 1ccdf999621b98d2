//! mIoU of every evaluation set, source-only beside adapted and, where validation found one, the best adapted.

use maud::{Markup, html};

use crate::report::{ReportData, SetScores, difference, percent};

pub(super) fn scores(data: &ReportData) -> Markup {
    if data.sets.is_empty() {
        return html! {};
    }
    html! {
        h2 { "mIoU by domain" }
        div.card.compare { @for set in &data.sets { (set_card(data, set)) } }
    }
}

fn set_card(data: &ReportData, set: &SetScores) -> Markup {
    let prompt = data
        .domains
        .iter()
        .find(|domain| domain.name.as_str() == set.set)
        .map(|domain| &domain.prompt);
    html! {
        div {
            h3 { span { (set.set) } @if data.adapts() && data.source_model { (difference(set.gain("adapted"))) } }
            @if let Some(prompt) = prompt { div.note { "“" (prompt) "”" } }
            @for (model, kind) in [("source-only", "source"), ("adapted", "adapted"), ("adapted-best", "adapted")] {
                @let mean = set.model(model).and_then(|model| model.scores.mean_iou);
                @if set.model(model).is_some() { div.row {
                    span { (model) }
                    div.(kind) { progress max="1" value=(format!("{:.4}", mean.unwrap_or(0.0))) aria-label=(format!("mIoU of {model} on {}", set.set)) {} }
                    span { (percent(mean)) }
                } }
            }
        }
    }
}
