//! A case: everything that a step needs, made from seeds, in a folder that any implementation can read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, no_grad};
use ulda_dataset::{Image, LabelMap, Size as PictureSize, palette::write_label_ids, write_rgb};
use ulda_method::losses::region::unit_rows;
use ulda_method::projector::{PARAMETER_NAMES, PUBLISHED_HIDDEN, Projector};
use ulda_method::rectifier::{PUBLISHED_SCALE, Rectifier};
use ulda_method::simulate::DomainProjector;
use ulda_method::stats::Stats;
use ulda_model::miniature::{MiniatureSpec, write_clip};
use ulda_model::text::{ULDA_TEMPLATES, fill, region_prompt};
use ulda_model::{Backbone, Head, HeadConfig, Seeded, TextEncoder, Weights};
use ulda_run::{CITYSCAPES, Classes};

use crate::Failure;
use crate::setting::Setting;

/// Images of a batch.
pub const IMAGES: i64 = 2;
/// Classes that occur in each image; as many as an average street crop has.
const PRESENT: i64 = 8;
/// The published domains.
const PROMPTS: [&str; 6] = [
    "driving under rain",
    "driving at night",
    "driving in snow",
    "driving in fog",
    "driving through fire",
    "driving in sandstorm",
];

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Size {
    /// The miniature: width 16, one block per stage.
    Small,
    /// RN50's sizes.
    Rn50,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseSpec {
    pub size: Size,
    pub crop: i64,
    pub domains: i64,
    /// Height of the evaluation image, which is twice as wide.
    pub photo: i64,
}

/// A case in memory.
pub struct Case {
    pub spec: CaseSpec,
    pub backbone: Backbone,
    pub head: Head,
    pub folder: PathBuf,
    pub setting: Setting,
    tensors: BTreeMap<String, Tensor>,
}

impl Case {
    /// # Errors
    /// When the folder holds no case.
    pub fn read(folder: &Path, setting: &Setting) -> Result<Self, Failure> {
        let device = setting.device();
        let spec = serde_json::from_str(&fs::read_to_string(folder.join("case.json"))?)?;
        let backbone = Backbone::load(&Weights::read(&folder.join("clip.safetensors"))?)?.to_device(device);
        let backbone = setting
            .reduced()
            .map_or(backbone.clone(), |kind| backbone.to_kind(kind));
        let head = Head::load(&Weights::read(&folder.join("head.safetensors"))?)?
            .to_device(device)
            .autocast(setting.reduced());
        let named = Tensor::read_safetensors(folder.join("case.safetensors"))?;
        Ok(Self {
            spec,
            backbone,
            head,
            folder: folder.to_owned(),
            setting: *setting,
            tensors: named
                .into_iter()
                .map(|(name, tensor)| (name, tensor.to_device(device)))
                .collect(),
        })
    }

    /// # Errors
    /// When the case lacks it.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Failure> {
        let found = self.tensors.get(name).map(Tensor::shallow_clone);
        found.ok_or_else(|| format!("case `{}` lacks `{name}`", self.folder.display()).into())
    }

    /// # Errors
    /// When the case lacks one.
    pub fn projectors(&self) -> Result<Vec<DomainProjector>, Failure> {
        (0..self.spec.domains)
            .map(|domain| {
                let mut values = Vec::new();
                for name in PARAMETER_NAMES {
                    values.push(self.tensor(name)?.f_get(domain)?);
                }
                Ok(DomainProjector {
                    domain: domain as usize,
                    projector: Projector::from_values(&values)?,
                })
            })
            .collect()
    }

    /// # Errors
    /// When the case lacks a part of it.
    pub fn rectifier(&self) -> Result<Rectifier, Failure> {
        Ok(Rectifier::from_named(|name| {
            self.tensors.get(name).map(Tensor::shallow_clone)
        })?)
    }
}

/// Writes `clip.safetensors`, `head.safetensors`, `case.safetensors`, `case.json` and a little Cityscapes tree.
///
/// # Errors
/// When the folder cannot be written.
pub fn prepare(folder: &Path, spec: &CaseSpec) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let clip_path = folder.join("clip.safetensors");
    let clip = match spec.size {
        Size::Small => MiniatureSpec::default(),
        Size::Rn50 => MiniatureSpec {
            width: 64,
            blocks: [3, 4, 6, 3],
            embed: 1024,
            resolution: 224,
            text_width: 512,
            text_layers: 12,
            ..MiniatureSpec::default()
        },
    };
    write_clip(&clip_path, &clip)?;
    let weights = Weights::read(&clip_path)?;
    let backbone = Backbone::load(&weights)?;
    let head = Head::new(
        HeadConfig::published(32 * clip.width, 4 * clip.width, CITYSCAPES.len() as i64),
        1,
    );
    Tensor::write_safetensors(&head.state(), folder.join("head.safetensors"))?;
    let tokens = tokens(&TextEncoder::load(&weights, Device::Cpu)?, spec.domains)?;
    let named = no_grad(|| inputs(spec, &backbone, clip.embed, tokens))?;
    Tensor::write_safetensors(&named, folder.join("case.safetensors"))?;
    fs::write(folder.join("case.json"), serde_json::to_string(spec)?)?;
    pictures(folder, spec)
}

/// Token ids of the 44 filled templates of every domain and class, [D, 19, 44, 77].
fn tokens(encoder: &TextEncoder, domains: i64) -> Result<Tensor, Failure> {
    let mut rows = Vec::new();
    for prompt in PROMPTS.iter().cycle().take(domains as usize) {
        for class in &CITYSCAPES {
            rows.push(encoder.tokenize(&fill(&ULDA_TEMPLATES, &[region_prompt(&class.name, prompt)]))?);
        }
    }
    Ok(Tensor::stack(&rows, 0).view([domains, CITYSCAPES.len() as i64, 44, -1]))
}

