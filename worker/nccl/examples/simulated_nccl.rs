//! A library that behaves as NCCL does towards its caller, among the threads of one process, on host memory;
//! the tests load it in NCCL's place.
//!
//! A stream is a number, given as a pointer: work on it is done in order, an operation when all ranks' have
//! come to the front of theirs. As with NCCL, the kernels of an operation that is "in progress" are put on
//! the stream only later, and an error or an abort sets a stream free as a success does, with garbage in the
//! results. Functions named `sim_…` are the tests' own: streams, events, scripts, and what the caller did.
//!
//! All state is under one lock; a caller that breaks a rule of NCCL's is noted as a violation.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use cudarc::nccl::sys::{ncclConfig_t, ncclUniqueId};

const SUCCESS: u32 = 0;
const INVALID_ARGUMENT: u32 = 4;
const REMOTE_ERROR: u32 = 6;
const IN_PROGRESS: u32 = 7;
const UINT8: u32 = 1;
const FLOAT32: u32 = 7;

/// What an operation that was set free leaves in its results.
const GARBAGE: u8 = 0xd7;

static SIMULATION: Mutex<Simulation> = Mutex::new(Simulation {
    version: 22809,
    last_error: None,
    worlds: BTreeMap::new(),
    communicators: BTreeMap::new(),
    streams: BTreeMap::new(),
    fired: BTreeMap::new(),
    names: 0,
});

struct Simulation {
    version: c_int,
    last_error: Option<CString>,
    worlds: BTreeMap<u64, World>,
    communicators: BTreeMap<usize, Communicator>,
    streams: BTreeMap<usize, Stream>,
    fired: BTreeMap<u64, bool>,
    names: u64,
}

/// The ranks under one unique id.
#[derive(Default)]
struct World {
    ranks: c_int,
    joined: Vec<c_int>,
    /// Per operation, in order, what each rank has at the front of its stream.
    arrived: BTreeMap<u64, BTreeMap<c_int, Call>>,
    /// Operations of which the results are written.
    complete: u64,
    /// Nothing completes any more, as a rank is gone.
    broken: bool,
    script: Script,
    aborts: BTreeMap<c_int, u64>,
    destroys: BTreeMap<c_int, u64>,
    calls: BTreeMap<c_int, u64>,
    violations: Vec<String>,
}

/// What the tests ask of a world, as `sim_script` names it.
#[derive(Clone, Copy, Default)]
struct Script {
    init_polls: u64,
    call_polls: u64,
    finalize_polls: u64,
    abort_hangs: bool,
    init_hangs: bool,
    call_answer: u64,
}

struct Communicator {
    world: u64,
    rank: c_int,
    thread: ThreadId,
    phase: Phase,
    polls_left: u64,
    error: u32,
    /// Calls that NCCL has taken in but not put on the stream.
    taken: VecDeque<(usize, Call)>,
    launched: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Forming,
    Formed,
    Finalising,
    Finalised,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Gather,
    Broadcast(c_int),
}

/// One rank's part of an operation; addresses are of host memory.
#[derive(Clone, Copy)]
struct Call {
    kind: Kind,
    send: usize,
    receive: usize,
    count: usize,
    element: u32,
}

#[derive(Default)]
struct Stream {
    work: VecDeque<Work>,
    enqueued: u64,
    done: u64,
}

enum Work {
    Wait(u64),
    Operation {
        communicator: usize,
        index: u64,
        call: Call,
    },
}

fn simulation() -> MutexGuard<'static, Simulation> {
    SIMULATION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The world that an id names, by its first bytes.
fn world_of(internal: &[c_char; 128]) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|place| internal[place] as u8))
}

impl Call {
    fn element_bytes(&self) -> usize {
        if self.element == FLOAT32 { 4 } else { 1 }
    }

    fn received_bytes(&self, ranks: c_int) -> usize {
        let parts = if self.kind == Kind::Gather {
            ranks as usize
        } else {
            1
        };
        self.count * self.element_bytes() * parts
    }

