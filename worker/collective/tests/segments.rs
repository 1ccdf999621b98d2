//! Payloads that lie in shared memory: the same bits, whoever shares with whom, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{PATIENT, encrypted_mesh, everywhere, mesh, sharing_mesh, tag};
use ulda_collective::{Collective, DataPlane, ShardGroup, Sharing};
use ulda_run::ids::Shard;

/// Tests here count this process's descriptors and mappings, so one runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers whose sum depends on the order of additions; a NaN with a payload of its own among them, in one shard.
fn contribution(shard: u32, length: usize) -> Vec<f32> {
    let number = |at: usize| {
        let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ u64::from(shard) << 7);
        let mantissa = (mixed >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        mantissa * 2f32.powi((mixed % 41) as i32 - 20)
    };
    let mut numbers: Vec<f32> = (0..length).map(number).collect();
    if shard == 1 && length > 0 {
        numbers[length / 2] = f32::from_bits(0x7fc1_2345);
    }
    numbers
}

/// What each shard has after summing `length` numbers, twice.
fn sums(planes: &[DataPlane], length: usize) -> Vec<Vec<u32>> {
    everywhere(planes, |rank| {
        let mut buffer = contribution(rank.shard().0, length);
        for step in 0..2 {
            rank.all_reduce(
                tag(step, length as u32),
                &ShardGroup::all(rank.shards()),
                &mut buffer,
            )
            .unwrap();
        }
        buffer.into_iter().map(f32::to_bits).collect()
    })
}

fn shared_bytes(planes: &[DataPlane]) -> Vec<u64> {
    planes.iter().map(|plane| plane.stats().shared_bytes).collect()
}

fn off(_: u32) -> Sharing {
    Sharing::Off
}

const LENGTHS: [usize; 7] = [0, 1, 2049, 8193, 20_011, 300_007, 3_000_001];

#[test]
fn shared_memory_gives_the_bits_of_connections() {
    let _alone = alone();
    for (workers, shards) in [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5), (2, 2), (3, 7)] {
        let shared = mesh(workers, shards, PATIENT);
        let sent = sharing_mesh(workers, shards, PATIENT, &off);
        for length in LENGTHS {
            assert!(
                sums(&shared, length) == sums(&sent, length),
                "{workers} workers, {shards} shards, {length} numbers"
            );
        }
        assert!(
            shared_bytes(&shared)
                .iter()
                .all(|bytes| (*bytes > 0) == (workers > 1))
        );
        assert!(shared_bytes(&sent).iter().all(|bytes| *bytes == 0));
    }
}

#[test]
fn sixty_four_mebibytes_come_through() {
    let _alone = alone();
    let length = 16 << 20;
    let reduced = |planes: &[DataPlane]| {
        everywhere(planes, |rank| {
            let mut buffer = contribution(rank.shard().0, length);
            rank.all_reduce(tag(0, 0), &ShardGroup::all(3), &mut buffer)
                .unwrap();
            buffer.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
        })
    };
    let alone = reduced(&[DataPlane::solo(3, PATIENT).unwrap()]);
    let planes = mesh(3, 3, PATIENT);
    assert!(reduced(&planes) == alone);
    // Two thirds of the buffer twice, as contributions and as sums.
    for bytes in shared_bytes(&planes) {
        assert!(bytes > 80 << 20, "{bytes} bytes");
    }
}

#[test]
fn other_operations_read_shared_memory_too() {
    let _alone = alone();
    let planes = mesh(3, 4, PATIENT);
    let whole: Vec<u8> = (0..3_000_000).map(|at| (at % 251) as u8).collect();
    let results = everywhere(&planes, |rank| {
        let group = ShardGroup::all(4);
        let mine = &whole[rank.shard().0 as usize..];
        let gathered = rank.all_gather(tag(0, 0), &group, mine).unwrap();
        let mut told = if rank.shard() == Shard(2) {
            whole.clone()
        } else {
            Vec::new()
        };
        rank.broadcast(tag(0, 1), &group, Shard(2), &mut told).unwrap();
        let right = (0..4).all(|shard| gathered[shard] == whole[shard..]);
        right && told == whole
    });
    assert_eq!(results, [true; 4]);
    assert!(shared_bytes(&planes).iter().all(|bytes| *bytes > 3_000_000));
}

#[test]
fn a_full_board_sends_the_rest_and_gives_the_same_sum() {
    let _alone = alone();
    let sent = sums(&sharing_mesh(3, 3, PATIENT, &off), 3_000_001);
    let full = sharing_mesh(3, 3, PATIENT, &|_| Sharing::Slots(1));
    assert!(sums(&full, 3_000_001) == sent);
    let roomy = mesh(3, 3, PATIENT);
    assert!(sums(&roomy, 3_000_001) == sent);
    let pairs = shared_bytes(&full).into_iter().zip(shared_bytes(&roomy));
    for (full, roomy) in pairs {
        assert!(0 < full && full < roomy, "{full} of {roomy} bytes");
    }
}

#[test]
fn buckets_in_flight_share_what_room_there_is() {
    let _alone = alone();
    let planes = sharing_mesh(3, 3, PATIENT, &|_| Sharing::Slots(3));
    let results = everywhere(&planes, |rank| {
        let group = ShardGroup::all(3);
        let start = |part: u32| {
            let buffer = vec![(part + rank.shard().0) as f32; 300_007];
            rank.start_all_reduce(tag(0, part), &group, buffer)
        };
        let pending: Vec<_> = (0..12).map(start).collect();
        pending.into_iter().zip(0..).all(|(sum, part)| {
            let sum = sum.wait().unwrap();
            sum.iter().all(|number| *number == (3 * part + 3) as f32)
        })
    });
    assert_eq!(results, [true; 3]);
    assert!(shared_bytes(&planes).iter().all(|bytes| *bytes > 0));
}

#[test]
fn a_worker_out_of_reach_stays_on_its_connections() {
    let _alone = alone();
    let sent = sums(&sharing_mesh(3, 3, PATIENT, &off), 300_007);
    for away in [Sharing::Misplaced, Sharing::Off] {
        let planes = sharing_mesh(3, 3, PATIENT, &|me| match me {
            1 => away,
            _ => Sharing::default(),
        });
        assert!(sums(&planes, 300_007) == sent);
        let shared = shared_bytes(&planes);
        assert!(shared[0] > 0 && shared[1] == 0 && shared[2] > 0, "{shared:?}");
    }
}

#[test]
fn encrypted_connections_share_nothing() {
    let _alone = alone();
    let planes = encrypted_mesh(2, 2, PATIENT);
    sums(&planes, 300_007);
    assert_eq!(shared_bytes(&planes), [0, 0]);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn segments_mapped() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter(|line| line.contains("memfd:ulda-segment"))
        .count()
}

#[test]
fn planes_leave_no_descriptors_and_no_mappings() {
    let _alone = alone();
    let live = mesh(2, 2, PATIENT);
    let opened = |name: &str| {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        links.filter(|link| link.to_string_lossy().contains(name)).count()
    };
    assert_eq!(segments_mapped(), 4, "each maps its own and the other's");
    assert_eq!(opened("ulda-segment"), 0, "a formed mesh lets nobody else in");
    drop(live);
    assert_eq!(segments_mapped(), 0);
    let before = descriptors();
    for _ in 0..50 {
        sums(&mesh(2, 2, PATIENT), 20_011);
    }
    assert_eq!(segments_mapped(), 0);
    assert!(
        descriptors() <= before,
        "{before} before, {} after",
        descriptors()
    );
}
