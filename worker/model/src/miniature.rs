//! A small CLIP with seeded random weights in OpenAI's layout: for demonstrations and tests of the whole
//! pipeline where the real checkpoint is not at hand. Its BatchNorm statistics are calibrated on smooth
//! random images, so that features keep their scale through the stages; it knows nothing about the world.

use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use crate::clip::PoolConfig;
use crate::marks;
use crate::seeded::Seeded;

const CONTEXT: i64 = 77;
const VOCABULARY: i64 = 49_408;

/// Sizes of a miniature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiniatureSpec {
    pub seed: u64,
    /// Channels of the stem's output, a multiple of 2; C₁ is four times as many.
    pub width: i64,
    /// Bottlenecks per stage.
    pub blocks: [i64; 4],
    /// E.
    pub embed: i64,
    /// Side of the images that the attention pool fits, a multiple of 32. A low-level feature pooled to
    /// p×p fits a resolution of 4·p.
    pub resolution: i64,
    /// A multiple of 64.
    pub text_width: i64,
    pub text_layers: i64,
    /// Side of the images on which BatchNorm's statistics are taken; None takes `resolution`.
    pub calibration_side: Option<i64>,
}

impl MiniatureSpec {
    /// The image tower of OpenAI's `name`, RN50, RN101, RN50x4, RN50x16 or RN50x64, and a text tower of its width with one
    /// layer instead of twelve. Small images calibrate it, so that it is made in seconds.
    #[must_use]
    pub fn published(name: &str) -> Option<Self> {
        let (width, blocks, embed, resolution, text_width) = match name {
            "RN50" => (64, [3, 4, 6, 3], 1024, 224, 512),
            "RN101" => (64, [3, 4, 23, 3], 512, 224, 512),
            "RN50x4" => (80, [4, 6, 10, 6], 640, 288, 640),
            "RN50x16" => (96, [6, 8, 18, 8], 768, 384, 768),
            "RN50x64" => (128, [3, 15, 36, 10], 1024, 448, 1024),
            _ => return None,
        };
        Some(Self {
            seed: 1,
            width,
            blocks,
            embed,
            resolution,
            text_width,
            text_layers: 1,
            calibration_side: Some(64),
        })
    }
}

impl Default for MiniatureSpec {
    fn default() -> Self {
        Self {
            seed: 1,
            width: 16,
            blocks: [1; 4],
            embed: 64,
            resolution: 224,
            text_width: 64,
            text_layers: 2,
            calibration_side: None,
        }
    }
}

/// A miniature cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MiniatureError {
    #[error("miniature: {field} is {found}, expected {expected}")]
    Spec {
        field: &'static str,
        found: i64,
        expected: &'static str,
    },
    #[error("write miniature `{}`", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: tch::TchError,
    },
}

/// Writes the miniature as safetensors; the token embedding is f16, the rest f32.
///
/// # Errors
/// A size that no CLIP has, or the file cannot be written.
pub fn write_clip(path: &Path, spec: &MiniatureSpec) -> Result<(), MiniatureError> {
    let named = tensors(spec)?;
    Tensor::write_safetensors(&named, path).map_err(|source| MiniatureError::Write {
        path: path.to_owned(),
        source,
    })
}

/// The tensors of the miniature, named as in OpenAI's checkpoints.
///
/// # Errors
/// A size that no CLIP has.
pub fn tensors(spec: &MiniatureSpec) -> Result<Vec<(String, Tensor)>, MiniatureError> {
    tch::no_grad(|| clip(spec))
}

fn clip(spec: &MiniatureSpec) -> Result<Vec<(String, Tensor)>, MiniatureError> {
    let check = |fits: bool, field, found, expected| {
        if fits {
            Ok(())
        } else {
            Err(MiniatureError::Spec {
                field,
                found,
                expected,
            })
        }
    };
    check(
        spec.width > 0 && spec.width % 2 == 0,
        "width",
        spec.width,
        "a positive multiple of 2",
    )?;
    let fewest = spec.blocks.into_iter().min().unwrap_or(0);
    check(fewest > 0, "blocks of a stage", fewest, "at least 1")?;
    check(spec.embed > 0, "embed", spec.embed, "at least 1")?;
    let side = spec.resolution;
    check(
        side > 0 && side % 32 == 0,
        "resolution",
        side,
        "a positive multiple of 32",
    )?;
    let text = spec.text_width;
    check(
        text > 0 && text % 64 == 0,
        "text_width",
        text,
        "a positive multiple of 64",
    )?;
    check(
        spec.text_layers > 0,
        "text_layers",
        spec.text_layers,
        "at least 1",
    )?;

    let mut maker = Maker {
        seeded: Seeded::new(spec.seed),
        named: Vec::new(),
    };
    maker.image_tower(spec);
    maker.text_tower(spec);
    for (name, value) in [
        ("input_resolution", side),
        ("context_length", CONTEXT),
        ("vocab_size", VOCABULARY),
        (marks::UNTRAINED, 1),
    ] {
        maker.put(name, Tensor::from(value));
    }
    Ok(maker.named)
}

