//! A domain's numbers do not depend on which worker computes it: one holder of all domains and several holders of
//! groups give the same bits. Data shards share the projectors' gradients only.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::sync::Arc;
use std::thread;

use common::{Meeting, Tiny, projectors, single_threaded, texts};
use tch::Tensor;
use ulda_golden::Fixture;
use ulda_method::simulate::{
    Alone, Hooks, Local, LossWeights, ProjectorReduce, Prototype, PrototypeExchange, Round, RoundBatch,
    SimulateSettings, Start,
};
use ulda_method::{MethodError, Result};

const DOMAINS: usize = 3;

/// A prototype as it would travel: domain, image, shape, values.
type Wire = (usize, usize, Vec<i64>, Vec<f32>);

struct Groups {
    rank: usize,
    meeting: Arc<Meeting<Vec<Wire>>>,
}

impl PrototypeExchange for Groups {
    fn gather(&self, _iteration: usize, mine: Vec<Prototype>) -> Result<Vec<Prototype>> {
        let wire = mine
            .iter()
            .map(|prototype| {
                let values = Vec::<f32>::try_from(&prototype.rows.flatten(0, -1)).unwrap();
                (prototype.domain, prototype.image, prototype.rows.size(), values)
            })
            .collect();
        let all = self
            .meeting
            .exchange(self.rank, wire)
            .map_err(|reason| MethodError::Exchange {
                what: "gather prototypes",
                reason,
            })?;
        Ok(all
            .into_iter()
            .flatten()
            .map(|(domain, image, shape, values)| Prototype {
                domain,
                image,
                rows: Tensor::from_slice(&values).view(shape.as_slice()),
            })
            .collect())
    }
}

struct DataShards {
    rank: usize,
    meeting: Arc<Meeting<Vec<Vec<f32>>>>,
    shards: usize,
}

impl ProjectorReduce for DataShards {
    fn reduce(&self, _iteration: usize, gradients: &mut [(usize, Tensor)]) -> Result<()> {
        let mine = gradients
            .iter()
            .map(|(_, flat)| Vec::<f32>::try_from(flat).unwrap())
            .collect();
        let all = self
            .meeting
            .exchange(self.rank, mine)
            .map_err(|reason| MethodError::Exchange {
                what: "reduce projectors",
                reason,
            })?;
        for (at, (_, flat)) in gradients.iter_mut().enumerate() {
            let mut sum = Tensor::from_slice(&all[0][at]);
            for shard in &all[1..] {
                sum += Tensor::from_slice(&shard[at]);
            }
            *flat = sum / self.shards as f64;
        }
        Ok(())
    }
}

/// Bits of styles and projectors of the held domains after two iterations, by domain.
fn simulate(
    domains: &[usize],
    exchange: &dyn PrototypeExchange,
    reduce: &dyn ProjectorReduce,
) -> Vec<Vec<u32>> {
    single_threaded();
    let stage1 = Fixture::load("stage1");
    let tiny = Tiny::load();
    let weights = LossWeights {
        intra: 10.0,
        ..LossWeights::PARAM1
    };
    let texts = texts(&stage1, DOMAINS as i64);
    let batch = RoundBatch::prepare(
        &tiny.clip,
        &stage1.f32("images"),
        &stage1.get("labels"),
        &texts,
        &weights,
    )
    .unwrap();
    let mut owned = projectors(&stage1, domains.iter().copied());
    let settings = SimulateSettings {
        iterations: 2,
        weights,
        scene_pool: Some(16),
        ..SimulateSettings::default()
    };
    let hooks = Hooks {
        exchange,
        reduce,
        dropout_seed: &|iteration, domain| (iteration * 100 + domain) as u64,
    };
    let round = Round::begin(settings, tiny.networks(), &batch, &mut owned, Start::Content).unwrap();
    let styles = round.run(&hooks, |_| ()).unwrap();
    styles
        .iter()
        .zip(&owned)
        .map(|(style, owned)| {
            let mut tensors = vec![style.mean.shallow_clone(), style.std.shallow_clone()];
            tensors.extend(owned.projector.parameters());
            tensors
                .iter()
                .flat_map(|tensor| Vec::<f32>::try_from(&tensor.detach().flatten(0, -1)).unwrap())
                .map(f32::to_bits)
                .collect()
        })
        .collect()
}

#[test]
fn groups_of_domains_give_the_same_bits() {
    let whole = simulate(&[0, 1, 2], &Local, &Alone);
    assert_eq!(whole.len(), DOMAINS);
    assert_ne!(whole[0], whole[1]);
    for groups in [
        vec![vec![0], vec![1, 2]],
        vec![vec![2], vec![0], vec![1]],
        vec![vec![0, 2], vec![1]],
    ] {
        let meeting = Meeting::new(groups.len());
        let workers: Vec<_> = groups
            .iter()
            .cloned()
            .enumerate()
            .map(|(rank, domains)| {
                let exchange = Groups {
                    rank,
                    meeting: Arc::clone(&meeting),
                };
                thread::spawn(move || simulate(&domains, &exchange, &Alone))
            })
            .collect();
        for (domains, worker) in groups.iter().zip(workers) {
            for (domain, bits) in domains.iter().zip(worker.join().unwrap()) {
                assert!(
                    bits == whole[*domain],
                    "domain {domain} differs in groups {groups:?}"
                );
            }
        }
    }
}

