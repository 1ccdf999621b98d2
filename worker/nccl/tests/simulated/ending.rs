//! How communicators end, also where NCCL does not let them.

use std::time::{Duration, Instant};

use ulda_nccl::NcclError;

use crate::world::{Buffer, Count, Line, PATIENCE, World};

#[test]
fn an_abort_that_hangs_is_given_up_at_its_deadline() {
    let mut world = World::new(2);
    world.deadlines.abort = Duration::from_millis(120);
    world.script(Line::AbortHangs, 1);
    let mut communicators = world.form_all();
    let (first, second) = (communicators.remove(0), communicators.remove(0));
    let buffer = Buffer::new([1.0; 8]);
    let sum = world.sum(&first, "a bucket", &buffer);
    world.wait_for_operations(0, 1);
    let since = Instant::now();
    first.abort("the generation broke");
    assert!(matches!(sum.wait(), Err(NcclError::Aborted { .. })));
    let error = first.close().unwrap_err();
    let waited = since.elapsed();
    assert!(waited >= world.deadlines.abort && waited < world.deadlines.abort + PATIENCE / 4);
    assert!(error.needs_new_process());
    assert!(matches!(
        error,
        NcclError::AbortHangs {
            call: "ncclCommAbort",
            ..
        }
    ));
    let text = error.to_string();
    for part in [
        "rank 0 of 2: `ncclCommAbort` has not",
        "after: aborted: the generation broke",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // What hangs may still use the memory.
    assert!(!buffer.is_released());

    let since = Instant::now();
    drop(second);
    assert!(since.elapsed() >= world.deadlines.abort && since.elapsed() < PATIENCE / 4);
    assert_eq!(world.count(1, Count::Aborts), 1);
}

#[test]
fn a_call_that_never_returns_is_noticed_from_outside() {
    let mut world = World::new(1);
    world.deadlines.form = Duration::from_millis(80);
    world.script(Line::InitHangs, 1);
    let error = world.form(0).err().unwrap();
    let hangs = matches!(
        error,
        NcclError::AbortHangs {
            call: "ncclCommInitRankConfig",
            ..
        }
    );
    assert!(hangs && error.needs_new_process(), "{error}");
}

#[test]
fn a_close_lets_what_is_pending_complete() {
    let world = World::new(2);
    world.script(Line::CallPolls, 20);
    world.each_rank(|rank| {
        let communicator = world.form(rank).unwrap();
        let buffer = Buffer::new([1.0; 4]);
        let sum = world.sum(&communicator, "a bucket", &buffer);
        communicator.close().unwrap();
        sum.wait().unwrap();
        assert_eq!(buffer.content(), [2.0; 4]);
    });
    assert_eq!(world.violations(), "");
}

#[test]
fn a_communicator_that_is_dropped_is_aborted() {
    let world = World::new(2);
    let mut communicators = world.form_all();
    let buffer = Buffer::new([1.0; 4]);
    let sum = world.sum(&communicators[0], "a bucket", &buffer);
    world.wait_for_operations(0, 1);
    drop(communicators.remove(0));
    assert!(buffer.is_released());
    assert!(matches!(sum.wait(), Err(NcclError::Closed)));
    assert_eq!(
        (world.count(0, Count::Aborts), world.count(0, Count::Destroys)),
        (1, 0)
    );
}

#[test]
fn an_end_that_does_not_come_meets_its_deadline() {
    let mut world = World::new(1);
    world.deadlines.operation = Duration::from_millis(80);
    world.script(Line::FinalizePolls, u64::MAX);
    let communicator = world.form(0).unwrap();
    assert!(matches!(
        communicator.close(),
        Err(NcclError::FinaliseTimeout { .. })
    ));
    assert_eq!(
        (world.count(0, Count::Aborts), world.count(0, Count::Destroys)),
        (1, 0)
    );
    assert_eq!(world.violations(), "");
}
