//! Tables of the journal, and how a connection to it is set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Grows when a table changes in a way that older readers would misread.
pub const FORMAT: i64 = 1;

/// Key of the fact that names the coordinator which may write.
pub const TERM_FACT: &str = "term";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS metrics (
    name TEXT NOT NULL, stage TEXT NOT NULL, step INTEGER NOT NULL, value REAL, at INTEGER NOT NULL,
    PRIMARY KEY (name, stage, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS phases (
    stage TEXT NOT NULL, slot INTEGER NOT NULL, name TEXT NOT NULL, amount REAL NOT NULL,
    PRIMARY KEY (stage, slot, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stages (
    stage TEXT PRIMARY KEY, seconds REAL NOT NULL, digest TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (
    path TEXT PRIMARY KEY, stage TEXT NOT NULL, step INTEGER NOT NULL, digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evaluations (
    model TEXT NOT NULL, set_name TEXT NOT NULL, stage TEXT NOT NULL, step INTEGER NOT NULL, images INTEGER NOT NULL,
    confusion TEXT NOT NULL, mean_iou REAL, seconds REAL NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (model, set_name, stage, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, level TEXT NOT NULL, slot INTEGER, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS processes (
    slot INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, process_id INTEGER NOT NULL, started_ticks INTEGER NOT NULL, at INTEGER NOT NULL);
";

/// Opens for writing, creating what is missing.
pub fn open_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format == 0 {
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "user_version", FORMAT)?;
    }
    Ok(connection)
}

/// Opens for reading while another process may write; falls back to a file nobody writes on a read-only disk.
pub fn open_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let open = |immutable: bool| -> rusqlite::Result<Connection> {
        let plain = path
            .to_string_lossy()
            .replace('%', "%25")
            .replace('?', "%3f")
            .replace('#', "%23");
        let address = format!(
            "file:{plain}?mode=ro{}",
            if immutable { "&immutable=1" } else { "" }
        );
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(address, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
        connection.query_row("SELECT count(*) FROM facts", [], |row| row.get::<_, i64>(0))?;
        Ok(connection)
    };
    open(false).or_else(|cause| match cause.sqlite_error_code() {
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) => open(true),
        _ => Err(cause),
    })
}

/// The format of an open journal.
pub fn format_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
