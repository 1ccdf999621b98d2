//! Stage 2 against the published implementation: five steps of ULDA's and of PØDA's adaptation.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::sync::Arc;

use common::{Tiny, single_threaded};
use tch::Tensor;
use ulda_golden::{Fixture, Report, Tolerance};
use ulda_method::adapt::{AdaptStep, Rectification, trainables};
use ulda_method::losses::segmentation::valid_pixels;
use ulda_method::optim::{PolyDecay, SgdSettings};
use ulda_method::rectifier::Rectifier;
use ulda_method::stats::Stats;
use ulda_method::stylebank::DrawnStyles;
use ulda_method::supervised::{ShardBatch, StepContext, SupervisedLoss};
use ulda_model::Head;
use ulda_torch::{Solo, restyle};

const GRADIENT: Tolerance = Tolerance::OfMaxPlus {
    factor: 1e-4,
    floor: 1e-7,
};

/// Gradients of the pooled ASPP branch that BatchNorm over two values reduces to cancellation noise.
const NOISY: [&str; 2] = [
    "classifier.aspp.convs.4.1.weight",
    "classifier.aspp.convs.4.2.bias",
];

fn drawn(golden: &Fixture, step: usize) -> DrawnStyles {
    let domains = match golden.has(&format!("step{step}.domain_label")) {
        true => golden
            .values(&format!("step{step}.domain_label"))
            .iter()
            .map(|domain| *domain as usize)
            .collect(),
        false => vec![0; 2],
    };
    DrawnStyles {
        mean: golden.f32(&format!("step{step}.mu")),
        std: golden.f32(&format!("step{step}.std")),
        domains,
    }
}

fn compare_named(
    report: &mut Report,
    golden: &Fixture,
    prefix: &str,
    ours: &[(String, Tensor)],
    limit: impl Fn(&str) -> (String, Tolerance),
) {
    // PØDA's record leaves the large convolution weights out of `after1` and `after5`.
    let mut recorded: Vec<String> = golden
        .below(&format!("{prefix}."))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for (name, tensor) in ours
        .iter()
        .filter(|(name, _)| golden.has(&format!("{prefix}.{name}")))
    {
        let (group, tolerance) = limit(name);
        report.compare(
            &group,
            name,
            tensor,
            &golden.get(&format!("{prefix}.{name}")),
            tolerance,
        );
        recorded.retain(|left| left != name);
    }
    assert!(
        recorded.is_empty(),
        "{prefix} has tensors that nothing was compared with: {recorded:?}"
    );
}

fn compare_state(
    report: &mut Report,
    golden: &Fixture,
    prefix: &str,
    values: &[(String, Tensor)],
    head: &Head,
    limit: f64,
) {
    let tolerance = Tolerance::OfMaxOrOne(limit);
    let mut state: Vec<(String, Tensor)> = head.buffers();
    state.extend(
        values
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone())),
    );
    compare_named(report, golden, prefix, &state, |name| {
        let kind = name.rsplit('.').next().unwrap_or(name);
        match kind {
            "num_batches_tracked" => (format!("{prefix} counters"), Tolerance::Exact),
            "running_mean" | "running_var" => (format!("{prefix} buffers"), tolerance),
            _ => (format!("{prefix} parameters"), tolerance),
        }
    });
}

