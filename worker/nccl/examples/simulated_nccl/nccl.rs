//! The functions of NCCL's that its caller looks for.

use std::collections::VecDeque;
use std::ffi::{c_char, c_int};
use std::thread;
use std::time::Duration;

use cudarc::nccl::sys::{ncclConfig_t, ncclUniqueId};

use super::call::{Call, FLOAT32, Kind, UINT8};
use super::simulation::{
    Communicator, IN_PROGRESS, INVALID_ARGUMENT, Phase, REMOTE_ERROR, SUCCESS, World, simulation, world_of,
};

fn hang() -> ! {
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclGetVersion(version: *mut c_int) -> u32 {
    // SAFETY: the caller gives a live integer.
    unsafe { *version = simulation().version };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclGetUniqueId(id: *mut ncclUniqueId) -> u32 {
    let mut simulation = simulation();
    let name = simulation.name();
    simulation.worlds.insert(name, World::default());
    let mut internal = [0; 128];
    for (place, byte) in name.to_le_bytes().into_iter().enumerate() {
        internal[place] = byte as c_char;
    }
    // SAFETY: the caller gives a live id.
    unsafe { *id = ncclUniqueId { internal } };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn ncclGetErrorString(code: u32) -> *const c_char {
    let text = match code {
        SUCCESS => c"no error",
        1 => c"unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
        INVALID_ARGUMENT => c"invalid argument (run with NCCL_DEBUG=WARN for details)",
        5 => c"invalid usage (run with NCCL_DEBUG=WARN for details)",
        REMOTE_ERROR => c"remote process exited or there was a network error",
        IN_PROGRESS => c"NCCL operation in progress",
        _ => c"unknown result code",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn ncclGetLastError(_communicator: usize) -> *const c_char {
    match &simulation().last_error {
        Some(text) => text.as_ptr(),
        None => c"".as_ptr(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclCommInitRankConfig(
    slot: *mut usize,
    ranks: c_int,
    id: ncclUniqueId,
    rank: c_int,
    config: *mut ncclConfig_t,
) -> u32 {
    let name = world_of(&id.internal);
    let mut simulation = simulation();
    let communicator = simulation.name() as usize;
    // SAFETY: the caller gives a live config.
    let config = unsafe { *config };
    let world = simulation.worlds.entry(name).or_default();
    if world.script.init_hangs {
        drop(simulation);
        hang();
    }
    let header = (config.size, config.magic, config.version, config.blocking);
    if header != (size_of::<ncclConfig_t>(), 0xcafe_beef, 22800, 0) {
        world.violations.push(format!("config {config:?}"));
    }
    world.ranks = ranks;
    if world.joined.contains(&rank) {
        world.violations.push(format!("rank {rank} joined twice"));
    }
    world.joined.push(rank);
    let polls_left = world.script.init_polls;
    simulation.communicators.insert(
        communicator,
        Communicator {
            world: name,
            rank,
            thread: thread::current().id(),
            phase: Phase::Forming,
            polls_left,
            error: SUCCESS,
            taken: VecDeque::new(),
            launched: 0,
        },
    );
    // SAFETY: the caller gives a live slot.
    unsafe { *slot = communicator };
    IN_PROGRESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclCommGetAsyncError(communicator: usize, state: *mut u32) -> u32 {
    let mut simulation = simulation();
    simulation.called(communicator, "ncclCommGetAsyncError", true, true);
    let now = simulation.poll(communicator);
    // SAFETY: the caller gives a live number.
    unsafe { *state = now };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn ncclCommFinalize(communicator: usize) -> u32 {
    let mut simulation = simulation();
    simulation.called(communicator, "ncclCommFinalize", false, false);
    let polls = simulation
        .world(communicator)
        .map(|world| world.script.finalize_polls);
    let Some(held) = simulation.communicators.get_mut(&communicator) else {
        return INVALID_ARGUMENT;
    };
    held.phase = Phase::Finalising;
    held.polls_left = polls.unwrap_or_default();
    IN_PROGRESS
}

#[unsafe(no_mangle)]
extern "C" fn ncclCommDestroy(communicator: usize) -> u32 {
    let mut simulation = simulation();
    simulation.called(communicator, "ncclCommDestroy", false, false);
    let Some(held) = simulation.communicators.get_mut(&communicator) else {
        return INVALID_ARGUMENT;
    };
    let (rank, finalised) = (held.rank, held.phase == Phase::Finalised);
    held.phase = Phase::Ended;
    if let Some(world) = simulation.world(communicator) {
        *world.destroys.entry(rank).or_default() += 1;
        if !finalised {
            world
                .violations
                .push(format!("rank {rank} destroyed before it was finalised"));
        }
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn ncclCommAbort(communicator: usize) -> u32 {
    let mut simulation = simulation();
    simulation.called(communicator, "ncclCommAbort", true, true);
    simulation.set_free(communicator);
    let Some(held) = simulation.communicators.get_mut(&communicator) else {
        return INVALID_ARGUMENT;
    };
    held.phase = Phase::Ended;
    let rank = held.rank;
    let hangs = simulation.world(communicator).is_some_and(|world| {
        *world.aborts.entry(rank).or_default() += 1;
        world.script.abort_hangs
    });
    drop(simulation);
    if hangs {
        hang();
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn ncclAllReduce(
    send: usize,
    receive: usize,
    count: usize,
    element: u32,
    operator: u32,
    communicator: usize,
    stream: usize,
) -> u32 {
    if operator != 0 || element != FLOAT32 {
        return INVALID_ARGUMENT;
    }
    let kind = Kind::Sum;
    let call = Call {
        kind,
        send,
        receive,
        count,
        element,
    };
    simulation().operate(communicator, "ncclAllReduce", call, stream)
}

#[unsafe(no_mangle)]
extern "C" fn ncclAllGather(
    send: usize,
    receive: usize,
    count: usize,
    element: u32,
    communicator: usize,
    stream: usize,
) -> u32 {
    if element != FLOAT32 && element != UINT8 {
        return INVALID_ARGUMENT;
    }
    let kind = Kind::Gather;
    let call = Call {
        kind,
        send,
        receive,
        count,
        element,
    };
    simulation().operate(communicator, "ncclAllGather", call, stream)
}

#[unsafe(no_mangle)]
extern "C" fn ncclBroadcast(
    send: usize,
    receive: usize,
    count: usize,
    element: u32,
    root: c_int,
    communicator: usize,
    stream: usize,
) -> u32 {
    if element != FLOAT32 && element != UINT8 {
        return INVALID_ARGUMENT;
    }
    let kind = Kind::Broadcast(root);
    let call = Call {
        kind,
        send,
        receive,
        count,
        element,
    };
    simulation().operate(communicator, "ncclBroadcast", call, stream)
}
