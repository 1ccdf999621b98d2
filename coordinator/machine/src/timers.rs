//! What the machine waits for, and what follows when the wait is over.

use super::effect::Effect;
use super::phase::Phase;
use super::reason::{LostReason, Why};
use super::roster::{Line, Place, Standing};
use super::run::Machine;
use super::tick::Tick;
use ulda_run::ids::{Slot, WorkerId};

impl Machine {
    /// When to send `Event::Woke`, and what for. `None`: only an event can change anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Tick, Why)> {
        if self.phase.name().is_over() {
            return None;
        }
        let rules = &self.rules;
        let mut due: Vec<(Tick, Why)> = Vec::new();
        match &self.phase {
            // These are looked at after every event, so that those passed have had their effect.
            Phase::Gathering(gathering) => due.extend(
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
            Phase::Forming(forming) => due.push((forming.deadline, Why::Form)),
            Phase::Training(training) => {
                due.push((training.last_advance + rules.deadlines.progress, Why::Progress));
                let ripe = training.since + rules.admit_every;
                if ripe > self.now && training.advanced && !self.spares().is_empty() {
                    due.push((ripe, Why::Admit));
                }
            }
            Phase::Draining(draining) => due.push((draining.deadline, Why::Drain)),
            Phase::Finished | Phase::Stopped | Phase::Failed(_) => {}
        }
        for (worker, entry) in &self.roster.workers {
            due.push((
                entry.last_heard + rules.deadlines.heartbeat,
                Why::Heartbeat(*worker),
            ));
            if let Line::Broken { since, .. } = entry.line {
                due.push((since + rules.reattach, Why::Attach(*worker)));
            }
            if let Standing::Owing { until, .. } = entry.standing
                && entry.attached()
            {
                due.push((until, Why::Report(*worker)));
            }
        }
        for (slot, seating) in &self.roster.slots {
            match seating.place {
                Place::Starting { until } => due.push((until, Why::Join(*slot))),
                Place::Leaving { until } => due.push((until, Why::Exit(*slot))),
                Place::Resting { until } => due.push((until, Why::Relaunch(*slot))),
                Place::Vacant | Place::Serving { .. } => {}
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
            Phase::Forming(forming) if forming.deadline <= self.now => self.form_deadline_passed(),
            Phase::Training(training)
                if !training.all_finished()
                    && training.last_advance + self.rules.deadlines.progress <= self.now =>
            {
                self.progress_deadline_passed();
            }
            Phase::Draining(draining) if draining.deadline <= self.now => {
                if !self.left_to_leave().is_empty() {
                    self.stop_now();
                }
            }
            Phase::Gathering(_)
            | Phase::Forming(_)
            | Phase::Training(_)
            | Phase::Draining(_)
            | Phase::Finished
            | Phase::Stopped
            | Phase::Failed(_) => {}
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
            if let Line::Broken { since, .. } = &mut entry.line {
                *since = now;
            }
        }
    }

    fn slot_due(&mut self, slot: Slot) {
        let Some(seating) = self.roster.slots.get(&slot) else {
            return;
        };
        match seating.place {
            Place::Starting { until } if until <= self.now => {
                let why = LostReason::NeverJoined {
                    waited: self.rules.deadlines.gather,
                };
                self.note_loss(slot, None, &why);
                self.effects.push(Effect::Kill { slot });
                self.rest(slot);
            }
            Place::Leaving { until } if until <= self.now => {
                self.effects.push(Effect::Kill { slot });
                self.rest(slot);
            }
            Place::Resting { until } if until <= self.now => self.launch(slot),
            Place::Vacant
            | Place::Starting { .. }
            | Place::Serving { .. }
            | Place::Leaving { .. }
            | Place::Resting { .. } => {}
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
                Line::Unopened => LostReason::NeverAttached { waited: silence },
                Line::Open | Line::Broken { .. } | Line::Awaited => LostReason::Silent { silence },
            };
            return self.lose(worker, why);
        }
        if let Line::Broken { since, why } = &entry.line
            && *since + self.rules.reattach <= now
        {
            let (why, waited) = (why.clone(), now.since(*since));
            return self.lose(worker, LostReason::Detached { why, waited });
        }
        if let Standing::Owing { generation, until } = entry.standing
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
