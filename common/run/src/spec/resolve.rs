//! From a run.toml to a run that can be started: every `auto` filled in, every rule checked, all
//! problems told at once.

use std::fmt;

use super::config::RunConfig;
use super::rules::SpecRules;
use crate::classes::Classes;
use crate::stage::Course;

/// What the machine that starts the run offers; resolves the values a run.toml leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub workers: u32,
    pub cores: u32,
}

/// A checked run definition. Nothing is left open but [`RunSpec::domains_at_once`], until the run is created.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSpec {
    config: RunConfig,
}

/// One thing wrong with a run.toml: which key, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {what}; hint: {hint}")]
pub struct SpecError {
    pub key: String,
    pub what: String,
    pub hint: String,
}

/// All that is wrong with a run.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblems(pub Vec<SpecError>);

impl fmt::Display for SpecProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecProblems {}

impl RunSpec {
    /// Fills in what the configuration leaves open and checks every rule.
    ///
    /// # Errors
    /// All broken rules at once.
    pub fn resolve(mut config: RunConfig, host: Host) -> Result<Self, SpecProblems> {
        let shards = config.run.shards.unwrap_or(host.workers);
        config.run.shards = Some(shards);
        config
            .run
            .threads_per_shard
            .get_or_insert((host.cores / shards.max(1)).max(1));
        let lanes = shards / config.simulate.data_shards.max(1);
        let domains = u32::try_from(config.domains.len()).unwrap_or(u32::MAX);
        config
            .simulate
            .prompt_groups
            .get_or_insert(lanes.min(domains).max(1));

        let problems = SpecRules::check(&config, host);
        if problems.is_empty() {
            Ok(Self { config })
        } else {
            Err(SpecProblems(problems))
        }
    }

    #[must_use]
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    #[must_use]
    pub fn shards(&self) -> u32 {
        self.config.run.shards.expect("resolve fills it in")
    }

    #[must_use]
    pub fn threads_per_shard(&self) -> u32 {
        self.config.run.threads_per_shard.expect("resolve fills it in")
    }

    #[must_use]
    pub fn prompt_groups(&self) -> u32 {
        self.config.simulate.prompt_groups.expect("resolve fills it in")
    }

    /// Domains that a shard of stage 1 computes as one batch; 1 while nobody decided.
    #[must_use]
    pub fn domains_at_once(&self) -> u32 {
        self.config.simulate.domains_at_once.unwrap_or(1)
    }

    /// Domains of a batch that one shard has in stage 1, at most.
    #[must_use]
    pub fn domains_of_a_shard(&self) -> u32 {
        let domains = u32::try_from(self.config.domains.len()).unwrap_or(u32::MAX);
        domains.div_ceil(self.prompt_groups().max(1))
    }

    /// The same run with `domains_at_once` where the configuration leaves it open.
    #[must_use]
    pub fn with_domains_at_once(&self, domains: u32) -> Self {
        let mut config = self.config.clone();
        config.simulate.domains_at_once.get_or_insert(domains);
        Self { config }
    }

    /// What the run tells apart.
    #[must_use]
    pub fn classes(&self) -> Classes {
        Classes::of(&self.config.classes).expect("resolve checks them")
    }

    /// The stages this run goes through and their lengths.
    #[must_use]
    pub fn course(&self) -> Course {
        self.config.course()
    }

    /// The resolved run.toml.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.config).expect("a run.toml's types all have a TOML form")
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::DomainConfig;
    use super::super::course::EndAfter;
    use super::super::styles::StyleSource;
    use super::*;
    use crate::stage::Stage;

    const HOST: Host = Host { workers: 2, cores: 2 };

    fn minimal() -> RunConfig {
        let mut config = RunConfig::default();
        config.clip.checkpoint = "RN50.pt".into();
        config.source.root = "cityscapes".into();
        config.domains = vec![DomainConfig {
            name: "night".parse().unwrap(),
            prompt: "driving at night".into(),
            images: Vec::new(),
        }];
        config
    }

