//! Sequences of faults, drawn from a seed: the same seed always gives the same sequence, where the same sites
//! can be had.

use std::time::Duration;

use crate::fault::{Fault, Kind};
use crate::rng::FaultRng;
use crate::site::Site;

/// What a sequence is drawn for.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Steps of the whole run, over all stages.
    pub steps: u64,
    pub shards: u32,
    /// Faults of these kinds only; all where empty.
    pub only: Vec<Kind>,
    /// Where runs may live.
    pub sites: Vec<Site>,
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
    pub site: Site,
    pub faults: Vec<Planned>,
}

impl Scope {
    /// What can be inflicted there.
    #[must_use]
    pub fn kinds(&self, site: Site) -> Vec<Kind> {
        let wanted = match self.only.as_slice() {
            [] => Kind::ALL,
            only => only,
        };
        let possible = |kind: &&Kind| kind.suits(site) && (self.can_mount || !kind.needs_small_disk());
        wanted.iter().filter(possible).copied().collect()
    }
}

impl Sequence {
    /// `None` where none of the wanted kinds can be inflicted anywhere.
    #[must_use]
    pub fn draw(seed: u64, scope: &Scope) -> Option<Self> {
        let mut rng = FaultRng::new(seed);
        let sites = scope.sites.iter().copied();
        let sites: Vec<Site> = sites.filter(|site| !scope.kinds(*site).is_empty()).collect();
        let site = *rng.pick(&sites)?;
        let kinds = scope.kinds(site);
        let workers = 2 + u32::try_from(rng.below(u64::from(scope.shards.max(2)) - 1)).unwrap_or(0);
        let count = 5 + rng.below(3);
        let mut steps: Vec<u64> = (0..count).map(|_| rng.below(scope.steps)).collect();
        steps.sort_unstable();
        let mut faults = Vec::new();
        for (index, step) in steps.into_iter().enumerate() {
            let kind = *rng.pick(&kinds)?;
            let chained = index > 0 && scope.only.is_empty() && rng.chance(30);
            faults.push(Planned {
                moment: if chained {
                    Moment::Chained
                } else {
                    Moment::Step(step)
                },
                delay: if chained {
                    rng.millis(0, 900)
                } else {
                    rng.millis(0, 150)
                },
                fault: Fault {
                    kind,
                    victim: u32::try_from(rng.below(64)).unwrap_or(0),
                    time: time_of(kind, &mut rng),
                    workers: 1 + u32::try_from(rng.below(u64::from(scope.shards))).unwrap_or(0),
                },
            });
        }
        Some(Self {
            seed,
            workers,
            site,
            faults,
        })
    }

    /// Whether one of the faults is of this kind.
    #[must_use]
    pub fn holds(&self, wanted: impl Fn(Kind) -> bool) -> bool {
        self.faults.iter().any(|planned| wanted(planned.fault.kind))
    }
}

fn time_of(kind: Kind, rng: &mut FaultRng) -> Duration {
    match kind {
        Kind::PauseWorker => rng.millis(100, 1200),
        Kind::PauseCoordinator | Kind::KillCoordinator | Kind::FullJournal => rng.millis(200, 2500),
        Kind::StallControl => rng.millis(300, 4000),
        // Longer than any deadline: half open until somebody gives up.
        Kind::StallData => Duration::from_secs(60),
        Kind::FullDisk => rng.millis(500, 2500),
        // Shorter than the deadlines of heartbeat and collective, and longer than both.
        Kind::LinkDown => rng.millis(200, 1500),
        Kind::LinkLost | Kind::Partition => rng.millis(4000, 7000),
        Kind::CoordinatorLinkDown => rng.millis(300, 5000),
        Kind::KillNode => rng.millis(500, 4000),
        Kind::Storm => rng.millis(1000, 4000),
        Kind::KillWorker
        | Kind::KillAllWorkers
        | Kind::TerminateWorker
        | Kind::HangWorker
        | Kind::ExtraWorker
        | Kind::RestartCoordinator
        | Kind::KillEverything
        | Kind::TornCheckpoint
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
            sites: Site::ALL.to_vec(),
            can_mount: true,
        }
    }

    fn draw(seed: u64) -> Sequence {
        Sequence::draw(seed, &scope()).unwrap()
    }

    #[test]
    fn a_seed_means_one_sequence() {
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn sixty_seeds_hold_every_kind_and_at_least_five_faults_each() {
        let sequences: Vec<Sequence> = (1..=60).map(draw).collect();
        assert!(sequences.iter().all(|sequence| sequence.faults.len() >= 5));
        for kind in Kind::ALL {
            assert!(
                sequences
                    .iter()
                    .any(|sequence| sequence.holds(|drawn| drawn == *kind)),
                "{kind}"
            );
        }
    }

    #[test]
    fn a_kind_is_inflicted_only_where_it_can_be() {
        for seed in 0..200 {
            let sequence = draw(seed);
            assert!(!sequence.holds(|kind| !kind.suits(sequence.site)), "seed {seed}");
        }
        let without_root = Scope {
            sites: vec![Site::Launched, Site::Proxied],
            can_mount: false,
            ..scope()
        };
        for seed in 0..200 {
            let sequence = Sequence::draw(seed, &without_root).unwrap();
            assert!(
                !sequence.holds(|kind| kind.needs_small_disk() || kind == Kind::Partition),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn where_nothing_wanted_is_possible_nothing_is_drawn() {
        let scope = Scope {
            only: vec![Kind::Partition],
            sites: vec![Site::Launched],
            ..scope()
        };
        assert_eq!(Sequence::draw(1, &scope), None);
    }
}
