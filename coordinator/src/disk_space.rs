//! How much room a disk has.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Of the file system that holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// For this user, quotas of root's reserve left out.
    pub free_bytes: u64,
    pub size_bytes: u64,
}

impl DiskSpace {
    /// `None` where the file system does not say. May wait for a disk over a network.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let path = CString::new(path.as_os_str().as_bytes()).ok()?;
        // SAFETY: statvfs is plain data for which all zeroes is a valid value.
        let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the path is a valid C string and `stat` is writable for the call's duration.
        let status = unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) };
        (status == 0).then(|| Self {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            size_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_a_size_and_no_more_free_than_that() {
        let space = DiskSpace::of(Path::new("/")).unwrap();
        assert!(space.free_bytes <= space.size_bytes && space.size_bytes > 0);
        assert_eq!(DiskSpace::of(Path::new("/no such folder")), None);
    }
}
