//! Unpacking of archives that came from elsewhere: nothing in them may reach outside of the folder they go into.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use flate2::read::{DeflateDecoder, MultiGzDecoder};
use rawzip::{CompressionMethod, ZipArchive};

use crate::StorageError;

/// What an archive's name says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Tar,
    TarGz,
    Zip,
}

impl Format {
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".tar") {
            Some(Self::Tar)
        } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
            Some(Self::TarGz)
        } else if name.ends_with(".zip") {
            Some(Self::Zip)
        } else {
            None
        }
    }
}

/// An archive may hold this many times its own size, and the bytes below besides. Images hardly shrink when packed.
const MOST_TIMES: u64 = 100;
const MOST_MORE_BYTES: u64 = 1 << 30;

/// Unpacks files and folders of `archive` into `folder`; `url` is what errors call it. Permissions, owners and
/// times in it are left alone.
///
/// # Errors
/// When it is damaged, holds anything but files and folders below itself, holds far more than its size promises, or the
/// disk is full.
pub(crate) fn unpack(archive: &Path, format: Format, url: &str, folder: &Path) -> Result<(), StorageError> {
    let file = ulda_files::open_file(archive).map_err(StorageError::disk("open", archive))?;
    let packed = file
        .metadata()
        .map_err(StorageError::disk("look at", archive))?
        .len();
    let most = packed.saturating_mul(MOST_TIMES).saturating_add(MOST_MORE_BYTES);
    let mut unpacking = Unpacking {
        url,
        folder,
        left: most,
    };
    match format {
        Format::Tar => unpacking.tar(BufReader::with_capacity(1 << 20, file)),
        Format::TarGz => unpacking.tar(MultiGzDecoder::new(BufReader::with_capacity(1 << 20, file))),
        Format::Zip => unpacking.zip(file),
    }
}

/// As [`unpack`], with the format that the archive's name says: for tests with bytes of their own.
///
/// # Errors
/// Those of `unpack`; a name of no format.
#[doc(hidden)]
pub fn unpack_named(archive: &Path, folder: &Path) -> Result<(), StorageError> {
    let url = archive.display().to_string();
    match Format::of(&url) {
        Some(format) => unpack(archive, format, &url, folder),
        None => Err(StorageError::Url { url }),
    }
}

struct Unpacking<'a> {
    url: &'a str,
    folder: &'a Path,
    /// Bytes that may still be written.
    left: u64,
}

