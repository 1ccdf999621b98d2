//! What the harness reads in a run's journal.

use std::path::Path;

use ulda_coordinator::journal::JournalReader;
use ulda_machine::Record;
use ulda_run::stage::{Course, Cursor};

/// A record and when it was made, milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Dated {
    pub at: i64,
    pub record: Record,
}

/// The run so far; empty where there is no journal yet.
#[must_use]
pub fn records(path: &Path) -> Vec<Dated> {
    let rows = JournalReader::open(path).and_then(|reader| reader.records());
    let rows = rows.unwrap_or_default();
    let dated = |row: &ulda_coordinator::journal::RecordRow| {
        Some(Dated {
            at: row.at_millis,
            record: serde_json::from_str(&row.json).ok()?,
        })
    };
    rows.iter().filter_map(dated).collect()
}

/// Steps of the run that lie before `cursor`.
#[must_use]
pub fn steps_before(course: &Course, cursor: Cursor) -> u64 {
    let lengths = course.stages();
    let earlier = lengths.iter().filter(|length| length.stage < cursor.stage);
    earlier.map(|length| length.steps).sum::<u64>() + cursor.step
}

/// The furthest committed position.
#[must_use]
pub fn committed(records: &[Dated]) -> Option<Cursor> {
    let cursors = records.iter().filter_map(|dated| match &dated.record {
        Record::Committed { state, .. } => Some(state.cursor),
        _ => None,
    });
    cursors.max()
}

/// Whether the run is finished, so that nobody will read a checkpoint again.
#[must_use]
pub fn finished(records: &[Dated]) -> bool {
    let mut records = records.iter().map(|dated| &dated.record);
    records.any(|record| matches!(record, Record::Finished { .. }))
}

/// The number of the last generation formed.
#[must_use]
pub fn generation(records: &[Dated]) -> u64 {
    let formed = records.iter().rev().find_map(|dated| match &dated.record {
        Record::GenerationFormed { generation, .. } => Some(generation.0),
        _ => None,
    });
    formed.unwrap_or(0)
}

/// Slots of the generation that trains at the end of these records; none where none trains.
#[must_use]
pub fn slots_at_work(records: &[Dated]) -> Vec<u32> {
    if trains_since(records, 0).is_none() {
        return Vec::new();
    }
    let formed = records.iter().rev().find_map(|dated| match &dated.record {
        Record::GenerationFormed { formation, .. } => Some(formation),
        _ => None,
    });
    let members = formed.into_iter().flat_map(|formation| &formation.members);
    members.map(|member| member.slot.0).collect()
}

/// The generation that trains at the end of these records, if it has committed a step after `since`, lost no
/// member and was not given up.
#[must_use]
pub fn trains_since(records: &[Dated], since: i64) -> Option<u64> {
    let started = records
        .iter()
        .rposition(|dated| matches!(dated.record, Record::GenerationStarted { .. }))?;
    let Record::GenerationStarted { generation, .. } = &records[started].record else {
        return None;
    };
    let later = &records[started..];
    let over = later.iter().any(|dated| {
        matches!(
            dated.record,
            Record::GenerationAbandoned { .. }
                | Record::GenerationFormed { .. }
                | Record::WorkerLost { .. }
                | Record::Finished { .. }
                | Record::Failed { .. }
                | Record::Stopped
        )
    });
    let committed = later
        .iter()
        .any(|dated| dated.at > since && matches!(dated.record, Record::Committed { .. }));
    (committed && !over).then_some(generation.0)
}
