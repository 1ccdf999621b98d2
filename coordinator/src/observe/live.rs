//! What is known of a run only while it is served: who is there, how fast it goes, for whom the others wait.
//! The status page takes it from here and everything else from the journal.

use std::collections::BTreeMap;
use std::time::Duration;
use ulda_run::RunEnd;

use tokio::sync::watch;
use tokio::time::Instant;
use ulda_machine::Snapshot;
use ulda_run::stage::{Course, Cursor, Stage};

use super::progress::RunProgress;
use crate::rpc::Measures;
use crate::run::{Audience, News};

/// Weight that an older message keeps when the next one comes: means reach over about 30 messages.
const FADING: f64 = 0.97;
/// A rank counts as slow whose own work takes this much longer than the median rank's.
const SLOW: f64 = 1.25;
/// The phase in which a rank waits for others; the rest is its own work.
const WAITING: &str = "reduce";

/// A run as its coordinator sees it at one moment.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// What the run does now, and why.
    pub verdict: String,
    pub stage: Option<Stage>,
    pub activity: String,
    pub images_per_second: Option<f64>,
    /// Until the present stage ends.
    pub time_left: Option<Duration>,
    pub ranks: BTreeMap<u32, RankLive>,
    /// When the run's owner last looked around.
    pub looked: Option<Instant>,
}

/// One rank.
#[derive(Clone, Debug, Default)]
pub struct RankLive {
    pub device: String,
    pub attached: bool,
    pub member: bool,
    pub shards: Vec<u32>,
    pub cursor: Option<Cursor>,
    pub silent_for: Duration,
    /// The machine waits for it.
    pub straggler: bool,
    pub losses: u32,
    /// Recent seconds per message by phase, in the order of a step.
    phases: Vec<(String, f64)>,
    messages: f64,
}

impl RankLive {
    /// Mean seconds of a step by phase, over the recent past.
    #[must_use]
    pub fn phase_seconds(&self) -> Vec<(&str, f64)> {
        let mean = |total: f64| total / self.messages.max(1e-9);
        self.phases
            .iter()
            .map(|(name, total)| (name.as_str(), mean(*total)))
            .collect()
    }

    /// Seconds of a step that the rank does not spend waiting for others.
    #[must_use]
    pub fn own_seconds(&self) -> f64 {
        let own = self
            .phase_seconds()
            .into_iter()
            .filter(|(name, _)| *name != WAITING);
        own.map(|(_, seconds)| seconds).sum()
    }

    fn hear(&mut self, measures: &Measures) {
        for (_, total) in &mut self.phases {
            *total *= FADING;
        }
        self.messages = self.messages * FADING + 1.0;
        for phase in &measures.phase_seconds {
            match self.phases.iter_mut().find(|(name, _)| *name == phase.name) {
                Some((_, total)) => *total += phase.value,
                None => self.phases.push((phase.name.clone(), phase.value)),
            }
        }
    }
}

impl Live {
    /// Ranks that hold the others up: those the machine waits for, and those whose own work is much slower
    /// than that of the median rank.
    #[must_use]
    pub fn stragglers(&self) -> Vec<u32> {
        let mut own: Vec<f64> = self
            .ranks
            .values()
            .map(RankLive::own_seconds)
            .filter(|own| *own > 0.0)
            .collect();
        own.sort_by(f64::total_cmp);
        // The lower median: of two ranks the slower one is told apart.
        let median = own
            .get(own.len().saturating_sub(1) / 2)
            .copied()
            .unwrap_or(f64::INFINITY);
        let slow = |rank: &RankLive| rank.straggler || (own.len() > 1 && rank.own_seconds() > SLOW * median);
        self.ranks
            .iter()
            .filter(|(_, rank)| slow(rank))
            .map(|(slot, _)| *slot)
            .collect()
    }

