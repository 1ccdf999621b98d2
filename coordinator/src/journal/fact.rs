//! Keys of facts that more than one module speaks of.

use ulda_core::ids::Slot;

const METRICS: &str = "metrics of slot ";

/// Where the newest worker of a slot serves its metrics; the value is host:port or empty.
#[must_use]
pub fn metrics_key(slot: Slot) -> String {
    format!("{METRICS}{}", slot.0)
}

/// The slot that a key of [`metrics_key`] is of.
#[must_use]
pub fn slot_of_metrics(key: &str) -> Option<Slot> {
    key.strip_prefix(METRICS)?.parse().ok().map(Slot)
}
