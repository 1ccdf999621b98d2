//! What is worth a thought in a run that can be started.

use std::fmt;

use super::resolve::RunSpec;
use super::styles::StyleSource;
use crate::stage::Stage;

/// The published rate of the styles, and the domains × images whose mean the published loss is.
const PUBLISHED_LR_PIN: f64 = 1.0;
const PUBLISHED_STYLES: f64 = 6.0 * 2.0;
/// Domains and batch of PØDA, which is published with the same rate.
const PUBLISHED_PODA: (usize, u32) = (1, 16);

/// A value that may not be meant; the run is not refused for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecNote {
    pub key: String,
    pub what: String,
    pub hint: String,
}

impl fmt::Display for SpecNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}\n  hint: {}", self.key, self.what, self.hint)
    }
}

impl RunSpec {
    /// What a person may want to change before the run starts with `workers`.
    #[must_use]
    pub fn notes(&self, workers: u32) -> Vec<SpecNote> {
        let idle_shards = self.idle_shards("pretrain", Stage::Pretrain, self.config().pretrain.batch);
        let mut notes: Vec<SpecNote> = self.style_rate().into_iter().collect();
        notes.extend(self.unused_training());
        notes.extend(self.idle_workers(workers));
        notes.extend(idle_shards);
        notes.extend(self.idle_shards("adapt", Stage::Adapt, self.config().adapt.batch));
        notes
    }

    /// A training that would go on, but in a stage that the run does not go through.
    fn unused_training(&self) -> Option<SpecNote> {
        let config = self.config();
        let note = |key: &str, stage, by: &str| SpecNote {
            key: key.into(),
            what: format!("has no effect: {by} takes the place of {stage}"),
            hint: format!("remove {by} to go on with that training"),
        };
        if let (Some(_), Some(by)) = (&config.pretrain.continue_from, config.pretrain_is_replaced_by()) {
            return Some(note("pretrain.continue_from", Stage::Pretrain, by));
        }
        let is_scored = config.adapt.continue_from.is_some() && config.given_model().is_some();
        is_scored.then(|| note("adapt.continue_from", Stage::Adapt, "adapt.checkpoint"))
    }

    fn idle_workers(&self, workers: u32) -> Option<SpecNote> {
        let shards = self.shards();
        (workers > shards).then(|| SpecNote {
            key: "--workers".into(),
            what: format!(
                "{} of {workers} workers have nothing to do: the run has {shards} shard{}",
                workers - shards,
                if shards == 1 { "" } else { "s" }
            ),
            hint: format!("start {shards}, or raise run.shards, which changes what the run computes"),
        })
    }

    fn idle_shards(&self, section: &str, stage: Stage, batch: u32) -> Option<SpecNote> {
        let shards = self.shards();
        (self.config().includes(stage) && batch < shards).then(|| SpecNote {
            key: format!("{section}.batch"),
            what: format!(
                "{batch} images per step over {shards} shards leave {} without one in this stage",
                shards - batch
            ),
            hint:
                "lower run.shards (and the workers), or raise the batch, which changes what the run computes"
                    .into(),
        })
    }

