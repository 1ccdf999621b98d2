//! A small disk that can be filled: a tmpfs over a run's directory, or over its checkpoints.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::ChaosError;

/// Holds what a run keeps, and little more.
const SIZE: &str = "size=64m";
const FILLER: &str = ".filler";

/// Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

/// Whether this process may mount.
#[must_use]
pub fn can_mount() -> bool {
    let Ok(folder) = tempfile::tempdir() else {
        return false;
    };
    SmallDisk::mount(folder.path()).is_ok()
}

fn c_path(path: &Path) -> std::io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

impl SmallDisk {
    /// Mounts an empty small disk over the folder.
    ///
    /// # Errors
    /// This process may not.
    pub fn mount(folder: &Path) -> Result<Self, ChaosError> {
        let mount = || -> std::io::Result<()> {
            let (target, options) = (c_path(folder)?, CString::new(SIZE)?);
            // SAFETY: all pointers are to strings that live until the call is over.
            let done = unsafe {
                libc::mount(
                    c"tmpfs".as_ptr(),
                    target.as_ptr(),
                    c"tmpfs".as_ptr(),
                    0,
                    options.as_ptr().cast(),
                )
            };
            if done == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        };
        mount().map_err(ChaosError::io("mount a tmpfs over", folder))?;
        Ok(Self {
            path: folder.to_owned(),
        })
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let Ok(mut file) = fs::File::create(self.path.join(FILLER)) else {
            return;
        };
        let block = vec![1; 64 * 1024];
        // Ends when the disk is full.
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    pub fn free(&self) {
        // Gone already is as good.
        let _ = fs::remove_file(self.path.join(FILLER));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Ok(target) = c_path(&self.path) {
            // SAFETY: the pointer is to a string that lives until the call is over.
            unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        }
    }
}
