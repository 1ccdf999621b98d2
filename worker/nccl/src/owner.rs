//! The thread that makes every call on a communicator.
//!
//! Invariants:
//! - a communicator in progress, or with an error, gets no call but the question for its state and the abort;
//! - an operation's mark is put on the stream only once NCCL has taken the operation in, as its kernels may
//!   be put there later than its call returns;
//! - an operation is answered `Ok` only when, after its mark was seen passed, NCCL reports no error and there
//!   is no fault;
//! - whoever waits is answered before the abort, which may hang; memory is let go after it.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use cudarc::nccl::sys::{cudaStream_t, ncclComm, ncclComm_t, ncclDataType_t, ncclRedOp_t};

use crate::error::NcclError;
use crate::library::Library;
use crate::pace::Pace;
use crate::shared::Shared;
use crate::span::Keeper;
use crate::table::{self, Code, Table};
use crate::timeline::Timeline;
use crate::unique_id::UniqueId;

/// How often the control plane is asked while something is pending.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// What the communicator's holders ask of its thread.
pub(crate) enum CommunicatorOrder<M> {
    /// Carry this out after what came before.
    Operate(NcclOperation<M>),
    /// End in order after what came before.
    Close,
    /// See that there is a fault.
    Look,
}

/// One collective operation, and who waits for it.
pub(crate) struct NcclOperation<M> {
    pub name: String,
    pub task: Task,
    pub ready: M,
    pub keepers: Vec<Keeper>,
    pub reply: Sender<Result<(), NcclError>>,
}

/// The call to make.
pub(crate) struct Task {
    pub kind: NcclOperationKind,
    pub source: *mut c_void,
    pub target: *mut c_void,
    /// Of each rank, also where the target holds all ranks'.
    pub elements: usize,
    pub element: ncclDataType_t,
}

// SAFETY: the pointers are dereferenced by the device alone, and come from spans, which may be sent.
unsafe impl Send for Task {}

#[derive(Clone, Copy)]
pub(crate) enum NcclOperationKind {
    Sum,
    Gather,
    Broadcast { root: u32 },
}

/// An operation whose call was made.
struct Launched<M> {
    operation: NcclOperation<M>,
    since: Instant,
}

/// An operation that is all on the stream, up to the mark.
struct Flying<M> {
    launched: Launched<M>,
    mark: M,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    InProgress,
}

pub(crate) struct Owner<T: Timeline> {
    library: Library,
    shared: Arc<Shared>,
    timeline: T,
    outside: Box<dyn Fn() -> Option<String> + Send>,
    asked: Instant,
    orders: Receiver<CommunicatorOrder<T::Mark>>,
    /// NCCL writes here until the communicator has formed or its abort has returned, from a thread of its own.
    communicator: Box<AtomicPtr<ncclComm>>,
    queued: VecDeque<NcclOperation<T::Mark>>,
    launching: Option<Launched<T::Mark>>,
    flying: VecDeque<Flying<T::Mark>>,
    closing: bool,
    pace: Pace,
}

impl<T: Timeline> Owner<T> {
    pub fn new(
        library: Library,
        shared: Arc<Shared>,
        timeline: T,
        outside: Box<dyn Fn() -> Option<String> + Send>,
        orders: Receiver<CommunicatorOrder<T::Mark>>,
    ) -> Owner<T> {
        Owner {
            library,
            shared,
            timeline,
            outside,
            asked: Instant::now(),
            orders,
            communicator: Box::new(AtomicPtr::default()),
            queued: VecDeque::new(),
            launching: None,
            flying: VecDeque::new(),
            closing: false,
            pace: Pace::default(),
        }
    }

    /// The thread: forms the communicator, tells so, serves until the orderly end or a fault, which it
    /// leaves in the shared state.
    pub fn run(mut self, id: UniqueId, formed: Sender<()>) {
        let seat = self.shared.seat;
        let life = AssertUnwindSafe(|| {
            self.form(id)?;
            // Whoever forms it may have given it up.
            let _ = formed.send(());
            self.serve()
        });
        let end = catch_unwind(life).unwrap_or(Err(NcclError::Panicked { seat }));
        if let Err(error) = end {
            let fault = self.shared.fail(error);
            self.give_up(&fault);
        }
    }

