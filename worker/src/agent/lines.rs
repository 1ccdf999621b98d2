//! Sends log lines to a coordinator that keeps them, batch after batch. What cannot be sent waits in the outbox, which
//! is bounded; the training never waits for any of it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use ulda_proto::v1;

use super::connect::{Backoff, CoordinatorLink, is_passing};
use crate::logs::{Outbox, OutboxLines};

/// Longest wait for the coordinator to take one batch.
const BATCH_DEADLINE: Duration = Duration::from_secs(10);
/// Lines are collected for so long before they are sent.
const COLLECT: Duration = Duration::from_millis(250);

/// Sends until `ending`, and then what is left, once.
pub(super) async fn send(line: CoordinatorLink, outbox: Outbox, ending: CancellationToken) {
    let mut number = 0;
    loop {
        let ends = ending.is_cancelled();
        let lines = outbox.take();
        if !lines.is_empty() {
            number += 1;
            if !deliver(&line, number, lines, &ending).await {
                return outbox.close();
            }
            continue;
        }
        if ends {
            return;
        }
        tokio::select! {
            () = outbox.filled() => {}
            () = ending.cancelled() => {}
        }
        if !ending.is_cancelled() {
            tokio::time::sleep(COLLECT).await;
        }
    }
}

/// Whether the coordinator takes lines at all. While it is away the batch is tried again and again, but only once
/// when the worker ends.
async fn deliver(
    line: &CoordinatorLink,
    number: u64,
    lines: OutboxLines,
    ending: &CancellationToken,
) -> bool {
    let mut backoff = Backoff::new();
    let mut request = v1::LogRequest {
        worker: line.worker().0,
        number,
        lines: lines.lines,
        dropped: lines.dropped,
    };
    loop {
        let last = ending.is_cancelled();
        // It may have joined anew meanwhile.
        request.worker = line.worker().0;
        let mut client = line.client();
        let answer = tokio::time::timeout(BATCH_DEADLINE, client.log(request.clone())).await;
        match answer {
            Ok(Ok(_)) => return true,
            // A coordinator that came back may not know this worker before it attends again.
            Ok(Err(status)) if !is_passing(&status) && status.code() != tonic::Code::NotFound => {
                return false;
            }
            Ok(Err(_)) | Err(_) if last => return true,
            Ok(Err(_)) | Err(_) => backoff.pause().await,
        }
    }
}