impl Unpacking<'_> {
    fn tar(&mut self, bytes: impl Read) -> Result<(), StorageError> {
        // Names and padding count as well.
        let mut bytes = bytes.take(self.left);
        let unpacked = self.tar_entries(&mut bytes).and_then(|()| {
            // The checksum of what was compressed stands at its end.
            io::copy(&mut bytes, &mut io::sink()).map_err(|error| self.damaged(&error))
        });
        match bytes.limit() {
            0 => Err(self.too_large()),
            _ => unpacked.map(drop),
        }
    }

    fn tar_entries(&mut self, bytes: impl Read) -> Result<(), StorageError> {
        let mut archive = tar::Archive::new(bytes);
        for entry in archive.entries().map_err(|error| self.damaged(&error))? {
            let mut entry = entry.map_err(|error| self.damaged(&error))?;
            let name = entry.path().map_err(|error| self.damaged(&error))?.into_owned();
            let kind = entry.header().entry_type();
            match kind {
                tar::EntryType::Directory => self.make_folder(&name)?,
                tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                    self.write(&name, &mut entry)?;
                }
                tar::EntryType::XGlobalHeader | tar::EntryType::XHeader => {}
                _ => return Err(self.forbidden(&name, "is a link or a device")),
            }
        }
        Ok(())
    }

    fn zip(&mut self, file: File) -> Result<(), StorageError> {
        let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
        let archive = ZipArchive::from_file(file, &mut buffer).map_err(|error| self.damaged(&error))?;
        let mut entries = archive.entries(&mut buffer);
        let mut found = 0;
        while let Some(entry) = entries.next_entry().map_err(|error| self.damaged(&error))? {
            found += 1;
            let name = PathBuf::from(OsStr::from_bytes(entry.file_path().as_ref()));
            if entry.mode().is_symlink() {
                return Err(self.forbidden(&name, "is a link or a device"));
            }
            if entry.is_dir() {
                self.make_folder(&name)?;
                continue;
            }
            let packed = archive
                .get_entry(entry.wayfinder())
                .map_err(|error| self.damaged(&error))?;
            match entry.compression_method() {
                _ if entry.flags().is_encrypted() => return Err(self.forbidden(&name, "is encrypted")),
                CompressionMethod::STORE => {
                    self.write(&name, &mut packed.verifying_reader(packed.reader()))?;
                }
                CompressionMethod::DEFLATE => {
                    let bytes = DeflateDecoder::new(packed.reader());
                    self.write(&name, &mut packed.verifying_reader(bytes))?;
                }
                _ => return Err(self.forbidden(&name, "is neither stored nor deflated")),
            }
        }
        match archive.entries_hint() == found {
            true => Ok(()),
            false => Err(self.damaged(&io::Error::from(io::ErrorKind::UnexpectedEof))),
        }
    }

    fn target(&self, name: &Path) -> Result<PathBuf, StorageError> {
        let mut target = self.folder.to_owned();
        for component in name.components() {
            match component {
                Component::Normal(part) => target.push(part),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(self.forbidden(name, "points outside of it"));
                }
            }
        }
        Ok(target)
    }

    fn make_folder(&self, name: &Path) -> Result<(), StorageError> {
        let target = self.target(name)?;
        std::fs::create_dir_all(&target).map_err(StorageError::disk("create folder", target))
    }

    fn write(&mut self, name: &Path, bytes: &mut impl Read) -> Result<(), StorageError> {
        let target = self.target(name)?;
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(StorageError::disk("create folder", parent))?;
        }
        let mut file = File::create(&target).map_err(StorageError::disk("create", &target))?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = match bytes.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.damaged(&error)),
            };
            self.left = match self.left.checked_sub(read as u64) {
                Some(left) => left,
                None => return Err(self.too_large()),
            };
            io::Write::write_all(&mut file, &buffer[..read]).map_err(StorageError::disk("write", &target))?;
        }
    }

    fn too_large(&self) -> StorageError {
        StorageError::Content {
            url: self.url.to_owned(),
            what: format!("holds more than {MOST_TIMES} times its own size, as no archive of images does"),
            hint: "unpack it by hand if it is to be trusted, and name the folder",
        }
    }

    fn damaged(&self, error: &dyn std::error::Error) -> StorageError {
        StorageError::Content {
            url: self.url.to_owned(),
            what: format!("cannot be unpacked: {error}"),
            hint: "pack it again and upload it whole",
        }
    }

    fn forbidden(&self, name: &Path, what: &str) -> StorageError {
        StorageError::Content {
            url: self.url.to_owned(),
            what: format!("holds `{}`, which {what}", name.display()),
            hint: "pack plain files and folders only, with names below the archive's root",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_holds_far_more_than_its_size_is_refused() {
        let folder = tempfile::tempdir().expect("the temporary folder takes a folder");
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2000);
        header.set_cksum();
        archive
            .append_data(&mut header, "zeros", &[0; 2000][..])
            .expect("memory takes an entry");
        let bytes = archive.into_inner().expect("memory takes the end");
        let unpack = |left| {
            let mut unpacking = Unpacking {
                url: "s3://b/a.tar",
                folder: folder.path(),
                left,
            };
            unpacking.tar(&bytes[..])
        };
        assert!(unpack(bytes.len() as u64 + 1).is_ok());
        assert_eq!(
            unpack(bytes.len() as u64).expect_err("one byte more").to_string(),
            "`s3://b/a.tar` holds more than 100 times its own size, as no archive of images does"
        );
    }
}
