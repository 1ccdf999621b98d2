//! What must hold in every life, a file for each promise.

mod a_fenced_worker_is_never_obeyed;
mod at_most_one_generation_trains;
mod every_shard_has_exactly_one_owner;
mod every_wait_has_a_deadline;
mod no_committed_step_is_lost;
mod no_number_is_used_twice;
mod nobody_trains_before_all_have_formed;
mod the_journal_comes_first;
mod the_run_ends_after_faults_stop;

use ulda_machine::{Effect, Machine, MachineEvent, Record, RunOutcome, Tick};
use ulda_run::ids::{Generation, WorkerId};

use super::process::Processes;
use super::truth::Truth;

/// Something a promise can be about.
pub enum Seen<'a> {
    /// The machine took in an event and settled.
    Fed {
        now: Tick,
        event: &'a MachineEvent,
        machine: &'a Machine,
    },
    /// An effect is about to be carried out.
    Ordered {
        effect: &'a Effect,
        machine: &'a Machine,
        processes: &'a Processes,
        truth: &'a Truth,
    },
    /// Every member of a generation contributed to a step; `appliers` have not left it since.
    Reduced {
        generation: Generation,
        appliers: &'a [WorkerId],
    },
}

pub trait Promise {
    fn see(&mut self, seen: &Seen<'_>);

    /// A coordinator takes up the run from what is on disk; later records were lost with its predecessor.
    fn took_up(&mut self, _journal: &[Record]) {}

    /// `after`: milliseconds since the last fault.
    fn ended(&mut self, _outcome: &RunOutcome, _truth: &Truth, _after: u64) {}
}

pub struct Watch {
    fence: a_fenced_worker_is_never_obeyed::Fenced,
    promises: Vec<Box<dyn Promise>>,
}

impl Watch {
    pub fn new(shards: u32, restarts: u32) -> Self {
        Self {
            fence: a_fenced_worker_is_never_obeyed::Fenced::default(),
            promises: vec![
                Box::new(at_most_one_generation_trains::OneTrains::default()),
                Box::new(every_shard_has_exactly_one_owner::Owned { shards }),
                Box::new(every_wait_has_a_deadline::Timed),
                Box::new(no_committed_step_is_lost::Kept::default()),
                Box::new(no_number_is_used_twice::Fresh::default()),
                Box::new(nobody_trains_before_all_have_formed::Complete::default()),
                Box::new(the_journal_comes_first::Written::default()),
                Box::new(the_run_ends_after_faults_stop::Ends { restarts }),
            ],
        }
    }

    pub fn see(&mut self, seen: &Seen<'_>) {
        self.fence.see(seen);
        for promise in &mut self.promises {
            promise.see(seen);
        }
    }

    pub fn is_stale(&self, machine: &Machine, event: &MachineEvent) -> bool {
        self.fence.is_stale(machine, event)
    }

    pub fn compare(&self, now: Tick, before: Machine, after: &Machine, event: &MachineEvent) {
        self.fence.compare(now, before, after, event);
    }

    pub fn took_up(&mut self, journal: &[Record]) {
        self.fence.took_up(journal);
        for promise in &mut self.promises {
            promise.took_up(journal);
        }
    }

    pub fn ended(&mut self, outcome: Option<&RunOutcome>, truth: &Truth, after: u64) {
        let outcome = outcome.expect("the run ended");
        for promise in &mut self.promises {
            promise.ended(outcome, truth, after);
        }
    }
}
