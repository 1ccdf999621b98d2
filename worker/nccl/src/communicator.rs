//! What callers hold of a communicator. They never call NCCL; its thread does (`owner.rs`).

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cudarc::nccl::sys::ncclDataType_t;

use crate::error::NcclError;
use crate::library::Library;
use crate::owner::{CommunicatorOrder, NcclOperation, NcclOperationKind, Owner, Task};
use crate::pending::PendingOperation;
use crate::seat::{NcclDeadlines, RankSeat};
use crate::shared::{Overdue, Shared};
use crate::span::{DeviceSpan, Element, Keeper};
use crate::timeline::Timeline;
use crate::unique_id::UniqueId;

/// How often one who waits looks at the communicator's thread.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// One rank of one generation's communicator, to be used from any thread.
///
/// All ranks ask for the same operations in the same order. Dropped, it is aborted; [`close`](Self::close)
/// is the orderly end.
pub struct Communicator<T: Timeline> {
    orders: Sender<CommunicatorOrder<T::Mark>>,
    shared: Arc<Shared>,
    /// None once its end was waited for.
    thread: Option<JoinHandle<()>>,
}

impl<T: Timeline> Communicator<T> {
    /// Joins the ranks that were given the same `id`, and waits until all have. `outside` is asked about each
    /// millisecond whenever something is awaited: a cause it gives, e.g. a generation that the control plane
    /// has broken, ends the communicator.
    ///
    /// # Errors
    /// `FormTimeout` when a rank is missing; what NCCL or the device says; `Outside`; `NoSuchSeat`; `Stuck`
    /// and `AbortHangs` when the process has to be replaced.
    pub fn form(
        library: &Library,
        id: UniqueId,
        seat: RankSeat,
        timeline: T,
        deadlines: NcclDeadlines,
        outside: impl Fn() -> Option<String> + Send + 'static,
    ) -> Result<Communicator<T>, NcclError> {
        if seat.rank >= seat.ranks || i32::try_from(seat.ranks).is_err() {
            return Err(NcclError::NoSuchSeat { seat });
        }
        let shared = Arc::new(Shared::new(seat, deadlines));
        let (orders, receiver) = channel();
        let owner = Owner::new(
            library.clone(),
            Arc::clone(&shared),
            timeline,
            Box::new(outside),
            receiver,
        );
        let (tell_formed, formed) = channel();
        let name = format!("nccl-{}", seat.rank);
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || owner.run(id, tell_formed))
            .map_err(|source| NcclError::Thread {
                seat,
                source: Arc::new(source),
            })?;
        let mut communicator = Communicator {
            orders,
            shared,
            thread: Some(thread),
        };
        loop {
            match formed.recv_timeout(LOOK_EVERY) {
                Ok(()) => return Ok(communicator),
                // A fault is being dealt with, or was.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if communicator.shared.fault_or_stuck().is_some() => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        let ended = communicator.wait_for_end();
        Err(ended.err().unwrap_or(NcclError::Closed))
    }

    /// This rank and how many there are.
    pub fn seat(&self) -> RankSeat {
        self.shared.seat
    }

    /// Sums `span` over all ranks, in an order of NCCL's choice, and leaves the sum in each rank's. All have
    /// the same number of elements. `name` says in errors what it is, e.g. "gradient bucket 3 of adapt step
    /// 17"; the communicator's stream waits for `ready`, then the device sums.
    pub fn all_reduce_sum(
        &self,
        name: impl Into<String>,
        span: DeviceSpan<f32>,
        ready: T::Mark,
    ) -> PendingOperation {
        let task = Task {
            kind: NcclOperationKind::Sum,
            source: span.pointer(),
            target: span.pointer(),
            elements: span.elements(),
            element: element_of(&span),
        };
        self.ask(name.into(), task, vec![span.into_keeper()], ready)
    }

    /// Copies each rank's `mine` into every rank's `all`, in rank order. All ranks' `mine` have the same
    /// number of elements, and `all` that times the ranks; `mine` may lie within it, in its own rank's place.
    pub fn all_gather<E: Element>(
        &self,
        name: impl Into<String>,
        mine: DeviceSpan<E>,
        all: DeviceSpan<E>,
        ready: T::Mark,
    ) -> PendingOperation {
        let (operation, seat) = (name.into(), self.shared.seat);
        if mine.elements().checked_mul(seat.ranks as usize) != Some(all.elements()) {
            return self.refuse(NcclError::GatherLength {
                operation,
                seat,
                mine: mine.elements(),
                all: all.elements(),
            });
        }
        let task = Task {
            kind: NcclOperationKind::Gather,
            source: mine.pointer(),
            target: all.pointer(),
            elements: mine.elements(),
            element: element_of(&mine),
        };
        self.ask(
            operation,
            task,
            vec![mine.into_keeper(), all.into_keeper()],
            ready,
        )
    }

    /// Copies rank `root`'s `span` into every rank's. All have the same number of elements.
    pub fn broadcast<E: Element>(
        &self,
        name: impl Into<String>,
        root: u32,
        span: DeviceSpan<E>,
        ready: T::Mark,
    ) -> PendingOperation {
        let (operation, seat) = (name.into(), self.shared.seat);
        if root >= seat.ranks {
            return self.refuse(NcclError::NoSuchRoot {
                operation,
                seat,
                root,
            });
        }
        let task = Task {
            kind: NcclOperationKind::Broadcast { root },
            source: span.pointer(),
            target: span.pointer(),
            elements: span.elements(),
            element: element_of(&span),
        };
        self.ask(operation, task, vec![span.into_keeper()], ready)
    }

    /// Gives the communicator up: all that is pending answers this cause. Returns at once; its thread aborts.
    pub fn abort(&self, cause: impl Into<String>) {
        let cause = cause.into();
        self.shared.fail(NcclError::Aborted { cause });
        self.wake();
    }

    /// The first fault, if there was one.
    pub fn fault(&self) -> Option<NcclError> {
        self.shared.fault()
    }

    /// Ends the communicator: in order, after what is pending; or, after a fault, once the abort has returned.
    ///
    /// # Errors
    /// The first fault; `FinaliseTimeout` and others when the end itself fails; `AbortHangs` when the thread
    /// does not come out of NCCL or the driver, and the process has to be replaced.
    pub fn close(mut self) -> Result<(), NcclError> {
        // One that has ended has no use for orders.
        let _ = self.orders.send(CommunicatorOrder::Close);
        self.wait_for_end()
    }

    fn ask(&self, name: String, task: Task, keepers: Vec<Keeper>, ready: T::Mark) -> PendingOperation {
        let (reply, pending) = PendingOperation::new(&self.shared);
        if self.shared.fault().is_none() {
            let operation = NcclOperation {
                name,
                task,
                ready,
                keepers,
                reply,
            };
            // One that has ended drops the reply, and the fault is what `wait` gives.
            let _ = self.orders.send(CommunicatorOrder::Operate(operation));
        }
        pending
    }

    fn refuse(&self, error: NcclError) -> PendingOperation {
        let (reply, pending) = PendingOperation::new(&self.shared);
        // The receiver is alive.
        let _ = reply.send(Err(error));
        pending
    }

    fn wake(&self) {
        // One that has ended needs no waking.
        let _ = self.orders.send(CommunicatorOrder::Look);
    }

    /// Waits for the thread's end, which comes unless a call hangs: all else there has deadlines.
    fn wait_for_end(&mut self) -> Result<(), NcclError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        while !thread.is_finished() {
            if let Some(Overdue { call, waited }) = self.shared.overdue() {
                let seat = self.shared.seat;
                let stuck = NcclError::Stuck { seat, call, waited };
                let cause = self.shared.fail(stuck).to_string();
                return Err(NcclError::AbortHangs {
                    seat,
                    call,
                    waited,
                    cause,
                });
            }
            thread::sleep(LOOK_EVERY);
        }
        match self.shared.fault() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }
}

impl<T: Timeline> Drop for Communicator<T> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.shared.fail(NcclError::Closed);
        self.wake();
        let since = Instant::now();
        while !thread.is_finished() && since.elapsed() < self.shared.deadlines.abort {
            thread::sleep(LOOK_EVERY);
        }
    }
}

fn element_of<E: Element>(_: &DeviceSpan<E>) -> ncclDataType_t {
    E::NAME
}
