//! What the machine waits for, and what follows when the wait is over.

use super::context::RunContext;
use super::effect::Effect;
use super::machine::Machine;
use super::phase::{Next, RunPhase};
use super::reason::{LostReason, WakeReason};
use super::roster::{SlotProcess, WorkerStanding, WorkerStream};
use super::tick::Tick;
use ulda_run::ids::{Slot, WorkerId};

impl Machine {
    /// When to send `MachineEvent::Woke`, and what for. `None`: only an event can change anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Tick, WakeReason)> {
        if self.phase.is_over() {
            return None;
        }
        let run = &self.run;
        let rules = &run.rules;
        let mut due: Vec<(Tick, WakeReason)> = Vec::new();
        match &self.phase {
            // These are looked at after every event, so that those passed have had their effect.
            RunPhase::Gathering(gathering) => due.extend(
                [
                    (gathering.grace, WakeReason::Grace),
                    (gathering.not_before, WakeReason::Pacing),
                    (gathering.deadline, WakeReason::Gather),
                    (gathering.queue_deadline(run), WakeReason::Gather),
                    (gathering.loading_deadline(run), WakeReason::Loading),
                ]
                .into_iter()
                .filter(|(at, _)| *at > run.now),
            ),
            RunPhase::Forming(forming) => due.push((forming.deadline, WakeReason::Form)),
            RunPhase::Training(training) => {
                due.push((
                    training.last_advance + rules.deadlines.progress,
                    WakeReason::Progress,
                ));
                let ripe = training.since + rules.admit_every;
                if ripe > run.now && training.advanced && !training.spares(run).is_empty() {
                    due.push((ripe, WakeReason::Admit));
                }
            }
            RunPhase::Draining(draining) => due.push((draining.deadline, WakeReason::Drain)),
            RunPhase::Over(_) => {}
        }
        for (worker, entry) in &run.roster.workers {
            due.push((
                entry.last_heard + rules.deadlines.heartbeat,
                WakeReason::Heartbeat(*worker),
            ));
            if let WorkerStream::Broken { since, .. } = entry.stream {
                due.push((since + rules.reattach, WakeReason::Attach(*worker)));
            }
            if let WorkerStanding::Fenced { until, .. } = entry.standing
                && entry.attached()
            {
                due.push((until, WakeReason::Report(*worker)));
            }
        }
        for (slot, state) in &run.roster.slots {
            match state.process {
                SlotProcess::Starting { until } => due.push((until, WakeReason::Join(*slot))),
                SlotProcess::Leaving { until } => due.push((until, WakeReason::Exit(*slot))),
                SlotProcess::BackingOff { until } => due.push((until, WakeReason::Relaunch(*slot))),
                SlotProcess::Vacant | SlotProcess::Serving { .. } => {}
            }
        }
        due.into_iter().min()
    }

    /// Carries out all that is due.
    pub(super) fn woke(&mut self, due: Option<(Tick, WakeReason)>) {
        self.run.forgive_own_pause(due);
        let slots: Vec<Slot> = self.run.roster.slots.keys().copied().collect();
        for slot in slots {
            self.slot_due(slot);
        }
        let workers: Vec<WorkerId> = self.run.roster.workers.keys().copied().collect();
        for worker in workers {
            if let Some(why) = self.run.worker_due(worker) {
                self.lose(worker, why);
            }
        }
        let run = &mut self.run;
        let next = match &self.phase {
            RunPhase::Forming(forming) if forming.deadline <= run.now => forming.deadline_passed(run),
            RunPhase::Training(training)
                if !training.all_finished()
                    && training.last_advance + run.rules.deadlines.progress <= run.now =>
            {
                training.progress_deadline_passed(run)
            }
            RunPhase::Draining(draining) if draining.deadline <= run.now => Next::Enter(run.kill_rest()),
            RunPhase::Gathering(_)
            | RunPhase::Forming(_)
            | RunPhase::Training(_)
            | RunPhase::Draining(_)
            | RunPhase::Over(_) => Next::Stay,
        };
        self.follow(next);
    }

    fn slot_due(&mut self, slot: Slot) {
        let run = &mut self.run;
        let Some(state) = run.roster.slots.get(&slot) else {
            return;
        };
        match state.process {
            SlotProcess::Starting { until } if until <= run.now => {
                let why = LostReason::NeverJoined {
                    waited: run.rules.deadlines.gather,
                };
                run.note_loss(slot, None, &why);
                run.effects.push(Effect::Kill { slot });
                self.restart_slot(slot);
            }
            SlotProcess::Leaving { until } if until <= run.now => {
                run.effects.push(Effect::Kill { slot });
                self.restart_slot(slot);
            }
            SlotProcess::BackingOff { until } if until <= run.now => run.launch(slot),
            SlotProcess::Vacant
            | SlotProcess::Starting { .. }
            | SlotProcess::Serving { .. }
            | SlotProcess::Leaving { .. }
            | SlotProcess::BackingOff { .. } => {}
        }
    }
}

impl RunContext {
    /// A coordinator that was itself paused cannot tell which workers were silent.
    fn forgive_own_pause(&mut self, due: Option<(Tick, WakeReason)>) {
        let Some((at, _)) = due else { return };
        let (now, heartbeat) = (self.now, self.rules.deadlines.heartbeat);
        if now.since(at) <= heartbeat / 2 {
            return;
        }
        for entry in self.roster.workers.values_mut() {
            entry.last_heard = now;
            if let WorkerStream::Broken { since, .. } = &mut entry.stream {
                *since = now;
            }
        }
    }

    /// Why the worker is to be given up, if it was waited for long enough.
    fn worker_due(&self, worker: WorkerId) -> Option<LostReason> {
        let (now, deadlines) = (self.now, &self.rules.deadlines);
        let entry = self.roster.workers.get(&worker)?;
        if entry.last_heard + deadlines.heartbeat <= now {
            let silence = now.since(entry.last_heard);
            return Some(match entry.stream {
                WorkerStream::Unopened => LostReason::NeverAttached { waited: silence },
                WorkerStream::Open | WorkerStream::Broken { .. } | WorkerStream::Awaited => {
                    LostReason::Silent { silence }
                }
            });
        }
        if let WorkerStream::Broken { since, why } = &entry.stream
            && *since + self.rules.reattach <= now
        {
            return Some(LostReason::Detached {
                why: why.clone(),
                waited: now.since(*since),
            });
        }
        match entry.standing {
            WorkerStanding::Fenced { generation, until } if entry.attached() && until <= now => {
                Some(LostReason::NoReport {
                    generation,
                    waited: deadlines.form,
                })
            }
            WorkerStanding::Fenced { .. }
            | WorkerStanding::Loading
            | WorkerStanding::Idle { .. }
            | WorkerStanding::Member => None,
        }
    }
}
