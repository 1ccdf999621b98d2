//! The sample ledger: which samples each committed step used, by which shard and worker.
//!
//! Nothing is written down for it: the plan says what a step uses, the journal which generation committed it
//! and who served which shard. Where a generation began before the furthest committed step (all holders of
//! that step were lost), those steps were done again, with the same samples, and count for the later one.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Record;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};
use ulda_run::plan::{Batches, Lanes, SampleAt, slice};
use ulda_run::spec::RunSpec;
use ulda_run::stage::{Course, Cursor, Stage};

/// Sizes of the data sets of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleCounts {
    /// Images of the source's training set.
    pub train: usize,
    /// Images of each evaluation set.
    pub sets: Vec<usize>,
}

/// What one shard used in one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    pub shard: Shard,
    /// Who served it; not known of steps from before the journal began.
    pub served_by: Option<(WorkerId, Slot)>,
    /// Epoch and index into the stage's data set.
    pub samples: Vec<SampleAt>,
}

/// One committed step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerLine {
    pub stage: Stage,
    pub step: u64,
    pub generation: Generation,
    pub shares: Vec<Share>,
}

/// What must not be in a ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("{generation} committed a step without having started")]
    NeverStarted { generation: Generation },
    #[error("{generation} committed a step although {current} had started")]
    Overtaken {
        generation: Generation,
        current: Generation,
    },
    #[error("{stage} step {step}: {shard} was served by nobody")]
    Unserved { stage: Stage, step: u64, shard: Shard },
    #[error("{stage} used sample {} of epoch {} {times} times", sample.index, sample.epoch)]
    Repeated {
        stage: Stage,
        sample: SampleAt,
        times: u32,
    },
    #[error("{stage} skipped sample {} of epoch {}", sample.index, sample.epoch)]
    Skipped { stage: Stage, sample: SampleAt },
    #[error("the run is finished, but {missing} of its steps were never committed")]
    Incomplete { missing: u64 },
}

/// The steps of a run and who did them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ledger {
    pub lines: Vec<LedgerLine>,
    /// Steps that were done again because all holders of their result were lost.
    pub done_again: u64,
    /// Steps from before this journal began; the ledger tells what they used, and not who served them.
    pub done_elsewhere: u64,
    pub violations: Vec<Violation>,
}

/// Reads the ledger off the journal's records.
#[must_use]
pub fn ledger<'a>(
    spec: &RunSpec,
    counts: &SampleCounts,
    records: impl IntoIterator<Item = &'a Record>,
) -> Ledger {
    let course = spec.course();
    let mut ledger = Ledger::default();
    let mut history = History::default();
    for record in records {
        history.read(&course, record, &mut ledger);
    }
    let total: u64 = course.stages().iter().map(|length| length.steps).sum();
    if history.finished {
        let missing = total.saturating_sub(history.done.len() as u64);
        if missing > 0 {
            ledger.violations.push(Violation::Incomplete { missing });
        }
    }
    let mut plan = Plan::new(spec, counts);
    let places = course
        .stages()
        .iter()
        .flat_map(|length| (0..length.steps).map(|step| (length.stage, step)));
    for (before, ((stage, step), generation)) in (0..).zip(places.zip(&history.done)) {
        let shares = plan.shares(stage, step);
        let owners = history.owners.get(generation);
        let mut line = LedgerLine {
            stage,
            step,
            generation: *generation,
            shares: Vec::with_capacity(shares.len()),
        };
        for (shard, samples) in shares {
            match owners.and_then(|owners| owners.get(shard.0 as usize)).copied() {
                Some(served_by) => line.shares.push(Share {
                    shard,
                    served_by: Some(served_by).filter(|_| before >= ledger.done_elsewhere),
                    samples,
                }),
                None => ledger.violations.push(Violation::Unserved { stage, step, shard }),
            }
        }
        ledger.lines.push(line);
    }
    let found = exactly_once(&ledger.lines, counts);
    ledger.violations.extend(found);
    ledger
}

#[derive(Default)]
struct History {
    /// Worker and slot of each shard.
    owners: BTreeMap<Generation, Vec<(WorkerId, Slot)>>,
    current: Option<Generation>,
    /// The generation of each step of the run, over all stages.
    done: Vec<Generation>,
    finished: bool,
}

impl History {
    fn read(&mut self, course: &Course, record: &Record, ledger: &mut Ledger) {
        match record {
            Record::GenerationFormed {
                generation,
                formation,
            } => {
                let slot_of = |worker: WorkerId| {
                    let member = formation.members.iter().find(|member| member.worker == worker)?;
                    Some((worker, member.slot))
                };
                let owners = formation.shard_owner.iter().filter_map(|owner| slot_of(*owner));
                self.owners.insert(*generation, owners.collect());
            }
            Record::GenerationStarted { generation, state } => {
                let start = state
                    .as_ref()
                    .map_or(0, |state| steps_before(course, state.cursor));
                // The state it starts from was reached by the one before it, whether that was heard or not. A run
                // that was taken up from its storage has steps that nobody here has heard of: they are told of the
                // generation that holds their result.
                match self.current {
                    Some(former) => self.reach(start, former),
                    None => {
                        self.reach(start, *generation);
                        ledger.done_elsewhere = start;
                    }
                }
                ledger.done_elsewhere = ledger.done_elsewhere.min(start);
                let kept = usize::try_from(start).unwrap_or(usize::MAX);
                ledger.done_again += self.done.len().saturating_sub(kept) as u64;
                self.done.truncate(kept);
                self.current = Some(*generation);
            }
            Record::Committed { generation, state } => {
                match self.current {
                    None => ledger.violations.push(Violation::NeverStarted {
                        generation: *generation,
                    }),
                    Some(current) if current != *generation => {
                        ledger.violations.push(Violation::Overtaken {
                            generation: *generation,
                            current,
                        });
                    }
                    Some(_) => {}
                }
                self.reach(steps_before(course, state.cursor), *generation);
            }
            Record::Finished { .. } => {
                // The last step's commit may have been overtaken by the news that all is done.
                if let Some(current) = self.current {
                    let total = course.stages().iter().map(|length| length.steps).sum();
                    self.reach(total, current);
                }
                self.finished = true;
            }
            Record::RunStarted { .. }
            | Record::WorkerJoined { .. }
            | Record::GenerationAbandoned { .. }
            | Record::WorkerLost { .. }
            | Record::Restarted { .. }
            | Record::Failed { .. }
            | Record::Stopped => {}
        }
    }

