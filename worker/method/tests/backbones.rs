//! One step of each stage on each of CLIP's ResNets, with random weights of the published shapes and small crops: all sizes
//! come from the checkpoint.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use ulda_method::adapt::{self, AdaptStep, Rectification};
use ulda_method::losses::segmentation::valid_pixels;
use ulda_method::optim::SgdSettings;
use ulda_method::pretrain::{self, pretrain_step};
use ulda_method::projector::Projector;
use ulda_method::rectifier::Rectifier;
use ulda_method::simulate::{
    Alone, DomainProjector, DomainStyle, Hooks, Local, LossWeights, Networks, Round, RoundBatch, Segmenter,
    SimulateSettings, Start,
};
use ulda_method::stylebank::DrawnStyles;
use ulda_method::supervised::{ShardBatch, StepContext, SupervisedLoss};
use ulda_method::trainable::TrainableSet;
use ulda_model::miniature::{MiniatureSpec, tensors};
use ulda_model::{Backbone, Head, HeadConfig, ImageConfig, Seeded, TextBank, Weights, WeightsKind};
use ulda_torch::Solo;

const CROP: i64 = 64;
const DOMAINS: [&str; 2] = ["driving at night", "driving in snow"];

/// What a shape has besides the numbers that its checkpoint is made from.
struct Expected {
    name: &'static str,
    low_channels: i64,
    deep_channels: i64,
    scene_side: i64,
    image_heads: i64,
    text_heads: i64,
}

struct Scene {
    clip: Backbone,
    head: Head,
    texts: TextBank,
    images: Tensor,
    labels: Tensor,
}

impl Scene {
    fn of(expected: &Expected) -> Scene {
        let spec = MiniatureSpec::published(expected.name).unwrap();
        let named = tensors(&spec).unwrap();
        let weights =
            Weights::from_tensors(Path::new(expected.name), WeightsKind::Safetensors, named).unwrap();
        let clip = Backbone::load(&weights).unwrap();
        check_sizes(clip.config(), &weights, expected);
        let cache = tempfile::tempdir().unwrap();
        let classes = ["road"; 19];
        let prompts = DOMAINS.map(|prompt| vec![prompt]);
        let texts =
            TextBank::compute_or_load(cache.path(), &weights, &["a photo of a {}."], &classes, &prompts)
                .unwrap();
        assert_eq!(texts.region.size(), [2, 19, spec.embed]);
        let (deep, low) = (clip.config().deep_channels(), clip.config().low_channels());
        let labels =
            Tensor::arange(2 * CROP * CROP, (Kind::Int64, Device::Cpu)).divide_scalar_mode(512, "floor");
        let labels = labels.remainder(4).view([2, CROP, CROP]);
        let _ = labels.narrow(1, 0, 8).fill_(255);
        Scene {
            head: Head::new(HeadConfig::published(deep, low, 19), 3),
            clip,
            texts,
            images: Seeded::new(5).normal(&[2, 3, CROP, CROP], 1.0),
            labels,
        }
    }

    fn context(&self) -> StepContext {
        StepContext {
            sync: Arc::new(Solo),
            valid_pixels: valid_pixels(&self.labels).unwrap(),
            images: 2,
            loss: SupervisedLoss::default(),
            dropout: 0.1,
            dropout_seed: 7,
        }
    }

