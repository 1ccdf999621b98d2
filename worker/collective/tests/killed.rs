//! A worker process that is killed while another reads its memory takes nothing along.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENT, listener, membership, tag};
use ulda_collective::{
    Collective, CollectiveError, DataPlane, Membership, Rank, ShardGroup, WorkerIndex, WorkerPeer,
};

const LONG: usize = 4_000_000;
/// Set for the process that is to be killed: the address of the other.
const OTHER: &str = "ULDA_TEST_OTHER_WORKER";
const AT_ONCE: Duration = Duration::from_secs(10);

fn between(me: u32, addresses: [String; 2]) -> Membership {
    let alone = listener();
    Membership {
        workers: addresses.map(|address| WorkerPeer { address }).into(),
        ..membership(me, &[&alone, &alone], 2)
    }
}

/// Sums until that fails, and tells of each step.
fn sum_on(rank: &Rank, done: impl Fn(u64)) -> CollectiveError {
    let mut buffer = vec![1.0; LONG];
    (0..)
        .find_map(|step| {
            buffer.fill(1.0);
            let outcome = rank.all_reduce(tag(step, 0), &ShardGroup::all(2), &mut buffer);
            assert!(outcome.is_err() || buffer.iter().all(|sum| *sum == 2.0));
            done(step);
            outcome.err()
        })
        .unwrap()
}

/// The process that is killed; does nothing when it is not asked to.
#[test]
fn the_one_that_is_killed() {
    let Ok(other) = std::env::var(OTHER) else { return };
    let listener = listener();
    println!("\nhere {}", listener.local_addr());
    let members = between(1, [other, listener.local_addr().to_string()]);
    let plane = DataPlane::connect(&listener, members, PATIENT).unwrap();
    sum_on(&plane.rank(ulda_run::ids::Shard(1)).unwrap(), |_| {});
}

fn start(other: &str) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["the_one_that_is_killed", "--exact", "--nocapture"])
        .env(OTHER, other)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines
        .map(Result::unwrap)
        .find_map(|line| Some(line.strip_prefix("here ")?.to_owned()))
        .unwrap();
    (child, address)
}

#[test]
fn a_killed_process_is_named_and_its_memory_stays_readable() {
    for round in 0..10 {
        let listener = listener();
        let here = listener.local_addr().to_string();
        let (mut child, there) = start(&here);
        let plane = DataPlane::connect(&listener, between(0, [here, there]), PATIENT).unwrap();
        let rank = plane.rank(ulda_run::ids::Shard(0)).unwrap();
        let (told, steps) = std::sync::mpsc::channel();
        let error = thread::scope(|scope| {
            let summing = scope.spawn(|| sum_on(&rank, move |step| told.send(step).unwrap()));
            // Some steps in, and each time somewhere else within one.
            for _ in 0..3 {
                steps.recv_timeout(AT_ONCE).unwrap();
            }
            thread::sleep(Duration::from_micros(700 * round));
            child.kill().unwrap();
            let killed = Instant::now();
            let error = summing.join().unwrap();
            assert!(killed.elapsed() < AT_ONCE);
            error
        });
        child.wait().unwrap();
        assert_eq!(error.suspect(), Some(WorkerIndex(1)), "{error}");
        assert!(matches!(error, CollectiveError::PeerClosed { .. }), "{error}");
        assert!(plane.stats().shared_bytes > LONG as u64, "{:?}", plane.stats());
    }
}