    #[test]
    fn published_defaults_resolve_for_the_host() {
        let spec = RunSpec::resolve(minimal(), HOST).unwrap();
        assert_eq!(
            (spec.shards(), spec.threads_per_shard(), spec.prompt_groups()),
            (2, 1, 1)
        );
        assert_eq!(spec.course().steps(Stage::Adapt), 2_000);
    }

    #[test]
    fn a_resolved_spec_reads_back_equal_on_any_host() {
        let spec = RunSpec::resolve(minimal(), HOST).unwrap();
        let again: RunConfig = toml::from_str(&spec.to_toml()).unwrap();
        assert_eq!(
            RunSpec::resolve(
                again,
                Host {
                    workers: 7,
                    cores: 64
                }
            )
            .unwrap(),
            spec
        );
    }

    #[test]
    fn domains_at_once_are_decided_once() {
        let mut config = minimal();
        config.domains = (0..7)
            .map(|number| DomainConfig {
                name: format!("d{number}").parse().unwrap(),
                prompt: "driving".into(),
                images: Vec::new(),
            })
            .collect();
        let open = RunSpec::resolve(config, HOST).unwrap();
        assert_eq!((open.domains_at_once(), open.domains_of_a_shard()), (1, 4));
        let decided = open.with_domains_at_once(3);
        assert!(decided.to_toml().contains("domains_at_once = 3"));
        assert_eq!(decided.with_domains_at_once(5).domains_at_once(), 3);
    }

    #[test]
    fn a_run_ends_after_the_stage_it_names_and_needs_nothing_of_later_ones() {
        let stages = |config: RunConfig| -> Vec<Stage> {
            let spec = RunSpec::resolve(config, HOST).unwrap();
            spec.course().stages().iter().map(|length| length.stage).collect()
        };
        let ending = |end_after| {
            let mut config = minimal();
            config.run.end_after = end_after;
            config
        };
        assert_eq!(
            stages(ending(EndAfter::Adapt)),
            [Stage::Pretrain, Stage::Simulate, Stage::Adapt]
        );
        let mut simulated = ending(EndAfter::Simulate);
        simulated.adapt.batch = 1;
        assert_eq!(stages(simulated), [Stage::Pretrain, Stage::Simulate]);
        let mut source_only = ending(EndAfter::Pretrain);
        source_only.domains.clear();
        source_only.simulate.data_shards = 7;
        assert_eq!(stages(source_only.clone()), [Stage::Pretrain]);
        source_only.pretrain.checkpoint = Some("source.pth".into());
        let problems = RunSpec::resolve(source_only, HOST).unwrap_err();
        assert_eq!(problems.0[0].key, "run.end_after");
        assert_eq!(problems.0.len(), 1, "{problems}");
    }

