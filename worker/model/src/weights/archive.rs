//! The zip archives that PyTorch writes. Tensors and pickles are stored in them as they are; only code is compressed.
//!
//! Nothing an archive says of itself is believed: entries lie within the file and beside each other, no two have the
//! same name, and what is read has the checksum that the directory gives.

use std::collections::BTreeMap;
use std::io::Read;

use rawzip::{CompressionMethod, FileReader, ZipArchive, ZipArchiveEntryWayfinder};

use crate::weights::source::CheckpointFile;
use crate::weights::{EntryProblem, WeightsError};

/// More entries than the archive of any checkpoint has: one for each tensor, two for each class of a model.
const MOST_ENTRIES: u64 = 100_000;

/// Directory of an archive.
pub struct StoredArchive<'a> {
    source: &'a CheckpointFile<'a>,
    zip: ZipArchive<FileReader>,
    entries: BTreeMap<String, ArchiveEntry>,
    /// The folder that all entries of interest are in.
    root: String,
}

struct ArchiveEntry {
    place: ZipArchiveEntryWayfinder,
    stored: bool,
}

impl<'a> StoredArchive<'a> {
    pub fn open(source: &'a CheckpointFile<'a>) -> Result<Self, WeightsError> {
        let file = source.file.try_clone().map_err(|error| WeightsError::Read {
            path: source.path.to_owned(),
            source: error,
        })?;
        let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
        let zip = ZipArchive::from_file(file, &mut buffer).map_err(|_| WeightsError::Truncated {
            path: source.path.to_owned(),
            what: "it starts as a zip archive but has no directory at its end",
        })?;
        let mut archive = Self {
            source,
            zip,
            entries: BTreeMap::new(),
            root: String::new(),
        };
        archive
            .read_directory(&mut buffer)
            .map_err(|(entry, problem)| archive.refuse(&entry, problem))?;
        Ok(archive)
    }

    fn read_directory(&mut self, buffer: &mut [u8]) -> Result<(), (String, EntryProblem)> {
        let directory = |problem| ("the directory".to_owned(), problem);
        let end = self.zip.directory_offset();
        let mut ranges = Vec::new();
        let mut records = self.zip.entries(buffer);
        while let Some(record) = records
            .next_entry()
            .map_err(|error| directory(EntryProblem::Malformed(error)))?
        {
            let name = record.file_path();
            let name = std::str::from_utf8(name.as_ref())
                .map_err(|_| {
                    (
                        String::from_utf8_lossy(name.as_ref()).into_owned(),
                        EntryProblem::NotUtf8,
                    )
                })?
                .to_owned();
            let place = record.wayfinder();
            let start = record.local_header_offset();
            let stored = record.compression_method() == CompressionMethod::STORE
                && record.compressed_size_hint() == record.uncompressed_size_hint();
            let local = self.zip.get_entry(place);
            let (_, stop) = match local {
                Ok(entry) => entry.compressed_data_range(),
                Err(error) => return Err((name, EntryProblem::Malformed(error))),
            };
            if stop > end {
                return Err((name, EntryProblem::OutOfFile));
            }
            ranges.push((start, stop));
            if self.entries.is_empty() {
                self.root = name
                    .split_once('/')
                    .map_or(String::new(), |(root, _)| root.to_owned());
            }
            if ranges.len() as u64 > MOST_ENTRIES {
                return Err(directory(EntryProblem::TooMany { most: MOST_ENTRIES }));
            }
            if self
                .entries
                .insert(name.clone(), ArchiveEntry { place, stored })
                .is_some()
            {
                return Err((name, EntryProblem::Twice));
            }
        }
        let (said, found) = (self.zip.entries_hint(), ranges.len() as u64);
        if said != found {
            return Err(directory(EntryProblem::Count { said, found }));
        }
        ranges.sort_unstable();
        if ranges.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            return Err(directory(EntryProblem::Overlap));
        }
        Ok(())
    }

    /// Whether `name` is in the archive's folder.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(&self.full_name(name))
    }

    /// The name of an entry of the archive's folder, as errors give it.
    pub fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// The bytes of `name` in the archive's folder, which has at most `most_bytes`.
    pub fn read(&self, name: &str, most_bytes: u64) -> Result<Vec<u8>, WeightsError> {
        let full = self.full_name(name);
        let Some(entry) = self.entries.get(&full) else {
            return Err(self.refuse(&full, EntryProblem::Missing));
        };
        if !entry.stored {
            return Err(self.refuse(&full, EntryProblem::Compressed));
        }
        let bytes = entry.place.compressed_size_hint();
        if bytes > most_bytes {
            return Err(self.refuse(&full, EntryProblem::TooLarge { bytes, most_bytes }));
        }
        let damaged = |source| WeightsError::Damaged {
            path: self.source.path.to_owned(),
            entry: full.clone(),
            source,
        };
        let located = self
            .zip
            .get_entry(entry.place)
            .map_err(|error| damaged(std::io::Error::other(error)))?;
        // The directory's check showed that so many are in the file.
        let mut content = Vec::with_capacity(bytes as usize);
        located
            .verifying_reader(located.reader())
            .read_to_end(&mut content)
            .map_err(damaged)?;
        Ok(content)
    }

    fn refuse(&self, entry: &str, problem: EntryProblem) -> WeightsError {
        WeightsError::Entry {
            path: self.source.path.to_owned(),
            entry: entry.to_owned(),
            problem,
        }
    }
}
