//! How long the state machine takes for fleets of growing size: `cargo run --release --workspace --example fleet`.
//!
//! Per fleet, on one core: from the first worker that joins to the first generation that trains; from a worker that leaves to
//! the next generation; one heartbeat; and the bytes of the records that all of it leaves in the journal.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "it measures the machine, which has no clock itself"
)]

use std::time::{Duration, Instant};

use ulda_machine::{
    Directive, Effect, Launching, Machine, MachineDeadlines, MachineEvent, MachineRules, Record,
    RestartBudget, Tick, Ticket, Verdict,
};
use ulda_run::ids::{Generation, Slot, WorkerId};
use ulda_run::stage::{Course, Stage, StageLength};

const FLEETS: [u32; 6] = [8, 64, 512, 2048, 5000, 10_000];
const HEARTBEATS: u32 = 2000;

fn rules(size: u32) -> MachineRules {
    let seconds = Duration::from_secs;
    MachineRules {
        shards: size,
        course: Course::new([StageLength {
            stage: Stage::Adapt,
            steps: 10,
        }]),
        min_workers: 1,
        wanted_workers: size,
        max_workers: size,
        launching: Launching::Elsewhere,
        deadlines: MachineDeadlines {
            gather: seconds(120),
            queue: seconds(120),
            form: seconds(60),
            heartbeat: seconds(3600),
            progress: seconds(3600),
            drain: seconds(30),
        },
        restarts: RestartBudget {
            per_slot: 2,
            window: seconds(600),
        },
        relaunch_grace: seconds(10),
        reattach: seconds(5),
        exit_grace: seconds(2),
        admit_every: seconds(60),
        stalls_allowed: 3,
    }
}

struct Fleet {
    machine: Machine,
    now: Tick,
    workers: Vec<WorkerId>,
    journal_bytes: usize,
}

impl Fleet {
    fn new(size: u32) -> Self {
        Self {
            machine: Machine::new(rules(size), 1, Tick(0), None),
            now: Tick(0),
            workers: Vec::new(),
            journal_bytes: 0,
        }
    }

    /// Hands over one fact, and what the workers answer to the orders that follow.
    fn hand_over(&mut self, event: MachineEvent) {
        self.machine.handle(self.now, event);
        loop {
            let effects = self.machine.drain_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    /// Lets waits pass until a generation after `last` trains.
    fn train_after(&mut self, last: u64) {
        loop {
            match self.machine.verdict() {
                Verdict::Training { generation, .. } if generation.0 > last => return,
                _ => {}
            }
            let Some((at, _)) = self.machine.poll_timeout() else {
                return;
            };
            self.now = self.now.max(at);
            self.hand_over(MachineEvent::Woke);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Journal(record) => self.journal_bytes += bytes(&record),
            Effect::Welcome { worker, .. } => self.workers.push(worker),
            Effect::Direct {
                worker,
                generation,
                directive,
            } => {
                let answer = match directive {
                    Directive::Form(_) => MachineEvent::WorkerFormed {
                        worker,
                        generation,
                        state: None,
                    },
                    Directive::Fence { .. } => MachineEvent::GenerationBroke {
                        worker,
                        generation,
                        cause: "fenced".into(),
                        waiting_for: Vec::new(),
                        state: None,
                    },
                    Directive::Go | Directive::Stop { .. } => return,
                };
                self.machine.handle(self.now, answer);
            }
            Effect::Refuse { .. } | Effect::Launch { .. } | Effect::Kill { .. } | Effect::End(_) => {}
        }
    }

    fn join(&mut self, slot: u32) {
        self.hand_over(MachineEvent::JoinAsked {
            ticket: Ticket(slot.into()),
            slot: Slot(slot),
            data_address: format!("10.{}.{}.{}:40000", slot >> 16, slot >> 8 & 0xff, slot & 0xff),
            device: "cuda:0".into(),
        });
        if let Some(worker) = self.workers.last().copied() {
            let generation = Generation(0);
            self.hand_over(MachineEvent::WorkerAttached { worker, generation });
            self.hand_over(MachineEvent::WorkerReady {
                worker,
                generation,
                state: None,
            });
        }
    }
}

fn bytes(record: &Record) -> usize {
    serde_json::to_vec(record).map_or(0, |bytes| bytes.len())
}

fn main() {
    println!("workers  join and form  form again   heartbeat   journal");
    for size in FLEETS {
        let mut fleet = Fleet::new(size);
        let joined = timed(|| {
            (0..size).for_each(|slot| fleet.join(slot));
            fleet.train_after(0);
        });
        let leaving = fleet.workers[0];
        let formed = timed(|| {
            fleet.hand_over(MachineEvent::WorkerLeft { worker: leaving });
            fleet.train_after(1);
        });
        let generation = Generation(2);
        let heartbeats = timed(|| {
            for number in 1..=HEARTBEATS {
                let worker = fleet.workers[(number % size) as usize];
                fleet.hand_over(MachineEvent::HeartbeatHeard { worker, generation });
            }
        });
        println!(
            "{size:>7}  {:>10.1} ms  {:>7.1} ms  {:>7.2} µs  {:>5} kB",
            joined.as_secs_f64() * 1e3,
            formed.as_secs_f64() * 1e3,
            heartbeats.as_secs_f64() * 1e6 / f64::from(HEARTBEATS),
            fleet.journal_bytes / 1000
        );
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
