//! Workers that are lost, stuck, turned away or new.

use crate::drive::{Drive, adapt, fenced, formation, outcome, rules};
use ulda_machine::{
    BreakReason, Directive, Effect, ExitKind, FailReason, LostReason, MachineEvent, PhaseName, Record,
    RefuseReason, RunOutcome, Verdict, WaitReason,
};
use ulda_run::ids::{Generation, Slot, WorkerId};

#[test]
fn a_lost_member_ends_the_generation_and_the_next_waits_for_reports_and_the_relaunch() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let orders = drive.leave(ids[1]);
    assert_eq!(fenced(&orders), [ids[0]]);
    let reason = BreakReason::WorkerLost {
        worker: ids[1],
        slot: Slot(1),
        why: LostReason::Left,
    };
    assert_eq!(
        drive.records.last(),
        Some(&Record::GenerationAbandoned {
            generation: Generation(1),
            why: reason
        })
    );
    assert_eq!(
        drive.machine.verdict(),
        Verdict::Waiting(WaitReason::Reports {
            workers: vec![ids[0]]
        })
    );
    let exit = ExitKind::Signal(11);
    let orders = drive.tell(MachineEvent::ProcessEnded {
        slot: Slot(1),
        attempt: 0,
        exit,
        last_words: None,
    });
    assert_eq!(
        orders,
        [Effect::Launch {
            slot: Slot(1),
            attempt: 1
        }]
    );
    drive.broke(ids[0], &[], Some(adapt(4, "d")));
    let (newcomer, orders) = drive.come(1, None);
    let formation = formation(&orders).expect("all are there");
    assert_eq!(formation.state, Some(adapt(4, "d")), "the survivor hands over");
    assert_eq!(
        formation.shard_owner,
        [ids[0], newcomer],
        "the survivor keeps its shard"
    );
}

#[test]
fn survivors_go_on_alone_after_the_grace() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.leave(ids[1]);
    drive.broke(ids[0], &[], Some(adapt(4, "d")));
    let orders = drive.pass(11, &[]);
    assert_eq!(
        formation(&orders).map(|formation| formation.shard_owner.clone()),
        Some(vec![ids[0], ids[0]])
    );
}

#[test]
fn a_slot_whose_restarts_are_spent_is_left_out_or_ends_the_run_with_its_first_cause() {
    for (min_workers, fails) in [(1, false), (2, true)] {
        let mut rules = rules(2, 2);
        rules.min_workers = min_workers;
        let mut drive = Drive::new(rules);
        drive.drain();
        drive.come(0, None);
        let mut orders = Vec::new();
        for attempt in 0..3 {
            let last_words = Some(format!("cause {attempt}"));
            let event = MachineEvent::ProcessEnded {
                slot: Slot(1),
                attempt,
                exit: ExitKind::Code(1),
                last_words,
            };
            orders.extend(drive.tell(event));
            orders.extend(drive.pass(1, &[]));
        }
        match outcome(&orders) {
            Some(RunOutcome::Failed {
                reason: FailReason::BudgetSpent { slot, .. },
                cause,
            }) => {
                assert!(fails && *slot == Slot(1));
                assert!(cause.text.contains("cause 0"), "{cause}");
            }
            None => {
                assert!(!fails && formation(&orders).is_some_and(|formation| formation.members.len() == 1))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn newcomers_are_taken_in_at_a_step_boundary_and_not_too_often() {
    let (mut drive, ids) = Drive::training(rules(1, 2), 1);
    let (newcomer, orders) = drive.come(1, None);
    assert!(orders.is_empty(), "not before a step is committed");
    drive.progress(ids[0], adapt(1, ""));
    assert_eq!(drive.machine.phase(), PhaseName::Training, "not that early");
    let orders = drive.pass(31, &[]);
    assert_eq!(fenced(&orders), [ids[0]]);
    let orders = drive.broke(ids[0], &[], Some(adapt(1, "e")));
    assert_eq!(
        formation(&orders).map(|formation| formation.shard_owner.clone()),
        Some(vec![ids[0], newcomer])
    );
}

#[test]
fn a_newcomer_that_no_shard_is_left_for_waits() {
    let (mut drive, ids) = Drive::training(rules(1, 1), 1);
    drive.come(1, None);
    drive.progress(ids[0], adapt(1, ""));
    let orders = drive.pass(60, &[]);
    assert!(orders.is_empty(), "{orders:?}");
}

#[test]
fn a_silent_worker_is_lost() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let orders = drive.pass(25, &[ids[1]]);
    assert!(orders.contains(&Effect::Kill { slot: Slot(1) }), "{orders:?}");
    assert!(drive.records.iter().any(|record| matches!(
        record,
        Record::WorkerLost { worker, why: LostReason::Silent { .. }, .. } if *worker == ids[1]
    )));
}

#[test]
fn a_worker_that_is_alive_but_stuck_is_named_and_replaced() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.progress(ids[0], adapt(3, ""));
    let orders = drive.pass(601, &[]);
    assert!(orders.contains(&Effect::Kill { slot: Slot(1) }), "{orders:?}");
    let lost = drive.records.iter().find_map(|record| match record {
        Record::WorkerLost { worker, why, .. } => Some((*worker, why.to_string())),
        _ => None,
    });
    let text = "alive, but no step was committed for 600 s and it is furthest behind at the start".to_owned();
    assert_eq!(lost, Some((ids[1], text)));
}

#[test]
fn a_step_that_takes_longer_than_the_deadline_is_not_stuck_while_its_parts_advance() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let generation = Generation(1);
    for _ in 0..4 {
        drive.pass(400, &[]);
        let orders = drive.tell(MachineEvent::WorkAdvanced {
            worker: ids[0],
            generation,
        });
        assert_eq!(orders, []);
    }
    assert_eq!(drive.machine.phase(), PhaseName::Training);
    let orders = drive.pass(601, &[]);
    assert!(orders.contains(&Effect::Kill { slot: Slot(1) }), "{orders:?}");
}

#[test]
fn a_worker_that_two_generations_waited_for_is_replaced() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.broke(ids[0], &[1], None);
    drive.broke(ids[1], &[], None);
    assert_eq!(drive.machine.phase(), PhaseName::Forming, "once may be bad luck");
    for worker in &ids {
        drive.formed(*worker, None);
    }
    drive.broke(ids[0], &[1], None);
    drive.broke(ids[1], &[0], None);
    drive.pass(1, &[]);
    let lost = drive.records.iter().find_map(|record| match record {
        Record::WorkerLost { worker, why, .. } => Some((*worker, why.clone())),
        _ => None,
    });
    assert_eq!(lost, Some((ids[1], LostReason::Blamed { times: 2 })));
}

