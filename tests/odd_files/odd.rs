//! What a path can lead to instead of the file that is meant.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// More than a checkpoint may have, which may have the most.
const HUGE_BYTES: u64 = (8 << 30) + 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Odd {
    /// A pipe that nobody writes into or reads.
    Pipe,
    /// A device that never ends: `/dev/zero`.
    Endless,
    /// 8 GiB that take no room on the disk.
    Hole,
    /// The file that is meant, and such a hole behind it.
    Grown,
    Folder,
    Missing,
    /// A link to itself.
    Loop,
    /// A file that this user may not read.
    Closed,
}

impl Odd {
    /// What hangs a reader, and what fills its memory, where it does not look first.
    pub const IN_THE_GATE: [Self; 2] = [Self::Pipe, Self::Grown];
    pub const OTHERS: [Self; 6] = [
        Self::Endless,
        Self::Hole,
        Self::Folder,
        Self::Missing,
        Self::Loop,
        Self::Closed,
    ];

    /// Whether it can be tried: nothing is closed to root.
    pub fn is_possible(self) -> bool {
        // SAFETY: the call takes nothing and never fails.
        self != Self::Closed || unsafe { libc::geteuid() } != 0
    }

    /// Puts it in the place of what is at `path`.
    pub fn put(self, path: &Path) {
        let grows = matches!(self, Self::Grown | Self::Closed) && path.is_file();
        if !grows {
            match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
                Ok(_) => fs::remove_file(path).unwrap(),
                Err(_) => fs::create_dir_all(path.parent().unwrap()).unwrap(),
            }
        }
        let opened = || File::options().create(true).append(true).open(path).unwrap();
        match self {
            Self::Pipe => {
                let name = CString::new(path.as_os_str().as_bytes()).unwrap();
                // SAFETY: the name lives for the call.
                assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
            }
            Self::Endless => symlink("/dev/zero", path).unwrap(),
            Self::Hole | Self::Grown => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))
                    .or_else(|_| opened().set_permissions(fs::Permissions::from_mode(0o600)))
                    .unwrap();
                opened().set_len(HUGE_BYTES).unwrap();
            }
            Self::Folder => fs::create_dir(path).unwrap(),
            Self::Missing => {}
            Self::Loop => symlink(path.file_name().unwrap(), path).unwrap(),
            Self::Closed => opened()
                .set_permissions(fs::Permissions::from_mode(0o000))
                .unwrap(),
        }
    }
}
