//! Domains computed as one batch give what they give one by one, and a loss that is no number names its domain.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Tiny, projectors, single_threaded, texts};
use tch::Tensor;
use ulda_golden::Fixture;
use ulda_method::pin::Style;
use ulda_method::projector::Projector;
use ulda_method::simulate::{
    Alone, DomainProjector, Hooks, IterationReport, Local, LossWeights, Round, RoundBatch, SimulateSettings,
    Start,
};

const DOMAINS: usize = 5;
/// A deviation, relative to the largest value beside it.
const LIMIT: f64 = 1e-5;

struct Scene {
    tiny: Tiny,
    batch: RoundBatch,
    weights: LossWeights,
    styles: Vec<Style>,
    projectors: Vec<DomainProjector>,
}

/// The recorded images, and the first of them again without labels, at the recorded start of each domain.
fn scene() -> Scene {
    single_threaded();
    let stage1 = Fixture::load("stage1");
    let tiny = Tiny::load();
    let weights = LossWeights {
        intra: 10.0,
        ..LossWeights::PARAM1
    };
    let once_more = |all: Tensor| Tensor::cat(&[&all, &all.narrow(0, 0, 1)], 0);
    let labels = once_more(stage1.i64("labels"));
    let _ = labels.get(2).fill_(255);
    let images = once_more(stage1.f32("images"));
    let texts = texts(&stage1, DOMAINS as i64);
    let batch = RoundBatch::prepare(&tiny.clip, &images, &labels, &texts, &weights).unwrap();
    let (mean, std) = (
        stage1.f32("init.pin.style_mean"),
        stage1.f32("init.pin.style_std"),
    );
    let start = |all: &Tensor, domain| once_more(all.get(domain as i64));
    let style = |domain| Style::from_values(&start(&mean, domain), &start(&std, domain)).unwrap();
    Scene {
        tiny,
        batch,
        weights,
        styles: (0..DOMAINS).map(style).collect(),
        projectors: projectors(&stage1, 0..DOMAINS),
    }
}

impl Scene {
    fn first_iteration(&self, domains_at_once: usize) -> ulda_method::Result<IterationReport> {
        let settings = SimulateSettings {
            weights: self.weights,
            scene_pool: Some(16),
            domains_at_once,
            ..SimulateSettings::default()
        };
        let hooks = Hooks {
            exchange: &Local,
            reduce: &Alone,
            dropout_seed: &|iteration, domain| (iteration * 100 + domain) as u64,
        };
        let start = Start::Given(&self.styles);
        let networks = self.tiny.networks();
        let mut projectors: Vec<DomainProjector> = self.projectors.iter().map(copy).collect();
        Round::begin(settings, networks, &self.batch, &mut projectors, start)?.iterate(&hooks)
    }
}

fn copy(owned: &DomainProjector) -> DomainProjector {
    DomainProjector {
        domain: owned.domain,
        projector: Projector::from_values(&owned.projector.parameters()).unwrap(),
    }
}

/// Everything that an iteration tells of each domain, by name.
fn told(report: &IterationReport) -> Vec<Vec<(String, Tensor)>> {
    let of_domain = |domain: &ulda_method::simulate::DomainReport| {
        let losses = &domain.losses;
        let mut told = vec![
            ("scene".to_owned(), Tensor::from_slice(&[losses.scene])),
            ("seg".to_owned(), Tensor::from_slice(&[losses.seg])),
            ("region".to_owned(), Tensor::from_slice(&losses.region)),
            ("pixel".to_owned(), Tensor::from_slice(&losses.pixel)),
            ("intra".to_owned(), Tensor::from_slice(&losses.intra)),
            ("cross".to_owned(), Tensor::from_slice(&report.cross)),
            (
                "style mean".to_owned(),
                domain.gradient.style.mean.shallow_clone(),
            ),
            ("style std".to_owned(), domain.gradient.style.std.shallow_clone()),
        ];
        for (at, gradient) in domain.gradient.projector.iter().enumerate() {
            told.push((format!("projector {at}"), gradient.shallow_clone()));
        }
        for (layer, stats) in &domain.batch_stats.0 {
            told.push((format!("{layer} mean"), stats.mean.shallow_clone()));
            told.push((format!("{layer} var"), stats.var_biased.shallow_clone()));
            told.push((format!("{layer} count"), Tensor::from_slice(&[stats.count])));
        }
        told
    };
    report.domains.iter().map(of_domain).collect()
}

#[test]
fn groups_of_any_size_give_what_domains_give_one_by_one() {
    let scene = scene();
    let one_by_one = told(&scene.first_iteration(1).unwrap());
    assert_eq!(one_by_one.len(), DOMAINS);
    let mut worst = (0.0, String::new());
    for at_once in [2, 3, DOMAINS, 99] {
        let together = told(&scene.first_iteration(at_once).unwrap());
        assert_eq!(together.len(), DOMAINS);
        for (domain, (ours, alone)) in together.iter().zip(&one_by_one).enumerate() {
            assert_eq!(ours.len(), alone.len());
            for ((name, ours), (expected, alone)) in ours.iter().zip(alone) {
                assert_eq!((name, ours.size()), (expected, alone.size()));
                let scale = alone.abs().max().double_value(&[]).max(1e-12);
                let off = (ours - alone).abs().max().double_value(&[]) / scale;
                let what = format!("{name} of domain {domain}, {at_once} at once: {off:.1e}");
                assert!(off <= LIMIT, "{what}");
                if off > worst.0 {
                    worst = (off, what);
                }
            }
        }
    }
    println!("largest deviation: {}", worst.1);
}

#[test]
fn an_image_without_classes_has_no_alignment_whatever_the_group() {
    let report = scene().first_iteration(DOMAINS).unwrap();
    for domain in &report.domains {
        let losses = &domain.losses;
        for terms in [&losses.region, &losses.pixel, &losses.intra] {
            assert!(terms[0] > 0.0 && terms[1] > 0.0 && terms[2] == 0.0, "{losses:?}");
        }
    }
    assert!(report.cross[1] > 0.0 && report.cross[2] == 0.0);
}

#[test]
fn a_loss_that_is_no_number_names_its_term_and_domain() {
    for at_once in [1, 2, DOMAINS] {
        let lost = scene();
        let _ = lost.projectors[1].projector.parameters()[0]
            .detach()
            .fill_(f64::NAN);
        let told = lost.first_iteration(at_once).unwrap_err().to_string();
        assert!(
            told.starts_with("the loss became NaN at the pixel term of domain 1"),
            "{told}"
        );

        let mut lost = scene();
        let _ = lost.styles[3].mean.fill_(f64::INFINITY);
        let told = lost.first_iteration(at_once).unwrap_err().to_string();
        assert!(told.contains("at the scene term of domain 3"), "{told}");
    }
}

#[test]
fn no_domain_at_once_is_refused() {
    let told = scene().first_iteration(0).unwrap_err().to_string();
    assert_eq!(
        told,
        "`domains_at_once` is 0, but at least one domain is computed at once"
    );
}
