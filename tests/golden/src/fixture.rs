//! One fixture file: named tensors and, beside it, a JSON of the same name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

/// The folder of the fixtures: `ULDA_GOLDEN`, else `tests/fixtures/golden` of the repository.
pub fn folder() -> PathBuf {
    match std::env::var_os("ULDA_GOLDEN") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden"),
    }
}

/// Path of a file of the set, such as `tiny_clip.pt`. Panics when it does not exist.
pub fn path(file: &str) -> PathBuf {
    let path = folder().join(file);
    assert!(
        path.exists(),
        "golden fixture `{}` does not exist; hint: set ULDA_GOLDEN",
        path.display()
    );
    path
}

/// The tensors of `<name>.safetensors`.
pub struct Fixture {
    name: String,
    tensors: BTreeMap<String, Tensor>,
}

impl Fixture {
    /// Reads `<name>.safetensors`; panics naming the file when it cannot be read.
    pub fn load(name: &str) -> Self {
        let path = path(&format!("{name}.safetensors"));
        let device = crate::device();
        let tensors = Tensor::read_safetensors(&path)
            .unwrap_or_else(|error| panic!("read golden fixture `{}`: {error}", path.display()));
        Self {
            name: name.to_owned(),
            tensors: tensors
                .into_iter()
                .map(|(name, tensor)| (name, tensor.to_device(device)))
                .collect(),
        }
    }

    /// The JSON of the same name; panics when there is none or it does not parse.
    pub fn json(&self) -> serde_json::Value {
        let path = path(&format!("{}.json", self.name));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("read golden fixture `{}`: {error}", path.display()));
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("parse golden fixture `{}`: {error}", path.display()))
    }

    /// Name given to [`Fixture::load`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tensor as stored.
    pub fn get(&self, tensor: &str) -> Tensor {
        match self.tensors.get(tensor) {
            Some(found) => found.shallow_clone(),
            None => panic!("golden fixture `{}` has no tensor `{tensor}`", self.name),
        }
    }

    /// Whether the fixture stores that tensor.
    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// The tensor as f32.
    pub fn f32(&self, tensor: &str) -> Tensor {
        self.get(tensor).to_kind(Kind::Float)
    }

    /// The tensor as i64.
    pub fn i64(&self, tensor: &str) -> Tensor {
        self.get(tensor).to_kind(Kind::Int64)
    }

    /// The values of the tensor, flattened in C order, as f64.
    pub fn values(&self, tensor: &str) -> Vec<f64> {
        let flat = self.get(tensor).to_kind(Kind::Double).contiguous().view([-1]);
        Vec::try_from(&flat)
            .unwrap_or_else(|error| panic!("values of `{tensor}` of `{}`: {error}", self.name))
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// (rest of the name, tensor) of every tensor whose name starts with `prefix`, in name order.
    pub fn below(&self, prefix: &str) -> Vec<(String, Tensor)> {
        self.tensors
            .iter()
            .filter_map(|(name, tensor)| {
                Some((name.strip_prefix(prefix)?.to_owned(), tensor.shallow_clone()))
            })
            .collect()
    }
}
