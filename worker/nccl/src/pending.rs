//! An operation that was asked for.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::error::NcclError;
use crate::shared::Shared;

/// How often one who waits looks whether the communicator's thread is stuck.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An operation in flight. Dropped unawaited, it is still carried out.
#[must_use = "whether the operation succeeded is in the result of `wait`"]
pub struct PendingOperation {
    outcome: Receiver<Result<(), NcclError>>,
    shared: Arc<Shared>,
}

impl PendingOperation {
    pub(crate) fn new(shared: &Arc<Shared>) -> (Sender<Result<(), NcclError>>, PendingOperation) {
        let (reply, outcome) = channel();
        let shared = Arc::clone(shared);
        (reply, PendingOperation { outcome, shared })
    }

    /// Waits until the device has carried the operation out, so that whatever is put on any of its streams
    /// from now on sees the result. The operation has a deadline of its own.
    ///
    /// # Errors
    /// The communicator's first fault, whichever operation it came from; what the memory holds then has no
    /// meaning. `GatherLength` and `NoSuchRoot` for an operation that cannot be, which is no fault.
    pub fn wait(self) -> Result<(), NcclError> {
        loop {
            match self.outcome.recv_timeout(LOOK_EVERY) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(fault) = self.shared.fault_or_stuck() {
                        return Err(fault);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.shared.fault().unwrap_or(NcclError::Closed));
                }
            }
        }
    }
}
