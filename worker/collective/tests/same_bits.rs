//! Results are a function of the contributions alone, not of how many workers serve the shards.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod common;

use common::{PATIENT, everywhere, mesh, tag};
use proptest::prelude::*;
use ulda_collective::{Collective, DataPlane, OperationName, ShardGroup, Tag};
use ulda_run::ids::Shard;

/// Numbers of very different sizes, so that another order of additions gives other bits.
fn contribution(seed: u64, shard: u32, length: usize) -> Vec<f32> {
    let mut state = seed ^ (u64::from(shard) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    let number = |bits: u64| {
        let mantissa = (bits >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        mantissa * 2f32.powi((bits % 41) as i32 - 20)
    };
    (0..length).map(|_| number(next())).collect()
}

fn ordered_sum(seed: u64, contributors: &[Shard], length: usize) -> Vec<f32> {
    let mut sums = contributors
        .iter()
        .map(|shard| contribution(seed, shard.0, length));
    let first = sums.next().unwrap();
    sums.fold(first, |sum, next| {
        sum.iter().zip(next).map(|(a, b)| a + b).collect()
    })
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// What every shard has after a reduction over `group`.
fn reduced(
    planes: &[DataPlane],
    tag: Tag,
    seed: u64,
    group: &ShardGroup,
    length: usize,
) -> Vec<Option<Vec<u32>>> {
    everywhere(planes, |rank| {
        group.contains(rank.shard()).then(|| {
            let mut buffer = contribution(seed, rank.shard().0, length);
            rank.all_reduce(tag, group, &mut buffer).unwrap();
            bits(&buffer)
        })
    })
}

fn meshes(shards: u32) -> Vec<Vec<DataPlane>> {
    let mut meshes: Vec<Vec<DataPlane>> = (1..=4).map(|workers| mesh(workers, shards, PATIENT)).collect();
    meshes.push(vec![DataPlane::solo(shards, PATIENT).unwrap()]);
    meshes
}

const LENGTHS: [usize; 14] = [
    0, 1, 2, 3, 17, 509, 8191, 8192, 8193, 8209, 50_021, 65_536, 262_147, 700_001,
];

#[test]
fn any_number_of_workers_gives_the_ordered_sum() {
    for shards in [4, 6] {
        let group = ShardGroup::all(shards);
        let meshes = meshes(shards);
        for (step, length) in LENGTHS.into_iter().enumerate() {
            let expected = bits(&ordered_sum(step as u64, group.contributors(), length));
            for planes in &meshes {
                let results = reduced(planes, tag(step as u64, 0), step as u64, &group, length);
                for result in results {
                    assert!(result.unwrap() == expected, "{shards} shards, length {length}");
                }
            }
        }
    }
}

#[test]
fn the_order_of_additions_matters_for_these_numbers() {
    let turned: Vec<Shard> = (0..4).rev().map(Shard).collect();
    let sum = ordered_sum(1, ShardGroup::all(4).contributors(), 1000);
    assert_ne!(bits(&sum), bits(&ordered_sum(1, &turned, 1000)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_group_and_length(
        seed: u64,
        length in prop_oneof![0usize..200, 7000usize..40_000, 100_000usize..300_000],
        contributors in 1u32..64,
        receivers in 1u32..64,
        workers in 1u32..5,
    ) {
        let chosen = |mask: u32| (0..6).filter(move |shard| mask >> shard & 1 == 1).map(Shard);
        let group = ShardGroup::reduce_to(chosen(contributors), chosen(receivers));
        let planes = mesh(workers, 6, PATIENT);
        let expected = bits(&ordered_sum(seed, group.contributors(), length));
        for (shard, result) in reduced(&planes, tag(0, 0), seed, &group, length).into_iter().enumerate() {
            let shard = Shard(shard as u32);
            if group.receivers().contains(&shard) {
                prop_assert!(result.unwrap() == expected);
            } else if let Some(untouched) = result {
                prop_assert!(untouched == bits(&contribution(seed, shard.0, length)));
            }
        }
    }
}

#[test]
fn integers_are_summed_exactly() {
    for length in [1, 361, 40_000] {
        for planes in meshes(4) {
            let results = everywhere(&planes, |rank| {
                let mut counts: Vec<u64> = (0..length)
                    .map(|at| (1 << 60) + at * (u64::from(rank.shard().0) + 1))
                    .collect();
                rank.all_reduce_u64(tag(1, 0), &ShardGroup::all(4), &mut counts)
                    .unwrap();
                counts
            });
            let expected: Vec<u64> = (0..length).map(|at| (1 << 62) + at * 10).collect();
            assert!(results.iter().all(|result| *result == expected));
        }
    }
}

#[test]
fn sub_groups_run_side_by_side() {
    let planes = mesh(3, 6, PATIENT);
    let op = OperationName {
        code: 9,
        name: "projector",
    };
    let results = everywhere(&planes, |rank| {
        let half = rank.shard().0 / 3;
        let group = ShardGroup::of(half * 3..half * 3 + 3);
        (0..20)
            .map(|step| {
                let tag = Tag {
                    op,
                    part: half,
                    ..tag(step, 0)
                };
                let mut buffer = contribution(step, rank.shard().0, 20_000);
                rank.all_reduce(tag, &group, &mut buffer).unwrap();
                bits(&buffer)
            })
            .collect::<Vec<_>>()
    });
    for (shard, result) in results.iter().enumerate() {
        let first = shard as u32 / 3 * 3;
        for (step, sum) in result.iter().enumerate() {
            let group = ShardGroup::of(first..first + 3);
            assert!(*sum == bits(&ordered_sum(step as u64, group.contributors(), 20_000)));
        }
    }
}

#[test]
fn many_buckets_in_flight_at_once() {
    let planes = mesh(3, 4, PATIENT);
    let results = everywhere(&planes, |rank| {
        let group = ShardGroup::all(4);
        let order: Vec<u32> = match rank.shard().0 % 2 {
            0 => (0..12).collect(),
            _ => (0..12).rev().collect(),
        };
        let start = |part: u32| {
            let buffer = contribution(u64::from(part), rank.shard().0, 30_000);
            (part, rank.start_all_reduce(tag(5, part), &group, buffer))
        };
        let pending: Vec<_> = order.into_iter().map(start).collect();
        pending
            .into_iter()
            .map(|(part, sum)| (part, bits(&sum.wait().unwrap())))
            .collect::<Vec<_>>()
    });
    for (part, sum) in results.into_iter().flatten() {
        assert!(
            sum == bits(&ordered_sum(
                u64::from(part),
                ShardGroup::all(4).contributors(),
                30_000
            ))
        );
    }
}