struct Maker {
    seeded: Seeded,
    named: Vec<(String, Tensor)>,
}

impl Maker {
    fn put(&mut self, name: &str, tensor: Tensor) {
        self.named.push((name.to_owned(), tensor.contiguous()));
    }

    fn normal(&mut self, name: &str, shape: &[i64], std: f64) {
        let tensor = self.seeded.normal(shape, std);
        self.put(name, tensor);
    }

    fn constant(&mut self, name: &str, shape: &[i64], value: f64) {
        self.put(name, Tensor::full(shape, value, tch::kind::FLOAT_CPU));
    }

    fn image_tower(&mut self, spec: &MiniatureSpec) {
        let (width, half) = (spec.width, spec.width / 2);
        let side = spec.calibration_side.unwrap_or(spec.resolution);
        let mut x = smooth_images(&mut self.seeded, side);
        for (index, output, stride) in [(1, half, 2), (2, half, 1), (3, width, 1)] {
            let names = (format!("visual.conv{index}"), format!("visual.bn{index}"));
            x = self.conv_norm((&names.0, &names.1), &x, output, 3, stride).relu();
        }
        x = crate::clip::average_pool(&x, 2);
        for stage in 0..4 {
            for block in 0..spec.blocks[stage] {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                x = self.bottleneck(
                    &format!("visual.layer{}.{block}", stage + 1),
                    &x,
                    width << stage,
                    stride,
                );
            }
        }
        let channels = 32 * width;
        let pool = PoolConfig {
            embed: spec.embed,
            resolution: spec.resolution,
            heads: channels / 64,
        };
        let tokens = (pool.resolution / 32).pow(2) + 1;
        let std = (channels as f64).powf(-0.5);
        self.normal("visual.attnpool.positional_embedding", &[tokens, channels], std);
        for (name, output) in [
            ("q_proj", channels),
            ("k_proj", channels),
            ("v_proj", channels),
            ("c_proj", pool.embed),
        ] {
            self.normal(
                &format!("visual.attnpool.{name}.weight"),
                &[output, channels],
                std,
            );
            self.constant(&format!("visual.attnpool.{name}.bias"), &[output], 0.0);
        }
    }

    fn bottleneck(&mut self, name: &str, x: &Tensor, inner: i64, stride: i64) -> Tensor {
        let output = 4 * inner;
        let part = |conv: &str, norm: &str| (format!("{name}.{conv}"), format!("{name}.{norm}"));
        let pool = |x: &Tensor| {
            if stride == 1 {
                x.shallow_clone()
            } else {
                crate::clip::average_pool(x, stride)
            }
        };
        let (conv, norm) = part("conv1", "bn1");
        let mut y = self.conv_norm((&conv, &norm), x, inner, 1, 1).relu();
        let (conv, norm) = part("conv2", "bn2");
        y = self.conv_norm((&conv, &norm), &y, inner, 3, 1).relu();
        let (conv, norm) = part("conv3", "bn3");
        y = self.conv_norm((&conv, &norm), &pool(&y), output, 1, 1);
        let shortcut = if stride > 1 || x.size()[1] != output {
            let (conv, norm) = part("downsample.0", "downsample.1");
            self.conv_norm((&conv, &norm), &pool(x), output, 1, 1)
        } else {
            x.shallow_clone()
        };
        (y + shortcut).relu()
    }

    /// A convolution and its BatchNorm, whose running statistics are those of this very input; gives the
    /// normalised output.
    fn conv_norm(
        &mut self,
        (conv, norm): (&str, &str),
        x: &Tensor,
        output: i64,
        kernel: i64,
        stride: i64,
    ) -> Tensor {
        let weight = self.seeded.kaiming(&[output, x.size()[1], kernel, kernel]);
        let padding = kernel / 2;
        let y = x.conv2d(
            &weight,
            None::<&Tensor>,
            [stride, stride],
            [padding, padding],
            [1, 1],
            1,
        );
        let axes = [0_i64, 2, 3];
        // In f16 precision, so that another order of summation gives the same file.
        let coarse = |t: Tensor| t.to_kind(Kind::Half).to_kind(Kind::Float);
        let wide = y.to_kind(Kind::Double);
        let mean = coarse(wide.mean_dim(axes.as_slice(), false, Kind::Double));
        let var = coarse(wide.var_dim(axes.as_slice(), false, false)).clamp_min(1e-3);
        self.put(&format!("{conv}.weight"), weight);
        self.constant(&format!("{norm}.weight"), &[output], 1.0);
        self.normal(&format!("{norm}.bias"), &[output], 0.1);
        let bias = self.named.last().map(|(_, bias)| bias.shallow_clone());
        let none = None::<&Tensor>;
        let normalised = y.batch_norm(
            none,
            bias.as_ref(),
            Some(&mean),
            Some(&var),
            false,
            0.1,
            1e-5,
            false,
        );
        self.put(&format!("{norm}.running_mean"), mean);
        self.put(&format!("{norm}.running_var"), var);
        self.put(&format!("{norm}.num_batches_tracked"), Tensor::from(1_i64));
        normalised
    }

