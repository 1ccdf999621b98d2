//! Log lines of workers of other hosts: from the wire to the disk, off the async threads.

use std::sync::Arc;
use std::time::Duration;

use ulda_proto::v1;
use ulda_run::ids::{Slot, WorkerId};

use super::bounds;
use super::refusal::Refusal;
use crate::logs::{LogBatch, LogKeeper};

/// Longest wait for a batch of lines to be on disk.
const KEEP_DEADLINE: Duration = Duration::from_secs(10);

impl LogBatch {
    pub(super) fn from_wire(slot: Slot, request: v1::LogRequest) -> Result<Self, Refusal> {
        Ok(Self {
            worker: WorkerId(request.worker),
            slot,
            number: bounds::number("number", request.number)?,
            lines: request.lines,
            dropped: bounds::count("dropped", request.dropped)?,
        })
    }
}

pub(super) async fn keep_log(keeper: Arc<LogKeeper>, batch: LogBatch) -> Result<(), Refusal> {
    let kept = tokio::task::spawn_blocking(move || keeper.keep(&batch));
    match tokio::time::timeout(KEEP_DEADLINE, kept).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(cause))) => Err(Refusal::NotKept {
            reason: crate::with_causes(&cause),
        }),
        Ok(Err(cause)) => Err(Refusal::NotKept {
            reason: cause.to_string(),
        }),
        Err(_) => Err(Refusal::Late {
            what: "Log",
            waited: KEEP_DEADLINE,
        }),
    }
}
