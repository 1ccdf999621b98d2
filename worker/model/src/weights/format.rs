//! The three file formats, told apart by content.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use tch::Tensor;

use crate::pickle::{Pickle, PickleValue};
use crate::weights::archive::StoredArchive;
use crate::weights::error::shortened;
use crate::weights::pickled::{CollectedTensors, StoredValue};
use crate::weights::source::{CheckpointFile, MOST_BYTES};
use crate::weights::strided::{MemoryBudget, numbers};
use crate::weights::{EntryProblem, StridedTensor, TensorProblem, WeightsError, safetensors};

/// What a zip archive begins with.
const ZIP: &[u8] = b"PK\x03\x04";
/// The entry that every archive of PyTorch has.
const PICKLE: &str = "data.pkl";
/// The entry that only TorchScript's have.
const CONSTANTS: &str = "constants.pkl";

/// Format of a checkpoint file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsKind {
    /// Zip of a pickled model and its code, such as OpenAI's `RN50.pt`. The code is not looked at.
    TorchScript,
    Safetensors,
    /// Zip with a pickled state dict, such as the published source checkpoints.
    Pickle,
}

impl fmt::Display for WeightsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TorchScript => "TorchScript archive",
            Self::Safetensors => "safetensors",
            Self::Pickle => "PyTorch pickle",
        })
    }
}

/// Reads the tensors of a checkpoint; nothing that the file holds is run.
pub fn read(path: &Path) -> Result<(WeightsKind, Vec<(String, Tensor)>), WeightsError> {
    let source = CheckpointFile::open(path)?;
    let head = source.bytes(0, 9)?;
    if head.starts_with(ZIP) {
        return read_archive(&source);
    }
    if let [0x80, 2..=5, ..] = head[..] {
        return Err(WeightsError::LegacyPickle {
            path: path.to_owned(),
        });
    }
    Ok((WeightsKind::Safetensors, safetensors::read(&source)?))
}

fn read_archive(source: &CheckpointFile<'_>) -> Result<(WeightsKind, Vec<(String, Tensor)>), WeightsError> {
    let archive = StoredArchive::open(source)?;
    let bytes = pickle_of(source, &archive)?;
    let pickle = parse(source, &archive, &bytes)?;
    let (kind, collected) = if archive.has(CONSTANTS) {
        (
            WeightsKind::TorchScript,
            CollectedTensors::of_module(source.path, pickle.root())?,
        )
    } else {
        (
            WeightsKind::Pickle,
            CollectedTensors::of_state(source.path, pickle.root())?,
        )
    };
    Ok((kind, read_tensors(source, &archive, collected)?))
}

/// Tensors by the names that a file gives them.
pub type NamedTensors = Vec<(String, Tensor)>;

/// What `collect` finds in the pickle of a `.pth`, with the tensors that it names; none for the other formats.
pub fn read_pickled<T>(
    path: &Path,
    collect: impl for<'p> FnOnce(PickleValue<'p>, &mut CollectedTensors<'p>) -> Result<T, WeightsError>,
) -> Result<Option<(T, NamedTensors)>, WeightsError> {
    let source = CheckpointFile::open(path)?;
    if !source.bytes(0, 4)?.starts_with(ZIP) {
        return Ok(None);
    }
    let archive = StoredArchive::open(&source)?;
    let bytes = pickle_of(&source, &archive)?;
    if archive.has(CONSTANTS) {
        return Ok(None);
    }
    let pickle = parse(&source, &archive, &bytes)?;
    let mut collected = CollectedTensors::new(path);
    let found = collect(pickle.root(), &mut collected)?;
    Ok(Some((found, read_tensors(&source, &archive, collected)?)))
}

/// The bytes of the archive's pickle.
fn pickle_of(source: &CheckpointFile<'_>, archive: &StoredArchive<'_>) -> Result<Vec<u8>, WeightsError> {
    const MOST_PICKLE_BYTES: u64 = 64 << 20;
    if !archive.has(PICKLE) {
        return Err(WeightsError::NotACheckpoint {
            path: source.path.to_owned(),
        });
    }
    if archive.has("byteorder") && archive.read("byteorder", 16)? != b"little" {
        return Err(WeightsError::Entry {
            path: source.path.to_owned(),
            entry: archive.full_name("byteorder"),
            problem: EntryProblem::ByteOrder,
        });
    }
    archive.read(PICKLE, MOST_PICKLE_BYTES)
}

fn parse<'b>(
    source: &CheckpointFile<'_>,
    archive: &StoredArchive<'_>,
    bytes: &'b [u8],
) -> Result<Pickle<'b>, WeightsError> {
    Pickle::read(&mut &bytes[..]).map_err(|error| WeightsError::Pickle {
        path: source.path.to_owned(),
        entry: archive.full_name(PICKLE),
        source: error,
    })
}

/// Checks all descriptions, then reads storage by storage, each once.
fn read_tensors(
    source: &CheckpointFile<'_>,
    archive: &StoredArchive<'_>,
    collected: CollectedTensors<'_>,
) -> Result<Vec<(String, Tensor)>, WeightsError> {
    let refused = |tensor: &str, problem| WeightsError::Tensor {
        path: source.path.to_owned(),
        tensor: shortened(tensor).to_owned(),
        problem,
    };
    let mut budget = MemoryBudget::of_file(source.length);
    let mut named = Vec::with_capacity(collected.found.len());
    let mut storages: BTreeMap<&str, Vec<(String, StridedTensor<'_>)>> = BTreeMap::new();
    for (name, stored) in collected.found {
        match stored {
            StoredValue::Integer(number) => named.push((name, Tensor::from(number))),
            StoredValue::Tensor(tensor) => {
                budget
                    .take(&tensor.size, tensor.kind)
                    .map_err(|problem| refused(&name, problem))?;
                storages.entry(tensor.storage).or_default().push((name, tensor));
            }
        }
    }
    for (key, tensors) in storages {
        let entry = format!("data/{key}");
        let bytes = archive.read(&entry, MOST_BYTES)?;
        let mut rows = Vec::new();
        for (name, tensor) in tensors {
            let made = make(&tensor, &bytes, &mut rows, || archive.full_name(&entry));
            named.push((name.clone(), made.map_err(|problem| refused(&name, problem))?));
        }
    }
    Ok(named)
}

/// `rows` keeps the storage's numbers by kind, for all tensors that are views of it.
fn make(
    tensor: &StridedTensor<'_>,
    bytes: &[u8],
    rows: &mut Vec<(tch::Kind, Tensor)>,
    entry: impl Fn() -> String,
) -> Result<Tensor, TensorProblem> {
    let needed = tensor.reach_bytes()?;
    if needed > bytes.len() as u64 {
        return Err(TensorProblem::OutOfStorage {
            entry: entry(),
            needed,
            found: bytes.len() as u64,
        });
    }
    if let Some((_, row)) = rows.iter().find(|(kind, _)| *kind == tensor.kind) {
        return tensor.view(row);
    }
    let row = numbers(bytes, tensor.kind)?;
    let made = tensor.view(&row);
    rows.push((tensor.kind, row));
    made
}
