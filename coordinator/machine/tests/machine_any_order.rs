//! Events in any order, from anybody, with any numbers: no panic, no order for a run that is over, and the
//! journal can always be taken up again.

use std::time::Duration;

use proptest::prelude::*;
use ulda_machine::{
    Effect, ExitKind, Launching, Machine, MachineDeadlines, MachineEvent, MachineRules, Record,
    RestartBudget, Stopping, Tick, Ticket, fold,
};
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};
use ulda_run::stage::{Course, Cursor, Stage, StageLength};
use ulda_run::{Digest, StateClaim};

fn rules(launching: Launching) -> MachineRules {
    let seconds = Duration::from_secs;
    MachineRules {
        shards: 3,
        course: Course::new([StageLength {
            stage: Stage::Adapt,
            steps: 3,
        }]),
        min_workers: 1,
        wanted_workers: 2,
        max_workers: 3,
        launching,
        deadlines: MachineDeadlines {
            gather: seconds(8),
            queue: seconds(8),
            form: seconds(4),
            heartbeat: seconds(3),
            progress: seconds(6),
            drain: Duration::MAX,
        },
        restarts: RestartBudget {
            per_slot: 2,
            window: seconds(20),
        },
        relaunch_grace: seconds(1),
        reattach: seconds(1),
        exit_grace: seconds(1),
        admit_every: seconds(1),
        stalls_allowed: 1,
    }
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..4, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn claim() -> impl Strategy<Value = StateClaim> {
    let stage = prop_oneof![4 => Just(Stage::Adapt), 1 => Just(Stage::Pretrain), 1 => Just(Stage::Evaluate)];
    (stage, number(), prop_oneof![Just(""), Just("a"), Just("b")]).prop_map(|(stage, step, digest)| {
        StateClaim {
            cursor: Cursor { stage, step },
            digest: Digest(digest.into()),
        }
    })
}

fn event() -> impl Strategy<Value = MachineEvent> {
    let who = || (number().prop_map(WorkerId), number().prop_map(Generation));
    let slot = || (0_u32..4).prop_map(Slot);
    let state = || prop::option::of(claim());
    prop_oneof![
        3 => (any::<u64>(), slot()).prop_map(|(ticket, slot)| MachineEvent::JoinAsked {
            ticket: Ticket(ticket), slot, data_address: String::new(), device: String::new(),
        }),
        3 => who().prop_map(|(worker, generation)| MachineEvent::WorkerAttached { worker, generation }),
        3 => (who(), state()).prop_map(|((worker, generation), state)| MachineEvent::WorkerReady { worker, generation, state }),
        2 => who().prop_map(|(worker, _)| MachineEvent::WorkerDetached { worker, why: String::new() }),
        1 => who().prop_map(|(worker, _)| MachineEvent::WorkerLeft { worker }),
        1 => who().prop_map(|(worker, generation)| MachineEvent::HeartbeatHeard { worker, generation }),
        3 => (who(), state()).prop_map(|((worker, generation), state)| MachineEvent::WorkerFormed { worker, generation, state }),
        3 => (who(), claim()).prop_map(|((worker, generation), state)| MachineEvent::ProgressMade { worker, generation, state }),
        2 => (who(), state(), prop::collection::vec(any::<u32>().prop_map(Shard), 0..3)).prop_map(
            |((worker, generation), state, waiting_for)| MachineEvent::GenerationBroke {
                worker, generation, cause: String::new(), waiting_for, state,
            }
        ),
        1 => who().prop_map(|(worker, generation)| MachineEvent::WorkerFinished { worker, generation, digest: Digest::default() }),
        1 => who().prop_map(|(worker, _)| MachineEvent::WorkerFailed { worker, cause: String::new(), exit_code: 1 }),
        1 => (slot(), any::<u32>()).prop_map(|(slot, attempt)| MachineEvent::ProcessEnded {
            slot, attempt: attempt % 3, exit: ExitKind::Code(1), last_words: None,
        }),
        1 => Just(MachineEvent::StopAsked { stopping: Stopping::Drain, why: String::new() }),
        4 => Just(MachineEvent::Woke),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_said_in_any_order_upsets_the_machine(
        here in any::<bool>(),
        events in prop::collection::vec((0_u64..3_000, event()), 1..120),
        restart_at in 0_usize..120,
    ) {
        let launching = if here { Launching::Here } else { Launching::Elsewhere };
        let mut machine = Machine::new(rules(launching), 1, Tick(0), None);
        let (mut now, mut journal) = (0, Vec::<Record>::new());
        for (index, (wait, event)) in events.into_iter().enumerate() {
            now += wait;
            if index == restart_at {
                machine = Machine::new(rules(launching), 2, Tick(now), fold(&journal));
            }
            let over = machine.phase().is_over();
            machine.drain_effects().into_iter().for_each(|effect| if let Effect::Journal(record) = effect { journal.push(record) });
            machine.handle(Tick(now), event);
            let effects = machine.drain_effects();
            let refused = |effect: &Effect| matches!(effect, Effect::Refuse { .. });
            prop_assert!(!over || effects.iter().all(refused), "orders for a run that is over: {:?}", effects);
            let snapshot = machine.snapshot(Tick(now));
            prop_assert!(snapshot.phase.is_over() || machine.poll_timeout().is_some());
            prop_assert!(!snapshot.verdict.to_string().is_empty());
            journal.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Journal(record) => Some(record),
                _ => None,
            }));
        }
    }
}
