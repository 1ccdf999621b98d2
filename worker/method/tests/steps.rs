//! Properties of the supervised steps: pretrain learns, a content style changes nothing, dropout follows its seed.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::sync::Arc;

use common::{Tiny, single_threaded};
use tch::Tensor;
use ulda_golden::Fixture;
use ulda_method::adapt::AdaptStep;
use ulda_method::losses::segmentation::valid_pixels;
use ulda_method::optim::SgdSettings;
use ulda_method::pretrain::{pretrain_step, trainables};
use ulda_method::stats::Stats;
use ulda_method::stylebank::DrawnStyles;
use ulda_method::supervised::{ShardBatch, StepContext, SupervisedLoss};
use ulda_torch::Solo;

type Named = Vec<(String, Tensor)>;

struct Scene {
    tiny: Tiny,
    images: Tensor,
    labels: Tensor,
}

impl Scene {
    fn load() -> Scene {
        single_threaded();
        let golden = Fixture::load("stage2");
        Scene {
            tiny: Tiny::load(),
            images: golden.f32("images_pool"),
            labels: golden.i64("labels_pool"),
        }
    }

    fn batch(&self) -> ShardBatch<'_> {
        ShardBatch {
            images: &self.images,
            labels: &self.labels,
        }
    }

    fn context(&self, dropout: f64, dropout_seed: u64) -> StepContext {
        let valid_pixels = valid_pixels(&self.labels).unwrap();
        StepContext {
            sync: Arc::new(Solo),
            valid_pixels,
            images: self.images.size()[0],
            loss: SupervisedLoss::default(),
            dropout,
            dropout_seed,
        }
    }

    fn pretrain_loss(&self, dropout: f64, seed: u64) -> f64 {
        let context = self.context(dropout, seed);
        pretrain_step(&self.tiny.source, &self.tiny.head, &self.batch(), &context)
            .unwrap()
            .loss
    }
}

#[test]
fn pretrain_learns_a_batch() {
    let scene = Scene::load();
    let mut set = trainables(&scene.tiny.head, SgdSettings::default()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..6 {
        set.zero_gradient().unwrap();
        losses.push(scene.pretrain_loss(0.0, 0));
        let gradient = set.collect_gradient().unwrap().copy();
        set.apply(&gradient, &[0.02]).unwrap();
    }
    assert!(losses[5] < 0.8 * losses[0], "{losses:?}");
}

#[test]
fn training_resumes_from_saved_values_and_momentum() {
    let steps = |count: usize, saved: Option<&(Named, Named)>| {
        let scene = Scene::load();
        let mut set = trainables(&scene.tiny.head, SgdSettings::default()).unwrap();
        if let Some((values, velocity)) = saved {
            let find = |list: &[(String, Tensor)], name: &str| {
                list.iter()
                    .find(|(own, _)| own == name)
                    .map(|(_, tensor)| tensor.shallow_clone())
            };
            set.load_values(|name| find(values, name)).unwrap();
            set.load_velocity(|name| find(velocity, name)).unwrap();
        }
        for _ in 0..count {
            set.zero_gradient().unwrap();
            scene.pretrain_loss(0.0, 0);
            let gradient = set.collect_gradient().unwrap().copy();
            set.apply(&gradient, &[0.01]).unwrap();
        }
        (set.named_values().unwrap(), set.named_velocity().unwrap())
    };
    let whole = steps(3, None);
    let halved = steps(2, Some(&steps(1, None)));
    assert!(whole.0.iter().zip(&halved.0).all(|(a, b)| a.1.equal(&b.1)));
    assert!(whole.1.iter().zip(&halved.1).all(|(a, b)| a.1.equal(&b.1)));
}

#[test]
fn the_content_style_gives_the_plain_loss() {
    let scene = Scene::load();
    let _set = trainables(&scene.tiny.head, SgdSettings::default()).unwrap();
    let plain = scene.pretrain_loss(0.0, 0);
    let Stats { mean, std } = Stats::of(&scene.tiny.source.stem_and_layer1(&scene.images)).unwrap();
    let adapt = AdaptStep {
        backbone: &scene.tiny.source,
        head: &scene.tiny.head,
        rectification: None,
        mix: None,
    };
    let styles = DrawnStyles {
        mean,
        std,
        domains: vec![0; 3],
    };
    let styled = adapt
        .run(&scene.batch(), &styles, &scene.context(0.0, 0))
        .unwrap()
        .loss;
    assert!((plain - styled).abs() < 1e-5 * plain, "{plain} {styled}");
}

/// PØDA's `network/utils.py`, `mix`, in float64 from the statistics as they are.
#[test]
fn a_mixed_style_lies_between_the_images_own_and_the_drawn_one() {
    let scene = Scene::load();
    let low = scene.tiny.source.stem_and_layer1(&scene.images);
    let own = Stats::of(&low).unwrap();
    let drawn = |factor: f64, offset: f64| DrawnStyles {
        mean: &own.mean * factor + offset,
        std: &own.std * factor + offset,
        domains: vec![0; 3],
    };
    let share = Tensor::linspace(0.0, 1.0, 3 * low.size()[1], tch::kind::FLOAT_CPU)
        .view(own.mean.size().as_slice())
        .to_device(low.device());
    let features = |styles: &DrawnStyles, mix: Option<&Tensor>| {
        let adapt = AdaptStep {
            backbone: &scene.tiny.source,
            head: &scene.tiny.head,
            rectification: None,
            mix,
        };
        adapt.features(&scene.batch(), styles)
    };
    let styles = drawn(1.5, 0.25);
    let mixed = features(&styles, Some(&share)).unwrap();

    let double = |tensor: &Tensor| tensor.to_kind(tch::Kind::Double);
    let (mean, std, s) = (double(&own.mean), double(&own.std), double(&share));
    let rest: Tensor = 1.0 - &s;
    let norm = (double(&low) - &mean) / &std;
    let mean_mix = &s * &mean + &rest * double(&styles.mean);
    let std_mix = &s * &std + &rest * double(&styles.std);
    let expected = (std_mix * norm + mean_mix).relu();
    let worst = (double(&mixed) - &expected).abs().max().double_value(&[]);
    assert!(worst < 1e-5 * expected.max().double_value(&[]), "{worst}");

    let of_share = |share: f64| features(&styles, Some(&own.mean.full_like(share))).unwrap();
    let unmixed = |styles: &DrawnStyles| features(styles, None).unwrap();
    assert!(of_share(0.0).equal(&unmixed(&styles)));
    assert!(of_share(1.0).equal(&unmixed(&drawn(1.0, 0.0))));

    let narrow = own.mean.narrow(1, 0, 1);
    let refused = features(&styles, Some(&narrow)).unwrap_err();
    assert!(refused.to_string().contains("shares of a mix"), "{refused}");
}

#[test]
fn dropout_follows_its_seed() {
    let scene = Scene::load();
    let _set = trainables(&scene.tiny.head, SgdSettings::default()).unwrap();
    let (once, again, other) = (
        scene.pretrain_loss(0.1, 7),
        scene.pretrain_loss(0.1, 7),
        scene.pretrain_loss(0.1, 8),
    );
    assert_eq!(once, again);
    assert_ne!(once, other);
    assert_ne!(once, scene.pretrain_loss(0.0, 7));
}
