//! Nothing hangs: every fault reaches every rank, with names.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENT, chain, everywhere, mesh, ranks, tag};
use ulda_collective::{
    AbortCause, Collective, CollectiveError, DataPlane, PlaneDeadlines, ShardGroup, Tag, WorkerIndex,
};
use ulda_run::ids::Shard;

const LONG: usize = 500_000;
/// Far below any deadline in use, far above what a loaded machine needs.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Starts `call` on the given ranks' threads, then does `then`; what the calls gave, and how long after
/// `then`.
fn calls_then<R: Send>(
    ranks: Vec<impl Collective + Send>,
    call: impl Fn(&dyn Collective) -> R + Sync,
    then: impl FnOnce(),
) -> Vec<R> {
    thread::scope(|scope| {
        let call = &call;
        let running: Vec<_> = ranks
            .into_iter()
            .map(|rank| scope.spawn(move || call(&rank)))
            .collect();
        then();
        let start = Instant::now();
        let results = running.into_iter().map(|result| result.join().unwrap()).collect();
        assert!(start.elapsed() < AT_ONCE, "took {:?}", start.elapsed());
        results
    })
}

fn reduce(rank: &dyn Collective, tag: Tag, length: usize) -> Result<(), CollectiveError> {
    rank.all_reduce(tag, &ShardGroup::all(rank.shards()), &mut vec![1.0; length])
}

