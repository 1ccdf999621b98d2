//! The tiny networks of the golden set and the pieces that several tests share.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tch::{Kind, Tensor};
use ulda_golden::Fixture;
use ulda_method::projector::{PARAMETER_NAMES, Projector};
use ulda_method::simulate::{DomainProjector, Networks, Segmenter};
use ulda_model::{Backbone, Head, TextBank, Weights};
use ulda_torch::{Pass, ShardSync};

/// One kernel thread, so that sums are cut the same way everywhere.
pub fn single_threaded() {
    ulda_torch::runtime::set_threads(1).unwrap();
}

pub struct Tiny {
    pub clip: Backbone,
    pub source: Backbone,
    pub head: Head,
}

impl Tiny {
    pub fn load() -> Tiny {
        let clip = Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap();
        let source = Weights::read(&ulda_golden::path("tiny_source.pth")).unwrap();
        Tiny {
            clip: Backbone::load(&clip).unwrap().to_device(ulda_golden::device()),
            source: Backbone::load(&source).unwrap().to_device(ulda_golden::device()),
            head: Head::load(&source).unwrap().to_device(ulda_golden::device()),
        }
    }

    pub fn networks(&self) -> Networks<'_> {
        let segmentation = Segmenter {
            backbone: &self.source,
            head: &self.head,
        };
        Networks {
            clip: &self.clip,
            segmentation: Some(segmentation),
        }
    }
}

/// Texts of the first `domains` domains; classes that no image has stay 0.
pub fn texts(stage1: &Fixture, domains: i64) -> TextBank {
    let scene = stage1.f32("text.scene").narrow(0, 0, domains);
    let region = Tensor::zeros(
        [domains, 19, scene.size()[1]],
        (Kind::Float, ulda_golden::device()),
    );
    let present = stage1.json()["classes_present_at_feature_resolution"].clone();
    for (image, classes) in present.as_array().unwrap().iter().enumerate() {
        let rows = stage1.f32(&format!("text.region.{image}")).narrow(0, 0, domains);
        for (at, class) in classes.as_array().unwrap().iter().enumerate() {
            region
                .select(1, class.as_i64().unwrap())
                .copy_(&rows.select(1, at as i64));
        }
    }
    TextBank { scene, region }
}

/// The recorded initial projectors of the given domains.
pub fn projectors(stage1: &Fixture, domains: impl IntoIterator<Item = usize>) -> Vec<DomainProjector> {
    let all: Vec<Tensor> = PARAMETER_NAMES
        .iter()
        .map(|name| stage1.f32(&format!("init.proj.{name}")))
        .collect();
    domains
        .into_iter()
        .map(|domain| {
            let own: Vec<Tensor> = all.iter().map(|tensor| tensor.get(domain as i64)).collect();
            DomainProjector {
                domain,
                projector: Projector::from_values(&own).unwrap(),
            }
        })
        .collect()
}

/// All-gather among threads: every caller of a round waits until all have put their part in.
pub struct Meeting<T> {
    parties: usize,
    state: Mutex<Round<T>>,
    changed: Condvar,
}

struct Round<T> {
    parts: BTreeMap<usize, T>,
    taken: usize,
}

impl<T: Clone> Meeting<T> {
    pub fn new(parties: usize) -> Arc<Meeting<T>> {
        Arc::new(Meeting {
            parties,
            state: Mutex::new(Round {
                parts: BTreeMap::new(),
                taken: 0,
            }),
            changed: Condvar::new(),
        })
    }

    /// Everybody's part, in the order of `rank`; an error when the others do not come within 30 seconds.
    pub fn exchange(&self, rank: usize, part: T) -> Result<Vec<T>, String> {
        let patience = Duration::from_secs(30);
        let late = |what: &str| format!("rank {rank} waited 30 s for the others {what}");
        let state = self.state.lock().unwrap();
        let (mut state, wait) = self
            .changed
            .wait_timeout_while(state, patience, |round| round.parts.contains_key(&rank))
            .unwrap();
        if wait.timed_out() {
            return Err(late("to leave the previous exchange"));
        }
        state.parts.insert(rank, part);
        self.changed.notify_all();
        let (mut state, wait) = self
            .changed
            .wait_timeout_while(state, patience, |round| round.parts.len() < self.parties)
            .unwrap();
        if wait.timed_out() {
            return Err(late("to come"));
        }
        let all = state.parts.values().cloned().collect();
        state.taken += 1;
        if state.taken == self.parties {
            *state = Round {
                parts: BTreeMap::new(),
                taken: 0,
            };
            self.changed.notify_all();
        }
        Ok(all)
    }
}

/// BatchNorm's exchange over a meeting.
pub struct MeetingSync {
    pub rank: usize,
    pub meeting: Arc<Meeting<(u32, bool, Vec<f64>)>>,
}

impl ShardSync for MeetingSync {
    fn shards(&self) -> usize {
        self.meeting.parties
    }

    fn gather(&self, layer: u32, pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String> {
        let parts = self
            .meeting
            .exchange(self.rank, (layer, pass == Pass::Backward, mine.to_vec()))?;
        if parts
            .iter()
            .any(|part| (part.0, part.1) != (layer, pass == Pass::Backward))
        {
            return Err(format!("shards disagree on the layer at {layer} {pass}"));
        }
        Ok(parts.into_iter().flat_map(|part| part.2).collect())
    }
}