    /// A run that is over has no owner any more who could be stuck.
    fn over(&mut self, verdict: String) {
        self.verdict = verdict;
        self.looked = None;
    }

    fn looked(&mut self, now: Instant, snapshot: &Snapshot) {
        self.looked = Some(now);
        for slot in &snapshot.slots {
            let rank = self.ranks.entry(slot.slot.0).or_default();
            rank.losses = slot.losses;
            let Some(worker) = snapshot.workers.iter().find(|worker| worker.slot == slot.slot) else {
                rank.attached = false;
                rank.member = false;
                rank.straggler = false;
                rank.shards.clear();
                continue;
            };
            rank.device.clone_from(&worker.device);
            rank.attached = worker.attached;
            rank.member = worker.member;
            rank.shards = worker.shards.iter().map(|shard| shard.0).collect();
            rank.cursor = worker.cursor;
            rank.silent_for = worker.silent_for;
            rank.straggler = worker.straggler;
        }
    }
}

/// An audience that keeps [`Live`] for whoever watches.
#[derive(Debug)]
pub struct LiveRecorder {
    live: watch::Sender<Live>,
    progress: RunProgress,
}

impl LiveRecorder {
    /// The recorder, and where to read what it keeps.
    #[must_use]
    pub fn new(course: Course) -> (Self, watch::Receiver<Live>) {
        let (live, read) = watch::channel(Live::default());
        let progress = RunProgress::new(course);
        (Self { live, progress }, read)
    }
}

impl Audience for LiveRecorder {
    fn hear(&mut self, news: &News) {
        let now = Instant::now();
        match news {
            News::Verdict(verdict) => self.live.send_modify(|live| live.verdict = verdict.to_string()),
            News::Progress {
                slot,
                stage,
                steps_done,
                measures,
            } => {
                self.progress.advance(now, *stage, *steps_done, measures);
                let progress = &self.progress;
                self.live.send_modify(|live| {
                    if live.stage != progress.stage {
                        live.ranks.values_mut().for_each(|rank| {
                            rank.phases.clear();
                            rank.messages = 0.0;
                        });
                    }
                    live.stage = progress.stage;
                    live.activity.clone_from(&progress.activity);
                    live.images_per_second = progress.images_per_second();
                    live.time_left = progress.time_left();
                    if measures.activity.is_empty() {
                        live.ranks.entry(slot.0).or_default().hear(measures);
                    }
                });
            }
            News::Looked(snapshot) => self.live.send_modify(|live| live.looked(now, snapshot)),
            News::Stopping { why } => self
                .live
                .send_modify(|live| live.verdict = format!("stopping: {why}")),
            News::Ended(RunEnd::Failed { why, .. }) => {
                self.live.send_modify(|live| live.over(format!("failed: {why}")));
            }
            News::Ended(end) => self.live.send_modify(|live| live.over(end.name().into())),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Measured;

    #[test]
    fn the_slow_rank_is_told_from_those_that_wait_for_it() {
        let told = |own: f64, waits: f64| {
            let mut rank = RankLive::default();
            for _ in 0..5 {
                rank.hear(&Measures {
                    phase_seconds: vec![Measured::new("forward", own), Measured::new(WAITING, waits)],
                    ..Measures::default()
                });
            }
            rank
        };
        let ranks = [(0, told(1.0, 1.0)), (1, told(1.9, 0.1)), (2, told(1.1, 0.9))];
        let live = Live {
            ranks: ranks.into_iter().collect(),
            ..Live::default()
        };
        assert_eq!(live.stragglers(), [1]);
        assert!((live.ranks[&1].own_seconds() - 1.9).abs() < 1e-9);
    }

    #[test]
    fn nobody_is_expected_to_look_after_a_run_that_is_over() {
        let mut live = Live {
            looked: Some(Instant::now()),
            ..Live::default()
        };
        live.over("finished".into());
        assert_eq!((live.verdict.as_str(), live.looked), ("finished", None));
    }
}
