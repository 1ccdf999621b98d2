//! Where the workers' metrics are, in the form that Prometheus asks for (`http_sd_configs`).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::journal::{JournalError, JournalReader, slot_of_metrics};
use crate::run_directory::RunDirectory;

/// A group of addresses with what they have in common.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Targets {
    targets: Vec<String>,
    labels: BTreeMap<&'static str, String>,
}

/// One group per slot whose newest worker serves metrics.
pub(super) fn targets(directory: &RunDirectory) -> Result<Vec<Targets>, JournalError> {
    let facts = JournalReader::open(&directory.journal_file())?.facts()?;
    let named = facts.into_iter().filter_map(|(key, address)| {
        let slot = slot_of_metrics(&key)?.0.to_string();
        (!address.is_empty()).then(|| Targets {
            targets: vec![address],
            labels: BTreeMap::from([("slot", slot)]),
        })
    });
    Ok(named.collect())
}
