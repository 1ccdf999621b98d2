//! A panic in a shard's thread, in each stage: the others know at once, the worker is started again, and the run ends with
//! the bits of an undisturbed one.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::time::{Duration, Instant};

use ulda_tests::World;

/// A panic that the others do not hear of is noticed after this long, which is longer than the whole test may take.
const COLLECTIVE: u32 = 300;
const LONGEST: Duration = Duration::from_secs(150);
/// Stage, step and shard: those of either worker, and the first step as well as a later one.
const PANICS: [(&str, u32, u32); 4] = [
    ("pretrain", 2, 1),
    ("simulate", 0, 2),
    ("adapt", 3, 3),
    ("evaluate", 0, 0),
];

#[test]
fn a_panic_in_a_shard_breaks_the_collective_at_once_in_every_stage() {
    let world = World::new();
    let asked = world.path("panics");
    std::fs::create_dir(&asked).unwrap();
    for (stage, step, shard) in PANICS {
        std::fs::write(asked.join(format!("{stage}-{step}-{shard}")), "").unwrap();
    }
    let sets = [
        "run.name=panics".to_owned(),
        format!("deadline.collective={COLLECTIVE}"),
        format!("deadline.progress={COLLECTIVE}"),
        format!("recovery.restarts={}", PANICS.len()),
    ];
    let mut command = world.command(&["--workers", "2"]);
    command.args(sets.iter().flat_map(|set| ["--set", set]));
    command.env("ULDA_TEST_PANICS", &asked);
    let began = Instant::now();
    let said = ulda_tests::Program::start(command).finish().expect(0).said();
    let took = began.elapsed();
    assert!(took < LONGEST, "{took:?}\n{said}");
    for (stage, step, shard) in PANICS {
        let cause =
            format!("shard {shard}: its thread panicked: shard {shard} panics before step {step} of {stage}");
        assert!(said.contains(&cause), "{cause}\n{said}");
    }
    assert_eq!(
        std::fs::read_dir(&asked).unwrap().count(),
        0,
        "all of them happened"
    );
    assert_eq!(world.finished("panics"), world.train("plain", 1, &[]));
}
