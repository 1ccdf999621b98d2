//! The embeddings a run needs, cached on disk: they never change, and the full-size text tower takes
//! minutes on a CPU.

use std::path::{Path, PathBuf};

use tch::{Device, Tensor};

use crate::clip::{EncodeError, TextEncoder};
use crate::text::{embed_prompts, region_prompt};
use crate::weights::{Weights, WeightsError, read_safetensors};

/// The text bank cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("write text cache `{}`", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("write text cache `{}`", .path.display())]
    Serialise {
        path: PathBuf,
        #[source]
        source: tch::TchError,
    },
}

impl TextError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Weights(error) => error.hint(),
            Self::Encode(error) => error.hint(),
            Self::Write { .. } | Self::Serialise { .. } => None,
        }
    }
}

/// Text embeddings of every domain, L2-normalised, on the CPU.
#[derive(Debug)]
pub struct TextBank {
    /// [D, E]: the domain's prompt.
    pub scene: Tensor,
    /// [D, C, E]: the domain's prompt for each of the C classes, in train-id order.
    pub region: Tensor,
}

impl TextBank {
    /// The bank of `domains`, the prompts of each in all `templates` and for all `classes`, from the cache where it is there, else computed and
    /// put there (one safetensors file per domain, named by weights, templates, prompts and
    /// classes). A cache file that cannot be
    /// read is computed afresh.
    ///
    /// # Errors
    /// The weights hold no CLIP text tower, a prompt is too long, or the cache cannot be written.
    pub fn compute_or_load(
        cache: &Path,
        weights: &Weights,
        templates: &[&str],
        classes: &[&str],
        domains: &[Vec<&str>],
    ) -> Result<Self, TextError> {
        let mut encoder = None;
        let (mut scene, mut region) = (Vec::new(), Vec::new());
        for prompts in domains {
            let path = cache.join(format!(
                "text-{}.safetensors",
                key(weights, templates, prompts, classes)
            ));
            let entry = match load(&path, classes.len()) {
                Some(entry) => entry,
                None => {
                    if encoder.is_none() {
                        encoder = Some(TextEncoder::load(weights, Device::Cpu)?);
                    }
                    let encoder = encoder.as_ref().expect("made just above");
                    let entry = compute(encoder, templates, prompts, classes)?;
                    store(cache, &path, &entry)?;
                    entry
                }
            };
            scene.push(entry.scene);
            region.push(entry.region);
        }
        Ok(Self {
            scene: stack(&scene),
            region: stack(&region),
        })
    }

    /// A copy on another device.
    pub fn to_device(&self, device: Device) -> Self {
        Self {
            scene: self.scene.to_device(device),
            region: self.region.to_device(device),
        }
    }
}

fn stack(entries: &[Tensor]) -> Tensor {
    if entries.is_empty() {
        Tensor::zeros([0], tch::kind::FLOAT_CPU)
    } else {
        Tensor::stack(entries, 0)
    }
}

/// One domain: [E] and [C, E].
struct Entry {
    scene: Tensor,
    region: Tensor,
}

fn compute(
    encoder: &TextEncoder,
    templates: &[&str],
    prompts: &[&str],
    classes: &[&str],
) -> Result<Entry, EncodeError> {
    let scene = embed_prompts(encoder, templates, prompts)?;
    let region = classes
        .iter()
        .map(|class| {
            let of_class: Vec<String> = prompts
                .iter()
                .map(|prompt| region_prompt(class, prompt))
                .collect();
            embed_prompts(encoder, templates, &of_class)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Entry {
        scene,
        region: Tensor::stack(&region, 0),
    })
}

/// What an entry depends on, as BLAKE3 (hex).
fn key(weights: &Weights, templates: &[&str], prompts: &[&str], classes: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for list in [&[weights.digest()], templates, prompts, classes] {
        hasher.update(&(list.len() as u64).to_le_bytes());
        for part in list {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// The entry of so many classes, if the file is there and sound.
fn load(path: &Path, classes: usize) -> Option<Entry> {
    if !path.exists() {
        return None;
    }
    let sound = read_safetensors(path)
        .map_err(|error| error.to_string())
        .and_then(|named| {
            let find = |wanted: &str| {
                named
                    .iter()
                    .find(|(name, _)| name == wanted)
                    .map(|(_, t)| t.shallow_clone())
            };
            let (Some(scene), Some(region)) = (find("scene"), find("region")) else {
                return Err("it lacks `scene` or `region`".to_owned());
            };
            let width = scene.size().first().copied().unwrap_or(0);
            if scene.dim() != 1 || region.size() != [classes as i64, width] {
                return Err(format!("shapes are {:?} and {:?}", scene.size(), region.size()));
            }
            let finite = |t: &Tensor| t.isfinite().all().int64_value(&[]) == 1;
            if !finite(&scene) || !finite(&region) {
                return Err("it holds values that are not finite".to_owned());
            }
            Ok(Entry { scene, region })
        });
    match sound {
        Ok(entry) => Some(entry),
        Err(reason) => {
            tracing::warn!(path = %path.display(), reason, "text cache is damaged, computing it afresh");
            None
        }
    }
}

/// Written beside and renamed, so that workers that share the folder see whole files only.
fn store(cache: &Path, path: &Path, entry: &Entry) -> Result<(), TextError> {
    let write = |source| TextError::Write {
        path: path.to_owned(),
        source,
    };
    std::fs::create_dir_all(cache).map_err(write)?;
    let beside = path.with_extension(format!(
        "{}-{:?}.tmp",
        std::process::id(),
        std::thread::current().id()
    ));
    Tensor::write_safetensors(
        &[("scene", &entry.scene), ("region", &entry.region.contiguous())],
        &beside,
    )
    .map_err(|source| TextError::Serialise {
        path: path.to_owned(),
        source,
    })?;
    std::fs::rename(&beside, path).map_err(write)
}
