//! Ways in which a disk leaves a checkpoint after power was lost, or with age.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ulda_run::stage::Cursor;

const STATE: &str = "state.safetensors";
const MANIFEST: &str = "manifest.json";

/// The resume checkpoints in a folder, oldest first.
#[must_use]
pub fn checkpoints(folder: &Path) -> Vec<(Cursor, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(Cursor, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let (stage, step) = name.to_str()?.split_once('-')?;
            let cursor = Cursor {
                stage: stage.parse().ok()?,
                step: step.parse().ok()?,
            };
            Some((cursor, entry.path()))
        })
        .collect();
    found.sort();
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The state ends early.
    Cut,
    /// The state has its length, but its last blocks never reached the disk.
    Torn,
    FlippedBit,
    CutManifest,
    NoState,
    /// A flipped bit in a file that other checkpoints may share.
    FlippedPart,
    NoPart,
}

impl Damage {
    pub const ALL: [Self; 7] = [
        Self::Cut,
        Self::Torn,
        Self::FlippedBit,
        Self::CutManifest,
        Self::NoState,
        Self::FlippedPart,
        Self::NoPart,
    ];

    /// Does it to a checkpoint.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn inflict(self, checkpoint: &Path) -> io::Result<()> {
        let (state, manifest) = (checkpoint.join(STATE), checkpoint.join(MANIFEST));
        match self {
            Self::Cut => rewrite(&state, |bytes| bytes.truncate(bytes.len() / 2)),
            Self::Torn => rewrite(&state, |bytes| {
                let kept = bytes.len() * 3 / 4;
                bytes[kept..].fill(0);
            }),
            Self::FlippedBit => rewrite(&state, |bytes| flip(bytes)),
            Self::FlippedPart => rewrite(&newest_part(checkpoint)?, |bytes| flip(bytes)),
            Self::NoPart => fs::remove_file(newest_part(checkpoint)?),
            Self::CutManifest => rewrite(&manifest, |bytes| bytes.truncate(bytes.len() / 2)),
            Self::NoState => fs::remove_file(state),
        }
    }
}

/// The file of a checkpoint with the fewest names, which others share least; its state where it has no other.
fn newest_part(checkpoint: &Path) -> io::Result<PathBuf> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(checkpoint)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != STATE && name != MANIFEST {
            parts.push((entry.metadata()?.nlink(), name, entry.path()));
        }
    }
    parts.sort();
    let first = parts.into_iter().next();
    Ok(first.map_or_else(|| checkpoint.join(STATE), |(_, _, path)| path))
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
    let mut bytes = fs::read(path)?;
    change(&mut bytes);
    fs::write(path, bytes)
}
