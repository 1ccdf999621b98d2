//! The one writer of a journal.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};
use ulda_run::hints;

use super::entry::JournalEntry;
use super::schema::{FORMAT, TERM_FACT, format_of, open_for_writing};
use super::wall_millis;
use crate::disk_space::DiskSpace;

/// Longest wait for one commit to reach the disk.
const COMMIT_DEADLINE: Duration = Duration::from_secs(60);

/// Why the journal cannot be used. After a failed write the coordinator stops: it must not speak of what is
/// not written down.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("open journal `{}`", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("journal `{}` has format {found}, this version reads {FORMAT}", path.display())]
    Format { path: PathBuf, found: i64 },
    #[error("`{}` is not a journal", path.display())]
    NotAJournal { path: PathBuf },
    #[error("open journal `{}`", path.display())]
    NotAFile { path: PathBuf, source: std::io::Error },
    #[error("no space left to write journal `{}`", path.display())]
    DiskFull { path: PathBuf },
    #[error("write journal `{}`", path.display())]
    Write { path: PathBuf, source: rusqlite::Error },
    #[error("read journal `{}`", path.display())]
    Read { path: PathBuf, source: rusqlite::Error },
    #[error("coordinator waited {} s for the journal `{}` to reach the disk", waited.as_secs(), path.display())]
    Late { path: PathBuf, waited: Duration },
    #[error("journal `{}` belongs to a coordinator of term {theirs}; this one has term {ours} and stops", path.display())]
    Superseded { path: PathBuf, ours: u64, theirs: u64 },
    #[error("the journal's thread ended before the coordinator")]
    Closed,
    #[error("start the journal's thread")]
    Spawn { source: std::io::Error },
}

hints!(pub JournalError {
    Self::Format { .. } => "use the version that wrote it",
    Self::NotAJournal { .. } | Self::NotAFile { .. } => "restore it, or remove the run directory",
    Self::DiskFull { .. } => "free some and continue with `coordinator resume`",
});

impl JournalError {
    /// What a failed write means; a full disk and a broken file are told apart.
    #[must_use]
    pub fn of_write(path: &Path, source: rusqlite::Error) -> Self {
        let full = wants_space(path, &source);
        let path = path.to_owned();
        match source.sqlite_error_code() {
            _ if full => Self::DiskFull { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::NotAJournal { path },
            _ => Self::Write { path, source },
        }
    }

    /// Whether the journal is sound, but what is said now could not be written down.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::DiskFull { .. } | Self::Write { .. } | Self::Late { .. } | Self::Closed => true,
            Self::Open { .. }
            | Self::Format { .. }
            | Self::Superseded { .. }
            | Self::NotAJournal { .. }
            | Self::NotAFile { .. }
            | Self::Read { .. }
            | Self::Spawn { .. } => false,
        }
    }

    /// Refuses what SQLite would open, or wait for, although it is no file.
    pub(super) fn of_special(path: &Path) -> Result<(), Self> {
        ulda_files::check_file(path, u64::MAX).map_err(|source| Self::NotAFile {
            path: path.to_owned(),
            source,
        })
    }

    pub(super) fn of_read(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::NotAJournal { path },
            _ => Self::Read { path, source },
        }
    }
}

/// The least space in which SQLite may find what it asks for: a few pages for its log and the log's index.
const LEAST_BYTES: u64 = 64 << 10;

/// Whether an error comes of a full disk. SQLite says so of its files, but not of the index of its log, nor of
/// a file it cannot create.
fn wants_space(path: &Path, error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
            let folder = path.parent().unwrap_or(path);
            DiskSpace::of(folder).is_some_and(|space| space.free_bytes < LEAST_BYTES)
        }
        _ => false,
    }
}

/// An entry and the moment at which it was noted, milliseconds since 1970.
#[derive(Debug)]
struct Noted {
    at: i64,
    entry: JournalEntry,
}

