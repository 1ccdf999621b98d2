//! Faults: none hangs, none is taken for success.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ulda_nccl::{Communicator, NcclError, PendingOperation, RankSeat};

use crate::world::{
    AfterError, Buffer, Copied, Count, HostTimeline, Line, Mishap, PATIENCE, REMOTE_ERROR, World, wait_until,
};

/// Five sums on rank 0 that rank 1 does not come to, all on the stream.
fn hanging(
    world: &World,
    communicator: &Communicator<HostTimeline>,
) -> (Vec<Buffer<f32>>, Vec<PendingOperation>) {
    let buffers: Vec<_> = (0..5).map(|_| Buffer::new([1.0; 16])).collect();
    let name = |bucket| format!("gradient bucket {bucket} of adapt step 17");
    let pending = (0..)
        .zip(&buffers)
        .map(|(bucket, buffer): (u32, _)| world.sum(communicator, &name(bucket), buffer))
        .collect();
    world.wait_for_operations(0, 5);
    (buffers, pending)
}

/// All errors of what is pending.
fn errors(pending: Vec<PendingOperation>) -> Vec<NcclError> {
    pending
        .into_iter()
        .map(|pending| pending.wait().expect_err("nothing was summed"))
        .collect()
}

/// Whether the simulated stream has gone on with garbage.
fn holds_garbage(buffers: &[Buffer<f32>]) -> bool {
    let garbage = f32::from_le_bytes([0xd7; 4]);
    buffers.iter().all(|buffer| buffer.content() == [garbage; 16])
}

#[test]
fn an_absent_peer_is_waited_for_until_the_deadline() {
    let mut world = World::new(2);
    world.deadlines.form = Duration::from_millis(80);
    let since = Instant::now();
    let error = world.form(0).err().unwrap();
    assert!(since.elapsed() >= world.deadlines.form && since.elapsed() < PATIENCE);
    assert!(matches!(error, NcclError::FormTimeout { waited, .. } if waited >= world.deadlines.form));
    let text = error.to_string();
    assert!(text.starts_with("rank 0 of 2 waited "), "{text}");
    assert!(
        text.ends_with(" for the other ranks to join the communicator"),
        "{text}"
    );
    let hint = error.hint().unwrap();
    for part in ["NCCL_SOCKET_IFNAME", "NCCL_DEBUG=INFO"] {
        assert!(hint.contains(part), "{hint}");
    }
    assert_eq!(world.count(0, Count::Aborts), 1);
    assert_eq!(world.count(0, Count::Destroys), 0);
    assert_eq!(world.violations(), "");
}

#[test]
fn an_error_of_nccls_fails_all_that_is_pending_and_all_later() {
    for stream in [AfterError::GoesOn, AfterError::Hangs] {
        let world = World::new(2);
        let communicators = world.form_all();
        let (buffers, pending) = hanging(&world, &communicators[0]);
        world.fail(0, REMOTE_ERROR, stream);
        for error in errors(pending) {
            assert!(matches!(error, NcclError::Remote(_)), "{error}");
            let text = error.to_string();
            assert!(
                text.starts_with("gradient bucket 0 of adapt step 17: rank 0 of 2: "),
                "{text}"
            );
            assert!(text.contains("remote process exited"), "{text}");
        }
        let later = world.sum(&communicators[0], "a later bucket", &buffers[0]);
        assert!(matches!(later.wait(), Err(NcclError::Remote(_))));
        wait_until(|| buffers.iter().all(Buffer::is_released));
        assert!(holds_garbage(&buffers));
        assert_eq!(world.count(0, Count::Aborts), 1);
        assert_eq!(world.violations(), "");
    }
}

#[test]
fn an_abort_ends_a_hanging_sum_and_its_garbage_is_never_a_result() {
    let world = World::new(2);
    let communicators = world.form_all();
    let (buffers, pending) = hanging(&world, &communicators[0]);
    let since = Instant::now();
    communicators[0].abort("the user left");
    communicators[0].abort("a second cause");
    for error in errors(pending) {
        assert_eq!(error.to_string(), "aborted: the user left");
    }
    assert!(since.elapsed() < PATIENCE / 4);
    wait_until(|| buffers.iter().all(Buffer::is_released));
    assert!(holds_garbage(&buffers));
    assert_eq!(world.count(0, Count::Aborts), 1);
    assert!(matches!(
        communicators.into_iter().next().unwrap().close(),
        Err(NcclError::Aborted { .. })
    ));
    assert_eq!(world.count(0, Count::Aborts), 1);
    assert_eq!(world.violations(), "");
}

#[test]
fn an_abort_while_the_mark_is_looked_at_wins() {
    let world = World::new(1);
    let held = Arc::new(OnceLock::<Communicator<HostTimeline>>::new());
    let aborting = Arc::downgrade(&held);
    let abort = move || {
        if let Some(held) = aborting.upgrade()
            && let Some(communicator) = held.get()
        {
            communicator.abort("the user left");
        }
    };
    let formed = world.form_with(0, Mishap::During(Box::new(abort)), || None);
    let communicator = held.get_or_init(|| formed.unwrap());
    let sum = world.sum(communicator, "a bucket", &Buffer::new([1.0]));
    assert!(matches!(sum.wait(), Err(NcclError::Aborted { .. })));
    wait_until(|| Arc::weak_count(&held) == 0);
    assert_eq!(world.count(0, Count::Aborts), 1);
}

