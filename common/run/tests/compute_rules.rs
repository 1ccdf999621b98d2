//! What `[compute]` may say together.

use ulda_run::spec::{DomainConfig, Host, Precision, RunConfig, RunSpec};

/// The problems of a run.toml with this `[compute]`.
fn problems(compute: &str) -> Vec<String> {
    let mut config: RunConfig =
        toml::from_str(&format!("[compute]\n{compute}")).expect("the words of a run.toml");
    config.clip.checkpoint = "RN50.pt".into();
    config.source.root = "cityscapes".into();
    config.domains = vec![DomainConfig {
        name: "night".parse().expect("a plain name"),
        prompt: "driving at night".into(),
        images: Vec::new(),
    }];
    let host = Host { workers: 2, cores: 2 };
    match RunSpec::resolve(config, host) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn what_goes_together_is_taken() {
    for compute in [
        "",
        "device = 'cpu'\nprecision = 'bf16'",
        "device = 'cuda'\nprecision = 'tf32'\ncollective = 'nccl'\nordered_sums = true",
        "collective = 'tcp'",
    ] {
        assert_eq!(problems(compute), [""; 0], "{compute}");
    }
    assert_eq!(RunConfig::default().compute.precision, Precision::Fp32);
}

#[test]
fn what_contradicts_itself_is_told() {
    for (compute, words) in [
        (
            "device = 'cpu'\ncollective = 'nccl'",
            "`compute.collective`: nccl carries sums between GPUs",
        ),
        (
            "device = 'cpu'\nprecision = 'tf32'",
            "`compute.precision`: tf32 is a number format of GPUs",
        ),
        (
            "collective = 'tcp'\nordered_sums = true",
            "`compute.ordered_sums`: it is about NCCL",
        ),
    ] {
        let told = problems(compute);
        assert!(
            told.len() == 1 && told[0].starts_with(words),
            "{compute}: {told:?}"
        );
    }
}

#[test]
fn other_words_are_refused() {
    assert!(toml::from_str::<RunConfig>("[compute]\ndevice = 'gpu'").is_err());
    assert!("gpu".parse::<ulda_run::spec::DeviceChoice>().is_err());
}
