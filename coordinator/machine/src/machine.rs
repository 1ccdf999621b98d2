//! The machine: its inputs and outputs, and one table of what each event means in each phase.

use super::context::RunContext;
use super::effect::{Asker, Effect};
use super::event::{MachineEvent, Stopping};
use super::phase::{Next, PhaseName, RunPhase};
use super::reason::{LostReason, RefuseReason, WakeReason};
use super::record::{Record, Resume};
use super::rules::MachineRules;
use super::tick::Tick;
use ulda_run::ids::Generation;

/// One run, from the first worker to its end.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) phase: RunPhase,
    pub(super) run: RunContext,
}

impl Machine {
    /// A coordinator takes up the run: a new one, or with `resume` one from its journal.
    ///
    /// `term` must be above the journal's. `now` starts all waits.
    #[must_use]
    pub fn new(rules: MachineRules, term: u64, now: Tick, resume: Option<Resume>) -> Self {
        let resume = resume.unwrap_or_default();
        let mut run = RunContext::new(rules, term, now, &resume);
        run.record(Record::RunStarted { term });
        let phase = run.take_up(resume);
        Self { phase, run }
    }

    /// Takes in one fact. `now` never runs backwards; an earlier tick counts as the last one.
    pub fn handle(&mut self, now: Tick, mut event: MachineEvent) {
        let due = match event {
            MachineEvent::Woke => self.poll_timeout(),
            _ => None,
        };
        self.run.now = self.run.now.max(now);
        if self.phase.is_over() || self.run.admits(&event) {
            if let Some(state) = event.state_mut() {
                state.cursor = self.run.rules.settle(state.cursor);
            }
            let next = self.dispatch(event, due);
            self.follow(next);
        }
        self.reconsider();
    }

