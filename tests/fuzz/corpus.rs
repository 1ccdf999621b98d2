//! Everything that was worth keeping goes through its target again, and a few thousand neighbours of it.
//!
//! `ULDA_WRITE_SNAPSHOTS=1` writes the seeds, which are made by the project's own writers, into the corpus.

#![allow(clippy::unwrap_used, reason = "a test whose corpus cannot be read has failed")]

mod seeds;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ulda_fuzz::TARGETS;

/// Of one input; a machine that is busy with other things takes long for short work.
const MOST: Duration = Duration::from_secs(20);
/// Neighbours per target.
const NEIGHBOURS: u64 = 400;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

/// The inputs of a target with their names, in order of name.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder(target)).unwrap();
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// A random source that gives the same numbers everywhere (splitmix64).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// `bytes`, cut, repeated in parts, or with a few of them changed.
fn neighbour(bytes: &[u8], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=draws.below(4) {
        let at = draws.below(bytes.len());
        match draws.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..),
            2 => bytes.splice(at..at, [0xff; 8]).for_each(drop),
            _ if bytes.is_empty() => {}
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][draws.below(5)],
            4 => bytes[at] ^= 1 << draws.below(8),
            _ => bytes[at] = draws.next() as u8,
        }
    }
    bytes
}

#[test]
fn whatever_the_bytes_are_each_reader_returns() {
    if std::env::var_os("ULDA_WRITE_SNAPSHOTS").is_some() {
        seeds::write(&folder);
    }
    for target in &TARGETS {
        let inputs = inputs(target.name);
        assert!(!inputs.is_empty(), "`{}` has no corpus", target.name);
        for (name, input) in inputs.iter().filter(|(name, _)| name.starts_with("seed-")) {
            assert!(target.take(input), "`{}` refuses {name}", target.name);
        }
        let mut draws = Draws(1);
        let neighbours = (0..NEIGHBOURS).map(|number| {
            let (_, input) = &inputs[number as usize % inputs.len()];
            neighbour(input, &mut draws)
        });
        for input in inputs.iter().map(|(_, input)| input.clone()).chain(neighbours) {
            let began = Instant::now();
            let _ = target.take(&input);
            let took = began.elapsed();
            assert!(
                took < MOST,
                "`{}` took {took:?} for {} bytes",
                target.name,
                input.len()
            );
        }
    }
}