/// Waits until `planes` have called `operations` in total.
fn until_called(planes: &[DataPlane], operations: u64) {
    let deadline = Instant::now() + AT_ONCE;
    while planes.iter().map(|plane| plane.stats().operations).sum::<u64>() < operations {
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
}

#[test]
fn a_worker_that_goes_is_named_on_all_others() {
    for length in [10, LONG] {
        let mut planes = mesh(3, 3, PATIENT);
        let leaver = planes.remove(1);
        let staying: Vec<_> = [planes[0].rank(Shard(0)), planes[1].rank(Shard(2))]
            .map(Result::unwrap)
            .into();
        let results = calls_then(
            staying,
            |rank| reduce(rank, tag(17, 3), length),
            || {
                until_called(&planes, 2);
                drop(leaver);
            },
        );
        for error in results.into_iter().map(Result::unwrap_err) {
            assert_eq!(error.suspect(), Some(WorkerIndex(1)), "{error}");
            let text = error.to_string();
            assert!(
                text.contains("worker 1 closed its connection during adapt step 17: gradient bucket 3"),
                "{text}"
            );
        }
    }
}

#[test]
fn after_the_first_fault_all_calls_return_it() {
    let planes = mesh(2, 4, PATIENT);
    let all = ranks(&planes);
    all[2].abort(AbortCause {
        suspect: Some(WorkerIndex(0)),
        text: "loss is not finite".into(),
    });
    let first = planes[1].fault().unwrap();
    assert_eq!(first.to_string(), "aborted: loss is not finite");
    planes[1].abort(AbortCause::new("another"));
    let again = all[3].barrier(tag(1, 1), &ShardGroup::all(4)).unwrap_err();
    assert_eq!(again.to_string(), first.to_string());
    let results = calls_then(ranks(&planes), |rank| reduce(rank, tag(1, 0), 5), || {});
    assert_eq!(
        results[0].as_ref().unwrap_err().to_string(),
        "worker 1 aborted: loss is not finite"
    );
    assert_eq!(results[0].as_ref().unwrap_err().suspect(), Some(WorkerIndex(0)));
    assert_eq!(results[3].as_ref().unwrap_err().to_string(), first.to_string());
}

#[test]
fn an_abort_wakes_whoever_waits() {
    for length in [10, LONG] {
        let planes = mesh(3, 4, PATIENT);
        let mut waiting = ranks(&planes);
        let aborting = waiting.remove(2);
        let results = calls_then(
            waiting,
            |rank| reduce(rank, tag(2, 0), length),
            || {
                until_called(&planes, 3);
                aborting.abort(AbortCause::new("shard 2 ran out of memory"));
            },
        );
        for error in results.into_iter().map(Result::unwrap_err) {
            assert!(
                error.to_string().contains("aborted: shard 2 ran out of memory"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_shard_that_never_calls_is_named() {
    let deadlines = PlaneDeadlines {
        operation: Duration::from_millis(300),
        ..PATIENT
    };
    for length in [10, LONG] {
        let planes = mesh(2, 4, deadlines);
        let mut calling = ranks(&planes);
        let _idle = calling.remove(3);
        let results = calls_then(calling, |rank| reduce(rank, tag(9, 1), length), || {});
        for error in results.into_iter().map(Result::unwrap_err) {
            assert!(
                error
                    .to_string()
                    .contains("adapt step 9: gradient bucket 1: waited"),
                "{error}"
            );
            assert!(error.to_string().contains("shard 3 (worker 1)"), "{error}");
        }
    }
}

#[test]
fn a_finished_worker_may_leave_while_others_work_on() {
    let mut planes = mesh(3, 3, PATIENT);
    everywhere(&planes, |rank| reduce(rank, tag(1, 0), LONG).unwrap());
    drop(planes.remove(0));
    let remaining: Vec<_> = [planes[0].rank(Shard(1)), planes[1].rank(Shard(2))]
        .map(Result::unwrap)
        .into();
    let group = ShardGroup::of(1..3);
    let results = calls_then(remaining, |rank| rank.barrier(tag(2, 0), &group), || {});
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let wide = planes[0].rank(Shard(1)).unwrap();
    let error = reduce(&wide, tag(3, 0), 10).unwrap_err();
    assert_eq!(error.suspect(), Some(WorkerIndex(0)), "{error}");
}

#[test]
fn a_tag_names_one_operation() {
    let planes = mesh(2, 2, PATIENT);
    let results = everywhere(&planes, |rank| {
        reduce(rank, tag(4, 2), 10).unwrap();
        reduce(rank, tag(4, 2), 10).unwrap_err().to_string()
    });
    for text in results {
        assert!(text.contains("adapt step 4: gradient bucket 2: shard"), "{text}");
        assert!(text.contains("has used this tag before"), "{text}");
    }
}

#[test]
fn callers_that_disagree_are_told() {
    type Call = fn(&dyn Collective) -> Result<(), CollectiveError>;
    let length: Call = |rank| reduce(rank, tag(1, 0), 10 + rank.shard().0 as usize);
    let long: Call = |rank| reduce(rank, tag(1, 0), 10 + LONG * rank.shard().0 as usize);
    let operation: Call = |rank| match rank.shard() {
        Shard(0) => reduce(rank, tag(1, 0), 0),
        _ => rank.barrier(tag(1, 0), &ShardGroup::all(2)),
    };
    let group: Call = |rank| match rank.shard() {
        Shard(0) => rank.barrier(tag(1, 0), &ShardGroup::all(2)),
        _ => rank.barrier(
            tag(1, 0),
            &ShardGroup::reduce_to([Shard(0), Shard(1)], [Shard(1)]),
        ),
    };
    let disagreements = [
        (length, "bytes, shard"),
        (long, "bytes, shard"),
        (operation, "different operations"),
        (group, "different groups"),
    ];
    for (call, words) in disagreements {
        for planes in [mesh(2, 2, PATIENT), vec![DataPlane::solo(2, PATIENT).unwrap()]] {
            let results = everywhere(&planes, |rank| call(rank));
            let errors: Vec<String> = results
                .into_iter()
                .filter_map(Result::err)
                .map(|error| error.to_string())
                .collect();
            assert!(
                !errors.is_empty() && errors.iter().all(|text| text.contains(words)),
                "{errors:?}"
            );
        }
    }
}

#[test]
fn groups_are_checked() {
    let planes = [DataPlane::solo(2, PATIENT).unwrap()];
    let outside = ranks(&planes)[1]
        .barrier(tag(1, 0), &ShardGroup::of(0..1))
        .unwrap_err();
    assert_eq!(
        outside.to_string(),
        "adapt step 1: gradient bucket 0: shard 1 calls with a group it is not in"
    );
    let planes = [DataPlane::solo(2, PATIENT).unwrap()];
    let wide = ranks(&planes)[1]
        .barrier(tag(1, 0), &ShardGroup::all(3))
        .unwrap_err();
    assert!(
        wide.to_string()
            .ends_with("a group of shards the run does not have"),
        "{wide}"
    );
    assert!(matches!(
        planes[0].rank(Shard(2)),
        Err(CollectiveError::NotServed { .. })
    ));
}

#[test]
fn a_plane_is_dropped_with_operations_in_flight() {
    let planes = mesh(2, 2, PATIENT);
    let rank = planes[0].rank(Shard(0)).unwrap();
    let start = Instant::now();
    let pending: Vec<_> = (0..4)
        .map(|part| rank.start_all_reduce(tag(1, part), &ShardGroup::all(2), vec![1.0; LONG]))
        .collect();
    drop(planes);
    for sum in pending {
        sum.wait().unwrap_err();
    }
    assert!(matches!(
        rank.barrier(tag(2, 0), &ShardGroup::all(2)),
        Err(CollectiveError::Closed)
    ));
    assert!(start.elapsed() < AT_ONCE);
}

/// The planes of two workers whose connection runs through this process, and the relay's socket to the second.
/// After `budget` bytes the relay stops reading what the first sends, but keeps the connection.
fn relayed(budget: u64, deadlines: PlaneDeadlines) -> ([DataPlane; 2], TcpStream) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (low, high) = (common::listener(), common::listener());
    let [mut first, second] = [0, 1].map(|me| common::membership(me, &[&low, &high], 2));
    first.workers[1].address = socket.local_addr().unwrap().to_string();
    let target = high.local_addr();
    let relay = thread::spawn(move || {
        let (caller, _) = socket.accept().unwrap();
        let called = TcpStream::connect(target).unwrap();
        let (from, mut to) = (caller.try_clone().unwrap(), called.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from.take(budget), &mut to));
        let (mut from, mut to) = (called.try_clone().unwrap(), caller);
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        called
    });
    let left = thread::spawn(move || DataPlane::connect(&low, first, deadlines).unwrap());
    let right = DataPlane::connect(&high, second, deadlines).unwrap();
    ([left.join().unwrap(), right], relay.join().unwrap())
}

#[test]
fn bytes_that_are_no_frame_break_the_plane_by_name() {
    let (planes, mut wire) = relayed(u64::MAX, PATIENT);
    let results = calls_then(
        vec![planes[1].rank(Shard(1)).unwrap()],
        |rank| reduce(rank, tag(1, 0), 10),
        || wire.write_all(&[b'x'; 64]).unwrap(),
    );
    let text = chain(results[0].as_ref().unwrap_err());
    assert!(
        text.starts_with("damaged frame from worker 0: no frame starts here"),
        "{text}"
    );
}

/// A header of a contribution of shard 0 that says its payload of `length` bytes lies in `slot` of the segment.
fn header_with_slot(slot: u16, length: u32) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0..4].copy_from_slice(b"ULF2");
    (bytes[4], bytes[5], bytes[8], bytes[32]) = (2, 1, 7, 3);
    bytes[34..36].copy_from_slice(&(slot + 1).to_le_bytes());
    bytes[44..48].copy_from_slice(&length.to_le_bytes());
    let check = bytes[..60].iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    bytes[60..].copy_from_slice(&check.to_le_bytes());
    bytes
}

#[test]
fn a_slot_that_no_board_has_breaks_the_plane_by_name() {
    let (planes, mut wire) = relayed(u64::MAX, PATIENT);
    // The last one that there is does not.
    wire.write_all(&header_with_slot(63, 4096)).unwrap();
    let deadline = Instant::now() + AT_ONCE;
    while planes[1].stats().shared_bytes < 4096 {
        assert!(Instant::now() < deadline && planes[1].fault().is_none());
        thread::yield_now();
    }
    assert!(planes[1].fault().is_none());
    let results = calls_then(
        vec![planes[1].rank(Shard(1)).unwrap()],
        |rank| reduce(rank, tag(1, 0), 10),
        || wire.write_all(&header_with_slot(64, 4096)).unwrap(),
    );
    let text = chain(results[0].as_ref().unwrap_err());
    let expected =
        "damaged frame from worker 0: payload of 4096 bytes in slot 64 of a segment that has no such slot";
    assert_eq!(text, expected);
}

#[test]
fn a_worker_that_stops_reading_is_named() {
    let deadlines = PlaneDeadlines {
        operation: Duration::from_millis(300),
        ..PATIENT
    };
    // The handshake's three messages from the dialling side.
    let handshake = 12 + "rainy night".len() as u64 + 16 + 32 + 35 + 46;
    let (planes, _wire) = relayed(handshake, deadlines);
    let results = calls_then(
        vec![planes[0].rank(Shard(0)).unwrap()],
        |rank| reduce(rank, tag(1, 0), 40_000_000),
        || {},
    );
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.suspect(), Some(WorkerIndex(1)), "{error}");
    assert!(error.to_string().contains("shard 1 (worker 1)"), "{error}");
}
