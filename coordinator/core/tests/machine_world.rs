//! Whole lives of runs in a simulated world: small workers that train a counter, virtual time, faults of
//! every kind. What must hold is in `machine_world/invariants/`, one sentence per file.

#[path = "machine_world/mod.rs"]
mod machine_world;

use machine_world::{Fault, Life, World};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use ulda_core::machine::Launching;

fn fault() -> impl Strategy<Value = Fault> {
    let pick = any::<u8>();
    prop_oneof![
        4 => pick.prop_map(|pick| Fault::Crash { pick }),
        1 => pick.prop_map(|pick| Fault::Fail { pick }),
        3 => (pick, 50_u64..4_000).prop_map(|(pick, millis)| Fault::Pause { pick, millis }),
        2 => pick.prop_map(|pick| Fault::Stick { pick }),
        2 => pick.prop_map(|pick| Fault::Cut { pick }),
        2 => (0_u64..3_000, 0_usize..8).prop_map(|(millis, after_effects)| Fault::CoordinatorCrash { millis, after_effects }),
        1 => (1_u64..3_000).prop_map(|millis| Fault::CoordinatorPause { millis }),
        2 => Just(Fault::Newcomer),
    ]
}

fn life(launching: Launching) -> impl Strategy<Value = Life> {
    let faults = prop::collection::vec((0_u64..6_000, fault()), 10..20);
    (
        any::<u64>(),
        1_u32..5,
        1_u32..7,
        20_u64..50,
        0_u32..30,
        any::<bool>(),
        faults,
    )
        .prop_map(
            move |(seed, wanted, shards, steps, echo_percent, digests, faults)| Life {
                seed,
                wanted,
                shards,
                steps,
                launching,
                restarts: 1_000,
                echo_percent,
                digests,
                faults,
            },
        )
}

fn kept(cases: u32) -> ProptestConfig {
    let file = Box::new(FileFailurePersistence::Direct("tests/machine_world/kept.txt"));
    ProptestConfig {
        cases,
        failure_persistence: Some(file),
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(kept(1_500))]

    #[test]
    fn lives_with_workers_started_here(life in life(Launching::Here)) {
        World::live(life);
    }

    #[test]
    fn lives_with_workers_started_elsewhere(life in life(Launching::Elsewhere)) {
        World::live(life);
    }

    /// Restarts run out, so a run may fail; it must say so in bounded time and keep every other promise.
    #[test]
    fn lives_with_few_restarts(mut life in life(Launching::Here), restarts in 0_u32..4) {
        life.restarts = restarts;
        World::live(life);
    }
}
