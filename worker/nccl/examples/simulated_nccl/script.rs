//! The tests' own functions: streams, events, how a world behaves, and what its callers did.

use std::ffi::{CString, c_char, c_int, c_void};

use super::simulation::{Stream, Work, simulation, world_of};

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