    /// Spreads as CLIP initialises its own.
    fn text_tower(&mut self, spec: &MiniatureSpec) {
        let width = spec.text_width;
        let across = (width as f64).powf(-0.5);
        let into_residual = across * (2.0 * spec.text_layers as f64).powf(-0.5);
        let tokens = self.seeded.normal(&[VOCABULARY, width], 0.02).to_kind(Kind::Half);
        self.put("token_embedding.weight", tokens);
        self.normal("positional_embedding", &[CONTEXT, width], 0.01);
        for layer in 0..spec.text_layers {
            let name = |part: &str| format!("transformer.resblocks.{layer}.{part}");
            for (part, rows, columns, std) in [
                ("attn.in_proj_", 3 * width, width, across),
                ("attn.out_proj.", width, width, into_residual),
                ("mlp.c_fc.", 4 * width, width, (2.0 * width as f64).powf(-0.5)),
                ("mlp.c_proj.", width, 4 * width, into_residual),
            ] {
                self.normal(&name(&format!("{part}weight")), &[rows, columns], std);
                self.constant(&name(&format!("{part}bias")), &[rows], 0.0);
            }
            self.identity_norm(&name("ln_1"), width);
            self.identity_norm(&name("ln_2"), width);
        }
        self.identity_norm("ln_final", width);
        self.normal("text_projection", &[width, spec.embed], across);
        self.constant("logit_scale", &[], (1.0_f64 / 0.07).ln());
    }

    fn identity_norm(&mut self, name: &str, width: i64) {
        self.constant(&format!("{name}.weight"), &[width], 1.0);
        self.constant(&format!("{name}.bias"), &[width], 0.0);
    }
}

/// Eight images of soft blobs with some grain, about as bright as normalised photographs.
fn smooth_images(seeded: &mut Seeded, side: i64) -> Tensor {
    let blobs = seeded.normal(&[8, 3, 9, 9], 1.0).to_device(Device::Cpu);
    blobs.upsample_bilinear2d([side, side], false, None, None) + seeded.normal(&[8, 3, side, side], 0.2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{ULDA_TEMPLATES, embed_prompts};
    use crate::{Backbone, TextEncoder, Weights};

    fn spread(t: &Tensor) -> f64 {
        t.std(true).double_value(&[])
    }

    #[test]
    fn a_miniature_loads_and_keeps_the_scale_of_features() {
        let folder = tempfile::tempdir().unwrap();
        for (blocks, resolution) in [([1; 4], 224), ([3, 4, 6, 3], 64)] {
            let path = folder.path().join("clip.safetensors");
            let spec = MiniatureSpec {
                blocks,
                resolution,
                ..MiniatureSpec::default()
            };
            write_clip(&path, &spec).unwrap();
            let weights = Weights::read(&path).unwrap();
            let backbone = Backbone::load(&weights).unwrap();
            let images = smooth_images(&mut Seeded::new(99), resolution);
            tch::no_grad(|| {
                let low = backbone.stem_and_layer1(&images);
                assert_eq!(low.size(), [8, 64, resolution / 4, resolution / 4]);
                let deep = backbone.deep(&low);
                for feature in [&low, &deep] {
                    assert!((0.2..5.0).contains(&spread(feature)), "{}", spread(feature));
                }
                let embedding = backbone.clip_embedding(&low).unwrap();
                assert_eq!(embedding.size(), [8, 64]);
                assert!(spread(&(embedding.get(0) - embedding.get(1))) > 1e-2);
            });
        }
    }

    #[test]
    fn prompts_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.safetensors");
        write_clip(&path, &MiniatureSpec::default()).unwrap();
        let encoder = TextEncoder::load(&Weights::read(&path).unwrap(), Device::Cpu).unwrap();
        let [night, snow] = ["driving at night", "driving in snow"]
            .map(|p| embed_prompts(&encoder, &ULDA_TEMPLATES, &[p]).unwrap());
        let cosine = (night * snow).sum(Kind::Float).double_value(&[]);
        assert!(cosine < 0.98, "{cosine}");
    }

    #[test]
    fn equal_seeds_give_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, seed| {
            let path = folder.path().join(name);
            let spec = MiniatureSpec {
                seed,
                resolution: 64,
                ..MiniatureSpec::default()
            };
            write_clip(&path, &spec).unwrap();
            Weights::read(&path).unwrap().digest().to_owned()
        };
        assert_eq!(write("a", 5), write("b", 5));
        assert_ne!(write("a", 5), write("c", 6));
    }

    #[test]
    fn impossible_sizes_are_named() {
        let spec = MiniatureSpec {
            resolution: 100,
            ..MiniatureSpec::default()
        };
        let error = write_clip(Path::new("never"), &spec).unwrap_err();
        assert_eq!(
            error.to_string(),
            "miniature: resolution is 100, expected a positive multiple of 32"
        );
    }
}
