//! What the pickles of PyTorch's archives say about tensors: state dictionaries (`.pth`) and TorchScript's modules.

use std::path::Path;

use tch::Kind;

use crate::marks;
use crate::pickle::PickleValue;
use crate::weights::error::{LimitReached, shortened};
use crate::weights::{STATE_KEYS, StridedTensor, TensorProblem, WeightsError};

/// More tensors than any checkpoint of the method has.
const MOST_TENSORS: usize = 10_000;
/// More attributes than the modules of any checkpoint have together.
const MOST_ATTRIBUTES: usize = 1_000_000;
/// Deeper than modules are nested in any checkpoint.
const MOST_NESTING: usize = 64;
/// Longer than the name of any tensor.
const MOST_NAME_BYTES: usize = 1_000;

/// What a checkpoint holds under a name.
pub enum StoredValue<'p> {
    Tensor(StridedTensor<'p>),
    /// An integer attribute of a TorchScript module.
    Integer(i64),
}

/// Named tensors of one checkpoint.
pub struct CollectedTensors<'p> {
    path: &'p Path,
    pub found: Vec<(String, StoredValue<'p>)>,
}

impl<'p> CollectedTensors<'p> {
    /// Nothing yet of the checkpoint at `path`.
    pub fn new(path: &'p Path) -> Self {
        Self {
            path,
            found: Vec::new(),
        }
    }

    /// The tensors of a state dictionary. Training checkpoints keep it under one of [`STATE_KEYS`], beside an optimiser state
    /// and NumPy scalars that are left alone, as is everything in the dictionary that is no tensor; class names are read.
    pub fn of_state(path: &'p Path, root: PickleValue<'p>) -> Result<Self, WeightsError> {
        let mut collected = Self::new(path);
        let nested = STATE_KEYS.iter().find_map(|key| root.entry(key));
        let state = nested.unwrap_or(root);
        for (name, value) in state.entries().into_iter().flatten() {
            collected.add_tensor(name, value)?;
        }
        if let Some(classes) = nested.and_then(|_| root.entry(marks::CLASSES)) {
            collected.add_tensor(marks::CLASSES, classes)?;
        }
        if collected.found.is_empty() {
            let keys = root.entries().into_iter().flatten().map(|(key, _)| key);
            return Err(WeightsError::NoTensors {
                path: path.to_owned(),
                keys: keys.take(12).map(|key| shortened(key).to_owned()).collect(),
            });
        }
        Ok(collected)
    }

    /// The tensors and integers that are attributes of a TorchScript module and of those below it.
    pub fn of_module(path: &'p Path, root: PickleValue<'p>) -> Result<Self, WeightsError> {
        let mut collected = Self::new(path);
        let mut modules = vec![(String::new(), root, 0)];
        let mut attributes = 0;
        while let Some((prefix, module, depth)) = modules.pop() {
            let state = module.state().and_then(PickleValue::entries);
            let state = state.ok_or_else(|| WeightsError::OwnSetState {
                path: path.to_owned(),
                module: match prefix.strip_suffix('.') {
                    Some(name) => format!("module `{}`", shortened(name)),
                    None => "outermost module".to_owned(),
                },
                class: module.maker().map_or_else(
                    || "?".to_owned(),
                    |(module, name)| shortened(&format!("{module}.{name}")).to_owned(),
                ),
            })?;
            for (attribute, value) in state {
                attributes += 1;
                if attributes > MOST_ATTRIBUTES {
                    return Err(collected.too_much(LimitReached::Attributes(MOST_ATTRIBUTES)));
                }
                let name = format!("{prefix}{attribute}");
                if is_module(value) {
                    if depth == MOST_NESTING {
                        return Err(collected.too_much(LimitReached::Nesting(MOST_NESTING)));
                    }
                    collected.check_name(&name)?;
                    modules.push((format!("{name}."), value, depth + 1));
                } else if let Some(number) = value.int() {
                    collected.add(&name, StoredValue::Integer(number))?;
                } else {
                    collected.add_tensor(&name, value)?;
                }
            }
        }
        Ok(collected)
    }

