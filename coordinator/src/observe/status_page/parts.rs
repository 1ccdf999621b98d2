//! Head, stages, example strips and events.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use maud::{Markup, html};
use ulda_run::stage::Stage;

use super::View;
use crate::durations::duration_text;
use crate::history::RunStanding;
use crate::report::{StageTime, clip_banner, date_text, panel_heads};

/// Newest pictures shown.
const STRIPS: usize = 6;

/// "12 s ago".
pub(super) fn ago(view: &View<'_>, at_millis: i64) -> String {
    let millis = view.now_millis.saturating_sub(at_millis).max(0).unsigned_abs();
    // Nothing shorter, so that a part that did not change is not swapped for its age.
    match Duration::from_secs(millis / 1000) {
        young if young < Duration::from_secs(10) => "just now".to_owned(),
        age => format!("{} ago", duration_text(age)),
    }
}

pub(super) fn is_running(view: &View<'_>) -> bool {
    matches!(view.status.standing, RunStanding::Running { .. })
}

pub(super) fn head(view: &View<'_>) -> Markup {
    let status = &view.status;
    let standing = &status.standing;
    let percent = (status.share_done * 1000.0).floor() / 10.0;
    let live = view
        .live
        .filter(|live| is_running(view) && !live.verdict.is_empty());
    let why = live.map_or(standing.why(), |live| live.verdict.as_str());
    html! {
        h1 data-title=(format!("{percent:.0} % · {}", status.run)) data-running[is_running(view)] { (status.run) }
        p.sub { "Unified language-driven zero-shot domain adaptation" }
        span.chip.(standing.name()) { (standing.name()) }
        @if let Some(began) = view.data.began_at { span.chip { (date_text(began)) } }
        span.chip { (status.shards) @if status.shards == 1 { " shard" } @else { " shards" } }
        @if status.term > 1 { span.chip { "coordinator " (status.term) " of this run" } }
        p.verdict { (why) }
        (clip_banner(view.data.clip.training))
        div.tiles {
            (tile("of all steps", &format!("{percent:.1} %")))
            @if let Some(live) = live {
                @let left = live.time_left.map_or("–".to_owned(), duration_text);
                @let stage = live.stage.map_or("stage", Stage::name);
                (tile(&format!("left of {stage}"), &left))
                (tile("images per second", &live.images_per_second.map_or("–".into(), |rate| format!("{rate:.1}"))))
                @let here = live.ranks.values().filter(|rank| rank.attached).count();
                (tile("workers attend", &here.to_string()))
            }
            (tile("generation", &status.generation.to_string()))
            @match &status.last_checkpoint {
                Some(checkpoint) => { (tile(&format!("last checkpoint, {}", checkpoint.place), &ago(view, checkpoint.at_millis))) }
                None => { (tile("last checkpoint", "none yet")) }
            }
        }
    }
}

fn tile(name: &str, value: &str) -> Markup {
    html! { div.card.tile { div.value { (value) } div.name { (name) } } }
}

pub(super) fn stages(view: &View<'_>) -> Markup {
    html! {
        h2 { "Stages" }
        div.card { @for stage in &view.data.stages { (stage_row(view, stage)) } }
    }
}

fn stage_row(view: &View<'_>, stage: &StageTime) -> Markup {
    let committed = view.status.committed;
    let finished = view.status.standing.is_finished();
    let steps = match committed {
        _ if finished => stage.steps,
        Some(cursor) if cursor.stage > stage.stage => stage.steps,
        Some(cursor) if cursor.stage == stage.stage => cursor.step.min(stage.steps),
        _ => 0,
    };
    let done = steps == stage.steps;
    let present = !done && committed.is_some_and(|cursor| cursor.stage == stage.stage);
    let live = view
        .live
        .filter(|live| is_running(view) && live.stage == Some(stage.stage));
    let time = match (stage.seconds, live.and_then(|live| live.time_left)) {
        (Some(seconds), _) if done => {
            format!("in {}", duration_text(Duration::from_secs_f64(seconds.max(0.0))))
        }
        (_, Some(left)) if present => format!("{} left", duration_text(left)),
        _ => String::new(),
    };
    html! {
        div.step {
        b { (stage.stage.name()) }
        div.track.(if done { "done" } else { "open" }) {
            progress max=(stage.steps) value=(steps) aria-label=(format!("{} progress", stage.stage)) {}
        }
        span.tell {
            (steps) " of " (stage.steps)
            @if !time.is_empty() { " · " (time) }
            @if let Some(activity) = live.map(|live| &live.activity).filter(|activity| !activity.is_empty()) { " · " (activity) }
        }
        }
    }
}

/// Milliseconds since 1970 at which a file was written.
fn written(path: &Path) -> u128 {
    let modified = std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok();
    modified
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_millis())
}

pub(super) fn examples(view: &View<'_>) -> Markup {
    // One of each set first, so that all domains are seen.
    let mut strips: Vec<(usize, u128, &str, String)> = Vec::new();
    for example in &view.data.examples {
        let nth = strips.iter().filter(|(_, _, set, _)| *set == example.set).count();
        let Some(file) = example.file.file_name() else {
            continue;
        };
        strips.push((
            nth,
            written(&example.file),
            &example.set,
            file.to_string_lossy().into_owned(),
        ));
    }
    strips.sort_by(|left, right| {
        (left.0, std::cmp::Reverse(left.1)).cmp(&(right.0, std::cmp::Reverse(right.1)))
    });
    strips.truncate(STRIPS);
    if strips.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Newest examples" }
        @for (_, written, set, file) in &strips {
            figure.strip.scroll {
                div.inner {
                    (panel_heads(&view.data))
                    img loading="lazy" alt=(format!("{set}: {}", view.data.panels().join(", "))) src=(format!("examples/{set}/{file}?{written}"));
                    figcaption.note { (set) }
                }
            }
        }
    }
}

pub(super) fn events(view: &View<'_>) -> Markup {
    let events = &view.status.last_events;
    if events.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Last events" }
        ol.events.card {
            @for event in events.iter().rev() {
                @let (first, rest) = event.text.split_once('\n').unwrap_or((&event.text, ""));
                li {
                    span.(event.level) { (event.level) }
                    " · " (ago(view, event.at_millis))
                    @if let Some(slot) = event.slot { " · rank " (slot) }
                    br; (first)
                    @if !rest.is_empty() { pre { (rest) } }
                }
            }
        }
    }
}
