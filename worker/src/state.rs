//! Everything a run has learned so far: named tensors, named facts, and the position they belong to.
//!
//! It is what workers hand to each other, what checkpoints hold, and what the run's digest is taken of.
//! Invariant: equal states have equal digests on any worker; nothing in it depends on who computed it.

pub mod names;

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, SafeTensors, View};
use tch::{Device, Kind, Tensor};
use ulda_run::stage::{Cursor, Stage};

/// Key of the safetensors metadata entry that holds cursor and facts as JSON.
const METADATA_KEY: &str = "ulda";

/// A complete state: every step before `cursor` is applied, none after it. Its tensors are never changed in place, only
/// replaced: threads share them.
#[derive(Debug)]
pub struct RunState {
    pub cursor: Cursor,
    pub tensors: BTreeMap<String, Tensor>,
    /// Small values by name, as JSON.
    pub facts: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("state is not a safetensors file")]
    Format(#[source] safetensors::SafeTensorError),
    #[error("state has no `{METADATA_KEY}` entry in its header")]
    NoHeader,
    #[error("state header is not readable")]
    Header(#[source] serde_json::Error),
    #[error("state tensor `{name}` has type {dtype:?}, which no run state holds")]
    Kind { name: String, dtype: Dtype },
    #[error("state has no tensor `{0}`")]
    Missing(String),
    #[error("state fact `{name}` is missing or malformed")]
    Fact { name: String },
    #[error("libtorch refused a state tensor")]
    Torch(#[from] tch::TchError),
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    cursor: Cursor,
    facts: BTreeMap<String, serde_json::Value>,
}

struct Bytes<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl View for &Bytes<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.into()
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl RunState {
    #[must_use]
    pub fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            tensors: BTreeMap::new(),
            facts: BTreeMap::new(),
        }
    }

    /// BLAKE3 over cursor, facts and every tensor's name, kind, shape and bytes, in name order.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let header = serde_json::to_vec(&(&self.cursor, &self.facts)).expect("facts are JSON");
        hasher.update(&header);
        hash_tensors(&mut hasher, &self.tensors);
        hasher.finalize().to_hex().to_string()
    }

    /// The same state for another thread: it shares the tensors, which nobody changes. A stage trains copies of them.
    #[must_use]
    pub fn share(&self) -> Self {
        let copies = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
        Self {
            cursor: self.cursor,
            tensors: copies.collect(),
            facts: self.facts.clone(),
        }
    }

    /// The state as one safetensors file.
    ///
    /// # Errors
    /// When a tensor has a kind that the format lacks.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let header = Header {
            cursor: self.cursor,
            facts: self.facts.clone(),
        };
        let header = serde_json::to_string(&header).map_err(StateError::Header)?;
        write_tensors(&self.tensors, HashMap::from([(METADATA_KEY.to_owned(), header)]))
    }

    /// # Errors
    /// When the bytes are not a state that [`RunState::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(StateError::Format)?;
        let header = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get(METADATA_KEY))
            .ok_or(StateError::NoHeader)?;
        let header: Header = serde_json::from_str(header).map_err(StateError::Header)?;
        Ok(Self {
            cursor: header.cursor,
            tensors: read_tensors(bytes)?,
            facts: header.facts,
        })
    }

    /// # Errors
    /// When there is no such tensor.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, StateError> {
        self.tensors
            .get(name)
            .ok_or_else(|| StateError::Missing(name.to_owned()))
    }

    /// # Errors
    /// When there is no such fact or it has another form.
    pub fn fact<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, StateError> {
        let value = self.facts.get(name).cloned().unwrap_or_default();
        serde_json::from_value(value).map_err(|_| StateError::Fact {
            name: name.to_owned(),
        })
    }

    /// Steps of another training that `stage` goes on with; 0 if it starts anew.
    ///
    /// # Errors
    /// When the fact has another form.
    pub fn steps_before(&self, stage: Stage) -> Result<u64, StateError> {
        let name = names::steps_before(stage);
        match self.facts.contains_key(&name) {
            true => self.fact(&name),
            false => Ok(0),
        }
    }

    pub fn set_fact(&mut self, name: &str, value: impl serde::Serialize) {
        let value = serde_json::to_value(value).expect("facts are plain values");
        self.facts.insert(name.to_owned(), value);
    }

    /// Tensors under `prefix.`, without it.
    #[must_use]
    pub fn section(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let named = self
            .tensors
            .range(format!("{prefix}.")..)
            .take_while(|(name, _)| {
                name.strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('.'))
            });
        named
            .map(|(name, tensor)| (name[prefix.len() + 1..].to_owned(), tensor.shallow_clone()))
            .collect()
    }

    /// Replaces everything under `prefix.` with copies of `named`, which lie on the CPU: a state outlives its device.
    pub fn set_section(&mut self, prefix: &str, named: impl IntoIterator<Item = (String, Tensor)>) {
        self.clear_section(prefix);
        for (name, tensor) in named {
            let kept = match tensor.device() {
                Device::Cpu => tensor.detach().copy(),
                _ => tensor.detach().to_device(Device::Cpu),
            };
            self.tensors.insert(format!("{prefix}.{name}"), kept);
        }
    }

    pub fn clear_section(&mut self, prefix: &str) {
        let dotted = format!("{prefix}.");
        self.tensors.retain(|name, _| !name.starts_with(&dotted));
    }
}

