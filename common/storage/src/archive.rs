//! Unpacking of archives that came from elsewhere: nothing in them may reach outside of the folder they go into.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

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

/// Unpacks files and folders of `archive` into `folder`; `url` is what errors call it. Permissions, owners and
/// times in it are left alone.
///
/// # Errors
/// When it is damaged, holds anything but files and folders below itself, or the disk is full.
pub(crate) fn unpack(archive: &Path, format: Format, url: &str, folder: &Path) -> Result<(), StorageError> {
    let file = File::open(archive).map_err(StorageError::disk("open", archive))?;
    let unpacking = Unpacking { url, folder };
    match format {
        Format::Tar => unpacking.tar(BufReader::with_capacity(1 << 20, file)),
        Format::TarGz => unpacking.tar(MultiGzDecoder::new(BufReader::with_capacity(1 << 20, file))),
        Format::Zip => unpacking.zip(BufReader::new(file)),
    }
}

struct Unpacking<'a> {
    url: &'a str,
    folder: &'a Path,
}

impl Unpacking<'_> {
    fn tar(&self, mut bytes: impl Read) -> Result<(), StorageError> {
        self.tar_entries(&mut bytes)?;
        // The checksum of what was compressed stands at its end.
        io::copy(&mut bytes, &mut io::sink()).map_err(|error| self.damaged(&error))?;
        Ok(())
    }

    fn tar_entries(&self, bytes: impl Read) -> Result<(), StorageError> {
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

    fn zip(&self, bytes: BufReader<File>) -> Result<(), StorageError> {
        let mut archive = zip::ZipArchive::new(bytes).map_err(|error| self.damaged(&error))?;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(|error| self.damaged(&error))?;
            let name = PathBuf::from(entry.name());
            if entry.is_symlink() {
                return Err(self.forbidden(&name, "is a link or a device"));
            }
            if entry.is_dir() {
                self.make_folder(&name)?;
            } else {
                self.write(&name, &mut entry)?;
            }
        }
        Ok(())
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

    fn write(&self, name: &Path, bytes: &mut impl Read) -> Result<(), StorageError> {
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
            io::Write::write_all(&mut file, &buffer[..read]).map_err(StorageError::disk("write", &target))?;
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
