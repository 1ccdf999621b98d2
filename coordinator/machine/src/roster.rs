//! Who is there: workers by id, and the slots their processes are started for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::assign::Seat;
use super::reason::{FirstCause, LostReason};
use super::rules::RestartBudget;
use super::tick::Tick;
use ulda_run::StateClaim;
use ulda_run::ids::{Generation, Slot, WorkerId};

/// What a worker is to the run right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WorkerStanding {
    /// Joined; loads weights and data, and takes no orders yet.
    Loading,
    /// In no generation; holds this state.
    Idle { claim: Option<StateClaim> },
    /// Fenced off `generation`; has not reported yet which state it keeps.
    Fenced { generation: Generation, until: Tick },
    /// In the current generation.
    Member,
}

/// The attend stream of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WorkerStream {
    /// It joined, and has yet to open its attend stream.
    Unopened,
    Open,
    /// Its stream broke; it may attach again.
    Broken {
        since: Tick,
        why: String,
    },
    /// The coordinator was away; the worker is to attach to its successor.
    Awaited,
}

/// A process that joined and is not lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JoinedWorker {
    pub slot: Slot,
    pub data_address: String,
    pub device: String,
    pub stream: WorkerStream,
    pub last_heard: Tick,
    pub standing: WorkerStanding,
}

impl JoinedWorker {
    pub fn attached(&self) -> bool {
        self.stream == WorkerStream::Open
    }

    /// Attached, ready, and with a known state: can be put into a generation.
    pub fn claim(&self) -> Option<&Option<StateClaim>> {
        match &self.standing {
            WorkerStanding::Idle { claim } if self.attached() => Some(claim),
            WorkerStanding::Loading
            | WorkerStanding::Idle { .. }
            | WorkerStanding::Fenced { .. }
            | WorkerStanding::Member => None,
        }
    }
}

/// What is known of the process of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotProcess {
    /// Nothing runs and nothing is about to.
    Vacant,
    /// Launched, not joined yet.
    Starting {
        until: Tick,
    },
    Serving {
        worker: WorkerId,
    },
    /// Its worker is lost, its process maybe not.
    Leaving {
        until: Tick,
    },
    /// Waits for its next start.
    BackingOff {
        until: Tick,
    },
}

/// One lost worker of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub at: Tick,
    pub cause: FirstCause,
    /// The cause names what went wrong inside the worker.
    pub explained: bool,
}

/// A slot's process now, and what became of those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotState {
    pub process: SlotProcess,
    /// How the process of the last start ended, while a worker still serves the slot.
    pub ended: Option<LostReason>,
    /// Number of the last start; `None` before the first.
    pub attempt: Option<u32>,
    pub losses: Vec<Loss>,
    pub restarts: Vec<Tick>,
    /// Its restarts are spent.
    pub retired: bool,
    /// Generations in a row that waited for it in vain, without a committed step between them.
    pub blame: u32,
}

impl SlotState {
    pub fn new(attempt: Option<u32>) -> Self {
        Self {
            process: SlotProcess::Vacant,
            ended: None,
            attempt,
            losses: Vec::new(),
            restarts: Vec::new(),
            retired: false,
            blame: 0,
        }
    }

    /// Drops losses and restarts from before the window that ends `now`.
    pub fn forget_before(&mut self, now: Tick, window: Duration) {
        self.losses.retain(|loss| now.since(loss.at) < window);
        self.restarts.retain(|at| now.since(*at) < window);
    }

    pub fn budget_left(&self, budget: RestartBudget) -> bool {
        self.restarts.len() < budget.per_slot as usize
    }

    pub fn first_cause(&self) -> Option<&Loss> {
        self.losses
            .iter()
            .find(|loss| loss.explained)
            .or(self.losses.first())
    }
}

/// Workers and slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roster {
    pub workers: BTreeMap<WorkerId, JoinedWorker>,
    pub slots: BTreeMap<Slot, SlotState>,
}

impl Roster {
    pub fn slot_mut(&mut self, slot: Slot) -> &mut SlotState {
        self.slots.entry(slot).or_insert_with(|| SlotState::new(None))
    }

    /// Workers that can be put into a generation, with the state each holds.
    pub fn available(&self) -> impl Iterator<Item = (Seat, Option<&StateClaim>)> {
        self.workers.iter().filter_map(|(worker, entry)| {
            let claim = entry.claim()?;
            Some((
                Seat {
                    slot: entry.slot,
                    worker: *worker,
                },
                claim.as_ref(),
            ))
        })
    }

    /// Workers that have yet to report which state they keep.
    pub fn fenced(&self) -> Vec<WorkerId> {
        let is_fenced = |entry: &JoinedWorker| matches!(entry.standing, WorkerStanding::Fenced { .. });
        self.workers
            .iter()
            .filter(|(_, entry)| is_fenced(entry))
            .map(|(worker, _)| *worker)
            .collect()
    }

    /// Workers that have yet to report that they are ready.
    pub fn loading(&self) -> Vec<WorkerId> {
        let loads = |entry: &JoinedWorker| entry.attached() && entry.standing == WorkerStanding::Loading;
        self.workers
            .iter()
            .filter(|(_, entry)| loads(entry))
            .map(|(worker, _)| *worker)
            .collect()
    }

    pub fn slot_of(&self, worker: WorkerId) -> Option<Slot> {
        self.workers.get(&worker).map(|entry| entry.slot)
    }

    pub fn slots_of(&self, workers: impl IntoIterator<Item = WorkerId>) -> Vec<Slot> {
        let mut slots: Vec<Slot> = workers
            .into_iter()
            .filter_map(|worker| self.slot_of(worker))
            .collect();
        slots.sort_unstable();
        slots
    }

    pub fn is_retired(&self, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(|state| state.retired)
    }

    /// Whether a generation waited for this worker's slot in vain since the last committed step.
    pub fn is_blamed(&self, worker: WorkerId) -> bool {
        self.slot_of(worker)
            .and_then(|slot| self.slots.get(&slot))
            .is_some_and(|state| state.blame > 0)
    }

    pub fn forget_blame(&mut self) {
        for state in self.slots.values_mut() {
            state.blame = 0;
        }
    }

    /// The earliest explained loss that is still remembered, else the earliest of all.
    pub fn first_cause(&self) -> Option<FirstCause> {
        let losses = || self.slots.values().filter_map(SlotState::first_cause);
        let explained = losses().filter(|loss| loss.explained).min_by_key(|loss| loss.at);
        explained
            .or_else(|| losses().min_by_key(|loss| loss.at))
            .map(|loss| loss.cause.clone())
    }
}
