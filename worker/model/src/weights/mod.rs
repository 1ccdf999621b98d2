//! Named tensors of a checkpoint, whatever format it came in.

mod archive;
mod error;
mod format;
mod picker;
mod pickled;
mod safetensors;
mod source;
mod strided;
mod training;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

use crate::marks;

pub use error::{EntryProblem, LimitReached, TrainingProblem, WeightsError};
pub use format::WeightsKind;
pub use picker::Picker;
pub(crate) use safetensors::read_safetensors;
use strided::StridedTensor;
pub use strided::TensorProblem;
pub use training::TrainingState;

/// Where training checkpoints keep the state dictionary: those of the authors' scripts, and those of most others.
const STATE_KEYS: [&str; 2] = ["model_state", "state_dict"];
/// More than the names and colours of 255 classes.
const MOST_TEXT_BYTES: usize = 1 << 18;

/// The tensors of one checkpoint, on the CPU: floats as f32, integers as i64.
pub struct Weights {
    path: PathBuf,
    kind: WeightsKind,
    tensors: BTreeMap<String, Tensor>,
    digest: String,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Weights({}, {}, {} tensors)",
            self.path.display(),
            self.kind,
            self.tensors.len()
        )
    }
}

impl Weights {
    /// Reads `path`, recognising its format by content: a TorchScript archive (OpenAI's `RN50.pt`),
    /// safetensors, or a pickled state dict (`.pth`), plain or under `model_state` or `state_dict`. The prefix `module.` that
    /// `DataParallel` gives all names is taken off. No code that a checkpoint holds is run, and time and memory are bounded
    /// by the file's length and fixed limits, whatever it says of itself.
    ///
    /// # Errors
    /// The file cannot be read, is cut short, is of another format, is malformed or beyond a limit, or stores a kind of
    /// tensor that no supported checkpoint has.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let (kind, named) = format::read(path)?;
        Self::from_tensors(path, kind, unwrapped(named))
    }

    /// Weights that were made in memory; `path` is what errors will name.
    ///
    /// # Errors
    /// A tensor that is neither float, integer nor bool.
    pub fn from_tensors(
        path: &Path,
        kind: WeightsKind,
        named: Vec<(String, Tensor)>,
    ) -> Result<Self, WeightsError> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in named {
            let wide = match tensor.kind() {
                Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double => Kind::Float,
                Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64 | Kind::Bool => Kind::Int64,
                found => {
                    return Err(WeightsError::Tensor {
                        path: path.to_owned(),
                        tensor: name,
                        problem: TensorProblem::StorageKind(format!("{found:?}")),
                    });
                }
            };
            tensors.insert(name, tensor.detach().to_kind(wide).contiguous());
        }
        let digest = digest(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)));
        Ok(Self {
            path: path.to_owned(),
            kind,
            tensors,
            digest,
        })
    }

    /// The file they came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn kind(&self) -> WeightsKind {
        self.kind
    }

    /// BLAKE3 (hex) over name, shape and bits of every tensor in name order; the same for all formats.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor, sharing its storage.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(name).map(Tensor::shallow_clone)
    }

    /// Shape of the tensor.
    pub fn shape(&self, name: &str) -> Option<Vec<i64>> {
        self.tensors.get(name).map(Tensor::size)
    }

    /// Whether some tensor's name starts with `prefix`.
    pub fn has_below(&self, prefix: &str) -> bool {
        self.tensors
            .range(prefix.to_owned()..)
            .next()
            .is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// One tensor of the given shape. For many, [`Weights::pick`] names all missing ones at once.
    ///
    /// # Errors
    /// It is missing or has another shape.
    pub fn take(&self, name: &str, shape: &[i64]) -> Result<Tensor, WeightsError> {
        let mut picker = self.pick();
        let tensor = picker.take(name, shape);
        picker.finish(tensor)
    }

    /// The text whose bytes, UTF-8, are the numbers of a tensor; none if it is no text, or longer than any that is stored.
    pub fn text(&self, name: &str) -> Option<String> {
        let tensor = self.tensors.get(name).filter(|tensor| {
            tensor.dim() == 1 && tensor.kind() == Kind::Int64 && tensor.numel() <= MOST_TEXT_BYTES
        })?;
        let numbers = Vec::<i64>::try_from(tensor).ok()?;
        let bytes = numbers.into_iter().map(|number| u8::try_from(number).ok());
        String::from_utf8(bytes.collect::<Option<_>>()?).ok()
    }

    /// Starts to take many tensors.
    pub fn pick(&self) -> Picker<'_> {
        Picker::new(self)
    }
}

/// `named` without the prefix of a network that `DataParallel` wraps, which all its tensors have. Marks of this program have
/// none.
fn unwrapped(mut named: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    const WRAPPER: &str = "module.";
    let is_mark = |name: &str| name.starts_with(marks::PREFIX);
    let is_wrapped = named
        .iter()
        .all(|(name, _)| name.starts_with(WRAPPER) || is_mark(name));
    if is_wrapped {
        for (name, _) in named.iter_mut().filter(|(name, _)| !is_mark(name)) {
            name.drain(..WRAPPER.len());
        }
    }
    named
}

/// BLAKE3 (hex) over name, shape and bits of tensors in the given order.
pub fn digest<'a>(tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    for (name, tensor) in tensors {
        let tensor = tensor.detach().to_device(tch::Device::Cpu).contiguous();
        let shape = tensor.size();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&(shape.len() as u64).to_le_bytes());
        for dimension in shape {
            hasher.update(&dimension.to_le_bytes());
        }
        bytes.resize(tensor.numel() * tensor.kind().elt_size_in_bytes(), 0);
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}
