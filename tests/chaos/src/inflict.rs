//! How each kind of fault is inflicted on a run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ChaosError;
use crate::damage::{Damage, checkpoints};
use crate::fault::{Fault, Kind};
use crate::journal::{committed, finished, generation, records, slots_at_work, steps_before, trains_since};
use crate::life::{Life, now_millis};
use crate::network::{Side, Storm};
use crate::nodes::{COORDINATOR, Nodes};
use crate::offspring::{self, Exit, Pid, Watched};
use crate::patience::{pass, wait_for};
use crate::recovery::{Alone, Inflicted};
use crate::world::tail;

/// Longest wait for a coordinator that was asked to leave.
const LEAVE: Duration = Duration::from_secs(40);
/// Longest wait for a coordinator to find that its journal's disk is full. SQLite may have room left in a log
/// that it writes over.
const NOTICE: Duration = Duration::from_secs(10);
/// Exit code of a coordinator whose journal cannot be written.
const DISK_REFUSES: i32 = 74;
/// A coordinator that stays away for so long is to see that training went on.
const LONG_AWAY: Duration = Duration::from_secs(1);
/// Longest wait for a checkpoint of workers without a coordinator; well below their patience with its absence.
const STANDSTILL: Duration = Duration::from_secs(20);
/// Steps that must be left for a run to be expected to leave another checkpoint.
const FAR_FROM_THE_END: u64 = 12;
/// Heavy, but TCP gets through.
const STORM: Storm = Storm {
    loses: 3,
    doubles: 3,
    delay: (Duration::from_micros(200), Duration::from_millis(6)),
};

/// What came of an attempt.
enum Done {
    Yes,
    /// With the coordinator away for a while.
    WithoutCoordinator(Alone),
    /// There was nobody to do it to.
    No,
}

impl Done {
    fn if_any(any: bool) -> Self {
        if any { Self::Yes } else { Self::No }
    }
}

