//! Draws lives, and shrinks one in which a promise is broken.

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::kept;
use super::{Fault, Life, World};

fn fault() -> impl Strategy<Value = Fault> {
    let pick = any::<u8>();
    prop_oneof![
        4 => pick.prop_map(|pick| Fault::Crash { pick }),
        1 => pick.prop_map(|pick| Fault::Fail { pick }),
        2 => pick.prop_map(|pick| Fault::Leave { pick }),
        3 => (pick, 50_u64..4_000).prop_map(|(pick, millis)| Fault::Pause { pick, millis }),
        1 => (pick, 50_u64..4_000).prop_map(|(pick, millis)| Fault::Slow { pick, millis }),
        2 => pick.prop_map(|pick| Fault::Stick { pick }),
        3 => (pick, 0_u64..2_500).prop_map(|(pick, millis)| Fault::Cut { pick, millis }),
        3 => (pick, 50_u64..4_000).prop_map(|(pick, millis)| Fault::CutOff { pick, millis }),
        3 => (0_u64..3_000, 0_usize..8, any::<bool>()).prop_map(|(millis, after_effects, loses)| {
            Fault::CoordinatorCrash { millis, after_effects, loses }
        }),
        1 => (1_u64..3_000).prop_map(|millis| Fault::CoordinatorPause { millis }),
        1 => (1_u64..3_000).prop_map(|millis| Fault::Takeover { millis }),
        2 => Just(Fault::Newcomer),
    ]
}

/// Lives with ten to nineteen faults each.
pub fn life(launches: bool, restarts: Range<u32>) -> BoxedStrategy<Life> {
    let faults = prop::collection::vec((0_u64..6_000, fault()), 10..20);
    (
        any::<u64>(),
        1_u32..5,
        1_u32..7,
        20_u64..50,
        0_u32..30,
        any::<bool>(),
        restarts,
        faults,
    )
        .prop_map(
            move |(seed, wanted, shards, steps, echo_percent, digests, restarts, faults)| Life {
                seed,
                wanted,
                shards,
                steps,
                launches,
                restarts,
                echo_percent,
                digests,
                faults,
            },
        )
        .boxed()
}

/// Lives `lives` drawn ones: with a seed always the same. Returns the longest time, in milliseconds, that one
/// took to end after its last fault. One that breaks a promise is shrunk and kept.
pub fn search(strategy: &BoxedStrategy<Life>, lives: u32, seed: Option<u64>) -> u64 {
    let config = ProptestConfig {
        cases: lives,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    };
    let mut runner = match seed {
        None => TestRunner::new(config),
        Some(seed) => {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
        }
    };
    let longest = Cell::new(0);
    let outcome = runner.run(strategy, |life| {
        longest.set(longest.get().max(World::live(life)));
        Ok(())
    });
    match outcome {
        Ok(()) => longest.get(),
        Err(TestError::Fail(reason, life)) => {
            let life = without_needless_faults(life);
            let name = kept::keep(&life, reason.message());
            panic!(
                "{reason}\nshrunk to {} faults and kept as `{name}`; again: ULDA_LIFE={name} cargo test --release -p \
                 ulda-machine --test machine_world every_life_that_was_kept",
                life.faults.len()
            );
        }
        Err(TestError::Abort(reason)) => panic!("no lives were drawn: {reason}"),
    }
}

/// Leaves out one fault after the other as long as the life still fails.
fn without_needless_faults(mut life: Life) -> Life {
    let mut index = 0;
    while index < life.faults.len() {
        let mut less = life.clone();
        less.faults.remove(index);
        if catch_unwind(AssertUnwindSafe(|| World::live(less.clone()))).is_err() {
            life = less;
        } else {
            index += 1;
        }
    }
    life
}
