//! What a communicator's thread and those who wait for it both see.
//!
//! Invariants: the first fault stays; foreign calls of the thread are made through [`Shared::call`], so that
//! one that does not return is noticed by whoever waits; the lock is never held across one.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::NcclError;
use crate::seat::{NcclDeadlines, RankSeat};

pub(crate) struct Shared {
    pub seat: RankSeat,
    pub deadlines: NcclDeadlines,
    fault: OnceLock<NcclError>,
    calling: Mutex<Option<Calling>>,
}

/// A foreign call that has not returned yet.
#[derive(Clone, Copy)]
struct Calling {
    call: &'static str,
    since: Instant,
    limit: Duration,
}

/// A foreign call that should have returned.
pub(crate) struct Overdue {
    pub call: &'static str,
    pub waited: Duration,
}

impl Shared {
    pub fn new(seat: RankSeat, deadlines: NcclDeadlines) -> Shared {
        Shared {
            seat,
            deadlines,
            fault: OnceLock::new(),
            calling: Mutex::new(None),
        }
    }

    /// Breaks the communicator with this error, unless one did so before; gives the first.
    pub fn fail(&self, error: NcclError) -> NcclError {
        self.fault.get_or_init(|| error).clone()
    }

    /// The first fault.
    pub fn fault(&self) -> Option<NcclError> {
        self.fault.get().cloned()
    }

    /// Makes a foreign call that should return within `limit`.
    pub fn call<R>(&self, call: &'static str, limit: Duration, make: impl FnOnce() -> R) -> R {
        let since = Instant::now();
        *self.calling() = Some(Calling { call, since, limit });
        let result = make();
        *self.calling() = None;
        result
    }

    /// The call that should have returned.
    pub fn overdue(&self) -> Option<Overdue> {
        let Calling { call, since, limit } = (*self.calling())?;
        let waited = since.elapsed();
        (waited > limit).then_some(Overdue { call, waited })
    }

    /// The fault for one who waits, which an overdue call becomes.
    pub fn fault_or_stuck(&self) -> Option<NcclError> {
        self.fault().or_else(|| {
            let Overdue { call, waited } = self.overdue()?;
            let seat = self.seat;
            Some(self.fail(NcclError::Stuck { seat, call, waited }))
        })
    }

    fn calling(&self) -> MutexGuard<'_, Option<Calling>> {
        self.calling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
