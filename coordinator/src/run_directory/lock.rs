//! `run.lock`: who serves a run.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| io_error("open", &path, source))?;
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
        let file = File::open(self.lock_file()).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => self.last_server(),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    /// The coordinator that served the run last.
    #[must_use]
    pub fn last_server(&self) -> Option<Server> {
        let mut text = String::new();
        File::open(self.lock_file())
            .ok()?
            .read_to_string(&mut text)
            .ok()?;
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
            let former = usize::try_from(self.file.metadata()?.len()).unwrap_or(0);
            self.file.rewind()?;
            self.file.write_all(format!("{text:<former$}").as_bytes())?;
            self.file.sync_all()
        };
        write().map_err(|source| io_error("write", &self.path, source))
    }
}
