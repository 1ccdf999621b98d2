//! A run that scores a given model trains nothing: it reads neither images of its source nor styles.

use ulda_run::spec::{Host, RunConfig, RunSpec};

const HOST: Host = Host { workers: 1, cores: 1 };

fn config(before: &str) -> RunConfig {
    let text = format!(
        "{before}\n[clip]\ncheckpoint = \"/clip.pt\"\n[simulate]\nbank = \"s3://b/bank\"\nstyles = \"bank\"\n\
         [[domain]]\nname = \"fog\"\nprompt = \"driving in fog\"\nimages = [\"s3://b/fog\"]\n\
         [classes]\nnames = [\"road\", \"water\"]\n[[evaluate.set]]\nname = \"clear\"\nlayout = \"files\"\nroot = \"/set\"\n\
         files.images = \"*.png\"\nfiles.labels = \"labels/*.png\"\nfiles.label_encoding = \"train-ids\"\n"
    );
    toml::from_str(&text).expect("the words of a run.toml")
}

fn keys(config: &mut RunConfig) -> Vec<String> {
    config.inputs_read_mut().into_iter().map(|(key, _)| key).collect()
}

const SCORES: &str = "[adapt]\ncheckpoint = \"/adapted.safetensors\"\n[source]\nroot = \"s3://b/nothing\"";

#[test]
fn what_no_stage_reads_is_not_fetched() {
    let scored = ["clip.checkpoint", "adapt.checkpoint", "evaluate.set[0].root"];
    assert_eq!(keys(&mut config(SCORES)), scored);
    let mut ends_early = config(&format!("{SCORES}\n[run]\nend_after = \"pretrain\""));
    assert_eq!(
        keys(&mut ends_early),
        ["clip.checkpoint", "source.root", "evaluate.set[0].root"]
    );
    assert_eq!(keys(&mut config("[source]\nroot = \"/city\"")).len(), 5);
    let trainings = "[source]\nroot = \"/city\"\n[pretrain]\ncontinue_from = \"a.pth\"\n[adapt]\ncontinue_from = \"b.pth\"";
    assert_eq!(
        keys(&mut config(trainings))[..4],
        [
            "clip.checkpoint",
            "source.root",
            "simulate.bank",
            "adapt.continue_from"
        ]
    );
}

#[test]
fn labels_of_a_source_that_nothing_reads_need_not_fit_the_classes() {
    RunSpec::resolve(config(SCORES), HOST).unwrap_or_else(|problems| panic!("{problems}"));
    let trains = RunSpec::resolve(config("[source]\nroot = \"/city\""), HOST);
    let problems = trains
        .expect_err("the source has labels of Cityscapes")
        .to_string();
    assert!(problems.contains("source.layout"), "{problems}");
}
