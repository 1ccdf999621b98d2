//! The files of a credentials folder, and how secrets among them are read.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ulda_files::{MOST_CREDENTIAL_BYTES, read_file};

use crate::CredentialsError;

pub const TOKEN: &str = "token";
pub const AUTHORITY: &str = "ca.pem";
/// Signs certificates; only whoever makes them needs it.
pub const AUTHORITY_KEY: &str = "ca.key";
pub const COORDINATOR: &str = "coordinator.pem";
pub const COORDINATOR_KEY: &str = "coordinator.key";
pub const WORKER: &str = "worker.pem";
pub const WORKER_KEY: &str = "worker.key";

/// What a worker needs of a folder, such as for a Secret that workers mount.
pub const OF_WORKERS: [&str; 4] = [TOKEN, AUTHORITY, WORKER, WORKER_KEY];
/// What a coordinator needs of a folder.
pub const OF_COORDINATOR: [&str; 4] = [TOKEN, AUTHORITY, COORDINATOR, COORDINATOR_KEY];

/// Permission bits of users who are neither the owner nor of the group. A mounted Secret is the group's.
const OTHERS: u32 = 0o007;

pub(crate) fn exists(folder: &Path) -> Result<(), CredentialsError> {
    if folder.is_dir() {
        return Ok(());
    }
    Err(CredentialsError::NoFolder {
        path: folder.to_owned(),
    })
}

/// A file that others may read.
pub(crate) fn open(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    read_file(path, MOST_CREDENTIAL_BYTES).map_err(|source| unreadable(path, source))
}

/// A file that others must not be able to read.
pub(crate) fn secret(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(CredentialsError::Open {
            path: path.to_owned(),
            mode,
            remedy: "600",
        });
    }
    open(path)
}

fn unreadable(path: &Path, source: io::Error) -> CredentialsError {
    let path: PathBuf = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => CredentialsError::Missing { path },
        _ => CredentialsError::Unreadable { path, source },
    }
}
