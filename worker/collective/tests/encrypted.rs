//! Encrypted meshes do what plain ones do, and plain callers and those of another run are refused by name.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENT, chain, credentials, encrypted_mesh, everywhere, listener, membership, mesh, tag, tls};
use ulda_collective::{
    AbortCause, Collective, CollectiveError, DataPlane, DataPlaneListener, HandshakeError, Membership,
    ShardGroup,
};

/// Far below any deadline in use, far above what a loaded machine needs.
const AT_ONCE: Duration = Duration::from_secs(10);

fn contribution(shard: u32, length: usize) -> Vec<f32> {
    (0..length)
        .map(|place| 1.0 / (1.0 + place as f32 + shard as f32 * 0.37))
        .collect()
}

#[test]
fn encryption_changes_no_bit() {
    for length in [1, 1000, 700_001] {
        let sums = |planes: &[DataPlane]| {
            everywhere(planes, |rank| {
                let group = ShardGroup::all(rank.shards());
                let mut buffer = contribution(rank.shard().0, length);
                for step in 0..3 {
                    rank.all_reduce(tag(step, 1), &group, &mut buffer).unwrap();
                }
                buffer.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            })
        };
        assert_eq!(
            sums(&encrypted_mesh(3, 4, PATIENT)),
            sums(&mesh(3, 4, PATIENT)),
            "{length} numbers"
        );
    }
}

#[test]
fn both_directions_at_once_do_not_wait_for_each_other() {
    let planes = encrypted_mesh(2, 2, PATIENT);
    everywhere(&planes, |rank| {
        let group = ShardGroup::all(2);
        let pending: Vec<_> = (0..8)
            .map(|part| rank.start_all_reduce(tag(0, part), &group, vec![1.0; 600_000]))
            .collect();
        for pending in pending {
            assert!(pending.wait().unwrap().iter().all(|&sum| sum == 2.0));
        }
    });
}

#[test]
fn an_abort_wakes_everybody_and_tells_why() {
    let planes = encrypted_mesh(3, 3, PATIENT);
    let begun = Instant::now();
    let told = thread::scope(|scope| {
        let waits = [1, 2].map(|index: usize| {
            let rank = planes[index].rank(ulda_run::ids::Shard(index as u32)).unwrap();
            scope.spawn(move || rank.barrier(tag(0, 0), &ShardGroup::all(3)).unwrap_err())
        });
        planes[0].abort(AbortCause::new("the disk is on fire"));
        waits.map(|wait| chain(&wait.join().unwrap()))
    });
    assert!(begun.elapsed() < AT_ONCE);
    for told in told {
        assert!(told.contains("the disk is on fire"), "{told}");
    }
}

#[test]
fn a_worker_that_goes_is_noticed_at_once() {
    let mut planes = encrypted_mesh(2, 2, PATIENT);
    let begun = Instant::now();
    let left = planes.pop().unwrap();
    let rank = planes[0].rank(ulda_run::ids::Shard(0)).unwrap();
    let told = thread::scope(|scope| {
        let waits = scope.spawn(|| rank.all_reduce(tag(0, 0), &ShardGroup::all(2), &mut vec![1.0; 500_000]));
        drop(left);
        waits.join().unwrap().unwrap_err()
    });
    assert!(begun.elapsed() < AT_ONCE);
    assert!(chain(&told).contains("worker 1"), "{}", chain(&told));
}

