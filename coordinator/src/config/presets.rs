//! Published runs as configurations, for `coordinator init --preset`. docs/reproduce.md says what each reproduces.

use clap::ValueEnum;
use ulda_run::spec::{
    DomainConfig, EvaluationSetConfig, FilesConfig, Layout, RunConfig, StyleDraw, TemplateSet, Templates,
};

/// Training images of Cityscapes, all of which PØDA makes styles of.
const CITYSCAPES_IMAGES: u64 = 2975;

/// A published run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// ULDA's setting (1), Cityscapes to ACDC
    #[value(name = "ulda-1-cityscapes")]
    Ulda1Cityscapes,
    /// ULDA's setting (2), Cityscapes to ACDC
    #[value(name = "ulda-2-cityscapes")]
    Ulda2Cityscapes,
    /// ULDA's setting (1), GTA5 to Cityscapes and ACDC
    #[value(name = "ulda-1-gta5")]
    Ulda1Gta5,
    /// ULDA's setting (2), GTA5 to Cityscapes and ACDC
    #[value(name = "ulda-2-gta5")]
    Ulda2Gta5,
    /// PODA, Cityscapes to ACDC's fog
    PodaFog,
    /// PODA, Cityscapes to ACDC's night
    PodaNight,
    /// PODA, Cityscapes to ACDC's rain
    PodaRain,
    /// PODA, Cityscapes to ACDC's snow
    PodaSnow,
}

impl Preset {
    /// Its configuration; paths are where a person may keep the files.
    #[must_use]
    pub fn config(self) -> RunConfig {
        let mut config = RunConfig::default();
        let name = self.to_possible_value().expect("no preset is hidden");
        config.run.name = name.get_name().parse().expect("a plain name");
        config.clip.checkpoint = "weights/RN50.pt".into();
        config.source.root = "data/cityscapes".into();
        config.pretrain.checkpoint = Some("weights/CS_source.pth".into());
        config.evaluate.sets = ["fog", "night", "rain", "snow"].map(acdc).into();
        match self {
            Self::Ulda1Cityscapes => ulda(&mut config),
            Self::Ulda2Cityscapes => second_setting(&mut config),
            Self::Ulda1Gta5 => {
                ulda(&mut config);
                from_gta5(&mut config);
            }
            Self::Ulda2Gta5 => {
                second_setting(&mut config);
                from_gta5(&mut config);
            }
            Self::PodaFog => poda(&mut config, "fog"),
            Self::PodaNight => poda(&mut config, "night"),
            Self::PodaRain => poda(&mut config, "rain"),
            Self::PodaSnow => poda(&mut config, "snow"),
        }
        config
    }
}

/// Setting (1), whose values are the defaults.
fn ulda(config: &mut RunConfig) {
    config.domains = DomainConfig::published();
}

fn second_setting(config: &mut RunConfig) {
    ulda(config);
    let simulate = &mut config.simulate;
    simulate.iterations = 60;
    simulate.lambda_pixel = 0.1;
    simulate.lambda_region = 0.5;
    simulate.lambda_intra = 10.0;
    simulate.lambda_cross = 10.0;
}

/// With the authors' lists of images to train and to validate on.
fn from_gta5(config: &mut RunConfig) {
    config.source.layout = Layout::Gta5;
    config.source.root = "data/gta5".into();
    config.source.train = "gtav_split_train.txt".into();
    config.source.validation = "gtav_split_val.txt".into();
    config.pretrain.checkpoint = Some("weights/GTA5_source.pth".into());
    config
        .evaluate
        .sets
        .insert(0, labelled("cityscapes", Layout::Cityscapes, "data/cityscapes"));
}

/// One domain, the scene term alone over the whole training set, no rectifier.
fn poda(config: &mut RunConfig, weather: &str) {
    config.domains = DomainConfig::published();
    config.domains.retain(|domain| domain.name.as_str() == weather);
    config.evaluate.sets.retain(|set| set.name.as_str() == weather);
    config.text.templates = Templates::Published(TemplateSet::Imagenet);
    let simulate = &mut config.simulate;
    simulate.batch = 16;
    simulate.batches = CITYSCAPES_IMAGES.div_ceil(16);
    simulate.lambda_pixel = 0.0;
    simulate.lambda_region = 0.0;
    simulate.lambda_seg = 0.0;
    simulate.lambda_cross = 0.0;
    config.adapt.draw = StyleDraw::Any;
    config.adapt.rectifier = false;
    config.adapt.validate_every = 0;
}

fn acdc(weather: &str) -> EvaluationSetConfig {
    EvaluationSetConfig {
        condition: Some(weather.to_owned()),
        ..labelled(weather, Layout::Acdc, "data/acdc")
    }
}

fn labelled(name: &str, layout: Layout, root: &str) -> EvaluationSetConfig {
    EvaluationSetConfig {
        name: name.parse().expect("a plain name"),
        layout,
        root: root.into(),
        split: "val".into(),
        condition: None,
        only_size: None,
        centre_crop: None,
        files: FilesConfig::default(),
    }
}

#[cfg(test)]
mod tests {
    use ulda_run::spec::{Host, RunSpec};

    use super::*;
    use crate::config::commented_run_toml;

    #[test]
    fn every_preset_is_a_run_without_notes_and_its_file_says_the_same() {
        for preset in Preset::value_variants() {
            let config = preset.config();
            let host = Host { workers: 1, cores: 8 };
            let spec = RunSpec::resolve(config.clone(), host)
                .unwrap_or_else(|problems| panic!("{preset:?}: {problems}"));
            assert_eq!(spec.notes(1), [], "{preset:?}");
            let file: RunConfig = toml::from_str(&commented_run_toml(&config)).unwrap();
            assert_eq!(file, config, "{preset:?}");
        }
    }

    /// METHOD.md, stage 1: the two published settings, and PØDA.
    #[test]
    fn presets_have_the_published_values() {
        let weights = |preset: Preset| {
            let simulate = preset.config().simulate;
            (
                simulate.iterations,
                simulate.batch,
                [
                    simulate.lambda_pixel,
                    simulate.lambda_region,
                    simulate.lambda_seg,
                    simulate.lambda_intra,
                    simulate.lambda_cross,
                ],
            )
        };
        assert_eq!(
            weights(Preset::Ulda1Cityscapes),
            (100, 2, [0.5, 1.0, 1.0, 0.0, 20.0])
        );
        assert_eq!(weights(Preset::Ulda2Gta5), (60, 2, [0.1, 0.5, 1.0, 10.0, 10.0]));
        assert_eq!(weights(Preset::PodaNight), (100, 16, [0.0; 5]));
        let prompts: Vec<String> = Preset::Ulda1Gta5
            .config()
            .domains
            .iter()
            .map(|domain| domain.prompt.to_string())
            .collect();
        assert_eq!(
            prompts,
            [
                "driving under rain",
                "driving at night",
                "driving in snow",
                "driving in fog",
                "driving through fire",
                "driving in sandstorm"
            ]
        );
    }
}