struct Batch {
    /// Number of the coordinator that writes; `None` while none has claimed the journal.
    term: Option<u64>,
    entries: Vec<Noted>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

/// The writing end. Entries are noted at once and reach the disk together with the next commit.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    term: Option<u64>,
    noted: Vec<Noted>,
    batches: Option<mpsc::Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens or creates the journal at `path`.
    ///
    /// # Errors
    /// The file is not a journal, is of another format, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        JournalError::of_special(path)?;
        let connection = open_for_writing(path).map_err(|source| match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => JournalError::NotAJournal {
                path: path.to_owned(),
            },
            _ if wants_space(path, &source) => JournalError::DiskFull {
                path: path.to_owned(),
            },
            _ => JournalError::Open {
                path: path.to_owned(),
                source,
            },
        })?;
        let found = format_of(&connection).map_err(|source| JournalError::of_read(path, source))?;
        if found != FORMAT {
            return Err(JournalError::Format {
                path: path.to_owned(),
                found,
            });
        }
        let (batches, inbox) = mpsc::channel(8);
        let owned = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_batches(connection, &owned, inbox))
            .map_err(|source| JournalError::Spawn { source })?;
        Ok(Self {
            path: path.to_owned(),
            term: None,
            noted: Vec::new(),
            batches: Some(batches),
            thread: Some(thread),
        })
    }

    /// From the next commit on the journal is that of the coordinator with this number; whoever has a lower one
    /// cannot write any more.
    pub fn claim(&mut self, term: u64) {
        self.term = Some(term);
    }

    /// Remembers an entry for the next commit.
    pub fn note(&mut self, entry: JournalEntry) {
        self.noted.push(Noted {
            at: wall_millis(),
            entry,
        });
    }

    #[must_use]
    pub fn has_notes(&self) -> bool {
        !self.noted.is_empty()
    }

    /// Puts all noted entries on disk in one transaction. Returns when they are there.
    ///
    /// # Errors
    /// They are not: the process must stop.
    pub async fn commit(&mut self) -> Result<(), JournalError> {
        if self.noted.is_empty() {
            return Ok(());
        }
        let (done, written) = oneshot::channel();
        let batch = Batch {
            term: self.term,
            entries: std::mem::take(&mut self.noted),
            done,
        };
        let batches = self.batches.as_ref().ok_or(JournalError::Closed)?;
        let wait = async {
            batches.send(batch).await.map_err(|_| JournalError::Closed)?;
            written.await.map_err(|_| JournalError::Closed)?
        };
        tokio::time::timeout(COMMIT_DEADLINE, wait)
            .await
            .map_err(|_| JournalError::Late {
                path: self.path.clone(),
                waited: COMMIT_DEADLINE,
            })?
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // The thread ends as soon as its inbox closes; it never panics over an entry.
            let _ = thread.join();
        }
    }
}

fn write_batches(mut connection: Connection, path: &Path, mut inbox: mpsc::Receiver<Batch>) {
    while let Some(batch) = inbox.blocking_recv() {
        let written = write_batch(&mut connection, &batch).map_err(|problem| match problem {
            Unwritten::Sqlite(source) => JournalError::of_write(path, source),
            Unwritten::Superseded { ours, theirs } => JournalError::Superseded {
                path: path.to_owned(),
                ours,
                theirs,
            },
        });
        // A coordinator that no longer waits has nothing to learn from the answer.
        let _ = batch.done.send(written);
    }
    // Leaves a journal that opens on a read-only disk; a failure costs nothing but that.
    let _ = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE");
}

/// Why a batch is not on disk.
enum Unwritten {
    Sqlite(rusqlite::Error),
    Superseded { ours: u64, theirs: u64 },
}

impl From<rusqlite::Error> for Unwritten {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn write_batch(connection: &mut Connection, batch: &Batch) -> Result<(), Unwritten> {
    // Nobody else writes between the look at the term and the commit.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(ours) = batch.term {
        claim(&transaction, ours)?;
    }
    for Noted { at, entry } in &batch.entries {
        write_entry(&transaction, entry, *at)?;
    }
    Ok(transaction.commit()?)
}