    /// The loss of simulate is a mean over domains and images, so the gradient of one style, and with it the step, falls as
    /// either grows.
    fn style_rate(&self) -> Option<SpecNote> {
        let config = self.config();
        let simulate = &config.simulate;
        let learns = config.includes(Stage::Simulate) && simulate.styles == StyleSource::Learned;
        let (domains, batch) = (config.domains.len(), simulate.batch);
        let styles = domains as f64 * f64::from(batch);
        let published = styles == PUBLISHED_STYLES || (domains, batch) == PUBLISHED_PODA;
        (learns && simulate.lr_pin == PUBLISHED_LR_PIN && !published).then(|| SpecNote {
            key: "simulate.lr_pin".into(),
            what: format!(
                "is the published {PUBLISHED_LR_PIN}, which belongs to 6 domains × batch 2; with {domains} × {batch} a style takes \
                 steps {:.2} times as long",
                PUBLISHED_STYLES / styles
            ),
            hint: format!(
                "{:.4} keeps the published step: lr_pin = domains × batch / 12",
                PUBLISHED_LR_PIN * styles / PUBLISHED_STYLES
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{DomainConfig, RunConfig};
    use super::super::course::EndAfter;
    use super::super::resolve::Host;
    use super::*;

    fn notes(domains: usize, change: impl Fn(&mut RunConfig)) -> Vec<String> {
        let mut config = RunConfig::default();
        config.clip.checkpoint = "RN50.pt".into();
        config.source.root = "cityscapes".into();
        config.domains = (0..domains)
            .map(|number| DomainConfig {
                name: format!("domain-{number}").parse().unwrap(),
                prompt: "driving at night".into(),
                images: Vec::new(),
            })
            .collect();
        change(&mut config);
        let spec = RunSpec::resolve(config, Host { workers: 1, cores: 1 }).unwrap();
        spec.notes(1).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_published_rate_with_other_domains_or_batches_is_noted_with_the_one_that_keeps_the_step() {
        let four = notes(4, |_| ());
        assert_eq!(
            four,
            [
                "`simulate.lr_pin`: is the published 1, which belongs to 6 domains × batch 2; with 4 × 2 a style takes steps \
                 1.50 times as long\n  hint: 0.6667 keeps the published step: lr_pin = domains × batch / 12"
            ]
        );
        let large = notes(6, |config| config.simulate.batch = 8);
        assert!(
            large[0].contains("0.25 times as long") && large[0].contains("4.0000 keeps"),
            "{large:?}"
        );
    }

    #[test]
    fn published_settings_a_chosen_rate_and_runs_that_learn_no_style_are_not_noted() {
        let poda = |config: &mut RunConfig| config.simulate.batch = 16;
        let none: [Vec<String>; 6] = [
            notes(6, |_| ()),
            notes(1, poda),
            notes(3, |config| config.simulate.batch = 4),
            notes(4, |config| config.simulate.lr_pin = 0.5),
            notes(4, |config| config.simulate.styles = StyleSource::Content),
            notes(4, |config| config.run.end_after = EndAfter::Pretrain),
        ];
        for (case, notes) in none.iter().enumerate() {
            assert!(notes.is_empty(), "case {case}: {notes:?}");
        }
    }

    #[test]
    fn a_training_that_cannot_go_on_is_noted() {
        let unused = |change: fn(&mut RunConfig)| {
            notes(6, |config| {
                config.pretrain.checkpoint = Some("source.pth".into());
                config.evaluate.sets = toml::from_str::<RunConfig>(
                    "[[evaluate.set]]\nname = \"x\"\nlayout = \"gta5\"\nroot = \"x\"",
                )
                .unwrap()
                .evaluate
                .sets;
                change(config);
            })
        };
        let used = unused(|config| config.adapt.continue_from = Some("adapted.pth".into()));
        assert!(used.is_empty(), "{used:?}");
        let scored = unused(|config| {
            config.adapt.continue_from = Some("adapted.pth".into());
            config.adapt.checkpoint = Some("adapted.pth".into());
        });
        assert_eq!(
            scored,
            [
                "`adapt.continue_from`: has no effect: adapt.checkpoint takes the place of adapt\n  hint: remove \
                 adapt.checkpoint to go on with that training"
            ]
        );
        let replaced = unused(|config| config.pretrain.continue_from = Some("latest.pth".into()));
        assert!(
            replaced[0].starts_with("`pretrain.continue_from`: has no effect: pretrain.checkpoint"),
            "{replaced:?}"
        );
    }

    #[test]
    fn workers_and_shards_without_work_are_noted() {
        let mut config = RunConfig::default();
        config.clip.checkpoint = "RN50.pt".into();
        config.source.root = "cityscapes".into();
        config.run.end_after = EndAfter::Pretrain;
        config.run.shards = Some(2);
        let host = Host { workers: 8, cores: 8 };
        let notes = RunSpec::resolve(config.clone(), host).unwrap().notes(8);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].what.starts_with("6 of 8 workers have nothing to do"),
            "{notes:?}"
        );
        config.run.shards = None;
        let notes = RunSpec::resolve(config, host).unwrap().notes(8);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert_eq!(notes[0].key, "pretrain.batch");
        assert!(
            notes[0].what.contains("over 8 shards leave 6 without one"),
            "{notes:?}"
        );
    }
}
