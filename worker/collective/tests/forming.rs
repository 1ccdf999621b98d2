//! Who gets into a mesh, and what the others hear.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENT, everywhere, listener, membership, tag};
use ulda_collective::{
    Collective, CollectiveError, DataPlane, DataPlaneListener, HandshakeError, Membership, PlaneDeadlines,
    RunId, Secret, ShardGroup, WorkerIndex,
};
use ulda_run::ids::Generation;

/// An outsider dials the last of three workers as if it were worker 0, while the true three form their mesh.
fn intrude(change: impl FnOnce(&mut Membership)) -> (CollectiveError, Vec<HandshakeError>) {
    let listeners = [listener(), listener(), listener()];
    let refs: Vec<&DataPlaneListener> = listeners.iter().collect();
    let outside = [listener(), listener(), listener()];
    let mut theirs = membership(0, &refs, 3);
    // Only the third of the workers the intruder knows is a true one.
    theirs.workers[1].address = outside[1].local_addr().to_string();
    change(&mut theirs);
    thread::scope(|scope| {
        let last = membership(2, &refs, 3);
        let last = scope.spawn(|| DataPlane::connect(&listeners[2], last, PATIENT));
        let refused = DataPlane::connect(&outside[0], theirs, PATIENT).err().unwrap();
        let noted = until_refused(&listeners[2]);
        let mut rest = [0, 1].map(|me| {
            let (membership, listener) = (membership(me, &refs, 3), &listeners[me as usize]);
            Some(scope.spawn(move || DataPlane::connect(listener, membership, PATIENT)))
        });
        let mut planes: Vec<DataPlane> = rest
            .iter_mut()
            .map(|plane| plane.take().unwrap().join().unwrap().unwrap())
            .collect();
        planes.push(last.join().unwrap().unwrap());
        everywhere(&planes, |rank| {
            rank.barrier(tag(0, 0), &ShardGroup::all(3)).unwrap()
        });
        (refused, noted)
    })
}

/// The side that hears of a refusal notes it a moment after the side that decides it.
fn until_refused(listener: &DataPlaneListener) -> Vec<HandshakeError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let refusals = listener.drain_refusals();
        if !refusals.is_empty() {
            return refusals.into_iter().map(|refusal| refusal.cause).collect();
        }
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
}

fn refusal(error: &CollectiveError) -> &HandshakeError {
    match error {
        CollectiveError::Handshake(HandshakeError::Refused { cause, worker, .. }) => {
            assert_eq!(*worker, WorkerIndex(2));
            cause
        }
        other => panic!("{other}"),
    }
}

#[test]
fn another_secret_is_refused() {
    let (refused, noted) = intrude(|theirs| theirs.secret = Secret([43; 32]));
    assert!(matches!(refusal(&refused), HandshakeError::WrongSecret));
    assert!(matches!(noted[..], [HandshakeError::WrongSecret]), "{noted:?}");
}

#[test]
fn another_run_is_refused() {
    let (refused, noted) = intrude(|theirs| theirs.run = RunId("sunny day".into()));
    let expected = "the connection is for run `sunny day`, the worker reached serves run `rainy night`";
    assert_eq!(refusal(&refused).to_string(), expected);
    assert_eq!(noted[0].to_string(), expected);
}

#[test]
fn a_stale_generation_is_refused() {
    let (refused, noted) = intrude(|theirs| theirs.generation = Generation(6));
    assert_eq!(
        refusal(&refused).to_string(),
        "generation 6 is stale, the current one is generation 7"
    );
    assert_eq!(noted[0].to_string(), refusal(&refused).to_string());
}

#[test]
fn a_caller_for_another_worker_is_refused() {
    let (refused, noted) = intrude(|theirs| {
        theirs.workers.remove(1);
        theirs.shards = vec![WorkerIndex(0), WorkerIndex(1)];
    });
    let CollectiveError::Handshake(HandshakeError::Refused { cause, .. }) = &refused else {
        panic!("{refused}")
    };
    let expected = "the connection is meant for worker 1, the worker reached is worker 2";
    assert!(cause.to_string().starts_with(expected), "{cause}");
    assert!(noted[0].to_string().starts_with(expected), "{noted:?}");
}

#[test]
fn a_caller_of_a_later_generation_is_not_lost() {
    let listeners = [listener(), listener()];
    let refs: Vec<&DataPlaneListener> = listeners.iter().collect();
    let later = |me| Membership {
        generation: Generation(8),
        ..membership(me, &refs, 2)
    };
    thread::scope(|scope| {
        // Worker 0 has heard of generation 8, while worker 1 still forms 7, in vain.
        let early = scope.spawn(|| DataPlane::connect(&listeners[0], later(0), PATIENT));
        let old = scope.spawn(|| DataPlane::connect(&listeners[1], membership(1, &refs, 2), PATIENT));
        let mut new = DataPlane::connect(&listeners[1], later(1), PATIENT);
        if let Err(CollectiveError::Handshake(HandshakeError::StaleGeneration { .. })) = new {
            new = DataPlane::connect(&listeners[1], later(1), PATIENT);
        }
        let planes = [early.join().unwrap().unwrap(), new.unwrap()];
        let stale = old.join().unwrap().err().unwrap();
        assert!(
            matches!(
                stale,
                CollectiveError::Handshake(HandshakeError::StaleGeneration { .. })
            ),
            "{stale}"
        );
        everywhere(&planes, |rank| {
            rank.barrier(tag(0, 0), &ShardGroup::all(2)).unwrap()
        });
        let again = DataPlane::connect(&listeners[1], later(1), PATIENT)
            .err()
            .unwrap();
        assert!(
            matches!(
                again,
                CollectiveError::Handshake(HandshakeError::StaleGeneration { .. })
            ),
            "{again}"
        );
    });
}

