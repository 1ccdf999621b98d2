//! The rules of a run, one case each.

#[path = "machine_rules/drive.rs"]
mod drive;

use drive::{Drive, adapt, fenced, formation, outcome, rules};
use ulda_core::ids::{Generation, Slot, WorkerId};
use ulda_core::machine::{
    BreakReason, Directive, Effect, Event, ExitKind, FailReason, LostReason, Outcome, PhaseName, Record,
    RefuseReason, Stopping, Verdict, WaitReason, fold,
};

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
    assert_eq!((formation.state, formation.holder), (None, None));
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
    drive.tell(Event::ProcessEnded {
        slot: Slot(1),
        attempt: 0,
        exit: ExitKind::Signal(9),
        last_words: None,
    });
    let orders = drive.pass(400, &[]);
    let Some(Outcome::Failed {
        reason,
        cause,
        exit_code: 1,
    }) = outcome(&orders)
    else {
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
fn the_most_advanced_state_wins_and_its_lowest_holder_hands_it_over() {
    let mut drive = Drive::new(rules(3, 3));
    drive.drain();
    drive.come(0, Some(adapt(3, "a")));
    let (holder, _) = drive.come(1, Some(adapt(5, "b")));
    let (_, orders) = drive.come(2, Some(adapt(5, "b")));
    let formation = formation(&orders).unwrap();
    assert_eq!(formation.state, Some(adapt(5, "b")));
    assert_eq!(formation.holder, Some(holder));
}

#[test]
fn two_digests_of_one_position_fail_the_run_and_both_workers_are_named() {
    let mut drive = Drive::new(rules(2, 2));
    drive.drain();
    let (one, _) = drive.come(0, Some(adapt(5, "b")));
    let (other, orders) = drive.come(1, Some(adapt(5, "c")));
    let Some(Outcome::Failed {
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
fn a_lost_member_ends_the_generation_and_the_next_waits_for_reports_and_the_relaunch() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let orders = drive.detach(ids[1]);
    assert_eq!(fenced(&orders), [ids[0]]);
    let reason = BreakReason::WorkerLost {
        worker: ids[1],
        slot: Slot(1),
        why: LostReason::Detached {
            why: "connection reset".into(),
        },
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
    let orders = drive.tell(Event::ProcessEnded {
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
    drive.detach(ids[1]);
    drive.broke(ids[0], &[], Some(adapt(4, "d")));
    let orders = drive.pass(11, &[]);
    assert_eq!(
        formation(&orders).map(|formation| formation.shard_owner.clone()),
        Some(vec![ids[0], ids[0]])
    );
}

#[test]
fn bad_input_ends_the_run_at_once_with_its_sentence() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let cause = "image `a.png` is damaged".to_owned();
    let orders = drive.tell(Event::WorkerFailed {
        worker: ids[1],
        cause,
        exit_code: 78,
    });
    let Some(Outcome::Failed {
        cause, exit_code: 78, ..
    }) = outcome(&orders)
    else {
        panic!("{orders:?}")
    };
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
    let orders = drive.tell(Event::ProcessEnded {
        slot: Slot(0),
        attempt: 0,
        exit,
        last_words,
    });
    let Some(Outcome::Failed {
        cause, exit_code: 78, ..
    }) = outcome(&orders)
    else {
        panic!("{orders:?}")
    };
    assert!(cause.text.contains("no such file"), "{cause}");
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
            let event = Event::ProcessEnded {
                slot: Slot(1),
                attempt,
                exit: ExitKind::Code(1),
                last_words,
            };
            orders.extend(drive.tell(event));
            orders.extend(drive.pass(1, &[]));
        }
        match outcome(&orders) {
            Some(Outcome::Failed {
                reason: FailReason::BudgetSpent { slot, .. },
                cause,
                exit_code: 1,
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

#[test]
fn the_run_is_finished_when_all_members_finished_with_one_digest() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    assert_eq!(outcome(&drive.finished(ids[0], "f")), None);
    let orders = drive.finished(ids[1], "f");
    assert!(
        matches!(outcome(&orders), Some(Outcome::Finished { digest }) if digest.0 == "f"),
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
            Some(Outcome::Failed {
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
    let orders = drive.detach(ids[1]);
    assert!(
        matches!(outcome(&orders), Some(Outcome::Finished { .. })),
        "{orders:?}"
    );

    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.finished(ids[0], "f");
    assert!(drive.detach(ids[0]).is_empty(), "who finished may go");
    let orders = drive.finished(ids[1], "f");
    assert!(
        matches!(outcome(&orders), Some(Outcome::Finished { .. })),
        "{orders:?}"
    );
}

#[test]
fn a_stop_drains_then_kills() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    let orders = drive.tell(Event::StopAsked {
        stopping: Stopping::Drain,
        why: "SIGTERM".into(),
    });
    assert_eq!(orders.len(), 2);
    drive.detach(ids[0]);
    drive.tell(Event::ProcessEnded {
        slot: Slot(0),
        attempt: 0,
        exit: ExitKind::Code(0),
        last_words: None,
    });
    assert!(matches!(drive.machine.verdict(), Verdict::Draining { left, .. } if left == [Slot(1)]));
    let orders = drive.pass(31, &[]);
    assert_eq!(
        orders,
        [Effect::Kill { slot: Slot(1) }, Effect::End(Outcome::Stopped)]
    );
    assert_eq!(drive.records.last(), Some(&Record::Stopped));
}

#[test]
fn a_stop_ends_as_soon_as_all_have_left() {
    let (mut drive, ids) = Drive::training(rules(1, 1), 1);
    drive.tell(Event::StopAsked {
        stopping: Stopping::Drain,
        why: "SIGTERM".into(),
    });
    drive.detach(ids[0]);
    let ended = Event::ProcessEnded {
        slot: Slot(0),
        attempt: 0,
        exit: ExitKind::Code(0),
        last_words: None,
    };
    assert_eq!(outcome(&drive.tell(ended)), Some(&Outcome::Stopped));
}

#[test]
fn a_lost_worker_is_turned_away_and_may_join_again() {
    let (mut drive, ids) = Drive::training(rules(2, 2), 2);
    drive.detach(ids[1]);
    let worker = ids[1];
    let orders = drive.tell(Event::HeartbeatHeard {
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
    drive.detach(ids[0]);
    drive.pass(3, &[]);
    let (worker, _) = drive.come(0, None);
    let orders = drive.tell(Event::ProcessEnded {
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
        let orders = back.tell(Event::WorkerAttached {
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
    let orders = back.tell(Event::WorkerAttached {
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
        [Effect::End(Outcome::Finished { .. })]
    ));
}

#[test]
fn a_coordinator_that_was_paused_does_not_blame_the_workers() {
    let (mut drive, _) = Drive::training(rules(2, 2), 2);
    drive.now += 300_000;
    drive.tell(Event::Woke);
    assert_eq!(drive.machine.phase(), PhaseName::Training);
}
