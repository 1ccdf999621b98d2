//! Gather, broadcast, barrier.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod common;

use common::{PATIENT, everywhere, mesh, tag};
use ulda_collective::{Collective, DataPlane, ShardGroup};
use ulda_run::ids::Shard;

fn bytes(shard: u32, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).wrapping_add(shard) as u8)
        .collect()
}

#[test]
fn a_gather_keeps_uneven_lengths_in_shard_order() {
    let lengths = [3usize, 0, 1_000_003, 262_144];
    let group = ShardGroup::reduce_to((0..4).map(Shard), [Shard(0), Shard(3), Shard(4)]);
    for workers in 1..=4 {
        let planes = mesh(workers, 5, PATIENT);
        let results = everywhere(&planes, |rank| {
            let mine = lengths.get(rank.shard().0 as usize).copied().unwrap_or(9);
            rank.all_gather(tag(1, 0), &group, &bytes(rank.shard().0, mine))
                .unwrap()
        });
        let expected: Vec<Vec<u8>> = (0..4)
            .map(|shard| bytes(shard, lengths[shard as usize]))
            .collect();
        for (shard, result) in results.into_iter().enumerate() {
            match shard {
                0 | 3 | 4 => assert!(result == expected, "shard {shard} of {workers} workers"),
                _ => assert!(result.is_empty()),
            }
        }
    }
}

#[test]
fn a_state_of_64_megabytes_reaches_everybody() {
    let state = bytes(1, 64 << 20);
    for planes in [mesh(3, 4, PATIENT), vec![DataPlane::solo(4, PATIENT).unwrap()]] {
        let equal = everywhere(&planes, |rank| {
            let mut buffer = if rank.shard() == Shard(1) {
                state.clone()
            } else {
                vec![7; 10]
            };
            rank.broadcast(tag(1, 0), &ShardGroup::all(4), Shard(1), &mut buffer)
                .unwrap();
            buffer == state
        });
        assert_eq!(equal, [true; 4]);
        let longest = everywhere(&planes, |rank| {
            let mut buffer = vec![0; rank.shard().0 as usize];
            rank.broadcast(tag(2, 0), &ShardGroup::all(4), Shard(0), &mut buffer)
                .unwrap();
            buffer.len()
        });
        assert_eq!(longest, [0; 4]);
    }
}

#[test]
fn nobody_leaves_a_barrier_before_all_have_come() {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    for workers in 1..=4 {
        let planes = mesh(workers, 4, PATIENT);
        let arrived = AtomicU32::new(0);
        everywhere(&planes, |rank| {
            for step in 0..50 {
                arrived.fetch_add(1, SeqCst);
                rank.barrier(tag(step, 0), &ShardGroup::all(4)).unwrap();
                assert!(arrived.load(SeqCst) >= 4 * (step as u32 + 1));
            }
        });
        let stats = planes[0].stats();
        assert_eq!(
            stats.operations,
            50 * planes[0].membership().shards_of(planes[0].membership().me).len() as u64
        );
        assert_eq!(stats.sent_bytes > 0, workers > 1);
    }
}