/// What two workers that differ in one thing say, and what the one who is dialled notes.
fn differ(
    one: (bool, Option<&std::path::Path>),
    other: (bool, Option<&std::path::Path>),
) -> (String, HandshakeError) {
    let listeners = [listener(), listener()];
    for (listener, (_, folder)) in listeners.iter().zip([one, other]) {
        folder.iter().for_each(|folder| listener.use_tls(tls(folder)));
    }
    let refs: Vec<&DataPlaneListener> = listeners.iter().collect();
    let memberships = [(0, one), (1, other)].map(|(me, (encrypted, _))| Membership {
        encrypted,
        ..membership(me, &refs, 2)
    });
    let [dialler, acceptor] = memberships;
    let (noted, note) = mpsc::channel();
    listeners[1].on_refusal(move |refusal| {
        let _ = noted.send(refusal.cause.clone());
    });
    thread::scope(|scope| {
        let waits = scope.spawn(|| DataPlane::connect(&listeners[1], acceptor, PATIENT).err());
        let begun = Instant::now();
        let refused = DataPlane::connect(&listeners[0], dialler, PATIENT).err().unwrap();
        assert!(begun.elapsed() < AT_ONCE, "a hang instead of a refusal");
        let cause = note.recv_timeout(AT_ONCE).unwrap();
        listeners[1].abandon();
        assert!(matches!(
            waits.join().unwrap(),
            Some(CollectiveError::Handshake(HandshakeError::Abandoned { .. }))
        ));
        (chain(&refused), cause)
    })
}

#[test]
fn who_does_not_do_as_the_generation_does_is_refused_by_name() {
    let run = credentials();
    let keys = Some(run.path());
    let (told, noted) = differ((false, keys), (true, keys));
    assert!(
        told.contains("is not encrypted, those of generation 7 are"),
        "{told}"
    );
    assert!(matches!(noted, HandshakeError::NotEncrypted { .. }), "{noted}");
    let (told, noted) = differ((true, keys), (false, keys));
    assert!(
        told.contains("is encrypted, those of generation 7 are not"),
        "{told}"
    );
    assert!(matches!(noted, HandshakeError::Encrypted { .. }), "{noted}");
}

#[test]
fn certificates_of_another_run_are_refused() {
    let (run, other) = (credentials(), credentials());
    let (told, noted) = differ((true, Some(other.path())), (true, Some(run.path())));
    assert!(
        told.contains("TLS handshake failed: invalid peer certificate"),
        "{told}"
    );
    assert!(matches!(noted, HandshakeError::Untrusted { .. }), "{noted}");
}

#[test]
fn what_passes_by_on_the_wire_is_not_plain() {
    const MARK: &[u8] = b"ULDAPEER";
    let run = credentials();
    let listeners = [listener(), listener()];
    for listener in &listeners {
        listener.use_tls(tls(run.path()));
    }
    let tap = TcpListener::bind("127.0.0.1:0").unwrap();
    let refs: Vec<&DataPlaneListener> = listeners.iter().collect();
    let [mut dialler, acceptor] = [0, 1].map(|me| Membership {
        encrypted: true,
        ..membership(me, &refs, 2)
    });
    let address = listeners[1].local_addr();
    dialler.workers[1].address = tap.local_addr().unwrap().to_string();
    thread::scope(|scope| {
        let seen = scope.spawn(move || {
            let (mut from, _) = tap.accept().unwrap();
            let to = TcpStream::connect(address).unwrap();
            let mut back = (to.try_clone().unwrap(), from.try_clone().unwrap());
            let echo = thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
            let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = from.read(&mut piece) {
                bytes.extend_from_slice(&piece[..read]);
                if (&to).write_all(&piece[..read]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Both);
            let _ = echo.join();
            bytes
        });
        let other = scope.spawn(|| DataPlane::connect(&listeners[1], acceptor, PATIENT).unwrap());
        let planes = [
            DataPlane::connect(&listeners[0], dialler, PATIENT).unwrap(),
            other.join().unwrap(),
        ];
        everywhere(&planes, |rank| {
            let mut buffer = vec![1.5_f32; 4096];
            rank.all_reduce(tag(0, 0), &ShardGroup::all(2), &mut buffer)
                .unwrap();
        });
        drop(planes);
        let seen = seen.join().unwrap();
        assert!(seen.len() > 8192, "{} bytes passed by", seen.len());
        let holds = |wanted: &[u8]| seen.windows(wanted.len()).any(|window| window == wanted);
        assert!(
            !holds(MARK) && !holds(&1.5_f32.to_le_bytes().repeat(4)),
            "plain bytes on the wire"
        );
    });
}
