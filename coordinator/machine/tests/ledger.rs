//! The sample ledger over journals made by hand.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use ulda_machine::ledger::{Ledger, LedgerLine, SampleCounts, Violation, ledger};
use ulda_machine::{Formation, Member, Record};
use ulda_run::ids::{Generation, Slot, WorkerId};
use ulda_run::spec::{DomainConfig, Host, RunConfig, RunSpec};
use ulda_run::stage::{Cursor, Stage};
use ulda_run::{Digest, StateClaim};

fn spec() -> RunSpec {
    let mut config = RunConfig::default();
    config.clip.checkpoint = "RN50.pt".into();
    config.source.root = "cityscapes".into();
    config.domains = vec![DomainConfig {
        name: "night".parse().unwrap(),
        prompt: "driving at night".into(),
        images: Vec::new(),
    }];
    config.run.shards = Some(2);
    config.pretrain.steps = 6;
    config.pretrain.batch = 4;
    config.simulate.batches = 4;
    config.simulate.batch = 3;
    config.adapt.steps = 4;
    config.adapt.batch = 4;
    RunSpec::resolve(config, Host { workers: 2, cores: 2 }).unwrap()
}

fn counts() -> SampleCounts {
    SampleCounts {
        train: 10,
        sets: Vec::new(),
    }
}

fn claim(stage: Stage, step: u64) -> StateClaim {
    StateClaim {
        cursor: Cursor { stage, step },
        digest: Digest::default(),
    }
}

/// A generation of two workers that starts at `start`.
fn generation(number: u64, workers: [u64; 2], start: StateClaim) -> Vec<Record> {
    let member = |(slot, worker): (usize, &u64)| Member {
        worker: WorkerId(*worker),
        slot: Slot(slot as u32),
        data_address: String::new(),
    };
    let formation = Formation {
        members: workers.iter().enumerate().map(member).collect(),
        shard_owner: workers.map(WorkerId).to_vec(),
        state: None,
    };
    let generation = Generation(number);
    let state = Some(start);
    vec![
        Record::GenerationFormed {
            generation,
            formation,
        },
        Record::GenerationStarted { generation, state },
    ]
}

fn committed(number: u64, stage: Stage, step: u64) -> Record {
    Record::Committed {
        generation: Generation(number),
        state: claim(stage, step),
    }
}

fn finished() -> Record {
    Record::Finished {
        digest: Digest::default(),
    }
}

fn read(records: &[Record]) -> Ledger {
    ledger(&spec(), &counts(), records)
}

#[test]
fn every_step_has_its_samples_and_who_used_them() {
    let mut records = generation(1, [0, 1], claim(Stage::Pretrain, 0));
    records.push(committed(1, Stage::Simulate, 0));
    records.extend(generation(2, [0, 2], claim(Stage::Simulate, 0)));
    records.extend([committed(2, Stage::Adapt, 3), finished()]);
    let ledger = read(&records);
    assert_eq!(ledger.violations, []);
    let total: u64 = spec().course().stages().iter().map(|length| length.steps).sum();
    assert_eq!(ledger.lines.len() as u64, total);
    let first = &ledger.lines[0];
    assert_eq!(
        first
            .shares
            .iter()
            .map(|share| share.samples.len())
            .sum::<usize>(),
        4
    );
    let last = ledger.lines.last().unwrap();
    assert_eq!(
        (last.generation, last.shares[1].served_by),
        (Generation(2), Some((WorkerId(2), Slot(1))))
    );
}

#[test]
fn steps_that_nobody_held_any_more_count_once_for_who_did_them_again() {
    let mut records = generation(1, [0, 1], claim(Stage::Pretrain, 0));
    records.push(committed(1, Stage::Pretrain, 5));
    records.extend(generation(2, [2, 3], claim(Stage::Pretrain, 3)));
    records.push(committed(2, Stage::Pretrain, 6));
    let ledger = read(&records);
    assert_eq!((ledger.done_again, ledger.violations.as_slice()), (2, &[][..]));
    let by: Vec<u64> = ledger.lines.iter().map(|line| line.generation.0).collect();
    assert_eq!(by, [1, 1, 1, 2, 2, 2]);
}

#[test]
fn steps_from_before_the_journal_are_told_apart_and_not_missed() {
    let mut records = generation(1, [1, 2], claim(Stage::Simulate, 2));
    records.extend([committed(1, Stage::Adapt, 4), finished()]);
    let ledger = read(&records);
    assert_eq!(ledger.violations, []);
    assert_eq!((ledger.lines.len(), ledger.done_elsewhere), (14, 8));
    let known = |line: &LedgerLine| line.shares.iter().all(|share| share.served_by.is_some());
    let known: Vec<bool> = ledger.lines.iter().map(known).collect();
    assert_eq!(known, [vec![false; 8], vec![true; 6]].concat());
}

#[test]
fn a_step_of_a_generation_that_was_replaced_is_a_violation() {
    let mut records = generation(1, [0, 1], claim(Stage::Pretrain, 0));
    records.extend(generation(2, [0, 2], claim(Stage::Pretrain, 0)));
    records.push(committed(1, Stage::Pretrain, 1));
    let overtaken = Violation::Overtaken {
        generation: Generation(1),
        current: Generation(2),
    };
    assert_eq!(read(&records).violations, [overtaken]);
    let never = read(&[committed(7, Stage::Pretrain, 1)]).violations;
    assert!(matches!(never[0], Violation::NeverStarted { .. }), "{never:?}");
}

#[test]
fn a_generation_without_an_owner_for_a_shard_is_a_violation() {
    let mut records = generation(1, [0, 1], claim(Stage::Pretrain, 0));
    if let Record::GenerationFormed { formation, .. } = &mut records[0] {
        formation.shard_owner.truncate(1);
    }
    records.push(committed(1, Stage::Pretrain, 1));
    let violations = read(&records).violations;
    assert!(
        violations
            .iter()
            .any(|found| matches!(found, Violation::Unserved { .. })),
        "{violations:?}"
    );
}
