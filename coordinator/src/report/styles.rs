//! Health of the learned styles, as a table.

use maud::{Markup, html};

use super::gather::ReportData;

/// One row for each domain that has learned styles, and what is out of range.
pub(crate) fn styles(data: &ReportData) -> Markup {
    if data.style_health.is_empty() {
        return html! {};
    }
    let compared = data
        .style_health
        .iter()
        .any(|styles| styles.health.reference.is_some());
    let percent = |fraction: f64| format!("{:.1} %", 100.0 * fraction);
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
    let warnings: Vec<(&str, String)> = data
        .style_health
        .iter()
        .filter_map(|styles| Some((styles.domain.as_str(), styles.health.warning()?)))
        .collect();
    html! {
        h2 { "Learned styles" }
        div.card.scroll {
            table {
                tr {
                    th { "Domain" } th { "L_scene" } th { "σ near zero" } th { "Negative μ" } th { "Shift" }
                    @if compared { th { "Cosine with images" } th { "Length over theirs" } }
                }
                @for styles in &data.style_health {
                    @let health = &styles.health;
                    tr {
                        td { (styles.domain) }
                        td { (number(Some(health.scene_loss))) }
                        td { (percent(health.near_zero)) }
                        td { (percent(health.negative)) }
                        td { (number(Some(health.shift))) }
                        @if compared {
                            td { (number(health.reference.map(|reference| reference.cosine))) }
                            td { (number(health.reference.map(|reference| reference.length))) }
                        }
                    }
                }
            }
        }
        @for (domain, warning) in &warnings {
            p.banner { strong { "Styles of " (domain) " are out of the range of real features" } (warning) }
        }
        p.note { "Means over rounds, after the last iteration. Shift: length of the mean change of (μ, σ), over the length of the source crops' (μ, σ)."
            @if compared { " The images are those that the domains name; the last two columns compare the mean change with the one that leads to them." } }
    }
}
