//! Keys of facts that more than one module speaks of.

use std::collections::BTreeMap;

use ulda_run::clip::ClipOrigin;
use ulda_run::ids::Slot;

use super::entry::JournalEntry;

/// The CLIP weights that the workers loaded.
const CLIP: &str = "clip weights";
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

/// Notes which CLIP weights the run stands on.
#[must_use]
pub fn clip_fact(clip: &ClipOrigin) -> JournalEntry {
    JournalEntry::Fact {
        key: CLIP.into(),
        value: serde_json::to_string(clip).expect("plain fields have a JSON form"),
    }
}

/// The CLIP weights that [`clip_fact`] noted; `None` in journals of earlier versions.
#[must_use]
pub fn clip_of(facts: &BTreeMap<String, String>) -> Option<ClipOrigin> {
    serde_json::from_str(facts.get(CLIP)?).ok()
}
