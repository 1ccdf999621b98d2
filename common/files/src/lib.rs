//! How the programs open a file whose path somebody gave, or whose folder others can write into.
//!
//! Invariants: nothing here waits, whatever the path leads to, so that a pipe without a writer is an error and no hang;
//! pipes, devices and folders are refused; a whole file is read only up to a limit that its reader names, also when it
//! grows meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// A text that people write by hand, such as a run.toml.
pub const MOST_CONFIGURATION_BYTES: u64 = 4 << 20;
/// A text that programs write, such as a manifest or a list of all images of a data set.
pub const MOST_TEXT_BYTES: u64 = 64 << 20;
/// A token, a key or a bundle of certificates.
pub const MOST_CREDENTIAL_BYTES: u64 = 16 << 20;
/// An image as it lies on disk; the images that fit are limited in pixels besides.
pub const MOST_IMAGE_BYTES: u64 = 1 << 30;

/// Why a path is not read although it can be opened. It is the cause within an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileRefusal {
    #[error("it is a folder, not a file")]
    Folder,
    #[error("it is a pipe, not a file")]
    Pipe,
    #[error("it is a device, not a file")]
    Device,
    #[error("it has {bytes} bytes, and at most {most} are read")]
    TooLarge { bytes: u64, most: u64 },
}

impl FileRefusal {
    /// The refusal within an error of one of the functions below.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<FileRefusal> for io::Error {
    fn from(refusal: FileRefusal) -> Self {
        let kind = match refusal {
            FileRefusal::Folder => io::ErrorKind::IsADirectory,
            FileRefusal::Pipe | FileRefusal::Device => io::ErrorKind::InvalidInput,
            FileRefusal::TooLarge { .. } => io::ErrorKind::FileTooLarge,
        };
        Self::new(kind, refusal)
    }
}

/// Opens a file to read it.
///
/// # Errors
/// It is not there, cannot be opened, or is no regular file.
pub fn open_file(path: &Path) -> io::Result<File> {
    open_as(path, OpenOptions::new().read(true))
}

/// Creates a file, or empties the one that is there, to write it.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn create_file(path: &Path) -> io::Result<File> {
    open_as(path, OpenOptions::new().write(true).create(true).truncate(true))
}

/// Opens a file to write behind its end; creates it where it is not there.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn append_to(path: &Path) -> io::Result<File> {
    open_as(path, OpenOptions::new().append(true).create(true))
}

/// Opens a file to read and write it; creates it where it is not there, and leaves what it holds.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    open_as(path, options.read(true).write(true).create(true).truncate(false))
}

/// Refuses what is there and is no regular file of at most `most` bytes, for libraries that open it themselves.
///
/// # Errors
/// As said. Where nothing is, there is no error.
pub fn check_file(path: &Path, most: u64) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) => match refusal_of(&meta) {
            Some(refusal) => Err(refusal.into()),
            None => check_length(meta.len(), most),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads a whole file of at most `most` bytes.
///
/// # Errors
/// Those of [`open_file`], of reading, or it is larger.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_file(path)?;
    let length = file.metadata()?.len();
    check_length(length, most)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    // It may have grown, and files of the kernel say that they are empty.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    check_length(bytes.len() as u64, most)?;
    Ok(bytes)
}

/// Reads a whole text of at most `most` bytes.
///
/// # Errors
/// Those of [`read_file`]; or `InvalidData`, where it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let bytes = read_file(path, most)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Without waiting for the other end of a pipe, and without getting a terminal to obey.
fn open_as(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        // Writing into a pipe that nobody reads, or a folder: the system refuses before anyone can look.
        Some(libc::ENXIO | libc::EISDIR) => check_file(path, u64::MAX).err().unwrap_or(error),
        _ => error,
    })?;
    match refusal_of(&file.metadata()?) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(file),
    }
}

fn check_length(bytes: u64, most: u64) -> io::Result<()> {
    match bytes > most {
        true => Err(FileRefusal::TooLarge { bytes, most }.into()),
        false => Ok(()),
    }
}

fn refusal_of(meta: &std::fs::Metadata) -> Option<FileRefusal> {
    let kind = meta.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some(FileRefusal::Folder),
        () if kind.is_fifo() || kind.is_socket() => Some(FileRefusal::Pipe),
        () => Some(FileRefusal::Device),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs;

    use super::*;

    const MOST: u64 = 10;

    fn told(path: &Path) -> String {
        read_file(path, MOST).expect_err("it is refused").to_string()
    }

    #[test]
    fn a_file_within_the_limit_is_read_and_what_is_none_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("the temporary folder takes a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("whole"), [7; 10]).expect("a file");
        assert_eq!(read_file(&path("whole"), MOST).ok(), Some(vec![7; 10]));
        fs::write(path("large"), [7; 11]).expect("a file");
        assert_eq!(told(&path("large")), "it has 11 bytes, and at most 10 are read");
        assert_eq!(told(folder.path()), "it is a folder, not a file");
        assert_eq!(told(Path::new("/dev/zero")), "it is a device, not a file");
        let pipe = path("pipe");
        let name = CString::new(pipe.to_str().expect("a plain path")).expect("no NUL");
        // SAFETY: the name lives for the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert_eq!(told(&pipe), "it is a pipe, not a file");
        for refused in [create_file(&pipe), append_to(&pipe), open_or_create(&pipe)] {
            let refused = refused.expect_err("nobody reads it");
            assert_eq!(FileRefusal::of(&refused), Some(FileRefusal::Pipe));
        }
        std::os::unix::fs::symlink("loop", path("loop")).expect("a link");
        assert!(
            told(&path("loop")).contains("symbolic link"),
            "{}",
            told(&path("loop"))
        );
        let absent = read_file(&path("absent"), MOST).map_err(|error| error.kind());
        assert_eq!(absent, Err(io::ErrorKind::NotFound));
        assert!(check_file(&path("absent"), MOST).is_ok());
        assert!(check_file(&path("whole"), MOST).is_ok());
        assert!(check_file(&path("large"), MOST).is_err() && check_file(&pipe, MOST).is_err());
    }

    #[test]
    fn a_file_that_says_it_is_empty_is_read_and_still_limited() {
        // The kernel's files have a length of 0 and hold something all the same.
        let own = Path::new("/proc/self/status");
        let whole = read_text(own, MOST_TEXT_BYTES).expect("a process may read its own");
        assert!(whole.starts_with("Name:"));
        assert_eq!(told(own), "it has 11 bytes, and at most 10 are read");
    }

    #[test]
    fn what_is_opened_to_write_keeps_what_it_holds() {
        let folder = tempfile::tempdir().expect("the temporary folder takes a folder");
        let path = folder.path().join("log");
        for _ in 0..2 {
            let mut file = append_to(&path).expect("it is created, then there");
            io::Write::write_all(&mut file, b"line\n").expect("the disk takes it");
        }
        open_or_create(&path).expect("it is there");
        assert_eq!(fs::read_to_string(&path).expect("a text"), "line\nline\n");
    }
}
