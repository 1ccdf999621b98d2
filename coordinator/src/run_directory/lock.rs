//! `run.lock`: who serves a run.

use std::fs::{File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use ulda_files::MOST_CONFIGURATION_BYTES;

use super::{RunDirectory, RunDirectoryError, io_error};

/// Who serves a run, as written into `run.lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub process_id: u32,
    /// host:port of the control plane.
    pub address: String,
    /// Whether it is dialled with TLS.
    #[serde(default)]
    pub tls: bool,
    /// URL of the status page.
    #[serde(default)]
    pub page: Option<String>,
}

/// A former announcement has a process id, an address and a URL.
const MOST_FORMER_BYTES: u64 = 16 << 10;

/// The lock on a run; released when dropped.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    path: PathBuf,
}

impl Server {
    /// What a worker dials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }
}

impl RunDirectory {
    /// Takes the run for this process.
    ///
    /// # Errors
    /// Another coordinator serves it.
    pub fn lock(&self) -> Result<RunLock, RunDirectoryError> {
        let path = self.lock_file();
        let file = ulda_files::open_or_create(&path).map_err(|source| io_error("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(RunLock { file, path }),
            Err(TryLockError::WouldBlock) => Err(RunDirectoryError::Served {
                path: self.root.clone(),
                server: self.last_server(),
            }),
            Err(TryLockError::Error(source)) => Err(io_error("lock", &path, source)),
        }
    }

    /// The coordinator that serves the run now, if one does.
    #[must_use]
    pub fn server(&self) -> Option<Server> {
        let file = ulda_files::open_file(&self.lock_file()).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => self.last_server(),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    /// The coordinator that served the run last.
    #[must_use]
    pub fn last_server(&self) -> Option<Server> {
        let text = ulda_files::read_text(&self.lock_file(), MOST_CONFIGURATION_BYTES).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl RunLock {
    /// Tells readers of the run directory who serves it. Written over what is there, so that a full disk is
    /// asked for nothing and the former address is not lost to it; spaces stand for what was longer.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn announce(&mut self, server: &Server) -> Result<(), RunDirectoryError> {
        let text = serde_json::to_string(server).expect("plain fields have a JSON form");
        let mut write = || -> io::Result<()> {
            let mut former = self.file.metadata()?.len();
            if former > MOST_FORMER_BYTES {
                // No announcement is that long.
                self.file.set_len(0)?;
                former = 0;
            }
            let former = usize::try_from(former).unwrap_or(0);
            self.file.rewind()?;
            self.file.write_all(format!("{text:<former$}").as_bytes())?;
            self.file.sync_all()
        };
        write().map_err(|source| io_error("write", &self.path, source))
    }
}
