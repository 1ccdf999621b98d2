//! Appends what workers of other hosts send. Files are bounded: a full one becomes `….log.1`, in place of an
//! older one. Invariant: a batch that is sent again, because its answer was lost, is written once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ulda_run::ids::{Slot, WorkerId};

use crate::run_directory::RunDirectory;

/// A file that is larger is put aside.
const FULL_BYTES: u64 = 64 << 20;
/// Longer lines are cut.
const LINE_BYTES: usize = 64 << 10;

/// Why lines cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("append to worker log `{}`", path.display())]
pub struct KeepError {
    path: PathBuf,
    source: io::Error,
}

/// Lines of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBatch {
    pub worker: WorkerId,
    pub slot: Slot,
    /// Grows by one with each batch of a worker, from 1.
    pub number: u64,
    pub lines: Vec<String>,
    /// Lines that the worker could not keep since its last batch.
    pub dropped: u64,
}

/// Writes into the log files of one run.
#[derive(Debug)]
pub struct LogKeeper {
    directory: RunDirectory,
    full_bytes: u64,
    /// The newest batch of each worker.
    written: Mutex<BTreeMap<WorkerId, u64>>,
}

impl LogKeeper {
    #[must_use]
    pub fn new(directory: RunDirectory) -> Self {
        Self {
            directory,
            full_bytes: FULL_BYTES,
            written: Mutex::default(),
        }
    }

    /// Appends a batch. Waits for the disk, so not for async threads.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep(&self, batch: &LogBatch) -> Result<(), KeepError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written
            .get(&batch.worker)
            .is_some_and(|number| *number >= batch.number)
        {
            return Ok(());
        }
        let path = self.directory.worker_log(batch.slot.0);
        let appended = self.append(&path, &text_of(batch));
        appended.map_err(|source| KeepError { path, source })?;
        written.insert(batch.worker, batch.number);
        Ok(())
    }

    fn append(&self, path: &PathBuf, text: &str) -> io::Result<()> {
        let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
        if length > self.full_bytes {
            fs::rename(path, path.with_extension("log.1"))?;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        ulda_files::append_to(path)?.write_all(text.as_bytes())
    }
}

fn text_of(batch: &LogBatch) -> String {
    let mut text = String::new();
    if batch.dropped > 0 {
        let dropped = batch.dropped;
        let note = serde_json::json!({
            "level": "WARN",
            "message": "log lines of this worker were left out: it wrote more than could be sent",
            "lines": dropped,
        });
        text.push_str(&format!("{note}\n"));
    }
    for line in &batch.lines {
        let end = line.floor_char_boundary(LINE_BYTES);
        text.push_str(&line[..end].replace(['\n', '\r'], " "));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, lines: &[&str], dropped: u64) -> LogBatch {
        LogBatch {
            worker: WorkerId(7),
            slot: Slot(2),
            number,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            dropped,
        }
    }

    #[test]
    fn a_batch_is_written_once_and_a_full_file_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RunDirectory::at(folder.path());
        let keeper = LogKeeper {
            full_bytes: 8,
            ..LogKeeper::new(directory.clone())
        };
        let file = directory.worker_log(2);
        keeper.keep(&batch(1, &["one", "t\nwo"], 0)).unwrap();
        keeper.keep(&batch(1, &["one", "t\nwo"], 0)).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\nt wo\n");
        keeper.keep(&batch(2, &["three"], 5)).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("\"lines\":5") && text.ends_with("}\nthree\n"),
            "{text}"
        );
        let aside = file.with_extension("log.1");
        assert_eq!(fs::read_to_string(aside).unwrap(), "one\nt wo\n");
        let long = "ä".repeat(LINE_BYTES);
        keeper.keep(&batch(3, &[&long], 0)).unwrap();
        assert!(fs::read_to_string(&file).unwrap().len() <= LINE_BYTES + 1);
    }
}