#[test]
fn an_abort_reaches_an_idle_communicator() {
    let world = World::new(1);
    let communicator = world.form(0).unwrap();
    communicator.abort("no more work");
    wait_until(|| world.count(0, Count::Aborts) == 1);
    let later = world.sum(&communicator, "a bucket", &Buffer::new([1.0]));
    assert!(matches!(later.wait(), Err(NcclError::Aborted { .. })));
    assert_eq!(world.count(0, Count::Operations), 0);
}

#[test]
fn a_cause_from_outside_breaks_what_is_pending() {
    let mut world = World::new(2);
    let broken = Arc::new(AtomicBool::new(false));
    let communicators = world.each_rank(|rank| {
        let broken = Arc::clone(&broken);
        let cause = move || broken.load(Ordering::Relaxed).then(|| "worker 1 left".to_owned());
        world.form_with(rank, Mishap::None, cause).unwrap()
    });
    let (_, pending) = hanging(&world, &communicators[0]);
    broken.store(true, Ordering::Relaxed);
    for error in errors(pending) {
        assert_eq!(error.to_string(), "broken from outside: worker 1 left");
    }
    wait_until(|| world.count(0, Count::Aborts) == 1);

    // The same while the ranks are still coming.
    world.id = world.library.unique_id().unwrap();
    let absent = world.form_with(0, Mishap::None, || Some("worker 1 left".to_owned()));
    assert!(matches!(absent, Err(NcclError::Outside { .. })));
    assert_eq!(world.count(0, Count::Aborts), 1);
    assert_eq!(world.violations(), "");
}

#[test]
fn a_sum_that_a_peer_does_not_come_to_meets_its_deadline() {
    let mut world = World::new(2);
    world.deadlines.operation = Duration::from_millis(150);
    let communicators = world.form_all();
    let buffer = Buffer::new([1.0; 16]);
    let sum = world.sum(&communicators[0], "gradient bucket 0 of adapt step 17", &buffer);
    let error = sum.wait().unwrap_err();
    assert!(
        matches!(error, NcclError::OperationTimeout { waited, .. } if waited >= world.deadlines.operation)
    );
    let text = error.to_string();
    assert!(
        text.starts_with("gradient bucket 0 of adapt step 17: rank 0 of 2 waited "),
        "{text}"
    );
    wait_until(|| world.count(0, Count::Aborts) == 1);
}

#[test]
fn a_call_that_nccl_stays_in_meets_the_deadline() {
    let mut world = World::new(1);
    world.deadlines.operation = Duration::from_millis(80);
    world.script(Line::CallPolls, u64::MAX);
    let communicator = world.form(0).unwrap();
    let buffers = [Buffer::new([1.0]), Buffer::new([2.0])];
    let pending = buffers
        .each_ref()
        .map(|buffer| world.sum(&communicator, "a bucket", buffer));
    for error in errors(pending.into()) {
        assert!(matches!(error, NcclError::OperationTimeout { .. }), "{error}");
    }
    assert_eq!(world.count(0, Count::Operations), 1);
    wait_until(|| world.count(0, Count::Aborts) == 1);
    assert_eq!(world.violations(), "");
}

#[test]
fn a_refused_call_is_told_by_its_cause() {
    let copied = Copied::new("refusals");
    let path = copied.path.as_path();
    let duplicate = "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000";
    type Is = fn(&NcclError) -> bool;
    let table: [(u64, &str, Is, &str); 4] = [
        (1, "", |error| matches!(error, NcclError::Cuda(_)), "driver"),
        (
            5,
            duplicate,
            |error| matches!(error, NcclError::DuplicateGpu(_)),
            "CUDA_VISIBLE_DEVICES",
        ),
        (
            4,
            "count",
            |error| matches!(error, NcclError::Refused(_)),
            ": count",
        ),
        (
            99,
            "",
            |error| matches!(error, NcclError::Refused(_)),
            "unknown result code",
        ),
    ];
    for (code, detail, is_it, says) in table {
        let world = World::at(path, 1);
        world.simulator.set_last_error(detail);
        world.script(Line::CallAnswer, code);
        let communicator = world.form(0).unwrap();
        let error = world
            .sum(&communicator, "a bucket", &Buffer::new([1.0]))
            .wait()
            .unwrap_err();
        assert!(is_it(&error), "{error:?}");
        let text = error.to_string();
        assert!(
            text.starts_with("a bucket: rank 0 of 1: ncclAllReduce: "),
            "{text}"
        );
        let text = text + &error.hint().unwrap_or_default();
        assert!(text.contains(says), "{text}");
        wait_until(|| world.count(0, Count::Aborts) == 1);
        assert_eq!(world.violations(), "");
    }
}

#[test]
fn a_device_that_fails_or_a_thread_that_panics_is_a_fault() {
    let world = World::new(1);
    let communicator = world.form_with(0, Mishap::QueryFails, || None).unwrap();
    let buffer = Buffer::new([1.0]);
    let error = world.sum(&communicator, "a bucket", &buffer).wait().unwrap_err();
    assert_eq!(
        error.to_string(),
        "a bucket: rank 0 of 1: query an event: an illegal memory access was encountered"
    );
    wait_until(|| world.count(0, Count::Aborts) == 1);

    let world = World::new(1);
    let communicator = world.form_with(0, Mishap::QueryPanics, || None).unwrap();
    let error = world.sum(&communicator, "a bucket", &buffer).wait().unwrap_err();
    assert!(matches!(
        error,
        NcclError::Panicked {
            seat: RankSeat { rank: 0, ranks: 1 }
        }
    ));
    wait_until(|| world.count(0, Count::Aborts) == 1 && buffer.is_released());
}