fn inputs(
    spec: &CaseSpec,
    backbone: &Backbone,
    embed: i64,
    tokens: Tensor,
) -> Result<Vec<(String, Tensor)>, Failure> {
    let CaseSpec {
        crop, domains, photo, ..
    } = *spec;
    let mut seeded = Seeded::new(11);
    let smooth = |seeded: &mut Seeded, size: [i64; 3]| -> Result<Tensor, Failure> {
        let coarse = seeded.normal(&[size[0], 3, size[1] / 32, size[2] / 32], 1.0);
        let grain = seeded.normal(&[size[0], 3, size[1], size[2]], 0.2);
        Ok(coarse.f_upsample_bilinear2d([size[1], size[2]], false, None, None)? + grain)
    };
    let images = smooth(&mut seeded, [IMAGES, crop, crop])?;
    let feature = backbone.stem_and_layer1(&images);
    let content = Stats::of(&feature)?;
    let channels = feature.size()[1];
    let units = |seeded: &mut Seeded, shape: &[i64]| -> Result<Tensor, Failure> {
        let rows = seeded.normal(shape, 1.0).view([-1, embed]);
        Ok(unit_rows(&rows)?.view(shape))
    };
    // Away from the content statistics, where every pixel that is 0 would sit on the ReLU's kink.
    let moved = |seeded: &mut Seeded, content: &Tensor| {
        seeded
            .normal(&[domains, IMAGES, channels, 1, 1], 0.1)
            .abs()
            .f_add_scalar(0.05)?
            .f_add(content)
    };
    let mut named = vec![
        ("labels".to_owned(), labels(crop)?),
        ("scene".to_owned(), units(&mut seeded, &[domains, embed])?),
        (
            "region".to_owned(),
            units(&mut seeded, &[domains, CITYSCAPES.len() as i64, embed])?,
        ),
        ("start.mean".to_owned(), moved(&mut seeded, &content.mean)?),
        ("start.std".to_owned(), moved(&mut seeded, &content.std)?),
        (
            "drawn.mean".to_owned(),
            moved(&mut seeded, &content.mean)?.f_get(0)?.f_contiguous()?,
        ),
        (
            "drawn.std".to_owned(),
            moved(&mut seeded, &content.std)?.f_get(0)?.f_contiguous()?,
        ),
        (
            "drawn.domains".to_owned(),
            Tensor::f_arange(IMAGES, (Kind::Int64, Device::Cpu))?.f_remainder(domains)?,
        ),
        ("photo".to_owned(), smooth(&mut seeded, [1, photo, 2 * photo])?),
        ("images".to_owned(), images),
        ("tokens".to_owned(), tokens),
    ];
    let projectors = (0..domains)
        .map(|domain| Projector::new(channels, PUBLISHED_HIDDEN, embed, 20 + domain as u64, Device::Cpu))
        .collect::<Result<Vec<_>, _>>()?;
    for (at, name) in PARAMETER_NAMES.iter().enumerate() {
        let stacked: Vec<Tensor> = projectors
            .iter()
            .map(|projector| projector.parameters()[at].detach())
            .collect();
        named.push(((*name).to_owned(), Tensor::f_stack(&stacked, 0)?));
    }
    let rectifier = Rectifier::new(embed, channels, PUBLISHED_SCALE, 40, Device::Cpu)?;
    let parameters = rectifier.mlp_parameters().into_iter();
    for (name, value) in parameters.chain([rectifier.scale_parameter()]) {
        named.push((name, value.detach().copy()));
    }
    Ok(named)
}

/// Vertical strips of eight classes under a strip of ignored pixels, [2, crop, crop].
fn labels(crop: i64) -> Result<Tensor, Failure> {
    let columns = Tensor::f_arange(crop, (Kind::Int64, Device::Cpu))? * PRESENT;
    let columns = columns.f_div_scalar_mode(crop, "floor")?.f_to_kind(Kind::Int64)?;
    let both = Tensor::f_stack(&[&columns, &(&columns * 2)], 0)?.f_view([IMAGES, 1, crop])?;
    let labels = both.f_expand([IMAGES, crop, crop], false)?.f_contiguous()?;
    let _ = labels.narrow(1, 0, crop / 16).f_fill_(255)?;
    Ok(labels)
}

/// Two pictures of Cityscapes' size with grain, and their labels, to time the reading of a batch.
fn pictures(folder: &Path, spec: &CaseSpec) -> Result<(), Failure> {
    let size = PictureSize::new(
        u32::try_from(4 * spec.crop)?.min(2048),
        u32::try_from(2 * spec.crop)?.min(1024),
    );
    for index in 0..IMAGES {
        let name = format!("{index:06}");
        let image_folder = folder.join("pictures/leftImg8bit/train/bench");
        let label_folder = folder.join("pictures/gtFine/train/bench");
        fs::create_dir_all(&image_folder)?;
        fs::create_dir_all(&label_folder)?;
        let width = size.width as usize;
        let mut noise = 0x9e37_79b9_u32 ^ index as u32;
        let rgb = (0..size.pixels() * 3)
            .map(|at| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (x, y) = (at / 3 % width, at / 3 / width);
                ((x / 9 + y / 5) % 200) as u8 + (noise >> 28) as u8
            })
            .collect();
        write_rgb(
            &image_folder.join(format!("{name}_leftImg8bit.png")),
            &Image { size, rgb },
        )?;
        let ids = (0..size.pixels())
            .map(|at| (at % width * 19 / width) as u8)
            .collect();
        write_label_ids(
            &label_folder.join(format!("{name}_gtFine_labelIds.png")),
            &LabelMap { size, ids },
            &Classes::default(),
        )?;
    }
    Ok(())
}
