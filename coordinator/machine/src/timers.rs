//! What the machine waits for, and what follows when the wait is over.

use super::effect::Effect;
use super::phase::RunPhase;
use super::reason::{LostReason, Why};
use super::roster::{SlotProcess, WorkerStanding, WorkerStream};
use super::run::Machine;
use super::tick::Tick;
use ulda_run::ids::{Slot, WorkerId};

impl Machine {
    /// When to send `MachineEvent::Woke`, and what for. `None`: only an event can change anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Tick, Why)> {
        if self.phase.name().is_over() {
            return None;
        }
        let rules = &self.rules;
        let mut due: Vec<(Tick, Why)> = Vec::new();
        match &self.phase {
            // These are looked at after every event, so that those passed have had their effect.
            RunPhase::Gathering(gathering) => due.extend(
                [
                    (gathering.grace, Why::Grace),
                    (gathering.not_before, Why::Pacing),
                    (gathering.deadline, Why::Gather),
                    (self.queue_deadline(gathering), Why::Gather),
                    (self.loading_deadline(gathering), Why::Loading),
                ]
                .into_iter()
                .filter(|(at, _)| *at > self.now),
            ),
            RunPhase::Forming(forming) => due.push((forming.deadline, Why::Form)),
            RunPhase::Training(training) => {
                due.push((training.last_advance + rules.deadlines.progress, Why::Progress));
                let ripe = training.since + rules.admit_every;
                if ripe > self.now && training.advanced && !self.spares().is_empty() {
                    due.push((ripe, Why::Admit));
                }
            }
            RunPhase::Draining(draining) => due.push((draining.deadline, Why::Drain)),
            RunPhase::Finished | RunPhase::Stopped | RunPhase::Failed(_) => {}
        }
        for (worker, entry) in &self.roster.workers {
            due.push((
                entry.last_heard + rules.deadlines.heartbeat,
                Why::Heartbeat(*worker),
            ));
            if let WorkerStream::Broken { since, .. } = entry.line {
                due.push((since + rules.reattach, Why::Attach(*worker)));
            }
            if let WorkerStanding::Owing { until, .. } = entry.standing
                && entry.attached()
            {
                due.push((until, Why::Report(*worker)));
            }
        }
        for (slot, seating) in &self.roster.slots {
            match seating.place {
                SlotProcess::Starting { until } => due.push((until, Why::Join(*slot))),
                SlotProcess::Leaving { until } => due.push((until, Why::Exit(*slot))),
                SlotProcess::Resting { until } => due.push((until, Why::Relaunch(*slot))),
                SlotProcess::Vacant | SlotProcess::Serving { .. } => {}
            }
        }
        due.into_iter().min()
    }

    /// Carries out all that is due.
    pub(super) fn woke(&mut self, due: Option<(Tick, Why)>) {
        self.forgive_own_pause(due);
        let slots: Vec<Slot> = self.roster.slots.keys().copied().collect();
        for slot in slots {
            self.slot_due(slot);
        }
        let workers: Vec<WorkerId> = self.roster.workers.keys().copied().collect();
        for worker in workers {
            self.worker_due(worker);
        }
        match &self.phase {
            RunPhase::Forming(forming) if forming.deadline <= self.now => self.form_deadline_passed(),
            RunPhase::Training(training)
                if !training.all_finished()
                    && training.last_advance + self.rules.deadlines.progress <= self.now =>
            {
                self.progress_deadline_passed();
            }
            RunPhase::Draining(draining) if draining.deadline <= self.now => {
                if !self.left_to_leave().is_empty() {
                    self.stop_now();
                }
            }
            RunPhase::Gathering(_)
            | RunPhase::Forming(_)
            | RunPhase::Training(_)
            | RunPhase::Draining(_)
            | RunPhase::Finished
            | RunPhase::Stopped
            | RunPhase::Failed(_) => {}
        }
    }

    /// A coordinator that was itself paused cannot tell whose silence is whose.
    fn forgive_own_pause(&mut self, due: Option<(Tick, Why)>) {
        let Some((at, _)) = due else { return };
        let (now, heartbeat) = (self.now, self.rules.deadlines.heartbeat);
        if now.since(at) <= heartbeat / 2 {
            return;
        }
        for entry in self.roster.workers.values_mut() {
            entry.last_heard = now;
            if let WorkerStream::Broken { since, .. } = &mut entry.line {
                *since = now;
            }
        }
    }

    fn slot_due(&mut self, slot: Slot) {
        let Some(seating) = self.roster.slots.get(&slot) else {
            return;
        };
        match seating.place {
            SlotProcess::Starting { until } if until <= self.now => {
                let why = LostReason::NeverJoined {
                    waited: self.rules.deadlines.gather,
                };
                self.note_loss(slot, None, &why);
                self.effects.push(Effect::Kill { slot });
                self.rest(slot);
            }
            SlotProcess::Leaving { until } if until <= self.now => {
                self.effects.push(Effect::Kill { slot });
                self.rest(slot);
            }
            SlotProcess::Resting { until } if until <= self.now => self.launch(slot),
            SlotProcess::Vacant
            | SlotProcess::Starting { .. }
            | SlotProcess::Serving { .. }
            | SlotProcess::Leaving { .. }
            | SlotProcess::Resting { .. } => {}
        }
    }

    fn worker_due(&mut self, worker: WorkerId) {
        let now = self.now;
        let deadlines = self.rules.deadlines;
        let Some(entry) = self.roster.workers.get(&worker) else {
            return;
        };
        if entry.last_heard + deadlines.heartbeat <= now {
            let silence = now.since(entry.last_heard);
            let why = match entry.line {
                WorkerStream::Unopened => LostReason::NeverAttached { waited: silence },
                WorkerStream::Open | WorkerStream::Broken { .. } | WorkerStream::Awaited => {
                    LostReason::Silent { silence }
                }
            };
            return self.lose(worker, why);
        }
        if let WorkerStream::Broken { since, why } = &entry.line
            && *since + self.rules.reattach <= now
        {
            let (why, waited) = (why.clone(), now.since(*since));
            return self.lose(worker, LostReason::Detached { why, waited });
        }
        if let WorkerStanding::Owing { generation, until } = entry.standing
            && entry.attached()
            && until <= now
        {
            self.lose(
                worker,
                LostReason::NoReport {
                    generation,
                    waited: deadlines.form,
                },
            );
        }
    }
}
