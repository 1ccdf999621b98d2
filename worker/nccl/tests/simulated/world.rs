//! The simulated library, what stands for a device in it, and a set of ranks.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ulda_nccl::{
    Communicator, DeviceSpan, Element, Library, NcclDeadlines, NcclError, PendingOperation, RankSeat,
    Timeline, UniqueId,
};

/// Long enough for whatever happens, short enough for a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Deadlines that no test reaches unless it shortens them.
pub const DEADLINES: NcclDeadlines = NcclDeadlines {
    form: PATIENCE,
    operation: PATIENCE,
    abort: PATIENCE,
};

/// Reports an error that a peer caused.
pub const REMOTE_ERROR: u32 = 6;

/// What [`World::script`] changes.
#[derive(Clone, Copy)]
pub enum Line {
    InitPolls = 0,
    CallPolls = 1,
    FinalizePolls = 2,
    AbortHangs = 3,
    InitHangs = 4,
    CallAnswer = 5,
}

/// What a rank's stream does after an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AfterError {
    GoesOn,
    Hangs,
}

/// What [`World::count`] counts.
#[derive(Clone, Copy)]
pub enum Count {
    Aborts = 0,
    Destroys = 1,
    Operations = 2,
}

/// The simulated library's own functions.
#[derive(Clone, Copy)]
pub struct Simulator {
    version: unsafe extern "C" fn(c_int),
    stream: unsafe extern "C" fn() -> *mut c_void,
    event: unsafe extern "C" fn() -> u64,
    fire: unsafe extern "C" fn(u64),
    after: unsafe extern "C" fn(*mut c_void, u64),
    mark: unsafe extern "C" fn(*mut c_void) -> u64,
    passed: unsafe extern "C" fn(*mut c_void, u64) -> bool,
    script: unsafe extern "C" fn(*const u8, u32, u64),
    fail: unsafe extern "C" fn(*const u8, c_int, u32, bool),
    last_error: unsafe extern "C" fn(*const c_char),
    count: unsafe extern "C" fn(*const u8, c_int, u32) -> u64,
    violations: unsafe extern "C" fn(*const u8) -> *const c_char,
}

/// The file, which is an example of this package, built beside its tests.
pub fn simulated_path() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples/libsimulated_nccl.so");
    assert!(
        path.exists(),
        "no `{}`: run `cargo build -p ulda-nccl --examples`",
        path.display()
    );
    path
}

/// A copy of the file with a state of its own, for what is not told apart by unique ids.
pub struct Copied {
    pub path: PathBuf,
}

impl Copied {
    pub fn new(name: &str) -> Copied {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.so", std::process::id()));
        std::fs::copy(simulated_path(), &path).unwrap();
        Copied { path }
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // A file that stays does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Simulator {
    pub fn open(path: &Path) -> Simulator {
        // SAFETY: the file is the example of this package, with these functions; it is never unloaded.
        unsafe {
            let library = libloading::Library::new(path).unwrap();
            let simulator = Simulator {
                version: *library.get("sim_version").unwrap(),
                stream: *library.get("sim_stream").unwrap(),
                event: *library.get("sim_event").unwrap(),
                fire: *library.get("sim_fire").unwrap(),
                after: *library.get("sim_after").unwrap(),
                mark: *library.get("sim_mark").unwrap(),
                passed: *library.get("sim_passed").unwrap(),
                script: *library.get("sim_script").unwrap(),
                fail: *library.get("sim_fail").unwrap(),
                last_error: *library.get("sim_last_error").unwrap(),
                count: *library.get("sim_count").unwrap(),
                violations: *library.get("sim_violations").unwrap(),
            };
            std::mem::forget(library);
            simulator
        }
    }

    pub fn set_version(&self, code: c_int) {
        // SAFETY: any number will do.
        unsafe { (self.version)(code) }
    }

    pub fn set_last_error(&self, text: &str) {
        let text = CString::new(text).unwrap();
        // SAFETY: the text is a string, and is copied.
        unsafe { (self.last_error)(text.as_ptr()) }
    }

    pub fn event(&self) -> u64 {
        // SAFETY: no argument.
        unsafe { (self.event)() }
    }

    pub fn fire(&self, event: u64) {
        // SAFETY: any number will do.
        unsafe { (self.fire)(event) }
    }
}

/// A point in a stream, or an event that a test fires.
pub enum Mark {
    Event(u64),
    Stream(u64),
}

/// How a [`HostTimeline`] goes wrong, if it does.
pub enum Mishap {
    None,
    QueryFails,
    QueryPanics,
    /// This happens while a mark that has passed is looked at.
    During(Box<dyn Fn() + Send>),
}

/// A stream of the simulated library.
pub struct HostTimeline {
    simulator: Simulator,
    stream: usize,
    mishap: Mishap,
    thread: Option<thread::ThreadId>,
}

impl HostTimeline {
    fn check_thread(&self) -> Result<(), String> {
        let entered = self.thread == Some(thread::current().id());
        entered
            .then_some(())
            .ok_or("called on a thread that has not entered".to_owned())
    }
}

impl Timeline for HostTimeline {
    type Mark = Mark;

