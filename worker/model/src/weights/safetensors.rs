//! Safetensors files: a JSON header of names, shapes and places, then the numbers.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError};
use tch::{Kind, Tensor};

use crate::weights::error::shortened;
use crate::weights::source::CheckpointFile;
use crate::weights::strided::{MemoryBudget, numbers, torch};
use crate::weights::{TensorProblem, WeightsError};

/// Longer than the header of any checkpoint of the method: about a hundred bytes for each tensor.
const MOST_HEADER_BYTES: u64 = 16 << 20;

/// Whether a file that begins like this is meant as safetensors; the length of its header.
pub fn header_bytes(head: &[u8]) -> Option<u64> {
    // The bound is the format's own.
    let length = head.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    length.filter(|length| head.get(8) == Some(&b'{') && *length <= 100_000_000)
}

/// The named tensors of a safetensors file, on the CPU, in the kinds it stores.
///
/// # Errors
/// The file cannot be read, is cut short, or is no such file.
pub fn read_safetensors(path: &Path) -> Result<Vec<(String, Tensor)>, WeightsError> {
    read(&CheckpointFile::open(path)?)
}

pub fn read(source: &CheckpointFile<'_>) -> Result<Vec<(String, Tensor)>, WeightsError> {
    let path = source.path;
    let header = header_bytes(&source.bytes(0, 9)?).ok_or_else(|| WeightsError::NotACheckpoint {
        path: path.to_owned(),
    })?;
    if header > MOST_HEADER_BYTES {
        return Err(WeightsError::Header {
            path: path.to_owned(),
            bytes: header,
        });
    }
    if 8 + header > source.length {
        return Err(WeightsError::Truncated {
            path: path.to_owned(),
            what: "the safetensors header ends beyond the file",
        });
    }
    let metadata = metadata(&source.bytes(8, header)?, source.length - 8 - header);
    let metadata = metadata.map_err(|source| WeightsError::Safetensors {
        path: path.to_owned(),
        source,
    })?;
    let refused = |name: &str, problem| WeightsError::Tensor {
        path: path.to_owned(),
        tensor: shortened(name).to_owned(),
        problem,
    };
    let mut budget = MemoryBudget::of_file(source.length);
    let mut shapes = Vec::new();
    for (name, info) in BTreeMap::from_iter(metadata.tensors()) {
        let shape = shape(info, &mut budget).map_err(|problem| refused(&name, problem))?;
        shapes.push((name, info.data_offsets, shape));
    }
    let mut named = Vec::with_capacity(shapes.len());
    for (name, (begin, end), (kind, size)) in shapes {
        let bytes = source.bytes(8 + header + begin as u64, (end - begin) as u64)?;
        let tensor = numbers(&bytes, kind).and_then(|row| row.f_reshape(&size).map_err(torch));
        let tensor = tensor.map_err(|problem| refused(&name, problem))?;
        named.push((name, tensor));
    }
    Ok(named)
}

/// Checks that the tensors of the header fill `data_bytes` without gaps, and have the sizes that they say.
fn metadata(header: &[u8], data_bytes: u64) -> Result<Metadata, SafeTensorError> {
    let metadata: Metadata =
        serde_json::from_slice(header).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    if metadata.data_len() as u64 != data_bytes {
        return Err(SafeTensorError::MetadataIncompleteBuffer);
    }
    Ok(metadata)
}

fn shape(info: &TensorInfo, budget: &mut MemoryBudget) -> Result<(Kind, Vec<i64>), TensorProblem> {
    let kind = match info.dtype {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        // A bool that is neither 0 nor 1 is not valid in C++.
        Dtype::U8 | Dtype::BOOL => Kind::Uint8,
        other => return Err(TensorProblem::StorageKind(other.to_string())),
    };
    let size: Vec<i64> = info
        .shape
        .iter()
        .map(|&dimension| i64::try_from(dimension).unwrap_or(-1))
        .collect();
    budget.take(&size, kind)?;
    Ok((kind, size))
}