#[test]
fn a_lost_worker_is_turned_away_and_may_join_again() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.leave(ids[1]);
    let worker = ids[1];
    let orders = drive.tell(MachineEvent::HeartbeatHeard {
        worker,
        generation: Generation(1),
    });
    assert!(
        matches!(
            &orders[..],
            [Effect::Refuse {
                reason: RefuseReason::UnknownWorker { .. },
                ..
            }]
        ),
        "{orders:?}"
    );
    assert_eq!(drive.join(1), WorkerId(2));
}

#[test]
fn a_slot_that_is_served_is_not_given_away() {
    let (mut drive, _) = Drive::training(rules(1, 1), 1);
    let orders = drive.ask(0);
    assert!(
        matches!(
            &orders[..],
            [Effect::Refuse {
                reason: RefuseReason::SlotTaken { .. },
                ..
            }]
        ),
        "{orders:?}"
    );
}

#[test]
fn an_end_of_a_process_before_the_last_one_means_nothing() {
    let (mut drive, ids) = Drive::training(rules(1, 1), 1);
    drive.leave(ids[0]);
    drive.pass(3, &[]);
    let (worker, _) = drive.come(0, None);
    let orders = drive.tell(MachineEvent::ProcessEnded {
        slot: Slot(0),
        attempt: 0,
        exit: ExitKind::Signal(9),
        last_words: None,
    });
    assert!(orders.is_empty());
    assert!(
        drive
            .machine
            .snapshot(Default::default())
            .workers
            .iter()
            .any(|view| view.worker == worker)
    );
}

#[test]
fn a_generation_trains_on_while_a_member_has_no_stream_and_is_told_to_when_it_is_back() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let generation = drive.machine.generation();
    assert_eq!(drive.detach(ids[1]), []);
    assert_eq!(
        drive.machine.verdict(),
        Verdict::Reattaching {
            generation,
            missing: vec![Slot(1)]
        }
    );
    drive.progress(ids[0], adapt(3, "c"));
    assert_eq!(drive.pass(4, &[]), [], "nobody is lost yet");
    let worker = ids[1];
    let orders = drive.tell(MachineEvent::WorkerAttached { worker, generation });
    let go = Effect::Direct {
        worker,
        generation,
        directive: Directive::Go,
    };
    assert_eq!(orders, [go]);
    assert_eq!(drive.pass(10, &[]), []);
    assert_eq!(drive.machine.phase(), PhaseName::Training);
}

#[test]
fn a_member_that_does_not_attach_again_in_time_is_lost_for_that() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.detach(ids[1]);
    let orders = drive.pass(6, &[]);
    assert!(orders.contains(&Effect::Kill { slot: Slot(1) }), "{orders:?}");
    let told = drive.records.iter().rev().find_map(|record| match record {
        Record::WorkerLost { why, .. } => Some(why.to_string()),
        _ => None,
    });
    assert_eq!(
        told.as_deref(),
        Some("did not attach again within 5 s: connection reset")
    );
}

#[test]
fn a_stream_that_broke_with_its_process_needs_no_deadline() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.detach(ids[1]);
    let orders = drive.tell(MachineEvent::ProcessEnded {
        slot: Slot(1),
        attempt: 0,
        exit: ExitKind::Signal(9),
        last_words: None,
    });
    assert_eq!(fenced(&orders), [ids[0]]);
}

#[test]
fn orders_that_a_broken_stream_swallowed_are_given_again() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let generation = drive.machine.generation();
    drive.detach(ids[1]);
    drive.broke(ids[0], &[1], Some(adapt(2, "b")));
    let worker = ids[1];
    let orders = drive.tell(MachineEvent::WorkerAttached { worker, generation });
    assert_eq!(fenced(&orders), [worker], "the fence went with the stream");
    let orders = drive.broke(worker, &[], Some(adapt(2, "b")));
    assert!(formation(&orders).is_some(), "nothing else was missing");
}
