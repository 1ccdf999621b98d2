//! One event file. TensorBoard reads the files of a folder in the order of their names, one after the other, so
//! every file of a run is named later than those before it, whatever the clock says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use super::event::{TensorBoardEvent, What};
use super::record::frame;

const PREFIX: &str = "events.out.tfevents.";

/// Why events cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{}`", path.display())]
pub struct EventFileError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A new file to append events to. Each batch is handed to the system as a whole, so that a coordinator that is
/// killed leaves whole records and at most one torn one at the end, which readers pass over.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
    pending: Vec<u8>,
}

impl EventFile {
    /// Creates the next file in `folder`, which is made if need be; `now` is seconds since 1970.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn create(folder: &Path, now: f64) -> Result<Self, EventFileError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| EventFileError { what, path, source }
        };
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let last = last_number(folder).map_err(failed("read", folder))?;
        let number = (now.max(0.0) as u64).max(last.map_or(0, |last| last + 1));
        let name = format!("{PREFIX}{number:010}.ulda.{}.0", std::process::id());
        let path = folder.join(name);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("create", &path))?;
        let mut events = Self {
            file,
            path,
            pending: Vec::new(),
        };
        events.note(&TensorBoardEvent {
            wall_time: now,
            step: 0,
            what: Some(What::FileVersion("brain.Event:2".into())),
        });
        events.write()?;
        Ok(events)
    }

    /// Remembers an event for the next [`EventFile::write`].
    pub fn note(&mut self, event: &TensorBoardEvent) {
        frame(&event.encode_to_vec(), &mut self.pending);
    }

    /// Bytes that are noted and not written.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Hands what is noted to the system.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&mut self) -> Result<(), EventFileError> {
        let written = self.file.write_all(&self.pending);
        self.pending.clear();
        written.map_err(|source| EventFileError {
            what: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// The number in the name of the newest event file.
fn last_number(folder: &Path) -> io::Result<Option<u64>> {
    let mut last = None;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok());
        last = last.max(number);
    }
    Ok(last)
}

/// Whether a folder holds event files.
#[must_use]
pub fn holds_events(folder: &Path) -> bool {
    last_number(folder).is_ok_and(|last| last.is_some())
}