    fn sent(&self) -> Vec<u8> {
        let bytes = self.count * self.element_bytes();
        // SAFETY: the caller of the operation vouches for its memory until it has completed.
        unsafe { std::slice::from_raw_parts(self.send as *const u8, bytes) }.to_vec()
    }

    fn receive(&self, bytes: &[u8]) {
        // SAFETY: as for what is sent; the call has room for this many bytes.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.receive as *mut u8, bytes.len()) };
    }
}

/// Computes an operation once all its ranks have come to it.
fn carry_out(ranks: &BTreeMap<c_int, Call>) -> Result<(), String> {
    let calls: Vec<Call> = ranks.values().copied().collect();
    let Some(first) = calls.first() else {
        return Ok(());
    };
    if calls
        .iter()
        .any(|call| (call.kind, call.count, call.element) != (first.kind, first.count, first.element))
    {
        return Err("the ranks call different operations".to_owned());
    }
    let sent: Vec<Vec<u8>> = calls.iter().map(Call::sent).collect();
    let result = match first.kind {
        Kind::Sum => sum(&sent),
        Kind::Gather => sent.concat(),
        Kind::Broadcast(root) => sent[root as usize].clone(),
    };
    for call in calls {
        call.receive(&result);
    }
    Ok(())
}

fn sum(sent: &[Vec<u8>]) -> Vec<u8> {
    let mut total = vec![0_f32; sent[0].len() / 4];
    for part in sent {
        for (sum, bytes) in total.iter_mut().zip(part.chunks_exact(4)) {
            *sum += f32::from_le_bytes(std::array::from_fn(|place| bytes[place]));
        }
    }
    total.into_iter().flat_map(f32::to_le_bytes).collect()
}

impl Simulation {
    fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    fn world(&mut self, communicator: usize) -> Option<&mut World> {
        let world = self.communicators.get(&communicator)?.world;
        self.worlds.get_mut(&world)
    }

    /// Notes a call, and whether it breaks a rule that holds for all calls.
    fn called(&mut self, communicator: usize, name: &str, in_progress: bool, after_error: bool) {
        let Some(held) = self.communicators.get(&communicator) else {
            return;
        };
        let mut problems = Vec::new();
        if held.thread != thread::current().id() {
            problems.push("from another thread");
        }
        if held.phase == Phase::Ended {
            problems.push("after the end");
        }
        if !in_progress && self.state(communicator) == IN_PROGRESS {
            problems.push("while in progress");
        }
        if !after_error && held.error != SUCCESS {
            problems.push("after an error");
        }
        let (rank, world) = (held.rank, held.world);
        if let Some(world) = self.worlds.get_mut(&world) {
            let found = problems
                .iter()
                .map(|problem| format!("rank {rank}: {name} {problem}"));
            world.violations.extend(found);
        }
    }

    fn state(&self, communicator: usize) -> u32 {
        let Some(held) = self.communicators.get(&communicator) else {
            return INVALID_ARGUMENT;
        };
        let world = &self.worlds[&held.world];
        if held.error != SUCCESS {
            return held.error;
        }
        let absent = held.phase == Phase::Forming && world.joined.len() < world.ranks as usize;
        if absent || held.polls_left > 0 {
            IN_PROGRESS
        } else {
            SUCCESS
        }
    }

    /// One question for the state: progress is made by being asked.
    fn poll(&mut self, communicator: usize) -> u32 {
        let Some(held) = self.communicators.get_mut(&communicator) else {
            return INVALID_ARGUMENT;
        };
        let world = &self.worlds[&held.world];
        if held.phase != Phase::Forming || world.joined.len() == world.ranks as usize {
            held.polls_left = held.polls_left.saturating_sub(1);
        }
        let state = self.state(communicator);
        if state == SUCCESS {
            self.settle(communicator);
        }
        state
    }