impl Life<'_> {
    pub fn inflict(&mut self, fault: Fault) -> Result<(), ChaosError> {
        self.release();
        let generation = generation(&records(&self.directory.journal_file()));
        let at = now_millis();
        let alone = match self.act(fault)? {
            Done::Yes => None,
            Done::WithoutCoordinator(alone) => Some(alone),
            Done::No => return Ok(()),
        };
        self.inflicted.push(Inflicted {
            fault,
            at,
            generation,
            over_at: now_millis(),
            alone,
        });
        Ok(())
    }

    fn victim(&self, fault: Fault) -> Option<(u32, Pid)> {
        let workers: Vec<(u32, Pid)> = offspring::workers().into_iter().collect();
        // The lowest one dials all others, so no connection leads to its data plane.
        let skipped = usize::from(matches!(fault.kind, Kind::CutData | Kind::StallData));
        let choice = workers.get(skipped..)?;
        choice.get(fault.victim as usize % choice.len().max(1)).copied()
    }

    fn act(&mut self, fault: Fault) -> Result<Done, ChaosError> {
        match fault.kind {
            Kind::KillWorker | Kind::TerminateWorker | Kind::HangWorker | Kind::PauseWorker => {
                self.disturb_worker(fault)
            }
            Kind::KillAllWorkers => {
                let workers = offspring::workers();
                workers.values().for_each(|pid| pid.signal(libc::SIGKILL));
                Ok(Done::if_any(!workers.is_empty()))
            }
            Kind::ExtraWorker => {
                let added = self
                    .deployment
                    .add_worker(self.world, &self.name, &self.directory)?;
                Ok(Done::if_any(added))
            }
            Kind::KillCoordinator => {
                self.coordinator.kill()?;
                let alone = self.stay_away(fault.time, self.trained_undisturbed())?;
                self.coordinator = self.resume(None)?;
                Ok(Done::WithoutCoordinator(alone))
            }
            Kind::PauseCoordinator => {
                self.coordinator.pid.signal(libc::SIGSTOP);
                let passed = pass(fault.time);
                self.coordinator.pid.signal(libc::SIGCONT);
                passed.map(|()| Done::Yes)
            }
            Kind::RestartCoordinator => self.restart(fault.workers),
            Kind::KillEverything => {
                self.kill_everything()?;
                self.coordinator = self.resume(Some(fault.workers))?;
                Ok(Done::Yes)
            }
            Kind::TornCheckpoint => self.tear_checkpoint(fault),
            Kind::CutData | Kind::StallData | Kind::CutControl | Kind::StallControl => {
                let Some((slot, _)) = self.victim(fault) else {
                    return Ok(Done::No);
                };
                let found = self.deployment.with_wires(slot, |wires| match fault.kind {
                    Kind::CutData => wires.data.cut(),
                    Kind::StallData => wires.data.stall(fault.time),
                    Kind::CutControl => wires.control.cut(),
                    _ => wires.control.stall(fault.time),
                });
                Ok(Done::if_any(found))
            }
            Kind::FullDisk => {
                let Some(disk) = &self.checkpoint_disk else {
                    return Ok(Done::No);
                };
                disk.fill();
                let passed = pass(fault.time);
                disk.free();
                passed.map(|()| Done::Yes)
            }
            Kind::FullJournal => self.fill_journal(fault),
            Kind::LinkDown
            | Kind::LinkLost
            | Kind::CoordinatorLinkDown
            | Kind::KillNode
            | Kind::Partition
            | Kind::Storm => self.disturb_network(fault),
        }
    }

    fn disturb_worker(&mut self, fault: Fault) -> Result<Done, ChaosError> {
        let Some((_, pid)) = self.victim(fault) else {
            return Ok(Done::No);
        };
        match fault.kind {
            Kind::KillWorker => pid.signal(libc::SIGKILL),
            Kind::TerminateWorker => pid.signal(libc::SIGTERM),
            Kind::PauseWorker => {
                pid.signal(libc::SIGSTOP);
                let passed = pass(fault.time);
                pid.signal(libc::SIGCONT);
                passed?;
            }
            _ => {
                pid.signal(libc::SIGSTOP);
                self.stopped.push(pid);
            }
        }
        Ok(Done::Yes)
    }

    /// Lets time pass without a coordinator, and checks that training goes on where that can be expected: a
    /// generation was at work and nothing had happened to it.
    fn stay_away(&self, time: Duration, trained: bool) -> Result<Alone, ChaosError> {
        let before = self.steps_on_disk();
        pass(time)?;
        let at_the_end = before + FAR_FROM_THE_END >= self.world.steps();
        let expected = trained && time >= LONG_AWAY && !at_the_end;
        if expected {
            let what = "training to go on without a coordinator";
            wait_for(what, STANDSTILL.min(self.left()), || {
                Ok((self.steps_on_disk() > before).then_some(()))
            })?;
        }
        Ok(Alone {
            steps: self.steps_on_disk().saturating_sub(before),
            expected,
        })
    }

    /// To be asked while no coordinator changes anything: the generation of the journal's end has committed a step since the
    /// last fault, which did not break it.
    fn trained_undisturbed(&self) -> bool {
        let records = records(&self.directory.journal_file());
        let last = self.inflicted.last();
        let since = last.map_or(0, |fault| fault.over_at);
        let Some(training) = trains_since(&records, since) else {
            return false;
        };
        let broken =
            last.is_some_and(|last| last.fault.kind.breaks_generation() && training <= last.generation);
        let done = committed(&records).map_or(0, |cursor| steps_before(&self.world.course, cursor));
        !broken && done + FAR_FROM_THE_END < self.world.steps()
    }

    fn kill_everything(&mut self) -> Result<(), ChaosError> {
        let workers = offspring::worker_processes();
        self.coordinator.pid.signal(libc::SIGKILL);
        offspring::kill_all(&workers)?;
        self.coordinator.kill()?;
        // What it had only just started.
        offspring::kill_all(&offspring::worker_processes())
    }

    /// All processes are lost, and the newest checkpoint is not what was written.
    fn tear_checkpoint(&mut self, fault: Fault) -> Result<Done, ChaosError> {
        self.kill_everything()?;
        if finished(&records(&self.directory.journal_file())) {
            self.coordinator = self.resume(Some(fault.workers))?;
            return Ok(Done::No);
        }
        if let Some((_, newest)) = checkpoints(&self.checkpoints_folder()).pop() {
            let name = newest.file_name().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            // A bit that is flipped twice is whole again.
            if !self.damaged.contains(&name) {
                let damage = Damage::ALL[fault.victim as usize % Damage::ALL.len()];
                damage
                    .inflict(&newest)
                    .map_err(ChaosError::io("damage", &newest))?;
                self.damaged.push(name);
            }
        }
        self.coordinator = self.resume(Some(fault.workers))?;
        Ok(Done::Yes)
    }

    /// Asks the coordinator to leave and starts another one. It may have finished the run meanwhile.
    fn restart(&mut self, workers: u32) -> Result<Done, ChaosError> {
        self.coordinator.pid.signal(libc::SIGTERM);
        let limit = LEAVE.min(self.left());
        let exit = wait_for("the coordinator to leave after SIGTERM", limit, || {
            Ok(self.coordinator.ended())
        })?;
        match exit {
            // The signal itself ends a coordinator that has not begun to listen.
            Exit::Code(0 | 143) | Exit::Signal(libc::SIGTERM) => {}
            exit => return Err(self.ended_badly(exit)),
        }
        self.coordinator = self.resume(Some(workers))?;
        Ok(Done::Yes)
    }

    /// The disk under journal and logs has no byte left: the coordinator ends by itself, the workers do not.
    fn fill_journal(&mut self, fault: Fault) -> Result<Done, ChaosError> {
        let Some(disk) = &self.run_disk else {
            return Ok(Done::No);
        };
        let mut at_work = offspring::workers();
        let slots = slots_at_work(&records(&self.directory.journal_file()));
        at_work.retain(|slot, _| slots.contains(slot));
        let trained = self.trained_undisturbed();
        disk.fill();
        let Some(()) = self.refuses_to_go_on(&self.coordinator)? else {
            disk.free();
            return Ok(Done::Yes);
        };
        let alive = offspring::descendants();
        let gone = at_work.iter().find(|(_, pid)| !alive.contains(pid));
        // Those that came to the run's end have nothing to stay for.
        if let Some((slot, _)) = gone
            && self.steps_on_disk() < self.world.steps()
        {
            return Err(ChaosError::Broken {
                what: format!("the worker of slot {slot}"),
                told: "it ended with the coordinator whose disk was full".to_owned(),
            });
        }
        let mut next = None;
        if fault.victim.is_multiple_of(2) {
            // Somebody is impatient and starts it while nothing has changed.
            let early = self.resume(None)?;
            if self.refuses_to_go_on(&early)?.is_none() {
                next = Some(early);
            }
        }
        let alone = self.stay_away(fault.time, trained);
        if let Some(disk) = &self.run_disk {
            disk.free();
        }
        let alone = match alone {
            // The journal may have taken the generation's end after it was asked, and cannot be read on a full disk.
            Err(ChaosError::Overdue(_)) if !self.trained_undisturbed() => Alone::default(),
            alone => alone?,
        };
        self.coordinator = match next {
            Some(early) => early,
            None => self.resume(None)?,
        };
        Ok(Done::WithoutCoordinator(alone))
    }

    /// Waits for a coordinator to end for want of space, with its sentence and its exit code. `None` where it
    /// found enough, or had finished the run.
    fn refuses_to_go_on(&self, coordinator: &Watched) -> Result<Option<()>, ChaosError> {
        let limit = NOTICE.min(self.left());
        let what = "the coordinator to find its disk full";
        let exit = match wait_for(what, limit, || Ok(coordinator.ended())) {
            Ok(exit) => exit,
            Err(ChaosError::Overdue(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        match exit {
            Exit::Code(0) => Ok(None),
            Exit::Code(DISK_REFUSES) if tail(&self.log, 4).contains("no space left") => Ok(Some(())),
            exit => Err(self.ended_badly(exit)),
        }
    }

    fn disturb_network(&mut self, fault: Fault) -> Result<Done, ChaosError> {
        let (Some(nodes), Some(network)) = (self.deployment.nodes(), self.deployment.network()) else {
            return Ok(Done::No);
        };
        if fault.kind == Kind::Storm {
            network.change(|weather| weather.storm(Some(STORM)));
            let passed = pass(fault.time);
            network.change(|weather| weather.storm(None));
            return passed.map(|()| Done::Yes);
        }
        if fault.kind == Kind::CoordinatorLinkDown {
            return cut_link(nodes, COORDINATOR, fault.time);
        }
        let Some((slot, _)) = self.victim(fault) else {
            return Ok(Done::No);
        };
        match fault.kind {
            Kind::KillNode => {
                nodes.power_off(slot);
                let passed = pass(fault.time);
                nodes.power_on(slot);
                passed.map(|()| Done::Yes)
            }
            Kind::Partition => {
                let Some(sides) = halves(fault.victim) else {
                    return Ok(Done::No);
                };
                network.change(|weather| weather.part(sides));
                let passed = pass(fault.time);
                network.change(|weather| weather.part(BTreeMap::new()));
                passed.map(|()| Done::Yes)
            }
            _ => cut_link(nodes, Nodes::host_of(slot), fault.time),
        }
    }
}

fn cut_link(nodes: &Nodes, host: usize, time: Duration) -> Result<Done, ChaosError> {
    nodes.network().change(|weather| weather.set_link(host, false));
    let passed = pass(time);
    nodes.network().change(|weather| weather.set_link(host, true));
    passed.map(|()| Done::Yes)
}

/// The workers of every other node on one side each; the coordinator on one of them, or reached by both.
/// `None` where there are no two of them.
fn halves(chance: u32) -> Option<BTreeMap<usize, Side>> {
    let slots: Vec<u32> = offspring::workers().into_keys().collect();
    if slots.len() < 2 {
        return None;
    }
    let side = |index: usize| {
        if index.is_multiple_of(2) {
            Side::Left
        } else {
            Side::Right
        }
    };
    let workers = slots
        .iter()
        .enumerate()
        .map(|(index, slot)| (Nodes::host_of(*slot), side(index)));
    let mut sides: BTreeMap<usize, Side> = workers.collect();
    let coordinator = match chance % 3 {
        0 => Side::Left,
        1 => Side::Right,
        _ => Side::Both,
    };
    sides.insert(COORDINATOR, coordinator);
    Some(sides)
}