    /// The orders since the last call, in the order in which they are to be carried out.
    pub fn drain_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.run.effects)
    }

    #[must_use]
    pub fn phase(&self) -> PhaseName {
        self.phase.name()
    }

    #[must_use]
    pub fn generation(&self) -> Generation {
        self.run.generation
    }

    #[must_use]
    pub fn term(&self) -> u64 {
        self.run.term
    }

    /// What each event means in each phase. Handlers of one phase get its data; an arm with `return` may end it.
    /// Handlers on `self` serve several phases alike.
    fn dispatch(&mut self, event: MachineEvent, due: Option<(Tick, WakeReason)>) -> Next {
        use MachineEvent as Event;
        use RunPhase::{Draining, Forming, Gathering, Over, Training};
        let run = &mut self.run;
        match (&mut self.phase, event) {
            (
                Gathering(_) | Forming(_) | Training(_),
                Event::JoinAsked {
                    ticket,
                    slot,
                    data_address,
                    device,
                },
            ) => self.join(ticket, slot, data_address, device),
            (Draining(_), Event::JoinAsked { ticket, .. }) => {
                run.refuse(Asker::Join(ticket), RefuseReason::Stopping);
            }
            (Over(_), Event::JoinAsked { ticket, .. }) => {
                run.refuse(Asker::Join(ticket), RefuseReason::Over);
            }

            (Gathering(_), Event::WorkerAttached { worker, generation }) => run.attach(worker, generation),
            (Forming(forming), Event::WorkerAttached { worker, generation }) => {
                forming.attached(run, worker, generation);
            }
            (Training(training), Event::WorkerAttached { worker, generation }) => {
                return training.attached(run, worker, generation);
            }
            (Draining(draining), Event::WorkerAttached { worker, .. }) => draining.attached(run, worker),

            (Gathering(_) | Forming(_), Event::WorkerReady { worker, state, .. }) => run.ready(worker, state),
            (
                Training(training),
                Event::WorkerReady {
                    worker,
                    generation,
                    state,
                },
            ) => return training.ready(run, worker, generation, state),

            (Forming(forming), Event::WorkerFormed { worker, state, .. }) => {
                return forming.formed(run, worker, state);
            }

            (Training(training), Event::ProgressMade { worker, state, .. }) => {
                return training.progressed(run, worker, state);
            }
            (
                Draining(_),
                Event::ProgressMade {
                    generation, state, ..
                },
            ) => {
                run.commit_if_further(generation, state);
            }
            (Training(training), Event::WorkAdvanced { worker, .. }) => training.worked(run.now, worker),
            (Training(training), Event::WorkerFinished { worker, digest, .. }) => {
                training.finished(run.now, worker, digest);
            }

            (
                Gathering(_),
                Event::GenerationBroke {
                    worker,
                    generation,
                    waiting_for,
                    state,
                    ..
                },
            ) => run.reported(worker, generation, &waiting_for, state),
            (
                Forming(forming),
                Event::GenerationBroke {
                    worker,
                    generation,
                    cause,
                    waiting_for,
                    state,
                },
            ) => return forming.broke(run, worker, generation, cause, waiting_for, state),
            (
                Training(training),
                Event::GenerationBroke {
                    worker,
                    generation,
                    cause,
                    waiting_for,
                    state,
                },
            ) => return training.broke(run, worker, generation, cause, waiting_for, state),

            (
                Gathering(_) | Forming(_) | Training(_) | Draining(_),
                Event::WorkerDetached { worker, why },
            ) => self.detached(worker, why),
            (Gathering(_) | Forming(_) | Training(_) | Draining(_), Event::WorkerLeft { worker }) => {
                self.lose(worker, LostReason::Left);
            }
            (
                Gathering(_) | Forming(_) | Training(_) | Draining(_),
                Event::WorkerFailed {
                    worker,
                    cause,
                    exit_code,
                },
            ) => self.worker_failed(worker, cause, exit_code),
            (
                Gathering(_) | Forming(_) | Training(_) | Draining(_),
                Event::ProcessEnded {
                    slot,
                    attempt,
                    exit,
                    last_words,
                },
            ) => self.process_ended(slot, attempt, exit, last_words),
            (Gathering(_) | Forming(_) | Training(_) | Draining(_), Event::Woke) => self.woke(due),

            (Gathering(_) | Forming(_) | Training(_), Event::StopAsked { stopping, why }) => {
                return Next::Enter(run.drain(stopping, why));
            }
            (
                Draining(_),
                Event::StopAsked {
                    stopping: Stopping::Now,
                    ..
                },
            ) => return Next::Enter(run.kill_rest()),

            // A repeated fact of a worker that attached again, or one that a fence overtook.
            (
                Gathering(_),
                Event::WorkerFormed { .. } | Event::ProgressMade { .. } | Event::WorkerFinished { .. },
            )
            | (Forming(_), Event::ProgressMade { .. } | Event::WorkerFinished { .. })
            | (Training(_), Event::WorkerFormed { .. }) => run.counters.out_of_turn += 1,

            // `RunContext::admits` has marked the sender as alive; nothing else follows.
            (Gathering(_) | Forming(_) | Training(_) | Draining(_), Event::HeartbeatHeard { .. })
            | (Gathering(_) | Forming(_) | Draining(_), Event::WorkAdvanced { .. })
            | (
                Draining(_),
                Event::WorkerReady { .. }
                | Event::WorkerFormed { .. }
                | Event::WorkerFinished { .. }
                | Event::GenerationBroke { .. }
                | Event::StopAsked {
                    stopping: Stopping::Drain,
                    ..
                },
            ) => {}

            (
                Over(_),
                Event::WorkerAttached { .. }
                | Event::WorkerReady { .. }
                | Event::WorkerDetached { .. }
                | Event::WorkerLeft { .. }
                | Event::HeartbeatHeard { .. }
                | Event::WorkerFormed { .. }
                | Event::ProgressMade { .. }
                | Event::WorkAdvanced { .. }
                | Event::GenerationBroke { .. }
                | Event::WorkerFinished { .. }
                | Event::WorkerFailed { .. }
                | Event::ProcessEnded { .. }
                | Event::StopAsked { .. }
                | Event::Woke,
            ) => {}
        }
        Next::Stay
    }

    /// Does what the present situation allows, until that is nothing; called after each event.
    fn reconsider(&mut self) {
        loop {
            let run = &mut self.run;
            let next = match &self.phase {
                RunPhase::Gathering(gathering) => gathering.reconsider(run),
                RunPhase::Training(training) => training.reconsider(run),
                RunPhase::Draining(_) => run.stop_if_empty(),
                RunPhase::Forming(_) | RunPhase::Over(_) => Next::Stay,
            };
            if matches!(next, Next::Stay) {
                return;
            }
            self.follow(next);
        }
    }

    pub(super) fn follow(&mut self, next: Next) {
        match next {
            Next::Stay => {}
            Next::Enter(phase) => self.phase = phase,
            Next::Lose(lost) => {
                for (worker, why) in lost {
                    self.lose(worker, why);
                }
            }
        }
    }
}