    fn enter(&mut self) -> Result<(), String> {
        self.thread = Some(thread::current().id());
        Ok(())
    }

    fn stream(&self) -> *mut c_void {
        self.stream as *mut c_void
    }

    fn after(&mut self, ready: &Mark) -> Result<(), String> {
        self.check_thread()?;
        if let Mark::Event(event) = ready {
            // SAFETY: numbers alone.
            unsafe { (self.simulator.after)(self.stream(), *event) };
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<Mark, String> {
        self.check_thread()?;
        // SAFETY: numbers alone.
        Ok(Mark::Stream(unsafe { (self.simulator.mark)(self.stream()) }))
    }

    fn passed(&self, mark: &Mark) -> Result<bool, String> {
        self.check_thread()?;
        let Mark::Stream(mark) = mark else {
            return Err("not a mark of this stream".to_owned());
        };
        // SAFETY: numbers alone.
        let passed = unsafe { (self.simulator.passed)(self.stream(), *mark) };
        match &self.mishap {
            Mishap::None => {}
            Mishap::QueryFails => return Err("an illegal memory access was encountered".to_owned()),
            Mishap::QueryPanics => panic!("the test's own"),
            Mishap::During(act) if passed => act(),
            Mishap::During(_) => {}
        }
        Ok(passed)
    }
}

/// The ranks under one unique id.
#[derive(Clone)]
pub struct World {
    pub simulator: Simulator,
    pub library: Library,
    pub id: UniqueId,
    pub ranks: u32,
    pub deadlines: NcclDeadlines,
}

impl World {
    pub fn new(ranks: u32) -> World {
        World::at(&simulated_path(), ranks)
    }

    pub fn at(path: &Path, ranks: u32) -> World {
        let library = Library::open(path).unwrap();
        let id = library.unique_id().unwrap();
        World {
            simulator: Simulator::open(path),
            library,
            id,
            ranks,
            deadlines: DEADLINES,
        }
    }

    pub fn script(&self, line: Line, value: u64) {
        // SAFETY: the id has its 128 bytes.
        unsafe { (self.simulator.script)(self.id.as_bytes().as_ptr(), line as u32, value) }
    }

    /// Lets `rank` meet an error.
    pub fn fail(&self, rank: u32, code: u32, stream: AfterError) {
        let goes_on = stream == AfterError::GoesOn;
        // SAFETY: as above.
        unsafe { (self.simulator.fail)(self.id.as_bytes().as_ptr(), rank as c_int, code, goes_on) }
    }

    pub fn count(&self, rank: u32, what: Count) -> u64 {
        // SAFETY: as above.
        unsafe { (self.simulator.count)(self.id.as_bytes().as_ptr(), rank as c_int, what as u32) }
    }

    /// The rules of NCCL's that were broken.
    pub fn violations(&self) -> String {
        // SAFETY: as above; the string stays.
        let text = unsafe { CStr::from_ptr((self.simulator.violations)(self.id.as_bytes().as_ptr())) };
        text.to_str().unwrap().to_owned()
    }

    pub fn form(&self, rank: u32) -> Result<Communicator<HostTimeline>, NcclError> {
        self.form_with(rank, Mishap::None, || None)
    }

    pub fn form_with(
        &self,
        rank: u32,
        mishap: Mishap,
        outside: impl Fn() -> Option<String> + Send + 'static,
    ) -> Result<Communicator<HostTimeline>, NcclError> {
        // SAFETY: no argument.
        let stream = unsafe { (self.simulator.stream)() } as usize;
        let timeline = HostTimeline {
            simulator: self.simulator,
            stream,
            mishap,
            thread: None,
        };
        let seat = RankSeat {
            rank,
            ranks: self.ranks,
        };
        Communicator::form(&self.library, self.id, seat, timeline, self.deadlines, outside)
    }

    /// All ranks' communicators, formed beside each other.
    pub fn form_all(&self) -> Vec<Communicator<HostTimeline>> {
        self.each_rank(|rank| self.form(rank).unwrap())
    }

    /// What `act` gives on each rank, on threads of their own, in rank order.
    pub fn each_rank<R: Send>(&self, act: impl Fn(u32) -> R + Sync) -> Vec<R> {
        let act = &act;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.ranks)
                .map(|rank| scope.spawn(move || act(rank)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// A mark that has passed.
    pub fn ready(&self) -> Mark {
        let event = self.simulator.event();
        self.simulator.fire(event);
        Mark::Event(event)
    }

    /// Asks for a sum of `buffer`, which is ready.
    pub fn sum(
        &self,
        communicator: &Communicator<HostTimeline>,
        name: &str,
        buffer: &Buffer<f32>,
    ) -> PendingOperation {
        communicator.all_reduce_sum(name, buffer.span(), self.ready())
    }

    /// Waits until `rank` has made as many calls of operations.
    pub fn wait_for_operations(&self, rank: u32, calls: u64) {
        wait_until(|| self.count(rank, Count::Operations) >= calls);
    }
}

pub fn wait_until(condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < PATIENCE, "waited in vain");
        thread::yield_now();
    }
}

/// Host memory in place of the device's, freed with its last keeper.
pub struct Buffer<E> {
    memory: Arc<Memory<E>>,
}

struct Memory<E> {
    pointer: *mut E,
    elements: usize,
}

// SAFETY: whoever reads or writes keeps the contract of `DeviceSpan::new`, under the simulated library's lock.
unsafe impl<E: Element> Send for Memory<E> {}
// SAFETY: as above.
unsafe impl<E: Element> Sync for Memory<E> {}

impl<E> Drop for Memory<E> {
    fn drop(&mut self) {
        let whole = std::ptr::slice_from_raw_parts_mut(self.pointer, self.elements);
        // SAFETY: this is the box that `Buffer::new` took apart.
        drop(unsafe { Box::from_raw(whole) });
    }
}

impl<E: Element> Buffer<E> {
    pub fn new(content: impl IntoIterator<Item = E>) -> Buffer<E> {
        let content: Box<[E]> = content.into_iter().collect();
        let elements = content.len();
        let pointer = Box::into_raw(content).cast();
        Buffer {
            memory: Arc::new(Memory { pointer, elements }),
        }
    }

    pub fn span(&self) -> DeviceSpan<E> {
        self.part(0, self.memory.elements)
    }

    pub fn part(&self, start: usize, elements: usize) -> DeviceSpan<E> {
        assert!(start + elements <= self.memory.elements);
        // SAFETY: the part lies within the memory, which the keeper keeps; tests touch it only before the
        // ready mark and after the operation.
        unsafe {
            let pointer = self.memory.pointer.add(start);
            DeviceSpan::new(pointer, elements, Box::new(Arc::clone(&self.memory)))
        }
    }

    pub fn content(&self) -> Vec<E> {
        // SAFETY: no operation is in flight here.
        unsafe { std::slice::from_raw_parts(self.memory.pointer, self.memory.elements) }.to_vec()
    }

    pub fn fill(&self, value: E) {
        // SAFETY: the operation waits for a mark that has not passed.
        unsafe { std::slice::from_raw_parts_mut(self.memory.pointer, self.memory.elements) }.fill(value);
    }

    /// Whether no operation keeps it any more.
    pub fn is_released(&self) -> bool {
        Arc::strong_count(&self.memory) == 1
    }
}
