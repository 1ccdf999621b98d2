//! What a run's processes ask of storages.

use std::collections::BTreeMap;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use ulda_run::ids::Slot;
use ulda_storage::{Operation, StorageCount};

use super::labels::{OfClient, OfOperation};
use super::listing::{FloatCounter, Listing, Real, signed};
use crate::run::StorageClient;

#[derive(Clone, Debug)]
pub(super) struct StorageMetrics {
    operations: Family<OfOperation, Counter>,
    failures: Family<OfOperation, Counter>,
    retries: Family<OfOperation, Counter>,
    bytes: Family<OfOperation, Counter>,
    seconds: Family<OfOperation, FloatCounter>,
    last_upload: Family<OfClient, Real>,
    pending: Family<OfClient, Gauge>,
}

impl StorageMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let mut list = Listing { registry };
        Self {
            operations: list.plain("storage_operations", "Operations on storages, done or given up"),
            failures: list.plain(
                "storage_failures",
                "Operations given up; what they were for is tried again later",
            ),
            retries: list.plain("storage_retries", "Requests repeated within operations"),
            bytes: list.unit("storage", Unit::Bytes, "Bytes of objects written and read"),
            seconds: list.unit(
                "storage",
                Unit::Seconds,
                "Time spent in operations, pauses included",
            ),
            last_upload: list.unit(
                "storage_last_upload_timestamp",
                Unit::Seconds,
                "When an object was last written, since 1970; absent before",
            ),
            pending: list.plain(
                "storage_pending_uploads",
                "Checkpoints and files that are still to be written there",
            ),
        }
    }
}

/// Turns totals of processes into increments of a run.
#[derive(Debug, Default)]
pub(super) struct StorageAccount {
    /// By name of the client; totals begin anew with its process.
    known: BTreeMap<String, StorageCount>,
}

impl StorageAccount {
    pub fn count(&mut self, metrics: &StorageMetrics, client: StorageClient, count: &StorageCount) {
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
                (&metrics.operations, before.total, now.total),
                (&metrics.failures, before.failures, now.failures),
                (&metrics.retries, before.retries, now.retries),
                (&metrics.bytes, before.bytes, now.bytes),
            ];
            for (family, before, now) in counted {
                family.get_or_create(&of).inc_by(now.saturating_sub(before));
            }
            let seconds = (now.seconds - before.seconds).max(0.0);
            metrics.seconds.get_or_create(&of).inc_by(seconds);
        }
        let of = OfClient {
            client: client.clone(),
        };
        metrics.pending.get_or_create(&of).set(signed(count.pending));
        if let Some(millis) = count.last_put_millis {
            metrics.last_upload.get_or_create(&of).set(millis as f64 / 1e3);
        }
        self.known.insert(client, *count);
    }

    /// What a lost worker had still to write is nobody's any more.
    pub fn lost(&self, metrics: &StorageMetrics, slot: Slot) {
        let client = slot.0.to_string();
        if self.known.contains_key(&client) {
            metrics.pending.get_or_create(&OfClient { client }).set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_a_process_that_was_started_again_are_added_and_a_lost_one_has_nothing_pending() {
        let metrics = StorageMetrics::register(&mut Registry::default());
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
        assert_eq!(metrics.operations.get_or_create(&of).get(), 9);
        let of = OfClient { client: "1".into() };
        assert_eq!(metrics.pending.get_or_create(&of).get(), 2);
        account.lost(&metrics, Slot(1));
        assert_eq!(metrics.pending.get_or_create(&of).get(), 0);
    }
}
