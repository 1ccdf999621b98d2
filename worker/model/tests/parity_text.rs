//! Tokenizer, text tower and template means against the recorded ones.

use std::path::Path;

use tch::{Kind, Tensor};
use ulda_golden::{Fixture, Report, Tolerance};
use ulda_model::text::{IMAGENET_TEMPLATES, ULDA_TEMPLATES, embed_prompts, fill, region_prompt};
use ulda_model::{TextEncoder, Weights};

#[test]
fn tokens_features_and_means_equal_the_recorded() {
    let weights = Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap();
    let encoder = TextEncoder::load(&weights, ulda_golden::device()).unwrap();
    let golden = Fixture::load("text");
    let json = golden.json();
    let prompts: Vec<&str> = json["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|prompt| prompt["prompt"].as_str().unwrap())
        .collect();
    let strings = |key: &str| -> Vec<String> {
        json[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(strings("templates"), ULDA_TEMPLATES);
    for (domain, template) in strings("domains").iter().zip(strings("region_templates")) {
        assert_eq!(region_prompt("bus", domain), template.replace("{}", "bus"));
    }

    let mut report = Report::new("text");
    let exact = Tolerance::Exact;
    report.compare(
        "token ids",
        "tokens",
        &encoder.tokenize(&prompts).unwrap(),
        &golden.i64("tokens"),
        exact,
    );
    let filled = fill(&ULDA_TEMPLATES, &prompts[..1]);
    let ids = encoder.tokenize(&filled).unwrap();
    report.compare(
        "token ids",
        "templates",
        &ids,
        &golden.i64("template_tokens_prompt0"),
        exact,
    );

    let features = Tolerance::Absolute(2e-5);
    let ours = encoder.encode(&prompts).unwrap();
    report.compare(
        "encode_text",
        "encode_text",
        &ours,
        &golden.f32("encode_text"),
        features,
    );
    let ours = encoder.encode(&filled).unwrap();
    report.compare(
        "encode_text",
        "templates",
        &ours,
        &golden.f32("template_encode_text_prompt0"),
        features,
    );
    let raw: Vec<Tensor> = prompts
        .iter()
        .map(|prompt| {
            encoder
                .encode(&fill(&ULDA_TEMPLATES, &[prompt]))
                .unwrap()
                .mean_dim(0, false, Kind::Float)
        })
        .collect();
    let raw = Tensor::stack(&raw, 0);
    report.compare(
        "encode_text",
        "mean of templates",
        &raw,
        &golden.f32("template_mean_raw"),
        features,
    );

    let means: Vec<Tensor> = prompts
        .iter()
        .map(|prompt| embed_prompts(&encoder, &ULDA_TEMPLATES, &[prompt]).unwrap())
        .collect();
    let means = Tensor::stack(&means, 0);
    for name in ["template_mean_normalised", "template_mean_normalised_stage2"] {
        report.compare(
            "normalised mean",
            name,
            &means,
            &golden.f32(name),
            Tolerance::Absolute(2e-6),
        );
    }
    report.finish();
    let wrong = (&means - golden.f32("wrong_normalise_then_mean"))
        .abs()
        .max()
        .double_value(&[]);
    assert!(wrong > 1e-4, "the wrong order of mean and norm would have passed");
}

#[test]
fn the_bank_of_the_stage_fixtures_is_reproduced() {
    let weights = Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap();
    let golden = Fixture::load("stage1");
    let json = Fixture::load("text").json();
    let domains: Vec<Vec<&str>> = json["domains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|domain| vec![domain.as_str().unwrap()])
        .collect();
    let names: Vec<&str> = json["class_names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let compute = |cache: &Path, classes: &[&str], domains: &[Vec<&str>]| {
        ulda_model::TextBank::compute_or_load(cache, &weights, &ULDA_TEMPLATES, classes, domains).unwrap()
    };
    let cache = tempfile::tempdir().unwrap();
    let bank = compute(cache.path(), &names, &domains);
    let mut report = Report::new("stage1 (text)");
    let tolerance = Tolerance::Absolute(2e-6);
    report.compare(
        "text bank",
        "text.scene",
        &bank.scene,
        &golden.f32("text.scene"),
        tolerance,
    );
    for (image, classes) in golden.json()["classes_present_at_feature_resolution"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let classes: Vec<i64> = classes
            .as_array()
            .unwrap()
            .iter()
            .map(|class| class.as_i64().unwrap())
            .collect();
        let name = format!("text.region.{image}");
        let ours = bank
            .region
            .index_select(1, &Tensor::from_slice(&classes).to_device(ulda_golden::device()));
        report.compare("text bank", &name, &ours, &golden.f32(&name), tolerance);
    }
    report.finish();

    let again = compute(cache.path(), &names, &domains[..1]);
    assert_eq!(again.region.get(0), bank.region.get(0));
    let mut files: Vec<_> = std::fs::read_dir(cache.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), domains.len(), "one file per domain, no leftovers");
    files.sort();
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }
    let mended = compute(cache.path(), &names, &domains[..1]);
    assert_eq!(
        mended.scene.get(0),
        bank.scene.get(0),
        "a damaged file is computed afresh"
    );

    let own = compute(cache.path(), &["sky", "open water", "bus"], &domains[..1]);
    assert_eq!(own.region.size()[..2], [1, 3]);
    let place = |name| names.iter().position(|class| *class == name).unwrap() as i64;
    for (row, name) in [(0, "sky"), (2, "bus")] {
        assert_eq!(
            own.region.get(0).get(row),
            bank.region.get(0).get(place(name)),
            "{name}"
        );
    }
}

/// The published mean is over the templates of one prompt; several are pooled before the norm, so that order and repetition
/// do not count, and other templates give other texts.
#[test]
fn prompts_of_one_domain_are_averaged_before_the_norm() {
    let weights = Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap();
    let encoder = TextEncoder::load(&weights, ulda_golden::device()).unwrap();
    let (night, rain) = ("driving at night", "driving under rain");
    let raw = |prompt| {
        let filled = fill(&ULDA_TEMPLATES, &[prompt]);
        encoder.encode(&filled).unwrap().mean_dim(0, false, Kind::Float)
    };
    let mean = (raw(night) + raw(rain)) / 2.0;
    let expected = &mean / mean.norm();
    let gap = |ours: &Tensor| (ours - &expected).abs().max().double_value(&[]);
    let embed = |templates: &[&str], prompts: &[&str]| embed_prompts(&encoder, templates, prompts).unwrap();
    assert!(gap(&embed(&ULDA_TEMPLATES, &[night, rain])) < 1e-6);
    assert!(gap(&embed(&ULDA_TEMPLATES, &[rain, night, rain, night])) < 1e-6);
    assert!(gap(&embed(&IMAGENET_TEMPLATES, &[night, rain])) > 1e-4);
}
