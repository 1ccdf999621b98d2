//! The run's memberships: when each formed, why it ended, how long the next one took.

use std::time::Duration;

use maud::{Markup, html};
use ulda_machine::Record;

use super::View;
use super::parts::ago;
use crate::durations::duration_text;
use crate::journal::{JournalError, JournalReader};

/// Newest generations shown.
const SHOWN: usize = 8;

/// One generation, from the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GenerationView {
    pub number: u64,
    pub workers: usize,
    pub formed_at: i64,
    /// Since the generation before it broke.
    pub recovered_in: Option<Duration>,
    pub broke_at: Option<i64>,
    pub why: Option<String>,
}

/// Oldest first.
pub(super) fn read(journal: &JournalReader) -> Result<Vec<GenerationView>, JournalError> {
    let rows = journal.records()?;
    Ok(fold(rows.iter().filter_map(|row| {
        let record = serde_json::from_str(&row.json).ok()?;
        Some((row.at_millis, record))
    })))
}

fn fold(records: impl Iterator<Item = (i64, Record)>) -> Vec<GenerationView> {
    let mut generations: Vec<GenerationView> = Vec::new();
    let mut broke_at = None;
    for (at, record) in records {
        match record {
            Record::GenerationFormed {
                generation,
                formation,
            } => generations.push(GenerationView {
                number: generation.0,
                workers: formation.members.len(),
                formed_at: at,
                ..GenerationView::default()
            }),
            Record::GenerationStarted { .. } => {
                if let Some(last) = generations.last_mut() {
                    last.recovered_in = broke_at
                        .take()
                        .map(|broke: i64| Duration::from_millis((at - broke).max(0).unsigned_abs()));
                }
            }
            Record::GenerationAbandoned { generation, why } => {
                broke_at = broke_at.or(Some(at));
                let broken = generations.iter_mut().rfind(|known| known.number == generation.0);
                if let Some(broken) = broken {
                    broken.broke_at = Some(at);
                    broken.why = Some(why.to_string());
                }
            }
            Record::RunStarted { .. }
            | Record::WorkerJoined { .. }
            | Record::Committed { .. }
            | Record::WorkerLost { .. }
            | Record::Restarted { .. }
            | Record::Finished { .. }
            | Record::Failed { .. }
            | Record::Stopped => {}
        }
    }
    generations
}

pub(super) fn section(view: &View<'_>) -> Markup {
    let all = &view.generations;
    let broken = all.iter().filter(|generation| generation.why.is_some()).count();
    if broken == 0 {
        return html! {};
    }
    let took: Vec<Duration> = all
        .iter()
        .filter_map(|generation| generation.recovered_in)
        .collect();
    html! {
        h2 { "Generations" }
        div.card.scroll {
            table {
                tr { th { "Generation" } th { "Workers" } th { "Formed" } th { "Recovered in" } th.text { "Ended because" } }
                @for generation in all.iter().rev().take(SHOWN) {
                    tr {
                        td { (generation.number) }
                        td { (generation.workers) }
                        td { (ago(view, generation.formed_at)) }
                        td { @if let Some(took) = generation.recovered_in { (took_text(took)) } @else { "–" } }
                        td.why { @if let Some(why) = &generation.why { (why) } @else { "–" } }
                    }
                }
            }
        }
        p.note {
            (all.len()) " generations, " (broken) " broken"
            @if let Some(longest) = took.iter().max() { "; the longest recovery took " (took_text(*longest)) }
        }
    }
}

/// Short recoveries in milliseconds.
fn took_text(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        duration_text(took)
    }
}

#[cfg(test)]
mod tests {
    use ulda_machine::{BreakReason, Formation};
    use ulda_run::ids::Generation;

    use super::*;

    #[test]
    fn a_recovery_lasts_from_the_break_to_the_next_that_trains() {
        let formed = |number| Record::GenerationFormed {
            generation: Generation(number),
            formation: Formation {
                members: Vec::new(),
                shard_owner: Vec::new(),
                state: None,
            },
        };
        let started = |number| Record::GenerationStarted {
            generation: Generation(number),
            state: None,
        };
        let abandoned = |number| Record::GenerationAbandoned {
            generation: Generation(number),
            why: BreakReason::CoordinatorRestarted,
        };
        let records = [
            (0, formed(1)),
            (10, started(1)),
            (100, abandoned(1)),
            (200, formed(2)),
            (300, abandoned(2)),
            (400, formed(3)),
            (700, started(3)),
        ];
        let generations = fold(records.into_iter());
        assert_eq!(generations[2].recovered_in, Some(Duration::from_millis(600)));
        assert_eq!(
            generations[0].why.as_deref(),
            Some("the coordinator was away while it formed")
        );
        assert_eq!(generations[0].broke_at, Some(100));
    }
}