fn five_steps(fixture: &str, rectified: bool) {
    single_threaded();
    let golden = Fixture::load(fixture);
    let pool = Fixture::load("stage2");
    let json = golden.json();
    let mut tiny = Tiny::load();
    let rectifier = rectified.then(|| {
        Rectifier::from_named(|name| {
            golden
                .has(&format!("init.{name}"))
                .then(|| golden.f32(&format!("init.{name}")))
        })
        .unwrap()
    });
    let scene = rectified.then(|| golden.f32("text_target_all"));
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let settings = SgdSettings {
        momentum: number(&json["momentum"]),
        weight_decay: number(&json["hyper"]["weight_decay"]),
    };
    let mut set = trainables(&tiny.head, rectifier.as_ref(), settings).unwrap();
    let mut report = Report::new(fixture);
    let total = json["hyper"]["total_itrs"].as_u64().unwrap();
    let group_lr = |at: usize| number(&json["param_groups_at_start"][at]["lr"]);
    // The record has a group for the unused third MLP, and one for each MLP of the rectifier.
    let bases = match rectified {
        true => vec![group_lr(0), group_lr(2), group_lr(4)],
        false => vec![group_lr(0)],
    };

    for step in 1..=5usize {
        let index = golden.i64(&format!("step{step}.image_index"));
        let images = pool.f32("images_pool").index_select(0, &index);
        let labels = pool.i64("labels_pool").index_select(0, &index);
        let styles = drawn(&golden, step);
        if step == 1
            && let (Some(rectifier), Some(scene)) = (&rectifier, &scene)
        {
            compare_features(&mut report, &golden, &tiny, rectifier, scene, &images, &styles);
        }
        let context = StepContext {
            sync: Arc::new(Solo),
            valid_pixels: valid_pixels(&labels).unwrap(),
            images: 2,
            loss: SupervisedLoss::default(),
            dropout: 0.0,
            dropout_seed: 0,
        };
        let rectification = rectifier
            .as_ref()
            .zip(scene.as_ref())
            .map(|(rectifier, scene)| Rectification { rectifier, scene });
        let adapt = AdaptStep {
            backbone: &tiny.source,
            head: &tiny.head,
            rectification,
            mix: None,
        };
        set.zero_gradient().unwrap();
        let outcome = adapt
            .run(
                &ShardBatch {
                    images: &images,
                    labels: &labels,
                },
                &styles,
                &context,
            )
            .unwrap();
        let recorded = golden.values("loss")[step - 1];
        report.compare_values(
            "losses",
            "loss",
            &[outcome.loss],
            &[recorded],
            Tolerance::Relative(1e-5),
        );
        if step == 1 {
            compare_named(
                &mut report,
                &golden,
                "grad1",
                &set.named_gradient().unwrap(),
                |name| match (NOISY.contains(&name), name.starts_with("classifier.")) {
                    (true, _) => ("grad1 (noise)".into(), Tolerance::Absolute(1e-4)),
                    (_, true) => ("grad1 (head)".into(), GRADIENT),
                    (_, false) => ("grad1 (rectifier, scale)".into(), GRADIENT),
                },
            );
        }
        let lrs: Vec<f64> = bases
            .iter()
            .map(|base| PolyDecay::published(*base, total).at(step as u64))
            .collect();
        let gradient = set.collect_gradient().unwrap().copy();
        set.apply(&gradient, &lrs).unwrap();
        tiny.head.commit_batch_stats(&outcome.batch_stats);
        let values = set.named_values().unwrap();
        match step {
            1 => compare_state(&mut report, &golden, "after1", &values, &tiny.head, 2e-5),
            5 => compare_state(&mut report, &golden, "after5", &values, &tiny.head, 2e-4),
            _ => {}
        }
    }
    report.finish();
}

fn compare_features(
    report: &mut Report,
    golden: &Fixture,
    tiny: &Tiny,
    rectifier: &Rectifier,
    scene: &Tensor,
    images: &Tensor,
    styles: &DrawnStyles,
) {
    let feature = tiny.source.stem_and_layer1(images);
    let norm = Stats::of(&feature).unwrap().normalise(&feature).unwrap();
    let styled = restyle(&norm, &styles.mean, &styles.std).unwrap();
    let numbers: Vec<i64> = styles.domains.iter().map(|domain| *domain as i64).collect();
    let rectified = rectifier
        .forward(
            &styled,
            &scene.index_select(0, &Tensor::from_slice(&numbers).to_device(ulda_golden::device())),
        )
        .unwrap();
    let rows = rectified.feature.get(0).narrow(1, 0, 8);
    for (name, ours) in [
        ("step1.incre_mean", &rectified.mean),
        ("step1.incre_std", &rectified.std),
        ("step1.newfeature_mean", &rectified.styled.mean.flatten(1, -1)),
        ("step1.newfeature_std", &rectified.styled.std.flatten(1, -1)),
        ("step1.revised_feature_sample0_rows0to7", &rows),
    ] {
        report.compare("features", name, ours, &golden.f32(name), Tolerance::OfMax(5e-5));
    }
}

#[test]
fn ulda() {
    five_steps("stage2", true);
}

#[test]
fn poda() {
    five_steps("poda_stage2", false);
}
