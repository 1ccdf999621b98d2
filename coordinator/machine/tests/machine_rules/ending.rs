//! How a run ends, and how a coordinator takes one up again.

use crate::drive::{Drive, adapt, fenced, outcome, rules};
use ulda_machine::{
    Directive, Effect, ExitKind, FailReason, MachineEvent, PhaseName, Record, RunOutcome, Stopping, Verdict,
    fold,
};
use ulda_run::Exit;
use ulda_run::ids::{Generation, Slot};

#[test]
fn bad_input_ends_the_run_at_once_with_its_sentence() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let cause = "image `a.png` is damaged".to_owned();
    let orders = drive.tell(MachineEvent::WorkerFailed {
        worker: ids[1],
        cause,
        exit_code: 78,
    });
    let Some(RunOutcome::Failed { reason, cause }) = outcome(&orders) else {
        panic!("{orders:?}")
    };
    assert_eq!(reason.exit(), Exit::BadInput);
    assert_eq!(cause.to_string(), "slot 1 (worker 1): image `a.png` is damaged");
    let stops = |order: &&Effect| {
        matches!(
            order,
            Effect::Direct {
                directive: Directive::Stop { .. },
                ..
            }
        )
    };
    assert_eq!(
        orders.iter().filter(stops).count(),
        1,
        "the other one is told to stop"
    );
}

#[test]
fn a_process_that_ends_for_bad_input_before_it_joined_ends_the_run_too() {
    let mut drive = Drive::new(rules(2, 2));
    drive.drain();
    let (exit, last_words) = (ExitKind::Code(78), Some("no such file".to_owned()));
    let orders = drive.tell(MachineEvent::ProcessEnded {
        slot: Slot(0),
        attempt: 0,
        exit,
        last_words,
    });
    let Some(RunOutcome::Failed { reason, cause }) = outcome(&orders) else {
        panic!("{orders:?}")
    };
    assert_eq!(reason.exit(), Exit::BadInput);
    assert!(cause.text.contains("no such file"), "{cause}");
}

#[test]
fn the_run_is_finished_when_all_members_finished_with_one_digest() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    assert_eq!(outcome(&drive.finished(ids[0], "f")), None);
    let orders = drive.finished(ids[1], "f");
    assert!(
        matches!(outcome(&orders), Some(RunOutcome::Finished { digest }) if digest.0 == "f"),
        "{orders:?}"
    );
    assert!(matches!(drive.records.last(), Some(Record::Finished { .. })));
}

#[test]
fn differing_final_digests_fail_the_run() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.finished(ids[0], "f");
    let orders = drive.finished(ids[1], "g");
    assert!(
        matches!(
            outcome(&orders),
            Some(RunOutcome::Failed {
                reason: FailReason::Diverged(_),
                ..
            })
        ),
        "{orders:?}"
    );
}

#[test]
fn a_member_that_dies_after_another_finished_does_not_hold_up_the_end() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.finished(ids[0], "f");
    let orders = drive.leave(ids[1]);
    assert!(
        matches!(outcome(&orders), Some(RunOutcome::Finished { .. })),
        "{orders:?}"
    );

    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.finished(ids[0], "f");
    assert!(drive.leave(ids[0]).is_empty(), "who finished may go");
    let orders = drive.finished(ids[1], "f");
    assert!(
        matches!(outcome(&orders), Some(RunOutcome::Finished { .. })),
        "{orders:?}"
    );
}

#[test]
fn a_stop_drains_then_kills() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let orders = drive.tell(MachineEvent::StopAsked {
        stopping: Stopping::Drain,
        why: "SIGTERM".into(),
    });
    assert_eq!(orders.len(), 2);
    drive.leave(ids[0]);
    drive.tell(MachineEvent::ProcessEnded {
        slot: Slot(0),
        attempt: 0,
        exit: ExitKind::Code(0),
        last_words: None,
    });
    assert!(matches!(drive.machine.verdict(), Verdict::Draining { left, .. } if left == [Slot(1)]));
    let orders = drive.pass(31, &[]);
    assert_eq!(
        orders,
        [Effect::Kill { slot: Slot(1) }, Effect::End(RunOutcome::Stopped)]
    );
    assert_eq!(drive.records.last(), Some(&Record::Stopped));
}