    fn reach(&mut self, steps: u64, generation: Generation) {
        while (self.done.len() as u64) < steps {
            self.done.push(generation);
        }
    }
}

fn steps_before(course: &Course, cursor: Cursor) -> u64 {
    let lengths = course.stages();
    let earlier = lengths.iter().filter(|length| length.stage < cursor.stage);
    earlier.map(|length| length.steps).sum::<u64>() + cursor.step.min(course.steps(cursor.stage))
}

/// The plan's answer to who uses what.
struct Plan<'a> {
    spec: &'a RunSpec,
    counts: &'a SampleCounts,
    batches: BTreeMap<Stage, Batches>,
}

impl<'a> Plan<'a> {
    fn new(spec: &'a RunSpec, counts: &'a SampleCounts) -> Self {
        let config = spec.config();
        let of = |stage, batch| (stage, Batches::new(config.run.seed, stage, counts.train, batch));
        let batches = match counts.train {
            0 => BTreeMap::new(),
            _ => BTreeMap::from([
                of(Stage::Pretrain, config.pretrain.batch),
                of(Stage::Simulate, config.simulate.batch),
                of(Stage::Adapt, config.adapt.batch),
            ]),
        };
        Self {
            spec,
            counts,
            batches,
        }
    }

    /// Samples by shard; a batch that several prompt groups read counts once, for the first of them.
    fn shares(&mut self, stage: Stage, step: u64) -> Vec<(Shard, Vec<SampleAt>)> {
        let (config, shards) = (self.spec.config(), self.spec.shards());
        match stage {
            Stage::Pretrain => self.split(stage, step, config.pretrain.batch),
            Stage::Adapt => self.split(stage, step, config.adapt.batch),
            // Given images are not of the source.
            Stage::Simulate if !config.simulate.styles.reads_source() => Vec::new(),
            Stage::Simulate => {
                let lanes = Lanes {
                    data_shards: config.simulate.data_shards,
                    prompt_groups: self.spec.prompt_groups(),
                    domains: u32::try_from(config.domains.len()).unwrap_or(u32::MAX),
                };
                let Some(batches) = self.batches.get_mut(&stage) else {
                    return Vec::new();
                };
                (0..lanes.data_shards)
                    .map(|data_shard| {
                        let batch = batches.batch(lanes.batch_number(step, data_shard));
                        (Shard(data_shard * lanes.prompt_groups), batch)
                    })
                    .collect()
            }
            Stage::Evaluate => {
                let set = usize::try_from(step)
                    .ok()
                    .and_then(|step| self.counts.sets.get(step));
                let images = set.copied().unwrap_or(0);
                let of = |shard: u32| {
                    let mine = (shard as usize..images).step_by(shards.max(1) as usize);
                    let samples = mine.map(|index| SampleAt { epoch: step, index });
                    (Shard(shard), samples.collect())
                };
                (0..shards).map(of).collect()
            }
        }
    }

    fn split(&mut self, stage: Stage, step: u64, batch: u32) -> Vec<(Shard, Vec<SampleAt>)> {
        let active = self.spec.shards().min(batch);
        let Some(batches) = self.batches.get_mut(&stage) else {
            return Vec::new();
        };
        let samples = batches.batch(step);
        let part = |shard: u32| samples[slice(samples.len(), active as usize, shard as usize)].to_vec();
        (0..active).map(|shard| (Shard(shard), part(shard))).collect()
    }
}

/// Every sample once in each epoch that is over, at most once in the last one. An evaluation set counts as one epoch.
fn exactly_once(lines: &[LedgerLine], counts: &SampleCounts) -> Vec<Violation> {
    let mut used: BTreeMap<(Stage, u64), BTreeMap<usize, u32>> = BTreeMap::new();
    for line in lines {
        for sample in line.shares.iter().flat_map(|share| &share.samples) {
            let epoch = used.entry((line.stage, sample.epoch)).or_default();
            *epoch.entry(sample.index).or_default() += 1;
        }
    }
    let mut violations = Vec::new();
    for ((stage, epoch), samples) in &used {
        let repeated = samples.iter().filter(|(_, times)| **times > 1);
        violations.extend(repeated.map(|(index, times)| Violation::Repeated {
            stage: *stage,
            sample: SampleAt {
                epoch: *epoch,
                index: *index,
            },
            times: *times,
        }));
        let evaluates = *stage == Stage::Evaluate;
        let over = evaluates || used.contains_key(&(*stage, epoch + 1));
        let size = match evaluates {
            true => usize::try_from(*epoch)
                .ok()
                .and_then(|set| counts.sets.get(set).copied())
                .unwrap_or(0),
            false => counts.train,
        };
        let skipped = (0..size).filter(|index| over && !samples.contains_key(index));
        violations.extend(skipped.map(|index| Violation::Skipped {
            stage: *stage,
            sample: SampleAt { epoch: *epoch, index },
        }));
    }
    violations
}