    #[test]
    fn a_given_model_is_scored_and_nothing_is_trained() {
        let mut config = minimal();
        config.domains.clear();
        config.adapt.checkpoint = Some("adapted.pth".into());
        let problems = RunSpec::resolve(config.clone(), HOST).unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems}");
        assert_eq!(problems.0[0].key, "run.end_after");
        let set = "[[evaluate.set]]\nname = \"x\"\nlayout = \"gta5\"\nroot = \"x\"";
        config.evaluate = toml::from_str::<RunConfig>(set).unwrap().evaluate;
        let spec = RunSpec::resolve(config.clone(), HOST).unwrap();
        let stages = spec.course().stages().to_vec();
        assert_eq!(stages.len(), 1);
        assert_eq!(stages[0].stage, Stage::Evaluate);
        assert!(spec.config().has_adapted_model() && !spec.config().has_source_model());
        config.source.root = "".into();
        assert!(
            RunSpec::resolve(config.clone(), HOST).is_ok(),
            "it reads no image of the source"
        );
        config.pretrain.checkpoint = Some("source.pth".into());
        assert!(config.has_source_model());
        config.run.end_after = EndAfter::Pretrain;
        assert_eq!(config.given_model(), None);
        assert!(!config.has_adapted_model());
    }

    #[test]
    fn a_training_of_others_goes_on_in_the_stage_whose_key_names_it() {
        let stages = |config: &RunConfig| -> Vec<Stage> {
            let spec = RunSpec::resolve(config.clone(), HOST).unwrap();
            spec.course().stages().iter().map(|length| length.stage).collect()
        };
        let mut config = minimal();
        config.pretrain.continue_from = Some("latest.pth".into());
        assert_eq!(stages(&config), [Stage::Pretrain, Stage::Simulate, Stage::Adapt]);
        assert_eq!(config.continued().unwrap().0, Stage::Pretrain);
        config.adapt.continue_from = Some("adapted.pth".into());
        let problems = RunSpec::resolve(config.clone(), HOST).unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems}");
        assert_eq!(problems.0[0].key, "adapt.continue_from");
        config.simulate.styles = StyleSource::Bank;
        config.simulate.bank = Some("bank.safetensors".into());
        assert_eq!(stages(&config), [Stage::Adapt]);
        assert_eq!(config.continued().unwrap().0, Stage::Adapt);
        assert!(!config.has_source_model());
        config.simulate = minimal().simulate;
        config.pretrain.checkpoint = Some("source.pth".into());
        assert_eq!(stages(&config), [Stage::Simulate, Stage::Adapt]);
        assert!(config.has_source_model());
        config.run.end_after = EndAfter::Simulate;
        assert_eq!(stages(&config), [Stage::Simulate]);
        assert_eq!(config.continued(), None);
    }

    #[test]
    fn styles_from_elsewhere_need_what_they_are_made_of_and_no_learning_keys() {
        let with = |styles, change: fn(&mut RunConfig)| {
            let mut config = minimal();
            config.simulate.styles = styles;
            config.simulate.batch = 1;
            change(&mut config);
            RunSpec::resolve(config, HOST)
        };
        let keys = |outcome: Result<RunSpec, SpecProblems>| -> Vec<String> {
            outcome
                .unwrap_err()
                .0
                .into_iter()
                .map(|problem| problem.key)
                .collect()
        };
        let content = with(StyleSource::Content, |_| ()).unwrap();
        assert_eq!(content.course().steps(Stage::Simulate), 100);
        let photo = |config: &mut RunConfig| config.domains[0].images = vec!["a.png".into()];
        let images = with(StyleSource::Images, photo).unwrap();
        assert_eq!(images.course().steps(Stage::Simulate), 1);
        let file = |config: &mut RunConfig| config.simulate.bank = Some("bank.safetensors".into());
        let bank = with(StyleSource::Bank, file).unwrap();
        assert_eq!(bank.course().steps(Stage::Simulate), 0);

        assert_eq!(keys(with(StyleSource::Learned, |_| ())), ["simulate.batch"]);
        assert_eq!(keys(with(StyleSource::Content, file)), ["simulate.bank"]);
        assert_eq!(keys(with(StyleSource::Content, photo)), ["domain[0].images"]);
        assert_eq!(keys(with(StyleSource::Images, |_| ())), ["domain[0].images"]);
        assert_eq!(keys(with(StyleSource::Bank, |_| ())), ["simulate.bank"]);
        let folders = |config: &mut RunConfig| config.simulate.bank = Some("styles/six_{domain}".into());
        assert!(with(StyleSource::Bank, folders).is_ok());
        let url = |config: &mut RunConfig| config.simulate.bank = Some("s3://styles/six_{domain}".into());
        assert_eq!(keys(with(StyleSource::Bank, url)), ["simulate.bank"]);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut config = minimal();
        config.domains.clear();
        config.adapt.batch = 0;
        config.pretrain.lr = f64::NAN;
        let problems = RunSpec::resolve(config, Host { workers: 0, cores: 2 }).unwrap_err();
        let keys: Vec<&str> = problems.0.iter().map(|problem| problem.key.as_str()).collect();
        for key in ["--workers", "run.shards", "domain", "adapt.batch", "pretrain.lr"] {
            assert!(keys.contains(&key), "{key} not in {keys:?}");
        }
        let batch = problems
            .0
            .iter()
            .find(|problem| problem.key == "adapt.batch")
            .unwrap();
        assert_eq!(
            batch.to_string(),
            "`adapt.batch`: is 0; hint: give a whole number of 1 to 65536"
        );
    }
}