#[test]
fn a_stop_ends_as_soon_as_all_have_left() {
    let (mut drive, ids) = Drive::training(rules(1, 1), 1);
    drive.tell(MachineEvent::StopAsked {
        stopping: Stopping::Drain,
        why: "SIGTERM".into(),
    });
    drive.leave(ids[0]);
    let ended = MachineEvent::ProcessEnded {
        slot: Slot(0),
        attempt: 0,
        exit: ExitKind::Code(0),
        last_words: None,
    };
    assert_eq!(outcome(&drive.tell(ended)), Some(&RunOutcome::Stopped));
}

#[test]
fn a_stop_does_not_wait_for_the_process_of_a_worker_that_came_by_itself() {
    let (mut drive, ids) = Drive::training(rules(1, 2), 1);
    let guest = drive.join(7);
    drive.tell(MachineEvent::StopAsked {
        stopping: Stopping::Drain,
        why: "SIGTERM".into(),
    });
    drive.leave(guest);
    drive.leave(ids[0]);
    let ended = MachineEvent::ProcessEnded {
        slot: Slot(0),
        attempt: 0,
        exit: ExitKind::Code(0),
        last_words: None,
    };
    assert_eq!(outcome(&drive.tell(ended)), Some(&RunOutcome::Stopped));
}

#[test]
fn a_coordinator_that_comes_back_lets_the_generation_train_on() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.progress(ids[0], adapt(4, ""));
    let written: Vec<String> = drive
        .records
        .iter()
        .map(|record| serde_json::to_string(record).unwrap())
        .collect();
    let records: Vec<Record> = written
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records, drive.records);

    let mut back = Drive::resumed(rules(2, 2), 2, fold(&records));
    assert!(back.drain().is_empty(), "nothing is launched or fenced");
    assert!(matches!(back.machine.verdict(), Verdict::Reattaching { .. }));
    for worker in &ids {
        let generation = Generation(1);
        let orders = back.tell(MachineEvent::WorkerAttached {
            worker: *worker,
            generation,
        });
        assert!(
            matches!(
                &orders[..],
                [Effect::Direct {
                    directive: Directive::Go,
                    ..
                }]
            ),
            "{orders:?}"
        );
    }
    assert_eq!(
        back.machine.verdict(),
        Verdict::Training {
            generation: Generation(1),
            workers: 2
        }
    );
    back.progress(ids[1], adapt(5, ""));
    assert!(back.records.contains(&Record::Committed {
        generation: Generation(1),
        state: adapt(5, "")
    }));
}

#[test]
fn a_coordinator_that_comes_back_while_forming_asks_everyone_and_takes_a_new_number() {
    let mut drive = Drive::new(rules(1, 1));
    drive.drain();
    let (worker, _) = drive.come(0, None);
    assert_eq!(drive.machine.phase(), PhaseName::Forming);
    let mut back = Drive::resumed(rules(1, 1), 2, fold(&drive.records));
    assert!(back.drain().is_empty());
    let orders = back.tell(MachineEvent::WorkerAttached {
        worker,
        generation: Generation(1),
    });
    assert_eq!(fenced(&orders), [worker]);
    back.broke(worker, &[], Some(adapt(2, "x")));
    assert_eq!(back.machine.generation(), Generation(2));
}

#[test]
fn a_finished_run_stays_finished() {
    let (mut drive, ids) = Drive::training(rules(1, 1), 1);
    drive.finished(ids[0], "f");
    let mut back = Drive::resumed(rules(1, 1), 2, fold(&drive.records));
    assert!(matches!(
        &back.drain()[..],
        [Effect::End(RunOutcome::Finished { .. })]
    ));
}

#[test]
fn a_coordinator_that_was_paused_does_not_blame_the_workers() {
    let (mut drive, _) = Drive::training(rules(2, 2), 2);
    drive.now += 300_000;
    drive.tell(MachineEvent::Woke);
    assert_eq!(drive.machine.phase(), PhaseName::Training);
}
