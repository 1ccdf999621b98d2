//! Pickles and archives put together by hand, as no honest program writes them.

#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};

pub use ulda_model::pickle::write::*;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// A float32 tensor of one dimension.
pub fn row(key: &str, count: i64) -> Vec<u8> {
    tensor(storage("FloatStorage", key, count), 0, &[count], &[1])
}

/// A zip archive; entries are stored as they are.
pub fn archive(folder: &Path, name: &str, entries: &[(&str, &[u8])]) -> PathBuf {
    let all: Vec<_> = entries
        .iter()
        .map(|(name, bytes)| (*name, *bytes, CompressionMethod::Stored))
        .collect();
    archive_with(folder, name, &all)
}

pub fn archive_with(folder: &Path, name: &str, entries: &[(&str, &[u8], CompressionMethod)]) -> PathBuf {
    let path = folder.join(name);
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, bytes, method) in entries {
        let options = SimpleFileOptions::default().compression_method(*method);
        zip.start_file(format!("a/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path
}

/// An archive of a state dictionary whose storage `0` holds eight float32 numbers, 0 to 7.
pub fn state_archive(folder: &Path, name: &str, state: &[u8]) -> PathBuf {
    archive(
        folder,
        name,
        &[("data.pkl", &pickle(state)), ("data/0", &eight())],
    )
}

pub fn eight() -> Vec<u8> {
    (0..8).flat_map(|number| (number as f32).to_le_bytes()).collect()
}
