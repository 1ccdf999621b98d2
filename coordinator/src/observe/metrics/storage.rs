//! What a run's processes ask of storages.

use std::collections::BTreeMap;

use ulda_run::ids::Slot;
use ulda_storage::{Operation, StorageCount};
use ulda_telemetry::signed;

use super::families::RunMetrics;
use super::labels::{OfClient, OfOperation};
use crate::run::StorageClient;

/// Turns totals of processes into increments of a run.
#[derive(Debug, Default)]
pub(super) struct StorageAccount {
    /// By name of the client; totals begin anew with its process.
    known: BTreeMap<String, StorageCount>,
}

impl StorageAccount {
    pub fn count(&mut self, metrics: &RunMetrics, client: StorageClient, count: &StorageCount) {
        let client = match client {
            StorageClient::Coordinator => "coordinator".to_owned(),
            StorageClient::Worker(slot) => slot.0.to_string(),
        };
        let before = match self.known.get(&client) {
            Some(before) if before.process == count.process => *before,
            _ => StorageCount::default(),
        };
        let pairs = before.operations.iter().zip(&count.operations);
        for (operation, (before, now)) in Operation::ALL.into_iter().zip(pairs) {
            let of = OfOperation {
                client: client.clone(),
                operation: operation.name(),
            };
            let counted = [
                (&metrics.storage_operations, before.total, now.total),
                (&metrics.storage_failures, before.failures, now.failures),
                (&metrics.storage_retries, before.retries, now.retries),
                (&metrics.storage_bytes, before.bytes, now.bytes),
            ];
            for (family, before, now) in counted {
                family.get_or_create(&of).inc_by(now.saturating_sub(before));
            }
            let seconds = (now.seconds - before.seconds).max(0.0);
            metrics.storage_seconds.get_or_create(&of).inc_by(seconds);
        }
        let of = OfClient {
            client: client.clone(),
        };
        metrics
            .storage_pending
            .get_or_create(&of)
            .set(signed(count.pending));
        if let Some(millis) = count.last_put_millis {
            metrics
                .storage_last_upload
                .get_or_create(&of)
                .set(millis as f64 / 1e3);
        }
        self.known.insert(client, *count);
    }

    /// What a lost worker had still to write is nobody's any more.
    pub fn lost(&self, metrics: &RunMetrics, slot: Slot) {
        let client = slot.0.to_string();
        if self.known.contains_key(&client) {
            metrics.storage_pending.get_or_create(&OfClient { client }).set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn totals_of_a_process_that_was_started_again_are_added_and_a_lost_one_has_nothing_pending() {
        let metrics = RunMetrics::register(&mut Registry::default());
        let mut account = StorageAccount::default();
        let mut tell = |process, total| {
            let mut count = StorageCount {
                process,
                pending: 2,
                ..StorageCount::default()
            };
            count.operations[Operation::Put as usize].total = total;
            account.count(&metrics, StorageClient::Worker(Slot(1)), &count);
        };
        for (process, total) in [(1, 3), (1, 3), (1, 5), (2, 1), (2, 4)] {
            tell(process, total);
        }
        let of = OfOperation {
            client: "1".into(),
            operation: "put",
        };
        assert_eq!(metrics.storage_operations.get_or_create(&of).get(), 9);
        let of = OfClient { client: "1".into() };
        assert_eq!(metrics.storage_pending.get_or_create(&of).get(), 2);
        account.lost(&metrics, Slot(1));
        assert_eq!(metrics.storage_pending.get_or_create(&of).get(), 0);
    }
}
