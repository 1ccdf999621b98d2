//! Results, their order, and when memory is let go.

use std::sync::Arc;

use ulda_nccl::NcclError;

use crate::world::{Buffer, Count, Line, Mark, World};

/// Whole numbers, whose sums are exact in any order.
fn share(rank: u32, bucket: u32, elements: u32) -> Vec<f32> {
    let value = |place: u32| (place * 7 + rank * 31 + bucket * 101) as f32;
    (0..elements).map(value).collect()
}

fn host_sum(ranks: u32, bucket: u32, elements: u32) -> Vec<f32> {
    let mut sum = vec![0.0; elements as usize];
    for rank in 0..ranks {
        for (sum, value) in sum.iter_mut().zip(share(rank, bucket, elements)) {
            *sum += value;
        }
    }
    sum
}

#[test]
fn a_sum_is_the_hosts_for_any_number_of_ranks() {
    for (ranks, polls) in [(1, 0), (1, 3), (2, 0), (2, 3), (4, 0), (4, 250)] {
        let world = World::new(ranks);
        for line in [Line::InitPolls, Line::CallPolls, Line::FinalizePolls] {
            world.script(line, polls);
        }
        world.each_rank(|rank| {
            let communicator = world.form(rank).unwrap();
            for bucket in 0..3 {
                let buffer = Buffer::new(share(rank, bucket, 1000));
                world.sum(&communicator, "a bucket", &buffer).wait().unwrap();
                assert_eq!(buffer.content(), host_sum(ranks, bucket, 1000));
            }
            communicator.close().unwrap();
            assert_eq!(world.count(rank, Count::Destroys), 1);
            assert_eq!(world.count(rank, Count::Aborts), 0);
        });
        assert_eq!(world.violations(), "");
    }
}

#[test]
fn buckets_in_flight_are_summed_each_with_its_own() {
    let world = World::new(4);
    world.script(Line::CallPolls, 2);
    world.each_rank(|rank| {
        let communicator = world.form(rank).unwrap();
        let buffers: Vec<_> = (0..32)
            .map(|bucket| Buffer::new(share(rank, bucket, 64 + bucket)))
            .collect();
        let mut pending: Vec<_> = buffers
            .iter()
            .map(|buffer| world.sum(&communicator, "a bucket", buffer))
            .collect();
        while let Some(last) = pending.pop() {
            last.wait().unwrap();
        }
        for (bucket, buffer) in (0..).zip(&buffers) {
            assert_eq!(buffer.content(), host_sum(4, bucket, 64 + bucket));
        }
        assert_eq!(world.count(rank, Count::Operations), 32);
        communicator.close().unwrap();
    });
    assert_eq!(world.violations(), "");
}

#[test]
fn a_gather_is_in_rank_order_and_may_be_in_place() {
    let world = World::new(4);
    world.each_rank(|rank| {
        let communicator = world.form(rank).unwrap();
        let (mine, all) = (Buffer::new([rank as f32, 0.5]), Buffer::new([-1.0; 8]));
        let gather = communicator.all_gather("norms", mine.span(), all.span(), world.ready());
        gather.wait().unwrap();
        assert_eq!(all.content(), [0.0, 0.5, 1.0, 0.5, 2.0, 0.5, 3.0, 0.5]);

        let bytes = Buffer::new([rank as u8 + 10; 4]);
        let mine = bytes.part(rank as usize, 1);
        let gather = communicator.all_gather("flags", mine, bytes.span(), world.ready());
        gather.wait().unwrap();
        assert_eq!(bytes.content(), [10, 11, 12, 13]);
        communicator.close().unwrap();
    });
    assert_eq!(world.violations(), "");
}

#[test]
fn a_broadcast_gives_all_the_roots_content() {
    let world = World::new(3);
    world.each_rank(|rank| {
        let communicator = world.form(rank).unwrap();
        let buffer = Buffer::new([rank as u8; 5]);
        communicator
            .broadcast("weights", 1, buffer.span(), world.ready())
            .wait()
            .unwrap();
        assert_eq!(buffer.content(), [1; 5]);
        communicator.close().unwrap();
    });
    assert_eq!(world.violations(), "");
}

#[test]
fn a_sum_waits_for_the_ready_mark() {
    let world = World::new(1);
    let communicator = world.form(0).unwrap();
    let buffer = Buffer::new([1.0; 4]);
    let copy = Buffer::new([0.0; 4]);
    let event = world.simulator.event();
    let gather = communicator.all_gather("a copy", buffer.span(), copy.span(), Mark::Event(event));
    world.wait_for_operations(0, 1);
    buffer.fill(5.0);
    world.simulator.fire(event);
    gather.wait().unwrap();
    assert_eq!(copy.content(), [5.0; 4]);
    communicator.close().unwrap();
}

#[test]
fn memory_is_kept_until_its_operation_was_seen_complete() {
    let world = World::new(2);
    let communicators = world.form_all();
    let buffers = [Buffer::new([1.0; 8]), Buffer::new([2.0; 8])];
    let first = world.sum(&communicators[0], "a bucket", &buffers[0]);
    world.wait_for_operations(0, 1);
    assert!(!buffers[0].is_released());
    // Dropping what is pending ends nothing.
    drop(first);
    let second = world.sum(&communicators[0], "another bucket", &buffers[1]);
    world.wait_for_operations(0, 2);
    let others = [Buffer::new([10.0; 8]), Buffer::new([20.0; 8])];
    world
        .sum(&communicators[1], "a bucket", &others[0])
        .wait()
        .unwrap();
    assert!(others[0].is_released());
    assert!(!buffers[1].is_released());
    world
        .sum(&communicators[1], "another bucket", &others[1])
        .wait()
        .unwrap();
    second.wait().unwrap();
    assert!(buffers.iter().all(Buffer::is_released));
    assert_eq!(buffers[0].content(), [11.0; 8]);
    assert_eq!(buffers[1].content(), [22.0; 8]);
}

#[test]
fn callers_on_any_thread_leave_nccl_to_one() {
    let world = World::new(1);
    let communicator = Arc::new(world.form(0).unwrap());
    std::thread::scope(|scope| {
        for bucket in 0..4 {
            let (world, communicator) = (&world, Arc::clone(&communicator));
            scope.spawn(move || {
                let buffer = Buffer::new(share(0, bucket, 100));
                world.sum(&communicator, "a bucket", &buffer).wait().unwrap();
                assert_eq!(buffer.content(), share(0, bucket, 100));
            });
        }
    });
    assert_eq!(world.count(0, Count::Operations), 4);
    assert_eq!(world.violations(), "");
}

#[test]
fn an_operation_that_cannot_be_is_refused_and_breaks_nothing() {
    let world = World::new(1);
    let communicator = world.form(0).unwrap();
    let (mine, all) = (Buffer::new([1.0; 4]), Buffer::new([0.0; 6]));
    let gather = communicator.all_gather("norms", mine.span(), all.span(), world.ready());
    assert_eq!(
        gather.wait().unwrap_err().to_string(),
        "norms: rank 0 of 1 gathers 4 elements of each rank into room for 6"
    );
    let broadcast = communicator.broadcast("weights", 1, mine.span(), world.ready());
    assert!(matches!(
        broadcast.wait(),
        Err(NcclError::NoSuchRoot { root: 1, .. })
    ));
    assert!(mine.is_released() && all.is_released());
    world.sum(&communicator, "a bucket", &mine).wait().unwrap();
    communicator.close().unwrap();
}
