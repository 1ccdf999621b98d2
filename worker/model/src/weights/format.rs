//! The three file formats, told apart by content.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::DType;
use tch::Tensor;
use zip::{CompressionMethod, ZipArchive};

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
        return archive_kind(path, file);
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

/// Tells the two zipped formats apart by their entries, and checks the checksums of the stored ones
/// (all tensors are; only code is compressed), since libtorch's own reader does not.
fn archive_kind(path: &Path, file: File) -> Result<WeightsKind, WeightsError> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|_| WeightsError::Truncated {
        path: path.to_owned(),
        what: "it starts as a zip archive but has no directory at its end",
    })?;
    let has = |name: &str| archive.file_names().any(|entry| entry.ends_with(name));
    let kind = match (has("/constants.pkl"), has("/data.pkl")) {
        (true, _) => WeightsKind::TorchScript,
        (false, true) => WeightsKind::Pickle,
        (false, false) => {
            return Err(WeightsError::NotACheckpoint {
                path: path.to_owned(),
            });
        }
    };
    for index in 0..archive.len() {
        let name = archive.name_for_index(index).unwrap_or("?").to_owned();
        let damaged = |source| WeightsError::Damaged {
            path: path.to_owned(),
            entry: name.clone(),
            source,
        };
        let stored = archive
            .by_index_raw(index)
            .map(|entry| entry.compression() == CompressionMethod::Stored)
            .map_err(|error| damaged(error.into()))?;
        if stored {
            let mut entry = archive.by_index(index).map_err(|error| damaged(error.into()))?;
            std::io::copy(&mut entry, &mut std::io::sink()).map_err(damaged)?;
        }
    }
    Ok(kind)
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