/// BLAKE3 over every tensor's name, kind, shape and bytes, in name order.
#[must_use]
pub fn digest_of_tensors(tensors: &BTreeMap<String, Tensor>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hash_tensors(&mut hasher, tensors);
    hasher.finalize()
}

fn hash_tensors(hasher: &mut blake3::Hasher, tensors: &BTreeMap<String, Tensor>) {
    for (name, tensor) in tensors {
        hasher.update(name.as_bytes());
        hasher.update(format!("{:?}{:?}", tensor.kind(), tensor.size()).as_bytes());
        hasher.update(host_bytes(&host(tensor)));
    }
}

fn host(tensor: &Tensor) -> Tensor {
    tensor.detach().to_device(Device::Cpu).contiguous()
}

fn host_bytes(tensor: &Tensor) -> &[u8] {
    let length = tensor.numel() * tensor.kind().elt_size_in_bytes();
    if length == 0 {
        return &[];
    }
    // SAFETY: `host` made the tensor contiguous in host memory, and the slice borrows it.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<u8>(), length) }
}

/// Named tensors as one safetensors file with `metadata` in its header.
///
/// # Errors
/// When a tensor has a kind that the format lacks.
pub fn write_tensors(
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, StateError> {
    let hosted: BTreeMap<&String, Tensor> = tensors
        .iter()
        .map(|(name, tensor)| (name, host(tensor)))
        .collect();
    let mut views = Vec::with_capacity(hosted.len());
    for (name, tensor) in &hosted {
        let dtype = dtype(tensor.kind()).ok_or_else(|| StateError::Missing((*name).clone()))?;
        let shape = tensor.size().iter().map(|&side| side as usize).collect();
        views.push((
            name.as_str(),
            Bytes {
                dtype,
                shape,
                bytes: host_bytes(tensor),
            },
        ));
    }
    // Of no tensors and an empty map safetensors makes a header that is not JSON.
    let metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
    safetensors::serialize(views.iter().map(|(name, view)| (*name, view)), metadata)
        .map_err(StateError::Format)
}

/// All tensors of a safetensors file, on the CPU.
///
/// # Errors
/// When the bytes are not safetensors or a tensor has an unusual type.
pub fn read_tensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, StateError> {
    let file = SafeTensors::deserialize(bytes).map_err(StateError::Format)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let kind = kind(view.dtype()).ok_or_else(|| StateError::Kind {
            name: name.to_owned(),
            dtype: view.dtype(),
        })?;
        let size: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
        tensors.insert(
            name.to_owned(),
            Tensor::f_from_data_size(view.data(), &size, kind)?,
        );
    }
    Ok(tensors)
}

fn dtype(kind: Kind) -> Option<Dtype> {
    Some(match kind {
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Int64 => Dtype::I64,
        Kind::Uint8 => Dtype::U8,
        _ => return None,
    })
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::U8 => Kind::Uint8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> RunState {
        let mut state = RunState::new(Cursor {
            stage: Stage::Adapt,
            step: 3,
        });
        state.tensors.insert(
            "head.weight".into(),
            Tensor::from_slice(&[1.0f32, -2.5, 3.25]).view([3, 1]),
        );
        state.tensors.insert("head.count".into(), Tensor::from(7i64));
        state.tensors.insert("header".into(), Tensor::from(1i64));
        state.set_fact("best_miou", 0.25);
        state
    }

    #[test]
    fn a_state_survives_its_bytes() {
        let state = example();
        let again = RunState::from_bytes(&state.to_bytes().unwrap()).unwrap();
        assert_eq!(again.digest(), state.digest());
        assert_eq!(again.cursor, state.cursor);
        assert_eq!(again.fact::<f64>("best_miou").unwrap(), 0.25);
    }

    /// What a shard sends that has no domain to encode.
    #[test]
    fn no_tensors_are_readable_too() {
        let none = write_tensors(&BTreeMap::new(), HashMap::new()).unwrap();
        assert!(read_tensors(&none).unwrap().is_empty());
    }

    #[test]
    fn the_digest_sees_every_bit_and_the_position() {
        let digest = example().digest();
        let mut changed = example();
        changed.tensors.insert(
            "head.weight".into(),
            Tensor::from_slice(&[1.0f32, -2.5, 3.250_000_2]).view([3, 1]),
        );
        assert_ne!(changed.digest(), digest);
        let mut moved = example();
        moved.cursor.step = 4;
        assert_ne!(moved.digest(), digest);
    }

    #[test]
    fn sections_do_not_mix_with_names_that_start_alike() {
        let mut state = example();
        assert_eq!(
            state.section("head").into_keys().collect::<Vec<_>>(),
            ["count", "weight"]
        );
        state.set_section("head", [("bias".to_owned(), Tensor::from(2i64))]);
        assert_eq!(state.tensors.keys().collect::<Vec<_>>(), ["head.bias", "header"]);
    }

    #[test]
    fn a_cut_file_is_refused() {
        let bytes = example().to_bytes().unwrap();
        assert!(matches!(
            RunState::from_bytes(&bytes[..bytes.len() - 1]),
            Err(StateError::Format(_))
        ));
    }
}
