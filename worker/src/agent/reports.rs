//! Delivers reports one after the other, again and again until each is in the coordinator's journal.

use std::time::Duration;

use tokio::sync::mpsc;
use ulda_run::ids::Generation;

use super::connect::CoordinatorLink;
use crate::progress::Report;

/// Longest wait for the coordinator to take one report.
const REPORT_DEADLINE: Duration = Duration::from_secs(10);
/// Wait before a report is repeated.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Times a report is tried before it is given up with an error in the log.
const TRIES: u32 = 120;

pub(super) async fn deliver(
    line: CoordinatorLink,
    mut reports: mpsc::UnboundedReceiver<(Generation, Report)>,
) {
    while let Some((generation, report)) = reports.recv().await {
        let mut tries = 0;
        loop {
            tries += 1;
            let wire = report.clone().into_wire(line.worker(), generation);
            let outcome = tokio::time::timeout(REPORT_DEADLINE, line.client().report(wire)).await;
            let problem = match outcome {
                Ok(Ok(_)) => break,
                Ok(Err(status)) => status.to_string(),
                Err(_) => format!("no answer within {} s", REPORT_DEADLINE.as_secs()),
            };
            if tries == TRIES {
                tracing::error!(?report, problem, "coordinator did not take a report");
                break;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}