    /// What is in progress is so no longer: taken calls go on their streams.
    fn settle(&mut self, communicator: usize) {
        let Some(held) = self.communicators.get_mut(&communicator) else {
            return;
        };
        match held.phase {
            Phase::Forming => held.phase = Phase::Formed,
            Phase::Finalising => held.phase = Phase::Finalised,
            Phase::Formed | Phase::Finalised | Phase::Ended => {}
        }
        while let Some((stream, call)) = held.taken.pop_front() {
            let index = held.launched;
            held.launched += 1;
            let stream = self.streams.entry(stream).or_default();
            stream.enqueued += 1;
            stream.work.push_back(Work::Operation {
                communicator,
                index,
                call,
            });
        }
        self.pump();
    }

    /// Works off all that can be.
    fn pump(&mut self) {
        loop {
            let mut progressed = false;
            for stream in self.streams.values_mut() {
                while let Some(front) = stream.work.front() {
                    let done = match front {
                        Work::Wait(event) => self.fired.get(event).copied().unwrap_or_default(),
                        Work::Operation {
                            communicator,
                            index,
                            call,
                        } => {
                            let held = &self.communicators[communicator];
                            let world = self.worlds.entry(held.world).or_default();
                            let arrived = world.arrived.entry(*index).or_default();
                            progressed |= arrived.insert(held.rank, *call).is_none();
                            let all = arrived.len() == world.ranks as usize;
                            if all && *index == world.complete && !world.broken {
                                if let Err(violation) = carry_out(arrived) {
                                    world.violations.push(violation);
                                }
                                world.complete += 1;
                            }
                            *index < world.complete
                        }
                    };
                    if !done {
                        break;
                    }
                    stream.work.pop_front();
                    stream.done += 1;
                    progressed = true;
                }
            }
            if !progressed {
                return;
            }
        }
    }

    /// Lets a communicator's streams carry on as if all had succeeded.
    fn set_free(&mut self, communicator: usize) {
        let Some(held) = self.communicators.get_mut(&communicator) else {
            return;
        };
        held.taken.clear();
        let world = self.worlds.entry(held.world).or_default();
        world.broken = true;
        let ranks = world.ranks;
        for stream in self.streams.values_mut() {
            let mine = |work: &Work| matches!(work, Work::Operation { communicator: its, .. } if *its == communicator);
            if !stream.work.iter().any(mine) {
                continue;
            }
            for work in stream.work.drain(..) {
                stream.done += 1;
                if let Work::Operation { call, .. } = work {
                    call.receive(&vec![GARBAGE; call.received_bytes(ranks)]);
                }
            }
        }
    }

    fn operate(&mut self, communicator: usize, name: &str, call: Call, stream: usize) -> u32 {
        self.called(communicator, name, false, false);
        let Some(world) = self.world(communicator) else {
            return INVALID_ARGUMENT;
        };
        let script = world.script;
        if let Some(held) = self.communicators.get_mut(&communicator) {
            let (rank, world) = (held.rank, held.world);
            if script.call_answer != 0 {
                held.error = script.call_answer as u32;
                return held.error;
            }
            held.taken.push_back((stream, call));
            held.polls_left = script.call_polls;
            if let Some(world) = self.worlds.get_mut(&world) {
                *world.calls.entry(rank).or_default() += 1;
            }
        }
        if script.call_polls > 0 {
            return IN_PROGRESS;
        }
        self.settle(communicator);
        SUCCESS
    }
}

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

/// Sets what this copy of the library says its version is.
#[unsafe(no_mangle)]
extern "C" fn sim_version(code: c_int) {
    simulation().version = code;
}

/// A stream of the caller's own.
#[unsafe(no_mangle)]
extern "C" fn sim_stream() -> *mut c_void {
    let mut simulation = simulation();
    let name = simulation.name() as usize;
    simulation.streams.insert(name, Stream::default());
    name as *mut c_void
}