    fn batch(&self) -> ShardBatch<'_> {
        ShardBatch {
            images: &self.images,
            labels: &self.labels,
        }
    }

    fn pretrain(&mut self) {
        let mut set = pretrain::trainables(&self.head, SgdSettings::default()).unwrap();
        let step = pretrain_step(&self.clip, &self.head, &self.batch(), &self.context()).unwrap();
        update("pretrain", &mut set, step.loss);
        self.head.commit_batch_stats(&step.batch_stats);
    }

    /// One iteration of all terms; the styles of both domains.
    fn simulate(&self) -> Vec<DomainStyle> {
        let weights = LossWeights {
            intra: 10.0,
            ..LossWeights::PARAM1
        };
        let settings = SimulateSettings {
            weights,
            scene_pool: self.clip.config().scene_side(),
            ..SimulateSettings::default()
        };
        let batch =
            RoundBatch::prepare(&self.clip, &self.images, &self.labels, &self.texts, &weights).unwrap();
        let (low, embed) = (self.clip.config().low_channels(), self.texts.scene.size()[1]);
        let projector = |domain| DomainProjector {
            domain,
            projector: Projector::new(low, 32, embed, domain as u64, Device::Cpu).unwrap(),
        };
        let mut projectors: Vec<_> = (0..DOMAINS.len()).map(projector).collect();
        let networks = Networks {
            clip: &self.clip,
            segmentation: Some(Segmenter {
                backbone: &self.clip,
                head: &self.head,
            }),
        };
        let hooks = Hooks {
            exchange: &Local,
            reduce: &Alone,
            dropout_seed: &|_, domain| domain as u64,
        };
        let mut round = Round::begin(settings, networks, &batch, &mut projectors, Start::Content).unwrap();
        let report = round.iterate(&hooks).unwrap();
        let terms = report.terms(&weights);
        for (name, value) in [
            ("scene", terms.scene),
            ("pixel", terms.pixel),
            ("region", terms.region),
            ("seg", terms.seg),
            ("intra", terms.intra),
            ("cross", terms.cross),
        ] {
            assert!(value.is_finite() && value > 0.0, "{name} is {value}");
        }
        for domain in &report.domains {
            assert!(largest(&domain.gradient.style.mean) > 0.0);
        }
        round.styles().unwrap()
    }

    fn adapt(&self, styles: &[DomainStyle]) {
        let (low, embed) = (self.clip.config().low_channels(), self.texts.scene.size()[1]);
        let rectifier = Rectifier::new(embed, low, 0.01, 9, Device::Cpu).unwrap();
        let mut set = adapt::trainables(&self.head, Some(&rectifier), SgdSettings::default()).unwrap();
        let of_domain = |pick: fn(&DomainStyle) -> &Tensor| {
            let rows = styles
                .iter()
                .enumerate()
                .map(|(at, style)| pick(style).narrow(0, at as i64, 1));
            Tensor::cat(&rows.collect::<Vec<_>>(), 0)
        };
        let drawn = DrawnStyles {
            mean: of_domain(|style| &style.mean),
            std: of_domain(|style| &style.std),
            domains: vec![0, 1],
        };
        let step = AdaptStep {
            backbone: &self.clip,
            head: &self.head,
            rectification: Some(Rectification {
                rectifier: &rectifier,
                scene: &self.texts.scene,
            }),
            mix: None,
        };
        let step = step.run(&self.batch(), &drawn, &self.context()).unwrap();
        update("adapt", &mut set, step.loss);
    }
}

fn check_sizes(image: &ImageConfig, weights: &Weights, expected: &Expected) {
    assert_eq!(image.low_channels(), expected.low_channels);
    assert_eq!(image.deep_channels(), expected.deep_channels);
    assert_eq!(image.scene_side(), Some(expected.scene_side));
    assert_eq!(
        image.pool.as_ref().map(|pool| pool.heads),
        Some(expected.image_heads)
    );
    let text = ulda_model::TextConfig::read(weights).unwrap();
    assert_eq!(text.heads, expected.text_heads);
}

fn largest(tensor: &Tensor) -> f64 {
    let largest = tensor.abs().max().double_value(&[]);
    assert!(largest.is_finite());
    largest
}

/// Applies a step whose gradient reaches every parameter.
fn update(stage: &str, set: &mut TrainableSet, loss: f64) {
    assert!(loss.is_finite() && loss > 0.0, "{stage}: {loss}");
    for (name, gradient) in set.named_gradient().unwrap() {
        assert!(largest(&gradient) > 0.0, "{stage}: `{name}` has no gradient");
    }
    let rates = vec![0.01; set.group_names().len()];
    let gradient = set.collect_gradient().unwrap().copy();
    set.apply(&gradient, &rates).unwrap();
    for (_, value) in set.named_values().unwrap() {
        let _ = largest(&value);
    }
}

fn goes_through_all_stages(expected: &Expected) {
    let mut scene = Scene::of(expected);
    scene.pretrain();
    let styles = scene.simulate();
    scene.adapt(&styles);
}

#[test]
fn rn50() {
    goes_through_all_stages(&Expected {
        name: "RN50",
        low_channels: 256,
        deep_channels: 2048,
        scene_side: 56,
        image_heads: 32,
        text_heads: 8,
    });
}

#[test]
fn rn101() {
    goes_through_all_stages(&Expected {
        name: "RN101",
        low_channels: 256,
        deep_channels: 2048,
        scene_side: 56,
        image_heads: 32,
        text_heads: 8,
    });
}

#[test]
fn rn50x4() {
    goes_through_all_stages(&Expected {
        name: "RN50x4",
        low_channels: 320,
        deep_channels: 2560,
        scene_side: 72,
        image_heads: 40,
        text_heads: 10,
    });
}

#[test]
#[ignore = "takes 2 GiB of memory; make backbones runs it"]
fn rn50x16() {
    goes_through_all_stages(&Expected {
        name: "RN50x16",
        low_channels: 384,
        deep_channels: 3072,
        scene_side: 96,
        image_heads: 48,
        text_heads: 12,
    });
}

#[test]
#[ignore = "takes 5 GiB of memory; make backbones runs it"]
fn rn50x64() {
    goes_through_all_stages(&Expected {
        name: "RN50x64",
        low_channels: 512,
        deep_channels: 4096,
        scene_side: 112,
        image_heads: 64,
        text_heads: 16,
    });
}
