//! Sequences of faults, drawn from a seed: the same seed always gives the same sequence.

use std::time::Duration;

use crate::fault::{Fault, Kind};
use crate::luck::Luck;

/// What a sequence is drawn for.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Steps of the whole run, over all stages.
    pub steps: u64,
    pub shards: u32,
    /// Faults of these kinds only; all where empty.
    pub only: Vec<Kind>,
    /// Whether tmpfs can be mounted.
    pub can_mount: bool,
}

/// When a fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So many steps of the run are committed.
    Step(u64),
    /// Right behind the one before, while the run may still be getting over that.
    Chained,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub moment: Moment,
    pub delay: Duration,
    pub fault: Fault,
}

/// One run's faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub seed: u64,
    /// Workers at the start.
    pub workers: u32,
    /// Whether proxies stand in the wires.
    pub wired: bool,
    pub faults: Vec<Planned>,
}

impl Sequence {
    #[must_use]
    pub fn draw(seed: u64, scope: &Scope) -> Self {
        let mut luck = Luck::new(seed);
        let kinds: Vec<Kind> = match scope.only.as_slice() {
            [] => Kind::ALL.to_vec(),
            only => only.to_vec(),
        };
        let kinds: Vec<Kind> = kinds
            .into_iter()
            .filter(|kind| *kind != Kind::FullDisk || scope.can_mount)
            .collect();
        let wired = kinds.iter().any(|kind| kind.needs_wires())
            && (luck.chance(50) || kinds.iter().all(|kind| kind.needs_wires()));
        let kinds: Vec<Kind> = kinds
            .into_iter()
            .filter(|kind| wired || !kind.needs_wires())
            .collect();
        let workers = 2 + u32::try_from(luck.below(u64::from(scope.shards.max(2)) - 1)).unwrap_or(0);
        let count = 5 + luck.below(3);
        let mut steps: Vec<u64> = (0..count).map(|_| luck.below(scope.steps)).collect();
        steps.sort_unstable();
        let mut faults = Vec::new();
        for (index, step) in steps.into_iter().enumerate() {
            let Some(kind) = luck.pick(&kinds).copied() else {
                break;
            };
            let chained = index > 0 && scope.only.is_empty() && luck.chance(30);
            faults.push(Planned {
                moment: if chained {
                    Moment::Chained
                } else {
                    Moment::Step(step)
                },
                delay: if chained {
                    luck.millis(0, 900)
                } else {
                    luck.millis(0, 150)
                },
                fault: Fault {
                    kind,
                    victim: u32::try_from(luck.below(64)).unwrap_or(0),
                    time: time_of(kind, &mut luck),
                    workers: 1 + u32::try_from(luck.below(u64::from(scope.shards))).unwrap_or(0),
                },
            });
        }
        Self {
            seed,
            workers,
            wired,
            faults,
        }
    }
}

fn time_of(kind: Kind, luck: &mut Luck) -> Duration {
    match kind {
        Kind::PauseWorker => luck.millis(100, 1200),
        Kind::PauseCoordinator | Kind::KillCoordinator => luck.millis(200, 2500),
        Kind::StallControl => luck.millis(300, 4000),
        // Longer than any deadline: half open until somebody gives up.
        Kind::StallData => Duration::from_secs(60),
        Kind::FullDisk => luck.millis(500, 2500),
        Kind::KillWorker
        | Kind::KillAllWorkers
        | Kind::TerminateWorker
        | Kind::HangWorker
        | Kind::ExtraWorker
        | Kind::RestartCoordinator
        | Kind::KillEverything
        | Kind::CutData
        | Kind::CutControl => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            steps: 100,
            shards: 4,
            only: Vec::new(),
            can_mount: true,
        }
    }

    #[test]
    fn a_seed_means_one_sequence() {
        assert_eq!(Sequence::draw(7, &scope()), Sequence::draw(7, &scope()));
        assert_ne!(Sequence::draw(7, &scope()), Sequence::draw(8, &scope()));
    }

    #[test]
    fn fifty_seeds_hold_every_kind_and_at_least_five_faults_each() {
        let sequences: Vec<Sequence> = (1..=50).map(|seed| Sequence::draw(seed, &scope())).collect();
        assert!(sequences.iter().all(|sequence| sequence.faults.len() >= 5));
        for kind in Kind::ALL {
            let drawn = sequences.iter().flat_map(|sequence| &sequence.faults);
            assert!(
                drawn.filter(|planned| planned.fault.kind == kind).count() > 0,
                "{kind}"
            );
        }
    }

    #[test]
    fn wires_are_disturbed_only_where_proxies_stand() {
        for seed in 0..200 {
            let sequence = Sequence::draw(seed, &scope());
            let disturbed = sequence
                .faults
                .iter()
                .any(|planned| planned.fault.kind.needs_wires());
            assert!(sequence.wired || !disturbed, "seed {seed}");
        }
    }
}