/// An event that `sim_fire` lets pass.
#[unsafe(no_mangle)]
extern "C" fn sim_event() -> u64 {
    let mut simulation = simulation();
    let name = simulation.name();
    simulation.fired.insert(name, false);
    name
}

#[unsafe(no_mangle)]
extern "C" fn sim_fire(event: u64) {
    let mut simulation = simulation();
    simulation.fired.insert(event, true);
    simulation.pump();
}

/// Lets later work on the stream wait for the event.
#[unsafe(no_mangle)]
extern "C" fn sim_after(stream: usize, event: u64) {
    let mut simulation = simulation();
    let held = simulation.streams.entry(stream).or_default();
    held.enqueued += 1;
    held.work.push_back(Work::Wait(event));
    simulation.pump();
}

/// How much is on the stream by now.
#[unsafe(no_mangle)]
extern "C" fn sim_mark(stream: usize) -> u64 {
    simulation().streams.entry(stream).or_default().enqueued
}

/// Whether so much is worked off.
#[unsafe(no_mangle)]
extern "C" fn sim_passed(stream: usize, mark: u64) -> bool {
    simulation().streams.entry(stream).or_default().done >= mark
}

/// Sets how a world behaves: 0 polls until it forms, 1 polls until a call is on its stream, 2 polls until it
/// is finalised, 3 aborts hang, 4 forming hangs, 5 what calls of operations answer.
///
/// # Safety
/// The id has 128 bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn sim_script(id: *const [c_char; 128], line: u32, value: u64) {
    // SAFETY: as the caller says.
    let name = world_of(unsafe { &*id });
    let mut simulation = simulation();
    let script = &mut simulation.worlds.entry(name).or_default().script;
    match line {
        0 => script.init_polls = value,
        1 => script.call_polls = value,
        2 => script.finalize_polls = value,
        3 => script.abort_hangs = value != 0,
        4 => script.init_hangs = value != 0,
        _ => script.call_answer = value,
    }
}

/// Lets a rank meet an error, and its streams hang, or go on with garbage.
///
/// # Safety
/// The id has 128 bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn sim_fail(id: *const [c_char; 128], rank: c_int, code: u32, goes_on: bool) {
    // SAFETY: as the caller says.
    let name = world_of(unsafe { &*id });
    let mut simulation = simulation();
    let found = simulation
        .communicators
        .iter()
        .find(|(_, held)| held.world == name && held.rank == rank)
        .map(|(communicator, _)| *communicator);
    if let Some(communicator) = found {
        if let Some(held) = simulation.communicators.get_mut(&communicator) {
            held.error = code;
        }
        if goes_on {
            simulation.set_free(communicator);
        }
    }
}

/// Sets the text beside the next errors; null takes it back.
///
/// # Safety
/// The text is null or a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn sim_last_error(text: *const c_char) {
    // SAFETY: as the caller says.
    let text = (!text.is_null()).then(|| unsafe { std::ffi::CStr::from_ptr(text) }.to_owned());
    simulation().last_error = text;
}

/// How often a rank did something: 0 aborted, 1 destroyed, 2 called an operation.
///
/// # Safety
/// The id has 128 bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn sim_count(id: *const [c_char; 128], rank: c_int, what: u32) -> u64 {
    // SAFETY: as the caller says.
    let name = world_of(unsafe { &*id });
    let mut simulation = simulation();
    let world = simulation.worlds.entry(name).or_default();
    let counts = match what {
        0 => &world.aborts,
        1 => &world.destroys,
        _ => &world.calls,
    };
    counts.get(&rank).copied().unwrap_or_default()
}

/// The rules of NCCL's that a world's callers broke, one a line; the string stays.
///
/// # Safety
/// The id has 128 bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn sim_violations(id: *const [c_char; 128]) -> *const c_char {
    // SAFETY: as the caller says.
    let name = world_of(unsafe { &*id });
    let mut simulation = simulation();
    let violations = simulation.worlds.entry(name).or_default().violations.join("\n");
    CString::new(violations).unwrap_or_default().into_raw()
}
