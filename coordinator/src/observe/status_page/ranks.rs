//! Who is there, and where each rank's time goes.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};

use super::View;
use super::parts::is_running;
use crate::durations::duration_text;
use crate::journal::PhaseRow;
use crate::observe::{Live, RankLive};
use crate::report::phase_place;

/// A worker that was not heard of for longer than this is told to be silent.
const QUIET: Duration = Duration::from_secs(3);

pub(super) fn ranks(view: &View<'_>, phases: &[PhaseRow]) -> Markup {
    match view
        .live
        .filter(|live| is_running(view) && !live.ranks.is_empty())
    {
        Some(live) => present(live),
        None => past(phases),
    }
}

/// The ranks as they are now.
fn present(live: &Live) -> Markup {
    let stragglers = live.stragglers();
    let longest = live
        .ranks
        .values()
        .map(|rank| total(&rank.phase_seconds()))
        .fold(0.0, f64::max);
    let names = names(
        live.ranks
            .values()
            .flat_map(RankLive::phase_seconds)
            .map(|(name, _)| name),
    );
    html! {
        h2 { "Ranks" }
        div.card.scroll {
            table {
                tr { th { "Rank" } th.text { "State" } th { "At" } th { "Shards" } th { "Step" } th.text { "Phases of a step" } }
                @for (slot, rank) in &live.ranks {
                    @let slow = stragglers.contains(slot);
                    @let seconds = rank.phase_seconds();
                    tr.(if slow { "straggler" } else if rank.attached { "" } else { "away" }) {
                        td { (slot) @if !rank.device.is_empty() { " · " (rank.device) } }
                        td.text { (state(rank, slow)) }
                        td { @if let Some(cursor) = rank.cursor { (cursor) } @else { "–" } }
                        td { (shards(&rank.shards)) }
                        td { @if total(&seconds) > 0.0 { (short(total(&seconds))) } @else { "–" } }
                        td.wide { (bar(&seconds, longest, &names)) }
                    }
                }
            }
        }
        (legend(&names))
    }
}

fn state(rank: &RankLive, slow: bool) -> Markup {
    let text = match rank {
        RankLive { attached: false, .. } => "away",
        _ if rank.silent_for > QUIET => "silent",
        _ if slow => "straggler",
        RankLive { member: true, .. } => "trains",
        _ => "waits",
    };
    html! {
        (text)
        @if rank.attached && rank.silent_for > QUIET { " for " (duration_text(rank.silent_for)) }
        @if rank.losses > 0 { " · lost " (rank.losses) "×" }
    }
}

fn shards(shards: &[u32]) -> String {
    if shards.is_empty() {
        return "–".to_owned();
    }
    shards.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Where each rank's time went in a run that is over or not served here.
fn past(phases: &[PhaseRow]) -> Markup {
    let mut ranks: BTreeMap<u32, BTreeMap<&str, f64>> = BTreeMap::new();
    for row in phases.iter().filter(|row| row.name != "images") {
        *ranks.entry(row.slot).or_default().entry(&row.name).or_default() += row.amount;
    }
    if ranks.is_empty() {
        return html! {};
    }
    let ranks: Vec<(u32, Vec<(&str, f64)>)> = ranks
        .into_iter()
        .map(|(slot, phases)| (slot, in_order(phases.into_iter().collect())))
        .collect();
    let longest = ranks.iter().map(|(_, phases)| total(phases)).fold(0.0, f64::max);
    let names = names(
        ranks
            .iter()
            .flat_map(|(_, phases)| phases.iter().map(|(name, _)| *name)),
    );
    html! {
        h2 { "Ranks" }
        div.card.scroll {
            table {
                tr { th { "Rank" } th { "Worked" } th.text { "Phases" } }
                @for (slot, phases) in &ranks {
                    tr {
                        td { (slot) }
                        td { (duration_text(Duration::from_secs_f64(total(phases).max(0.0)))) }
                        td.wide { (bar(phases, longest, &names)) }
                    }
                }
            }
        }
        (legend(&names))
    }
}

fn in_order(mut phases: Vec<(&str, f64)>) -> Vec<(&str, f64)> {
    phases.sort_by_key(|(name, _)| phase_place(name));
    phases
}

/// All names once, in the order of a step.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<&str> = names.collect();
    all.sort_by_key(|name| (phase_place(name), *name));
    all.dedup();
    all.into_iter().map(str::to_owned).collect()
}

fn total(phases: &[(&str, f64)]) -> f64 {
    phases.iter().map(|(_, seconds)| seconds).sum()
}

fn short(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

fn bar(phases: &[(&str, f64)], longest: f64, names: &[String]) -> Markup {
    let width = |seconds: f64| 100.0 * seconds / longest.max(1e-9);
    let mut at = 0.0;
    let parts: Vec<(usize, &str, f64, f64)> = in_order(phases.to_vec())
        .into_iter()
        .map(|(name, seconds)| {
            let from = at;
            at += width(seconds);
            let colour = names.iter().position(|known| known == name).unwrap_or(0) % 6;
            (colour, name, from, seconds)
        })
        .collect();
    html! {
        svg.phases viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="phases" {
            @for (colour, name, from, seconds) in parts {
                rect.{ "s" (colour) } x=(format!("{from:.2}")) y="0" height="4" width=(format!("{:.2}", width(seconds))) {
                    title { (name) " " (short(seconds)) }
                }
            }
        }
    }
}

fn legend(names: &[String]) -> Markup {
    html! {
        p { @for (index, name) in names.iter().enumerate() { span.square.{ "s" (index % 6) } { (name) } } }
    }
}
