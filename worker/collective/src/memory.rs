//! Memory that another process of this host can read: an anonymous file, sealed at its size.
//!
//! Invariants: a file that was mapped never shrinks, so reading it cannot fault, whatever becomes of its maker; only
//! its maker's first mapping can write; nothing is touched beyond a mapping's bounds.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

/// How the file is called in `/proc`.
const NAME: &std::ffi::CStr = c"ulda-segment";
const LINK: &str = "/memfd:ulda-segment";
/// Its size stays, nobody maps it for writing any more, and both stay so.
const SEALS: libc::c_int =
    libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL;

/// A mapping; ends when dropped.
#[derive(Debug)]
pub(crate) struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to no thread; who may touch which part is up to the accesses below.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory of `bytes` bytes, to be written here only, and the file others open it by. Pages cost something
    /// once they are touched.
    pub fn create(bytes: usize) -> io::Result<(Memory, File)> {
        check_file_size_limit(bytes)?;
        let file = new_file()?;
        let descriptor = file.as_raw_fd();
        file.set_len(bytes as u64)?;
        let memory = Memory::map(&file, bytes, libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: the descriptor is open; the argument is a number.
        if unsafe { libc::fcntl(descriptor, libc::F_ADD_SEALS, SEALS) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((memory, file))
    }

    /// Gets the pages from `offset` on, so that writing there cannot fail; false where there are none to be had.
    /// Kernels before 5.14 cannot be asked, and there it is taken for granted.
    pub fn populate(&self, offset: usize, length: usize) -> bool {
        let place = self.place(offset, length);
        // SAFETY: the range is within the mapping; its content stays.
        let refused = unsafe { libc::madvise(place.as_ptr().cast(), length, libc::MADV_POPULATE_WRITE) != 0 };
        !refused || io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
    }

    /// The memory of `bytes` bytes that `process` made and holds as `descriptor`, to be read only.
    ///
    /// # Errors
    /// When that is no such memory as far as this process can see.
    pub fn open(process: u32, descriptor: u32, bytes: usize) -> io::Result<Memory> {
        let path = PathBuf::from(format!("/proc/{process}/fd/{descriptor}"));
        // Opening something else might do something.
        if !std::fs::read_link(&path)?.to_string_lossy().starts_with(LINK) {
            return Err(ErrorKind::NotFound.into());
        }
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
        // SAFETY: the descriptor is open.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 || seals & SEALS != SEALS || file.metadata()?.len() != bytes as u64 {
            return Err(ErrorKind::InvalidData.into());
        }
        Memory::map(&file, bytes, libc::PROT_READ)
    }

    fn map(file: &File, bytes: usize, protection: libc::c_int) -> io::Result<Memory> {
        // SAFETY: the kernel chooses the place, so nothing that is there is replaced; the descriptor is open.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(ErrorKind::OutOfMemory)?;
        Ok(Memory { start, bytes })
    }

    /// Where `length` bytes from `offset` on lie; panics beyond the end.
    fn place(&self, offset: usize, length: usize) -> NonNull<u8> {
        let fits = offset.checked_add(length).is_some_and(|end| end <= self.bytes);
        assert!(fits, "{length} bytes at {offset} of {}", self.bytes);
        // SAFETY: the offset is within the mapping.
        unsafe { self.start.add(offset) }
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Safety
    /// The mapping was made by [`create`](Memory::create), and no one reads or writes these bytes meanwhile.
    pub unsafe fn write(&self, offset: usize, bytes: &[u8]) {
        let place = self.place(offset, bytes.len());
        // SAFETY: `place` checked the bounds; the rest is the caller's promise.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// `length` bytes from `offset` on.
    ///
    /// # Safety
    /// No one writes these bytes, in any process, as long as the slice is in use.
    pub unsafe fn read(&self, offset: usize, length: usize) -> &[u8] {
        let place = self.place(offset, length);
        // SAFETY: `place` checked the bounds; the mapping lives as long as `self`; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(place.as_ptr(), length) }
    }

    /// The number at `offset`, which is only ever used as an atomic; where the mapping is read-only, only by relaxed
    /// loads.
    pub fn number(&self, offset: usize) -> &AtomicU32 {
        let place = self.place(offset, size_of::<AtomicU32>());
        assert!(offset.is_multiple_of(align_of::<AtomicU32>()), "offset {offset}");
        // SAFETY: bounds and alignment were checked (mappings begin at a page); the mapping lives as long as `self`.
        unsafe { place.cast().as_ref() }
    }
}

/// A memfd; never executable where the kernel knows of that, since some refuse others.
fn new_file() -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let made = [flags | libc::MFD_NOEXEC_SEAL, flags]
        .into_iter()
        .find_map(|flags| {
            // SAFETY: the name is a C string.
            let descriptor = unsafe { libc::memfd_create(NAME.as_ptr(), flags) };
            (descriptor >= 0).then_some(descriptor)
        });
    let descriptor = made.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Growing a file beyond the process's limit would not fail but end the process.
fn check_file_size_limit(bytes: usize) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a value that outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    match limit.rlim_cur < bytes as libc::rlim_t {
        true => Err(ErrorKind::FileTooLarge.into()),
        false => Ok(()),
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and whatever was lent of it borrows `self`. An error would mean that
        // it is not there.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mapped_cannot_shrink_or_be_written_by_others() {
        let (memory, file) = Memory::create(8192).unwrap();
        // SAFETY: nobody else knows of it.
        unsafe { memory.write(4096, b"seen") };
        assert!(file.set_len(4096).is_err() && file.set_len(16384).is_err());
        assert!(Memory::map(&file, 8192, libc::PROT_READ | libc::PROT_WRITE).is_err());
        let descriptor = file.as_raw_fd() as u32;
        let other = Memory::open(std::process::id(), descriptor, 8192).unwrap();
        drop((memory, file));
        // SAFETY: nobody is left who could write.
        assert_eq!(unsafe { other.read(4096, 4) }, b"seen");
    }

    #[test]
    fn other_files_are_not_opened() {
        let (_memory, file) = Memory::create(4096).unwrap();
        let descriptor = file.as_raw_fd() as u32;
        assert!(Memory::open(std::process::id(), descriptor, 8192).is_err());
        let plain = File::open("/dev/zero").unwrap();
        let error = Memory::open(std::process::id(), plain.as_raw_fd() as u32, 4096).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(Memory::open(u32::MAX, 0, 4096).is_err());
    }

    #[test]
    #[should_panic(expected = "8 bytes at 4090 of 4096")]
    fn bounds_are_checked() {
        let (memory, _file) = Memory::create(4096).unwrap();
        // SAFETY: it panics.
        unsafe { memory.write(4090, &[0; 8]) };
    }
}
