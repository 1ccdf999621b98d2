//! The three file formats, told apart by content.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::DType;
use tch::Tensor;

use crate::weights::WeightsError;

/// Format of a checkpoint file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsKind {
    /// Zip with code, such as OpenAI's `RN50.pt`.
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

pub fn recognise(path: &Path) -> Result<WeightsKind, WeightsError> {
    let failed = |source| WeightsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut head = Vec::new();
    (&mut file).take(9).read_to_end(&mut head).map_err(failed)?;
    if head.starts_with(b"PK\x03\x04") {
        let directory = central_directory(&mut file, length).map_err(failed)?;
        return match directory {
            None => Err(WeightsError::Truncated {
                path: path.to_owned(),
                what: "it starts as a zip archive but has no directory at its end",
            }),
            Some(names) if contains(&names, b"/constants.pkl") => Ok(WeightsKind::TorchScript),
            Some(names) if contains(&names, b"/data.pkl") => Ok(WeightsKind::Pickle),
            Some(_) => Err(WeightsError::NotACheckpoint {
                path: path.to_owned(),
            }),
        };
    }
    if let [0x80, 2..=5, ..] = head[..] {
        return Err(WeightsError::LegacyPickle {
            path: path.to_owned(),
        });
    }
    let header = head.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    match header {
        // The bound is the format's own.
        Some(size) if head.get(8) == Some(&b'{') && size <= 100_000_000 => {
            if 8 + size > length {
                return Err(WeightsError::Truncated {
                    path: path.to_owned(),
                    what: "the safetensors header ends beyond the file",
                });
            }
            Ok(WeightsKind::Safetensors)
        }
        _ => Err(WeightsError::NotACheckpoint {
            path: path.to_owned(),
        }),
    }
}

/// The bytes of a zip's central directory (which holds all names), or none if the file has no end
/// record. PyTorch writes the 64-bit form of it.
fn central_directory(file: &mut File, length: u64) -> std::io::Result<Option<Vec<u8>>> {
    const LARGEST_TAIL: u64 = 22 + 20 + 56 + 65_535;
    let start = length.saturating_sub(LARGEST_TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let u32_at = |at: usize| {
        tail.get(at..at + 4)?
            .first_chunk()
            .map(|b| u64::from(u32::from_le_bytes(*b)))
    };
    let u64_at = |at: usize| {
        tail.get(at..at + 8)?
            .first_chunk()
            .map(|b| u64::from_le_bytes(*b))
    };
    let find = |mark: &[u8]| tail.windows(4).rposition(|window| window == mark);
    let place = match (find(b"PK\x06\x06"), find(b"PK\x05\x06")) {
        (Some(at), Some(_)) => u64_at(at + 40).zip(u64_at(at + 48)),
        (None, Some(at)) => u32_at(at + 12).zip(u32_at(at + 16)),
        (_, None) => None,
    };
    match place {
        Some((size, offset)) if offset.checked_add(size).is_some_and(|end| end <= length) => {
            file.seek(SeekFrom::Start(offset))?;
            let mut directory = Vec::new();
            file.take(size).read_to_end(&mut directory)?;
            Ok(Some(directory))
        }
        _ => Ok(None),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

pub fn read(path: &Path, kind: WeightsKind) -> Result<Vec<(String, Tensor)>, WeightsError> {
    match kind {
        WeightsKind::TorchScript => ulda_torch::archive::read(path).map_err(|source| WeightsError::Archive {
            path: path.to_owned(),
            source,
        }),
        WeightsKind::Safetensors => {
            Tensor::read_safetensors(path).map_err(|source| WeightsError::Safetensors {
                path: path.to_owned(),
                source,
            })
        }
        WeightsKind::Pickle => pickle(path).map_err(|source| WeightsError::Pickle {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Reading a pickle this way never executes code. Training checkpoints keep the state dict under
/// `model_state`, beside an optimiser state and a NumPy scalar that are left alone.
fn pickle(path: &Path) -> candle_core::Result<Vec<(String, Tensor)>> {
    use candle_core::pickle::PthTensors;
    let nested = PthTensors::new(path, Some("model_state"));
    let state = match nested {
        Ok(state) if !state.tensor_infos().is_empty() => state,
        _ => PthTensors::new(path, None)?,
    };
    let mut named = Vec::new();
    for name in state.tensor_infos().keys() {
        let Some(tensor) = state.get(name)? else { continue };
        let shape: Vec<i64> = tensor.dims().iter().map(|&dimension| dimension as i64).collect();
        let flat = tensor.flatten_all()?;
        let values = match tensor.dtype() {
            DType::U8 | DType::U32 | DType::I16 | DType::I32 | DType::I64 => {
                Tensor::from_slice(&flat.to_dtype(DType::I64)?.to_vec1::<i64>()?)
            }
            _ => Tensor::from_slice(&flat.to_dtype(DType::F32)?.to_vec1::<f32>()?),
        };
        named.push((name.clone(), values.reshape(shape)));
    }
    Ok(named)
}
