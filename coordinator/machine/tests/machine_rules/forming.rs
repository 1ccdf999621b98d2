//! Who is in, who serves what, where it starts.

use crate::drive::{Drive, adapt, fenced, formation, outcome, rules};
use ulda_machine::{Effect, ExitKind, FailReason, MachineEvent, Record, RunOutcome, Verdict, WaitReason};
use ulda_run::ids::{Generation, Slot};

#[test]
fn all_wanted_slots_are_launched_and_the_generation_forms_when_all_are_ready() {
    let mut drive = Drive::new(rules(2, 4));
    let launches = drive.drain();
    assert_eq!(
        launches,
        [0, 1].map(|slot| Effect::Launch {
            slot: Slot(slot),
            attempt: 0
        }),
        "both slots are launched"
    );
    let (first, orders) = drive.come(1, None);
    assert!(formation(&orders).is_none());
    assert_eq!(
        drive.machine.verdict(),
        Verdict::Waiting(WaitReason::Missing { slots: vec![Slot(0)] })
    );
    let (second, orders) = drive.come(0, None);
    let formation = formation(&orders).expect("all are there").clone();
    assert_eq!(
        formation.shard_owner,
        [second, second, first, first],
        "neighbouring shards, in slot order"
    );
    assert_eq!(formation.shard_owner_indices(), [0, 0, 1, 1]);
    assert_eq!(formation.state, None);
}

#[test]
fn at_the_gather_deadline_enough_workers_go_on_without_the_rest() {
    let mut drive = Drive::new(rules(2, 2));
    drive.drain();
    drive.come(0, None);
    let orders = drive.pass(121, &[]);
    assert_eq!(
        formation(&orders).map(|formation| formation.members.len()),
        Some(1)
    );
}

#[test]
fn at_the_gather_deadline_too_few_workers_fail_the_run_and_the_missing_slots_are_named() {
    let mut rules = rules(2, 2);
    rules.min_workers = 2;
    let mut drive = Drive::new(rules);
    drive.drain();
    drive.come(0, None);
    assert_eq!(
        drive.machine.verdict(),
        Verdict::Waiting(WaitReason::TooFew { have: 1, need: 2 })
    );
    drive.tell(MachineEvent::ProcessEnded {
        slot: Slot(1),
        attempt: 0,
        exit: ExitKind::Signal(9),
        last_words: None,
    });
    let orders = drive.pass(400, &[]);
    let Some(RunOutcome::Failed { reason, cause }) = outcome(&orders) else {
        panic!("{orders:?}")
    };
    assert!(
        matches!(reason, FailReason::TooFew { missing, .. } if *missing == [Slot(1)]),
        "{reason}"
    );
    assert_eq!(cause.slot, Some(Slot(1)));
    assert_eq!(cause.text, "process was ended by signal 9");
}

#[test]
fn the_most_advanced_state_wins() {
    let mut drive = Drive::new(rules(3, 3));
    drive.drain();
    drive.come(0, Some(adapt(3, "a")));
    drive.come(1, Some(adapt(5, "b")));
    let (_, orders) = drive.come(2, Some(adapt(5, "b")));
    let formation = formation(&orders).unwrap();
    assert_eq!(formation.state, Some(adapt(5, "b")));
}

#[test]
fn two_digests_of_one_position_fail_the_run_and_both_workers_are_named() {
    let mut drive = Drive::new(rules(2, 2));
    drive.drain();
    let (one, _) = drive.come(0, Some(adapt(5, "b")));
    let (other, orders) = drive.come(1, Some(adapt(5, "c")));
    let Some(RunOutcome::Failed {
        reason: FailReason::Diverged(divergence),
        ..
    }) = outcome(&orders)
    else {
        panic!("{orders:?}")
    };
    assert_eq!((divergence.one, divergence.other), (one, other));
    assert!(
        divergence
            .to_string()
            .starts_with("worker 0 and worker 1 disagree at adapt step 5: digest b against c")
    );
}

#[test]
fn a_step_is_committed_once_any_member_has_applied_it() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.progress(ids[0], adapt(1, ""));
    drive.progress(ids[1], adapt(1, ""));
    let committed: Vec<_> = drive
        .records
        .iter()
        .filter(|record| matches!(record, Record::Committed { .. }))
        .collect();
    assert_eq!(
        committed,
        [&Record::Committed {
            generation: Generation(1),
            state: adapt(1, "")
        }]
    );
}

#[test]
fn the_form_deadline_names_who_did_not_form() {
    let mut drive = Drive::new(rules(2, 2));
    drive.drain();
    let (one, _) = drive.come(0, None);
    drive.come(1, None);
    drive.formed(one, None);
    let orders = drive.pass(61, &[]);
    assert_eq!(fenced(&orders).len(), 2);
    let why = drive.records.iter().find_map(|record| match record {
        Record::GenerationAbandoned { why, .. } => Some(why.to_string()),
        _ => None,
    });
    assert_eq!(
        why.as_deref(),
        Some("not formed within 60 s: slot 1 did not say so")
    );
}