#[test]
fn callers_that_babble_or_are_silent_are_dropped_and_block_nobody() {
    let hasty = || DataPlaneListener::bind_with("127.0.0.1:0", Duration::from_millis(400)).unwrap();
    let listeners = [hasty(), hasty()];
    let refs: Vec<&DataPlaneListener> = listeners.iter().collect();
    let dial = || {
        let stream = TcpStream::connect(listeners[1].local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let mut silent: Vec<TcpStream> = (0..20).map(|_| dial()).collect();
    let mut babbling = dial();
    babbling
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let planes = thread::scope(|scope| {
        let first = scope.spawn(|| DataPlane::connect(&listeners[0], membership(0, &refs, 2), PATIENT));
        let second = DataPlane::connect(&listeners[1], membership(1, &refs, 2), PATIENT).unwrap();
        [first.join().unwrap().unwrap(), second]
    });
    everywhere(&planes, |rank| {
        rank.barrier(tag(0, 0), &ShardGroup::all(2)).unwrap()
    });
    silent.push(babbling);
    for stream in &mut silent {
        // An answer or a reset, but an end.
        let end = stream.read_to_end(&mut Vec::new());
        assert!(end.is_ok() || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    }
    let noted = listeners[1].drain_refusals();
    assert_eq!(noted.len(), 21);
    let silent = noted
        .iter()
        .filter(|refusal| matches!(refusal.cause, HandshakeError::Silent { .. }));
    assert_eq!(silent.count(), 20);
}

#[test]
fn silent_connections_make_room_for_the_workers_of_the_run() {
    // Longer than the workers look for each other.
    let patient = || DataPlaneListener::bind_with("127.0.0.1:0", Duration::from_secs(120)).unwrap();
    let listeners = [patient(), patient()];
    let refs: Vec<&DataPlaneListener> = listeners.iter().collect();
    let dial = || TcpStream::connect(listeners[1].local_addr()).unwrap();
    let _silent: Vec<TcpStream> = (0..300).map(|_| dial()).collect();
    let deadlines = PlaneDeadlines {
        connect: Duration::from_secs(30),
        ..PATIENT
    };
    let planes = thread::scope(|scope| {
        let first = scope.spawn(|| DataPlane::connect(&listeners[0], membership(0, &refs, 2), deadlines));
        let second = DataPlane::connect(&listeners[1], membership(1, &refs, 2), deadlines).unwrap();
        [first.join().unwrap().unwrap(), second]
    });
    everywhere(&planes, |rank| {
        rank.barrier(tag(0, 0), &ShardGroup::all(2)).unwrap()
    });
}

#[test]
fn a_worker_that_does_not_come_is_named() {
    let deadlines = PlaneDeadlines {
        connect: Duration::from_millis(300),
        ..PATIENT
    };
    let listeners = [listener(), listener()];
    let gone = listeners[1].local_addr();
    let refs: Vec<&DataPlaneListener> = listeners.iter().collect();
    let memberships = [membership(0, &refs, 2), membership(1, &refs, 2)];
    let start = Instant::now();
    let absent = DataPlane::connect(&listeners[1], memberships[1].clone(), deadlines)
        .err()
        .unwrap();
    let CollectiveError::Handshake(absent) = absent else {
        panic!("{absent}")
    };
    assert!(
        absent.to_string().starts_with("worker 0 did not connect within"),
        "{absent}"
    );
    let [first, second] = listeners;
    drop(second);
    let unreachable = DataPlane::connect(&first, memberships[0].clone(), deadlines)
        .err()
        .unwrap();
    let CollectiveError::Handshake(unreachable) = unreachable else {
        panic!("{unreachable}")
    };
    let text = unreachable.to_string();
    assert!(
        text.starts_with(&format!("worker 1 at `{gone}` could not be reached within")),
        "{text}"
    );
    let HandshakeError::Unreachable { last, .. } = &unreachable else {
        panic!("{unreachable:?}")
    };
    let HandshakeError::Io { source, .. } = &**last else {
        panic!("{last:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn impossible_memberships_are_refused() {
    let own = listener();
    let mut impossible = membership(0, &[&own], 2);
    impossible.shards[1] = WorkerIndex(4);
    let error = DataPlane::connect(&own, impossible, PATIENT).err().unwrap();
    let text = common::chain(&error);
    assert_eq!(
        text,
        "membership: field `shards`: shard 1 is served by worker 4, but there are 1 workers"
    );
    assert!(DataPlane::solo(0, PATIENT).is_err());
}

#[test]
fn a_forming_that_is_given_up_ends_at_once() {
    let listeners = [listener(), listener()];
    let refs: Vec<&DataPlaneListener> = listeners.iter().collect();
    thread::scope(|scope| {
        let mine = membership(1, &refs, 2);
        let alone = scope.spawn(|| DataPlane::connect(&listeners[1], mine, PATIENT));
        let started = Instant::now();
        while !alone.is_finished() {
            listeners[1].abandon();
            assert!(started.elapsed() < PATIENT.connect / 2, "still forming");
            thread::yield_now();
        }
        let error = alone.join().unwrap().err().unwrap();
        let wanted = HandshakeError::Abandoned { got: Generation(7) };
        assert!(
            matches!(&error, CollectiveError::Handshake(cause) if cause.to_string() == wanted.to_string()),
            "{error}"
        );
    });
}
