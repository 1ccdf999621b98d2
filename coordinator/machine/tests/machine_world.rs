//! Whole lives of runs in a simulated world: small workers that train a counter, virtual time, faults of
//! every kind. What must hold is in `machine_world/invariants/`, one sentence per file; lives that once
//! broke a promise are in `machine_world/lives/` and are lived again in every run of the tests.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the machine is pure; who searches, keeps lives and takes the time of a soak is not"
)]

#[path = "machine_world/mod.rs"]
mod machine_world;

use std::time::{Duration, Instant};

use machine_world::{World, kept, life, search};

#[test]
fn lives_with_workers_started_here() {
    search(&life(true, 1_000..1_001), 1_500, None);
}

#[test]
fn lives_with_workers_started_elsewhere() {
    search(&life(false, 1_000..1_001), 1_500, None);
}

/// Restarts run out, so a run may fail; it must say so in bounded time and keep every other promise.
#[test]
fn lives_with_few_restarts() {
    search(&life(true, 0..4), 1_500, None);
}

/// `ULDA_LIFE=<name>` lives only that one.
#[test]
fn every_life_that_was_kept() {
    let only = std::env::var("ULDA_LIFE").ok();
    let kept = kept::all();
    assert!(!kept.is_empty(), "the folder of kept lives is there");
    let chosen = kept
        .iter()
        .filter(|(name, _)| only.as_ref().is_none_or(|only| only == name));
    let mut lived = 0;
    for (name, life) in chosen {
        println!("{name}");
        World::live(life.clone());
        lived += 1;
    }
    assert!(lived > 0, "no kept life is called {only:?}");
}

/// `make soak`: as many lives as `ULDA_LIVES` says, or for `ULDA_SOAK_SECONDS`.
#[test]
#[ignore = "takes as long as it is told to: make soak"]
fn soak() {
    const AT_ONCE: u32 = 2_000;
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let lives = number("ULDA_LIVES").unwrap_or(u64::MAX);
    let seconds = number("ULDA_SOAK_SECONDS").map_or(Duration::MAX, Duration::from_secs);
    assert!(
        lives < u64::MAX || seconds < Duration::MAX,
        "ULDA_LIVES or ULDA_SOAK_SECONDS says when to stop"
    );
    let started = Instant::now();
    let mut rounds = number("ULDA_SEED").unwrap_or(0);
    let (mut lived, mut longest) = (0, 0);
    while lived < lives && started.elapsed() < seconds {
        let kinds = [
            life(true, 1_000..1_001),
            life(false, 1_000..1_001),
            life(true, 0..4),
        ];
        let seed = Some(rounds);
        longest = longest.max(search(&kinds[(rounds % 3) as usize], AT_ONCE, seed));
        lived += u64::from(AT_ONCE);
        rounds += 1;
        println!(
            "{lived} lives in {:.0} s, all promises kept; longest end after the last fault: {longest} ms of 60000",
            started.elapsed().as_secs_f64()
        );
    }
}
