//! Whether the CLIP that a run names fits the run: what only the checkpoint's shapes can tell.
//!
//! `worker check` tells all of it before a run starts; a worker that joins a run which nobody could check (its coordinator
//! has no libtorch) refuses by the same rules before the first step.

use std::error::Error;

use ulda_model::text::{fill, region_prompt};
use ulda_model::{Backbone, TextEncoder, Weights};
use ulda_net::Shortage;
use ulda_run::spec::{RunConfig, StyleSource};
use ulda_run::stage::Stage;
use ulda_run::{Classes, Finding};

use crate::templates::templates;

const CLIP: &str = "clip.checkpoint";

/// `error` with its causes as a finding; one that may pass where the system was short of something.
pub fn finding(key: &str, error: &(dyn Error + 'static), hint: Option<String>) -> Finding {
    Finding {
        is_temporary: Shortage::of(error).is_some(),
        ..Finding::new(
            key,
            crate::with_causes(error),
            Shortage::hint_or(error, hint).unwrap_or_default(),
        )
    }
}

/// All that does not fit. `weights` are those of `clip.checkpoint`, `backbone` is their image tower.
pub fn misfits(
    config: &RunConfig,
    classes: &Classes,
    weights: &Weights,
    backbone: &Backbone,
) -> Vec<Finding> {
    let learns = config.includes(Stage::Simulate) && config.simulate.styles == StyleSource::Learned;
    let mut findings = Vec::new();
    if learns || config.includes(Stage::Adapt) {
        prompts(&mut findings, config, classes, weights, backbone);
    }
    scene(&mut findings, config, backbone, learns);
    findings
}

/// The text tower is there, takes every prompt, and embeds where the image tower does.
fn prompts(
    findings: &mut Vec<Finding>,
    config: &RunConfig,
    classes: &Classes,
    weights: &Weights,
    backbone: &Backbone,
) {
    let encoder = match TextEncoder::load(weights, tch::Device::Cpu) {
        Ok(encoder) => encoder,
        Err(error) => return findings.push(finding(CLIP, &error, error.hint())),
    };
    let templates = templates(config);
    for (index, domain) in config.domains.iter().enumerate() {
        let scene = domain.prompt.all();
        let regions = classes
            .iter()
            .flat_map(|class| scene.iter().map(|prompt| region_prompt(&class.name, prompt)));
        let texts: Vec<String> = scene
            .iter()
            .map(|prompt| (*prompt).to_owned())
            .chain(regions)
            .collect();
        if let Err(error) = encoder.tokenize(&fill(&templates, &texts)) {
            findings.push(finding(&format!("domain[{index}].prompt"), &error, error.hint()));
        }
    }
    let text = encoder.config().embed;
    if let Some(pool) = backbone.config().pool.as_ref().filter(|pool| pool.embed != text) {
        findings.push(Finding::new(
            CLIP,
            format!(
                "embeds images in {} dimensions and texts in {text}, and the method compares the two",
                pool.embed
            ),
            "use CLIP's own checkpoint, with both towers of one model",
        ));
    }
}

/// The attention pool takes the feature that simulate gives it.
fn scene(findings: &mut Vec<Finding>, config: &RunConfig, backbone: &Backbone, learns: bool) {
    let rectifies = config.includes(Stage::Adapt) && config.adapt.rectifier;
    let Some(side) = backbone.config().scene_side() else {
        if learns || rectifies {
            findings.push(Finding::new(
                CLIP,
                "has no attention pool, which the scene loss and the rectifier need",
                "use CLIP's own checkpoint, not one of a segmentation model",
            ));
        }
        return;
    };
    if !learns {
        return;
    }
    let simulate = &config.simulate;
    let pool = simulate.scene_pool.filter(|_| simulate.resize_feature);
    if let Some(pool) = pool.map(i64::from).filter(|pool| *pool != side) {
        findings.push(Finding::new(
            "simulate.scene_pool",
            format!("is {pool}, but the checkpoint's attention pool was made for {side}"),
            format!("set it to {side}, or leave it out"),
        ));
    }
    // The stem's convolution rounds up, its pooling and that of three stages down.
    let whole = i64::from(simulate.crop.div_ceil(2) / 2);
    if !simulate.resize_feature && whole / 8 != side / 8 {
        findings.push(Finding::new(
            "simulate.crop",
            format!(
                "is {}, whose whole feature the checkpoint's attention pool does not take: it was made for crops of {}",
                simulate.crop,
                4 * side
            ),
            format!("set it to {}, or simulate.resize_feature to true", 4 * side),
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tch::{Kind, Tensor};
    use ulda_model::WeightsKind;
    use ulda_model::miniature::{MiniatureSpec, tensors};
    use ulda_run::spec::DomainConfig;

    use super::*;

    /// What is wrong with a run on a miniature CLIP, one tensor of which is replaced.
    fn found(replaced: Option<(&str, Tensor)>, change: impl Fn(&mut RunConfig)) -> Vec<String> {
        let spec = MiniatureSpec {
            resolution: 64,
            width: 8,
            ..MiniatureSpec::default()
        };
        let mut named = tensors(&spec).unwrap();
        if let Some((name, tensor)) = replaced {
            let place = named.iter_mut().find(|(there, _)| there == name);
            place.unwrap().1 = tensor;
        }
        let weights = Weights::from_tensors(Path::new("clip"), WeightsKind::Safetensors, named).unwrap();
        let backbone = Backbone::load(&weights).unwrap();
        let mut config = RunConfig {
            domains: DomainConfig::published(),
            ..RunConfig::default()
        };
        change(&mut config);
        let classes = Classes::of(&config.classes).unwrap();
        let findings = misfits(&config, &classes, &weights, &backbone);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn towers_that_embed_in_other_widths_are_no_pair() {
        let narrow = || {
            Some((
                "text_projection",
                Tensor::zeros([64, 32], (Kind::Float, tch::Device::Cpu)),
            ))
        };
        let said = found(narrow(), |_| ());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("images in 64 dimensions and texts in 32"),
            "{said:?}"
        );
        // Nothing is compared.
        let ends = |config: &mut RunConfig| config.run.end_after = ulda_run::spec::EndAfter::Pretrain;
        assert_eq!(found(narrow(), ends), [] as [String; 0]);
    }

    #[test]
    fn a_vocabulary_that_is_not_clips_is_found_before_a_prompt_is_encoded() {
        let few = Tensor::zeros([100, 64], (Kind::Float, tch::Device::Cpu));
        let said = found(Some(("token_embedding.weight", few)), |_| ());
        assert_eq!(said.len(), 6, "{said:?}");
        assert!(said[0].contains("`domain[0].prompt`: token 49407"), "{said:?}");
    }

    #[test]
    fn the_scene_is_pooled_to_what_the_attention_pool_was_made_for() {
        assert_eq!(found(None, |_| ()), [] as [String; 0]);
        let said = found(None, |config| config.simulate.scene_pool = Some(8));
        assert!(
            said[0].contains("is 8, but the checkpoint's attention pool was made for 16"),
            "{said:?}"
        );
        let whole = |crop| {
            found(None, move |config| {
                config.simulate.resize_feature = false;
                config.simulate.crop = crop;
            })
        };
        assert!(whole(48)[0].contains("made for crops of 64"));
        assert_eq!(whole(64), [] as [String; 0]);
    }
}
