//! Puts words into the workers' mouths.

use std::time::Duration;

use ulda_machine::{
    Directive, Effect, Formation, Launching, Machine, MachineDeadlines, MachineEvent, MachineRules, Record,
    RestartBudget, Resume, RunOutcome, Tick, Ticket,
};
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};
use ulda_run::stage::{Course, Cursor, Stage, StageLength};
use ulda_run::{Digest, StateClaim};

pub fn rules(wanted: u32, shards: u32) -> MachineRules {
    let seconds = Duration::from_secs;
    MachineRules {
        shards,
        course: Course::new([
            StageLength {
                stage: Stage::Pretrain,
                steps: 2,
            },
            StageLength {
                stage: Stage::Adapt,
                steps: 10,
            },
        ]),
        min_workers: 1,
        wanted_workers: wanted,
        max_workers: 8,
        launching: Launching::Here,
        deadlines: MachineDeadlines {
            gather: seconds(120),
            queue: seconds(120),
            form: seconds(60),
            heartbeat: seconds(20),
            progress: seconds(600),
            drain: seconds(30),
        },
        restarts: RestartBudget {
            per_slot: 2,
            window: seconds(600),
        },
        relaunch_grace: seconds(10),
        reattach: seconds(5),
        exit_grace: seconds(2),
        admit_every: seconds(30),
        stalls_allowed: 1,
    }
}

pub fn adapt(step: u64, digest: &str) -> StateClaim {
    StateClaim {
        cursor: Cursor {
            stage: Stage::Adapt,
            step,
        },
        digest: Digest(digest.into()),
    }
}

pub struct Drive {
    pub machine: Machine,
    pub now: u64,
    pub records: Vec<Record>,
    tickets: u64,
}

impl Drive {
    pub fn new(rules: MachineRules) -> Self {
        Self::resumed(rules, 1, None)
    }

    pub fn resumed(rules: MachineRules, term: u64, resume: Option<Resume>) -> Self {
        let machine = Machine::new(rules, term, Tick(0), resume);
        Self {
            machine,
            now: 0,
            records: Vec::new(),
            tickets: 0,
        }
    }

    /// Effects other than records, which are kept.
    pub fn drain(&mut self) -> Vec<Effect> {
        let mut orders = Vec::new();
        for effect in self.machine.drain_effects() {
            match effect {
                Effect::Journal(record) => self.records.push(record),
                order => orders.push(order),
            }
        }
        orders
    }

    pub fn tell(&mut self, event: MachineEvent) -> Vec<Effect> {
        self.machine.handle(Tick(self.now), event);
        self.drain()
    }

    /// Seconds pass; the machine is woken whenever it wants, everyone not in `silent` sends heartbeats.
    pub fn pass(&mut self, seconds: u64, silent: &[WorkerId]) -> Vec<Effect> {
        let end = self.now + seconds * 1000;
        let mut orders = Vec::new();
        while self.now < end {
            let due = self.machine.poll_timeout().map_or(end, |(tick, _)| tick.0);
            let next = (self.now + 5_000).min(end);
            if due <= next {
                self.now = due.max(self.now);
                orders.extend(self.tell(MachineEvent::Woke));
                if self.machine.phase().is_over() {
                    return orders;
                }
            } else {
                self.now = next;
                for view in self.machine.snapshot(Tick(self.now)).workers {
                    if view.attached && !silent.contains(&view.worker) {
                        let (worker, generation) = (view.worker, Generation::NONE);
                        orders.extend(self.tell(MachineEvent::HeartbeatHeard { worker, generation }));
                    }
                }
            }
        }
        orders
    }

    pub fn ask(&mut self, slot: u32) -> Vec<Effect> {
        self.tickets += 1;
        let (ticket, slot) = (Ticket(self.tickets), Slot(slot));
        let data_address = format!("host:{}", self.tickets);
        self.tell(MachineEvent::JoinAsked {
            ticket,
            slot,
            data_address,
            device: "cpu".into(),
        })
    }

    pub fn join(&mut self, slot: u32) -> WorkerId {
        let welcome = self.ask(slot).into_iter().find_map(|effect| match effect {
            Effect::Welcome { worker, .. } => Some(worker),
            _ => None,
        });
        welcome.expect("the worker is welcome")
    }

    /// Joins, attaches and is ready with a state.
    pub fn come(&mut self, slot: u32, state: Option<StateClaim>) -> (WorkerId, Vec<Effect>) {
        let worker = self.join(slot);
        let generation = Generation::NONE;
        let mut orders = self.tell(MachineEvent::WorkerAttached { worker, generation });
        orders.extend(self.tell(MachineEvent::WorkerReady {
            worker,
            generation,
            state,
        }));
        (worker, orders)
    }

    pub fn formed(&mut self, worker: WorkerId, state: Option<StateClaim>) -> Vec<Effect> {
        let generation = self.machine.generation();
        self.tell(MachineEvent::WorkerFormed {
            worker,
            generation,
            state,
        })
    }

    pub fn progress(&mut self, worker: WorkerId, state: StateClaim) -> Vec<Effect> {
        let generation = self.machine.generation();
        self.tell(MachineEvent::ProgressMade {
            worker,
            generation,
            state,
        })
    }

    pub fn broke(&mut self, worker: WorkerId, waiting_for: &[u32], state: Option<StateClaim>) -> Vec<Effect> {
        let generation = self.machine.generation();
        let waiting_for = waiting_for.iter().map(|shard| Shard(*shard)).collect();
        self.tell(MachineEvent::GenerationBroke {
            worker,
            generation,
            cause: "peer is gone".into(),
            waiting_for,
            state,
        })
    }

    pub fn finished(&mut self, worker: WorkerId, digest: &str) -> Vec<Effect> {
        let generation = self.machine.generation();
        self.tell(MachineEvent::WorkerFinished {
            worker,
            generation,
            digest: Digest(digest.into()),
        })
    }

    pub fn leave(&mut self, worker: WorkerId) -> Vec<Effect> {
        self.tell(MachineEvent::WorkerLeft { worker })
    }

    pub fn detach(&mut self, worker: WorkerId) -> Vec<Effect> {
        self.tell(MachineEvent::WorkerDetached {
            worker,
            why: "connection reset".into(),
        })
    }

    /// `workers` workers in slots 0.. train from the beginning.
    pub fn training(rules: MachineRules, workers: u32) -> (Self, Vec<WorkerId>) {
        let mut drive = Self::new(rules);
        drive.drain();
        let ids: Vec<WorkerId> = (0..workers).map(|slot| drive.come(slot, None).0).collect();
        for worker in &ids {
            drive.formed(*worker, None);
        }
        assert!(
            matches!(drive.records.last(), Some(Record::GenerationStarted { .. })),
            "{:?}",
            drive.records
        );
        (drive, ids)
    }
}

pub fn formation(orders: &[Effect]) -> Option<&Formation> {
    orders.iter().rev().find_map(|order| match order {
        Effect::Direct {
            directive: Directive::Form(formation),
            ..
        } => Some(&**formation),
        _ => None,
    })
}

pub fn fenced(orders: &[Effect]) -> Vec<WorkerId> {
    let fence = |order: &Effect| match order {
        Effect::Direct {
            worker,
            directive: Directive::Fence { .. },
            ..
        } => Some(*worker),
        _ => None,
    };
    orders.iter().filter_map(fence).collect()
}

pub fn outcome(orders: &[Effect]) -> Option<&RunOutcome> {
    orders.iter().find_map(|order| match order {
        Effect::End(outcome) => Some(outcome),
        _ => None,
    })
}