fn claim(transaction: &Transaction<'_>, ours: u64) -> Result<(), Unwritten> {
    let stored: Option<String> = transaction
        .prepare_cached("SELECT value FROM facts WHERE key = ?")?
        .query_row([TERM_FACT], |row| row.get(0))
        .optional()?;
    let theirs = stored.and_then(|stored| stored.parse().ok()).unwrap_or(0);
    if theirs > ours {
        return Err(Unwritten::Superseded { ours, theirs });
    }
    if theirs < ours {
        let value = ours.to_string();
        write_entry(
            transaction,
            &JournalEntry::Fact {
                key: TERM_FACT.into(),
                value,
            },
            0,
        )?;
    }
    Ok(())
}

fn write_entry(transaction: &Transaction<'_>, entry: &JournalEntry, at: i64) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        transaction.prepare_cached(sql)?.execute(values).map(|_| ())
    };
    match entry {
        JournalEntry::Record { json } => {
            run("INSERT INTO records (at, json) VALUES (?, ?)", params![at, json])
        }
        JournalEntry::Metric { place, name, value } => run(
            "INSERT OR REPLACE INTO metrics (name, stage, step, value, at) VALUES (?, ?, ?, ?, ?)",
            params![name, place.stage.name(), signed(place.step), finite(*value), at],
        ),
        JournalEntry::Phase {
            stage,
            slot,
            name,
            amount,
        } => run(
            "INSERT INTO phases (stage, slot, name, amount) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
            params![stage.name(), slot, name, finite(*amount).unwrap_or(0.0)],
        ),
        JournalEntry::Checkpoint {
            path,
            place,
            digest,
            size_bytes,
        } => run(
            "INSERT OR REPLACE INTO checkpoints (path, stage, step, digest, size_bytes, at) VALUES (?, ?, ?, ?, ?, ?)",
            params![
                path,
                place.stage.name(),
                signed(place.step),
                digest,
                signed(*size_bytes),
                at
            ],
        ),
        JournalEntry::Evaluation {
            model,
            set,
            place,
            images,
            confusion,
            seconds,
        } => {
            let mean = confusion.scores().mean_iou;
            let confusion = serde_json::to_string(confusion).unwrap_or_default();
            run(
                "INSERT OR REPLACE INTO evaluations
                 (model, set_name, stage, step, images, confusion, mean_iou, seconds, at)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    model,
                    set.as_str(),
                    place.stage.name(),
                    signed(place.step),
                    signed(*images),
                    confusion,
                    mean,
                    seconds,
                    at
                ],
            )
        }
        JournalEntry::StageDone {
            stage,
            seconds,
            digest,
        } => run(
            "INSERT OR REPLACE INTO stages (stage, seconds, digest, at) VALUES (?, ?, ?, ?)",
            params![stage.name(), seconds, digest, at],
        ),
        JournalEntry::Event { level, slot, text } => run(
            "INSERT INTO events (at, level, slot, text) VALUES (?, ?, ?, ?)",
            params![at, level.name(), slot, text],
        ),
        JournalEntry::Process {
            slot,
            attempt,
            process_id,
            started_ticks,
        } => run(
            "INSERT OR REPLACE INTO processes (slot, attempt, process_id, started_ticks, at) VALUES (?, ?, ?, ?, ?)",
            params![slot, attempt, process_id, signed(*started_ticks), at],
        ),
        JournalEntry::ProcessGone { slot } => run("DELETE FROM processes WHERE slot = ?", params![slot]),
        JournalEntry::Fact { key, value } => run(
            "INSERT OR REPLACE INTO facts (key, value) VALUES (?, ?)",
            params![key, value],
        ),
    }
}

/// SQLite's integers are signed; no count here comes near their end.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// SQLite has no NaN: a loss that is not finite is kept as NULL and shown as such.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