    /// Adds what `value` says of a tensor; nothing if it is none.
    pub fn add_tensor(&mut self, name: &str, value: PickleValue<'p>) -> Result<(), WeightsError> {
        match tensor(value) {
            None => Ok(()),
            Some(Ok(tensor)) => self.add(name, StoredValue::Tensor(tensor)),
            Some(Err(problem)) => Err(WeightsError::Tensor {
                path: self.path.to_owned(),
                tensor: shortened(name).to_owned(),
                problem,
            }),
        }
    }

    fn add(&mut self, name: &str, stored: StoredValue<'p>) -> Result<(), WeightsError> {
        self.check_name(name)?;
        if self.found.len() == MOST_TENSORS {
            return Err(self.too_much(LimitReached::Tensors(MOST_TENSORS)));
        }
        self.found.push((name.to_owned(), stored));
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<(), WeightsError> {
        if name.len() > MOST_NAME_BYTES {
            return Err(self.too_much(LimitReached::Name(shortened(name).to_owned())));
        }
        Ok(())
    }

    fn too_much(&self, limit: LimitReached) -> WeightsError {
        WeightsError::Limit {
            path: self.path.to_owned(),
            limit,
        }
    }
}

fn is_module(value: PickleValue<'_>) -> bool {
    value
        .maker()
        .is_some_and(|(module, _)| module == "__torch__" || module.starts_with("__torch__."))
}

/// The tensor that a value describes, None where it describes something else.
fn tensor(value: PickleValue<'_>) -> Option<Result<StridedTensor<'_>, TensorProblem>> {
    let value = match value.call_of("torch._utils", "_rebuild_parameter") {
        Some(arguments) => match arguments.first() {
            Some(&inner) => inner,
            None => return Some(Err(TensorProblem::Malformed("a parameter has no tensor"))),
        },
        None => value,
    };
    if let Some(arguments) = value.call_of("torch._utils", "_rebuild_tensor_v2") {
        return Some(strided(&arguments));
    }
    let (module, name) = value.maker()?;
    (matches!(module, "torch._utils" | "torch._tensor") && name.starts_with("_rebuild")).then(|| {
        Err(TensorProblem::Maker(
            shortened(&format!("{module}.{name}")).to_owned(),
        ))
    })
}

/// A tensor by the arguments of `_rebuild_tensor_v2`: storage, offset, size, strides, and what gradients need.
fn strided<'p>(arguments: &[PickleValue<'p>]) -> Result<StridedTensor<'p>, TensorProblem> {
    let [storage, offset, size, stride, ..] = arguments else {
        return Err(TensorProblem::Malformed("it has too few parts"));
    };
    let (Some(offset), Some(size), Some(stride)) = (offset.int(), size.ints(), stride.ints()) else {
        return Err(TensorProblem::Malformed(
            "its offset, size or strides are no numbers",
        ));
    };
    let storage = storage.persistent_id().and_then(PickleValue::items);
    // ("storage", class, key, device, count); the device does not matter here.
    let parts = storage.as_deref().and_then(|parts| match parts {
        [what, class, key, _, _] if what.text() == Some("storage") => Some((class.global()?, key.text()?)),
        _ => None,
    });
    let Some(((module, class), key)) = parts else {
        return Err(TensorProblem::Malformed("it has no storage in this file"));
    };
    let kind = storage_kind(class).filter(|_| module == "torch");
    Ok(StridedTensor {
        storage: key,
        kind: kind
            .ok_or_else(|| TensorProblem::StorageKind(shortened(&format!("{module}.{class}")).to_owned()))?,
        offset,
        size,
        stride,
    })
}

fn storage_kind(class: &str) -> Option<Kind> {
    Some(match class {
        "DoubleStorage" => Kind::Double,
        "FloatStorage" => Kind::Float,
        "HalfStorage" => Kind::Half,
        "BFloat16Storage" => Kind::BFloat16,
        "LongStorage" => Kind::Int64,
        "IntStorage" => Kind::Int,
        "ShortStorage" => Kind::Int16,
        "CharStorage" => Kind::Int8,
        // A bool that is neither 0 nor 1 is not valid in C++.
        "ByteStorage" | "BoolStorage" => Kind::Uint8,
        _ => return None,
    })
}