    fn form(&mut self, id: UniqueId) -> Result<(), NcclError> {
        const DURING: &str = "form the communicator";
        const CALL: &str = "ncclCommInitRankConfig";
        let since = Instant::now();
        let (seat, limit) = (self.shared.seat, self.shared.deadlines.form);
        let entered = self
            .shared
            .call("make the device current", limit, || self.timeline.enter());
        entered.map_err(|reason| self.device(DURING, "make the device current", reason))?;
        let init = self.library.table().init;
        let slot = self.communicator.as_ptr();
        let mut config = table::config();
        let answer = self.shared.call(CALL, limit, || {
            // SAFETY: the slot is on the heap, and stays until this value is dropped, after the end; the
            // config is copied by the call.
            unsafe { init(slot, seat.ranks as i32, id.raw(), seat.rank as i32, &mut config) }
        });
        self.taken(answer, DURING, CALL)?;
        loop {
            self.look()?;
            if self.state(DURING)? == State::Ready {
                self.pace.reset();
                return Ok(());
            }
            let waited = since.elapsed();
            if waited > limit {
                return Err(NcclError::FormTimeout { seat, waited });
            }
            self.pace.rest();
        }
    }

    fn serve(&mut self) -> Result<(), NcclError> {
        loop {
            if self.is_idle() {
                if self.closing {
                    return self.finalise();
                }
                let order = self.orders.recv().map_err(|_| NcclError::Closed)?;
                self.take(order);
            }
            while let Ok(order) = self.orders.try_recv() {
                self.take(order);
            }
            self.look()?;
            if self.is_idle() {
                continue;
            }
            if self.launch()? | self.land()? {
                self.pace.reset();
            }
            self.check_deadlines()?;
            if !self.is_idle() {
                self.pace.rest();
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.launching.is_none() && self.flying.is_empty()
    }

    fn take(&mut self, order: CommunicatorOrder<T::Mark>) {
        match order {
            CommunicatorOrder::Operate(operation) => self.queued.push_back(operation),
            CommunicatorOrder::Close => self.closing = true,
            CommunicatorOrder::Look => {}
        }
    }

    /// Whether somebody has given the communicator up.
    fn look(&mut self) -> Result<(), NcclError> {
        if let Some(fault) = self.shared.fault() {
            return Err(fault);
        }
        if self.asked.elapsed() >= ASK_EVERY {
            self.asked = Instant::now();
            let limit = self.shared.deadlines.operation;
            if let Some(cause) = self
                .shared
                .call("ask the control plane", limit, || (self.outside)())
            {
                return Err(NcclError::Outside { cause });
            }
        }
        Ok(())
    }

    /// Puts as many operations on the stream as NCCL takes in; whether there was one.
    fn launch(&mut self) -> Result<bool, NcclError> {
        let mut progressed = false;
        loop {
            // Asked in any case: a peer's end may be all that comes of the operations in flight.
            let state = self.state(self.current())?;
            let is_left = self.launching.is_some() || !self.queued.is_empty();
            if state == State::InProgress || !is_left {
                return Ok(progressed);
            }
            if let Some(launched) = self.launching.take() {
                let limit = self.shared.deadlines.operation;
                let mark = self
                    .shared
                    .call("record an event", limit, || self.timeline.mark());
                let mark = match mark {
                    Ok(mark) => mark,
                    Err(reason) => {
                        let error = self.device(&launched.operation.name, "record an event", reason);
                        self.launching = Some(launched);
                        return Err(error);
                    }
                };
                self.flying.push_back(Flying { launched, mark });
                progressed = true;
            } else if let Some(operation) = self.queued.pop_front() {
                self.call(operation)?;
            }
        }
    }

    /// Makes an operation's call; from then on, NCCL may use its memory.
    fn call(&mut self, operation: NcclOperation<T::Mark>) -> Result<(), NcclError> {
        let limit = self.shared.deadlines.operation;
        let since = Instant::now();
        let Launched { operation, .. } = self.launching.insert(Launched { operation, since });
        let waits = self.shared.call("wait for an event", limit, || {
            self.timeline.after(&operation.ready)
        });
        let name = operation.name.clone();
        let call = operation.task.kind.call();
        let answer = match waits {
            Err(reason) => return Err(self.device(&name, "wait for an event", reason)),
            Ok(()) => self.shared.call(call, limit, || {
                let communicator = self.communicator.load(Ordering::Acquire);
                // SAFETY: the communicator has formed and was neither aborted nor destroyed; the stream is
                // valid as long as the timeline; what the spans vouch for holds until their keepers are
                // dropped.
                unsafe {
                    operation
                        .task
                        .call(self.library.table(), communicator, self.timeline.stream())
                }
            }),
        };
        self.taken(answer, &name, call)
    }

    /// Answers the operations that are complete; whether there was one.
    fn land(&mut self) -> Result<bool, NcclError> {
        let mut progressed = false;
        let limit = self.shared.deadlines.operation;
        while let Some(Flying { launched, mark }) = self.flying.front() {
            let name = &launched.operation.name;
            let passed = self
                .shared
                .call("query an event", limit, || self.timeline.passed(mark));
            match passed {
                Err(reason) => return Err(self.device(name, "query an event", reason)),
                Ok(false) => break,
                Ok(true) => {}
            }
            // An error sets the stream free as a success does, and is reported before that.
            self.state(name)?;
            if let Some(fault) = self.shared.fault() {
                return Err(fault);
            }
            if let Some(Flying { launched, .. }) = self.flying.pop_front() {
                let NcclOperation { keepers, reply, .. } = launched.operation;
                drop(keepers);
                // Nobody may be waiting any more.
                let _ = reply.send(Ok(()));
            }
            progressed = true;
        }
        Ok(progressed)
    }

    fn check_deadlines(&self) -> Result<(), NcclError> {
        let oldest = self.flying.front().map(|flying| &flying.launched);
        let Some(launched) = oldest.or(self.launching.as_ref()) else {
            return Ok(());
        };
        let waited = launched.since.elapsed();
        if waited > self.shared.deadlines.operation {
            return Err(NcclError::OperationTimeout {
                operation: launched.operation.name.clone(),
                seat: self.shared.seat,
                waited,
            });
        }
        Ok(())
    }

    /// The orderly end.
    fn finalise(&mut self) -> Result<(), NcclError> {
        const DURING: &str = "close the communicator";
        let since = Instant::now();
        let (seat, deadlines) = (self.shared.seat, self.shared.deadlines);
        self.state(DURING)?;
        let communicator = self.communicator.load(Ordering::Acquire);
        let Table {
            finalize, destroy, ..
        } = *self.library.table();
        let answer = self.shared.call("ncclCommFinalize", deadlines.operation, || {
            // SAFETY: the communicator has formed, is not in progress, and nothing is pending on it.
            unsafe { finalize(communicator) }
        });
        self.taken(answer, DURING, "ncclCommFinalize")?;
        while self.state(DURING)? == State::InProgress {
            self.look()?;
            let waited = since.elapsed();
            if waited > deadlines.operation {
                return Err(NcclError::FinaliseTimeout { seat, waited });
            }
            self.pace.rest();
        }
        self.communicator.store(std::ptr::null_mut(), Ordering::Release);
        let answer = self.shared.call("ncclCommDestroy", deadlines.abort, || {
            // SAFETY: it is finalised, and from here on unknown to this value.
            unsafe { destroy(communicator) }
        });
        self.taken(answer, DURING, "ncclCommDestroy")
    }

    /// Answers all with the fault, then aborts; then the memory goes with this value.
    fn give_up(&mut self, fault: &NcclError) {
        let launched = self
            .launching
            .iter()
            .chain(self.flying.iter().map(|flying| &flying.launched));
        let operations = self
            .queued
            .iter()
            .chain(launched.map(|launched| &launched.operation));
        for operation in operations {
            // Nobody may be waiting any more.
            let _ = operation.reply.send(Err(fault.clone()));
        }
        let communicator = self.communicator.load(Ordering::Acquire);
        if communicator.is_null() {
            return;
        }
        let abort = self.library.table().abort;
        self.shared
            .call("ncclCommAbort", self.shared.deadlines.abort, || {
                // SAFETY: it was neither aborted nor destroyed before, and no other thread calls NCCL with it. What it
                // answers changes nothing: it is a communicator no more.
                unsafe { abort(communicator) }
            });
        self.communicator.store(std::ptr::null_mut(), Ordering::Release);
    }

    /// What NCCL is doing, or the error that it has met since it was asked last.
    fn state(&self, during: &str) -> Result<State, NcclError> {
        const CALL: &str = "ncclCommGetAsyncError";
        let communicator = self.communicator.load(Ordering::Acquire);
        let ask = self.library.table().get_async_error;
        let mut state = Code::SUCCESS;
        let answer = self.shared.call(CALL, self.shared.deadlines.operation, || {
            // SAFETY: the communicator was made and neither aborted nor destroyed; the state is a live number.
            unsafe { ask(communicator, &mut state) }
        });
        match (answer, state) {
            (Code::SUCCESS, Code::SUCCESS) => Ok(State::Ready),
            (Code::SUCCESS, Code::IN_PROGRESS) => Ok(State::InProgress),
            (Code::SUCCESS, error) | (error, _) => {
                Err(self.library.failure(error, Some(self.shared.seat), during, CALL))
            }
        }
    }

    /// Whether NCCL took a call in.
    fn taken(&self, answer: Code, during: &str, call: &'static str) -> Result<(), NcclError> {
        match answer {
            Code::SUCCESS | Code::IN_PROGRESS => Ok(()),
            error => Err(self.library.failure(error, Some(self.shared.seat), during, call)),
        }
    }

    /// What is going on, for errors that NCCL does not say the operation of.
    fn current(&self) -> &str {
        let oldest = self.flying.front().map(|flying| &flying.launched);
        let launched = oldest.or(self.launching.as_ref());
        let operation = launched.map(|launched| &launched.operation);
        let operation = operation.or(self.queued.front());
        operation.map_or("between operations", |operation| operation.name.as_str())
    }

    fn device(&self, during: &str, step: &'static str, reason: String) -> NcclError {
        NcclError::Device {
            seat: self.shared.seat,
            during: during.to_owned(),
            step,
            reason,
        }
    }
}

impl NcclOperationKind {
    /// NCCL's function.
    fn call(self) -> &'static str {
        match self {
            NcclOperationKind::Sum => "ncclAllReduce",
            NcclOperationKind::Gather => "ncclAllGather",
            NcclOperationKind::Broadcast { .. } => "ncclBroadcast",
        }
    }
}

impl Task {
    /// Makes the call.
    ///
    /// # Safety
    /// The communicator has formed and lives, and is not in progress; the stream is its device's; the memory
    /// stays until the operation has completed or the abort has returned.
    unsafe fn call(&self, table: &Table, communicator: ncclComm_t, stream: *mut c_void) -> Code {
        let stream: cudaStream_t = stream.cast();
        let Task {
            kind,
            source,
            target,
            elements,
            element,
        } = *self;
        // SAFETY: as the caller says.
        unsafe {
            match kind {
                NcclOperationKind::Sum => {
                    let sum = ncclRedOp_t::ncclSum;
                    (table.all_reduce)(source, target, elements, element, sum, communicator, stream)
                }
                NcclOperationKind::Gather => {
                    (table.all_gather)(source, target, elements, element, communicator, stream)
                }
                NcclOperationKind::Broadcast { root } => {
                    let root = root as i32;
                    (table.broadcast)(source, target, elements, element, root, communicator, stream)
                }
            }
        }
    }
}