#[test]
fn equal_data_shards_leave_the_mean_gradient_unchanged() {
    let alone = simulate(&[0, 1, 2], &Local, &Alone);
    let meeting = Meeting::new(2);
    let shards: Vec<_> = (0..2)
        .map(|rank| {
            let reduce = DataShards {
                rank,
                meeting: Arc::clone(&meeting),
                shards: 2,
            };
            thread::spawn(move || simulate(&[0, 1, 2], &Local, &reduce))
        })
        .collect();
    for shard in shards {
        assert!(shard.join().unwrap() == alone);
    }
}

#[test]
fn an_incomplete_gather_is_refused() {
    struct Forgetful;
    impl PrototypeExchange for Forgetful {
        fn gather(&self, _iteration: usize, mut mine: Vec<Prototype>) -> Result<Vec<Prototype>> {
            mine.pop();
            Ok(mine)
        }
    }
    single_threaded();
    let stage1 = Fixture::load("stage1");
    let tiny = Tiny::load();
    let weights = LossWeights {
        seg: 0.0,
        ..LossWeights::PARAM1
    };
    let texts = texts(&stage1, 1);
    let batch = RoundBatch::prepare(
        &tiny.clip,
        &stage1.f32("images"),
        &stage1.get("labels"),
        &texts,
        &weights,
    )
    .unwrap();
    let mut owned = projectors(&stage1, [0]);
    let settings = SimulateSettings {
        weights,
        scene_pool: Some(16),
        ..SimulateSettings::default()
    };
    let mut round = Round::begin(settings, tiny.networks(), &batch, &mut owned, Start::Content).unwrap();
    let hooks = Hooks {
        exchange: &Forgetful,
        reduce: &Alone,
        dropout_seed: &|_, _| 0,
    };
    let message = round.iterate(&hooks).unwrap_err().to_string();
    assert_eq!(
        message,
        "prototype exchange at iteration 1: got (0, 0); expected one entry per domain and image, 1 x 2"
    );
}

#[test]
fn an_image_without_labels_takes_part_in_the_other_terms() {
    single_threaded();
    let stage1 = Fixture::load("stage1");
    let tiny = Tiny::load();
    let weights = LossWeights {
        intra: 1.0,
        ..LossWeights::PARAM1
    };
    let labels = stage1.i64("labels");
    let _ = labels.get(1).fill_(255);
    let texts = texts(&stage1, 2);
    let batch = RoundBatch::prepare(&tiny.clip, &stage1.f32("images"), &labels, &texts, &weights).unwrap();
    let mut owned = projectors(&stage1, [0, 1]);
    let settings = SimulateSettings {
        weights,
        scene_pool: Some(16),
        ..SimulateSettings::default()
    };
    let mut round = Round::begin(settings, tiny.networks(), &batch, &mut owned, Start::Content).unwrap();
    let hooks = Hooks {
        exchange: &Local,
        reduce: &Alone,
        dropout_seed: &|_, _| 0,
    };
    let report = round.iterate(&hooks).unwrap();
    for domain in &report.domains {
        assert!(domain.losses.scene > 0.0 && domain.losses.seg > 0.0);
        assert!(
            domain.losses.region[0] > 0.0 && domain.losses.pixel[0] > 0.0 && domain.losses.intra[0] > 0.0
        );
        assert_eq!(
            (
                domain.losses.region[1],
                domain.losses.pixel[1],
                domain.losses.intra[1]
            ),
            (0.0, 0.0, 0.0)
        );
    }
    assert!(report.cross[0] > 0.0 && report.cross[1] == 0.0);
}

#[test]
fn where_the_crop_fits_the_attention_pool_the_whole_feature_is_the_pooled_one() {
    single_threaded();
    let stage1 = Fixture::load("stage1");
    let tiny = Tiny::load();
    let weights = LossWeights::PODA;
    let first = |crop: i64, scene_pool| {
        let cut = |tensor: Tensor| tensor.narrow(-1, 0, crop).narrow(-2, 0, crop).contiguous();
        let (images, labels) = (cut(stage1.f32("images")), cut(stage1.i64("labels")));
        let texts = texts(&stage1, 1);
        let batch = RoundBatch::prepare(&tiny.clip, &images, &labels, &texts, &weights).unwrap();
        let mut owned = projectors(&stage1, [0]);
        let settings = SimulateSettings {
            weights,
            scene_pool,
            ..SimulateSettings::default()
        };
        let hooks = Hooks {
            exchange: &Local,
            reduce: &Alone,
            dropout_seed: &|_, _| 0,
        };
        let report =
            Round::begin(settings, tiny.networks(), &batch, &mut owned, Start::Content)?.iterate(&hooks)?;
        let domain = &report.domains[0];
        Ok::<_, ulda_method::MethodError>((domain.losses.scene, domain.gradient.style.mean.copy()))
    };
    let (pooled, whole) = (first(64, Some(16)).unwrap(), first(64, None).unwrap());
    assert!(pooled.0 > 0.0);
    assert_eq!(pooled.0, whole.0);
    assert!(pooled.1.equal(&whole.1));
    let refused = first(96, None).unwrap_err().to_string();
    assert!(
        refused.contains("the feature after the last stage is 3x3"),
        "{refused}"
    );
}
