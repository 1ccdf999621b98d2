//! Whether a journal is consistent: its records can be those of one run, and every coordinator took up
//! exactly what the records before it say.

use ulda_machine::{Flaw, Record, Resume, TakenUp, audit};
use ulda_run::hints;

use super::reader::JournalReader;
use super::writer::JournalError;

/// Why a journal cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    #[error(transparent)]
    Read(#[from] JournalError),
    #[error("record {record} is no record: {reason}")]
    Unknown { record: usize, reason: String },
    #[error(transparent)]
    Flaw(#[from] Flaw),
    #[error("the coordinator of term {term} took up something else than the journal before it says")]
    TakenUp { term: u64 },
}

hints!(pub Unsound {
    Self::TakenUp { .. } => "did two coordinators write it at the same time, or was it restored from a copy?",
    Self::Read(error) => error.hint(),
});

/// What was found in a sound journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    pub records: usize,
    pub coordinators: usize,
}

/// The fact under which a coordinator notes what it took up.
#[must_use]
pub fn taken_up_fact(term: u64) -> String {
    format!("taken up in term {term}")
}

/// A digest of what a coordinator takes up; `None` is a new run.
#[must_use]
pub fn taken_up_digest(resume: Option<&Resume>) -> String {
    let json = serde_json::to_vec(&resume).expect("a resume is plain values");
    blake3::hash(&json).to_hex().to_string()
}

/// Reads the whole journal and folds it anew at every place where a coordinator took it up.
///
/// # Errors
/// It cannot be read, or something in it cannot be.
pub fn audit_journal(journal: &JournalReader) -> Result<Sound, Unsound> {
    let rows = journal.records()?;
    let mut records: Vec<Record> = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let record = index + 1;
        let read: Record = serde_json::from_str(&row.json).map_err(|error| Unsound::Unknown {
            record,
            reason: error.to_string(),
        })?;
        records.push(read);
    }
    let facts = journal.facts()?;
    let taken = audit(&records)?;
    for TakenUp { term, from } in &taken {
        // Noted before the record of the term is, by every coordinator that notes it at all.
        let noted = facts.get(&taken_up_fact(*term));
        if noted.is_some_and(|noted| *noted != taken_up_digest(from.as_ref())) {
            return Err(Unsound::TakenUp { term: *term });
        }
    }
    Ok(Sound {
        records: records.len(),
        coordinators: taken.len(),
    })
}
