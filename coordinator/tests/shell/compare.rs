//! Finished runs side by side: hand-made journals whose statistics were computed by hand.

use std::path::Path;

use ulda_coordinator::compare::{
    CompareChoices, ComparedRun, Comparison, Estimate, MethodScores, NamedRuns, ScoredModel, methods,
};
use ulda_coordinator::journal::{Journal, JournalEntry, clip_fact};
use ulda_coordinator::run_directory::RunDirectory;
use ulda_dataset::ConfusionMatrix;
use ulda_run::clip::{ClipOrigin, ClipTraining};
use ulda_run::spec::{Host, RunConfig, RunSpec};
use ulda_run::stage::{Cursor, Stage};

use super::bench::{Bench, RUN_TOML, assert_snapshot, told};

/// One model's mIoU on one set, in percent.
type Score = (&'static str, &'static str, u64);

/// A run to be made: name and seed, and what it scored.
struct Made {
    name: &'static str,
    seed: u64,
    scores: &'static [Score],
    images: u64,
    clip: ClipOrigin,
    finished: bool,
    change: fn(&mut RunConfig),
}

impl Made {
    fn new(name: &'static str, seed: u64, scores: &'static [Score]) -> Self {
        Self {
            name,
            seed,
            scores,
            images: 4,
            clip: ClipOrigin {
                digest: "beef".into(),
                training: ClipTraining::GeneratedStreets,
            },
            finished: true,
            change: |_| {},
        }
    }

    async fn write(self, bench: &Bench) {
        let text = format!(
            "{RUN_TOML}\n[[evaluate.set]]\nname = \"clear\"\nlayout = \"cityscapes\"\nroot = \"city\"\n"
        );
        let mut config: RunConfig = toml::from_str(&text).unwrap();
        config.rebase(Path::new("/data"));
        config.run.name = self.name.parse().unwrap();
        config.run.seed = self.seed;
        (self.change)(&mut config);
        let spec = RunSpec::resolve(config, Host { workers: 2, cores: 2 }).unwrap();
        let directory = RunDirectory::at(bench.path("runs").join(self.name));
        directory.create(&spec).unwrap();
        let mut journal = Journal::open(&directory.journal_file()).unwrap();
        journal.note(clip_fact(&self.clip));
        for (set, model, percent) in self.scores {
            journal.note(JournalEntry::Evaluation {
                model: (*model).into(),
                set: set.parse().unwrap(),
                place: Cursor {
                    stage: Stage::Evaluate,
                    step: 0,
                },
                images: self.images,
                confusion: confusion(*percent),
                seconds: 1.0,
            });
        }
        let finish = r#"{"record":"finished","digest":"f00d"}"#;
        let records = [r#"{"record":"run-started","term":1}"#, finish];
        for json in records.into_iter().take(if self.finished { 2 } else { 1 }) {
            journal.note(JournalEntry::Record { json: json.into() });
        }
        journal.commit().await.unwrap();
    }
}

/// Two classes, each with this IoU: hits over hits and all that were taken for the other class.
fn confusion(percent: u64) -> ConfusionMatrix {
    let mut cells = vec![0; 361];
    (cells[0], cells[20]) = (2 * percent, 2 * percent);
    (cells[1], cells[19]) = (100 - percent, 100 - percent);
    ConfusionMatrix::from_counts(&cells).unwrap()
}

/// One domain and its set, beside the source's.
fn only(config: &mut RunConfig, domain: &str) {
    config.domains.retain(|found| found.name.as_str() == domain);
    config
        .evaluate
        .sets
        .retain(|set| [domain, "clear"].contains(&set.name.as_str()));
}

/// Three seeds of one model for all weathers, and two seeds of one model per weather.
async fn made(bench: &Bench) {
    const ULDA: [&[Score]; 3] = [
        &[
            ("night", "source-only", 40),
            ("fog", "source-only", 55),
            ("clear", "source-only", 72),
            ("night", "adapted", 50),
            ("fog", "adapted", 60),
            ("clear", "adapted", 70),
        ],
        &[
            ("night", "source-only", 41),
            ("fog", "source-only", 50),
            ("clear", "source-only", 71),
            ("night", "adapted", 52),
            ("fog", "adapted", 61),
            ("clear", "adapted", 70),
        ],
        &[
            ("night", "source-only", 43),
            ("fog", "source-only", 60),
            ("clear", "source-only", 70),
            ("night", "adapted", 54),
            ("fog", "adapted", 65),
            ("clear", "adapted", 70),
        ],
    ];
    for (name, seed) in [("ulda-s1", 1), ("ulda-s2", 2), ("ulda-s3", 3)] {
        Made::new(name, seed, ULDA[seed as usize - 1]).write(bench).await;
    }
    type Change = fn(&mut RunConfig);
    let night: Change = |config| only(config, "night");
    let fog: Change = |config| only(config, "fog");
    let poda: [(&str, u64, &[Score], Change); 4] = [
        (
            "poda-night-s1",
            1,
            &[("night", "adapted", 46), ("clear", "adapted", 69)],
            night,
        ),
        (
            "poda-fog-s1",
            1,
            &[("fog", "adapted", 58), ("clear", "adapted", 71)],
            fog,
        ),
        (
            "poda-night-s2",
            2,
            &[("night", "adapted", 47), ("clear", "adapted", 68)],
            night,
        ),
        (
            "poda-fog-s2",
            2,
            &[("fog", "adapted", 57), ("clear", "adapted", 70)],
            fog,
        ),
    ];
    for (name, seed, scores, change) in poda {
        let made = Made::new(name, seed, scores);
        Made { change, ..made }.write(bench).await;
    }
}

const ULDA: &str = "runs/ulda-s1,runs/ulda-s2,runs/ulda-s3";
const PODA: &str = "poda=runs/poda-night-s1,runs/poda-fog-s1,runs/poda-night-s2,runs/poda-fog-s2";
const SOURCE: &str = "source:source-only=runs/ulda-s1,runs/ulda-s2,runs/ulda-s3";

/// The named runs of the bench, as the command line would read them.
fn named(bench: &Bench, label: &str, model: Option<ScoredModel>, names: &[&str]) -> NamedRuns {
    let read = |name: &&str| {
        let path = bench.path("runs").join(name);
        ComparedRun::read(&RunDirectory::at(&path), &path).unwrap()
    };
    NamedRuns {
        label: Some(label.into()),
        model,
        runs: names.iter().map(read).collect(),
    }
}

fn close(found: &[Option<Estimate>], percents: &[(f64, f64)]) {
    assert_eq!(found.len(), percents.len());
    for (found, (mean, spread)) in found.iter().zip(percents) {
        let found = found.unwrap();
        let near = |share: f64, percent: f64| (share * 100.0 - percent).abs() < 1e-9;
        assert!(
            near(found.mean, *mean) && near(found.spread.unwrap(), *spread),
            "{found:?} is not {mean} ± {spread}"
        );
    }
}

#[tokio::test]
async fn statistics_are_those_computed_by_hand() {
    let bench = Bench::new();
    made(&bench).await;
    let methods = methods(vec![
        named(&bench, "ulda", None, &["ulda-s1", "ulda-s2", "ulda-s3"]),
        named(&bench, "poda", None, &["poda-night-s1", "poda-fog-s1"]),
        named(&bench, "poda", None, &["poda-fog-s2", "poda-night-s2"]),
    ])
    .unwrap();
    let comparison = Comparison::of(&methods, &CompareChoices::default()).unwrap();
    assert_eq!(comparison.columns, ["night", "fog", "clear", "mean of targets"]);
    let [ulda, poda]: &[MethodScores; 2] = comparison.methods.as_slice().try_into().unwrap();
    // Night 50, 52, 54; fog 60, 61, 65; clear 70 three times; targets 55, 56.5, 59.5.
    close(
        &ulda.estimates,
        &[
            (52.0, 2.0),
            (62.0, 7f64.sqrt()),
            (70.0, 0.0),
            (57.0, 5.25f64.sqrt()),
        ],
    );
    // Night 46, 47; fog 58, 57; clear (69 + 71) / 2 and (68 + 70) / 2; targets 52 twice.
    let half = 0.5f64.sqrt();
    close(
        &poda.estimates,
        &[(46.5, half), (57.5, half), (69.5, half), (52.0, 0.0)],
    );
    let clear: Vec<Option<f64>> = poda.seeds.iter().map(|seed| seed.values[2]).collect();
    assert_eq!(clear, [Some(0.7), Some(0.69)]);
    // Night −4, −5; fog −2, −4; clear 0, −1; targets −3, −4.5: standard errors are half the distance of two values.
    assert_eq!(comparison.differences[0].common_seeds, 2);
    close(
        &comparison.differences[0].estimates,
        &[(-4.5, 0.5), (-3.0, 1.0), (-0.5, 0.5), (-3.75, 0.75)],
    );
    assert_eq!(comparison.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn tables_read_like_those_of_a_paper() {
    let bench = Bench::new();
    made(&bench).await;
    let text = told(
        &bench,
        &bench.output(&["compare", ULDA, PODA, SOURCE, "--per-seed"]),
    );
    assert_snapshot("compare.txt", &text);
    let csv = told(&bench, &bench.output(&["compare", ULDA, PODA, "--format", "csv"]));
    assert_snapshot("compare.csv", &csv);
    let chosen = [
        "compare",
        ULDA,
        PODA,
        "--sets",
        "fog,clear",
        "--reference",
        "poda",
    ];
    let text = told(&bench, &bench.output(&chosen));
    assert_snapshot("compare-chosen.txt", &text);
}

#[tokio::test]
async fn the_page_holds_the_numbers_and_needs_nothing_else() {
    let bench = Bench::new();
    made(&bench).await;
    let arguments = ["compare", ULDA, PODA, "--format", "html", "--out", "out.html"];
    let said = told(&bench, &bench.output(&arguments));
    assert_eq!(said, "exit 0\nwrote out.html\n");
    let page = std::fs::read_to_string(bench.path("out.html")).unwrap();
    for part in [
        "52.00 ± 2.00",
        "-4.50 ± 0.50",
        "mean of targets",
        "runs/poda-fog-s1",
        "CLIP trained on generated streets",
    ] {
        assert!(page.contains(part), "`{part}` is not in {page}");
    }
    for foreign in ["http:", "https:", "<script", "@import", "url("] {
        assert!(
            !page.contains(foreign),
            "`{foreign}` in a page that has to open offline"
        );
    }
}

#[tokio::test]
async fn runs_that_differ_are_named() {
    let bench = Bench::new();
    made(&bench).await;
    let all: &[Score] = &[
        ("night", "adapted", 50),
        ("fog", "adapted", 60),
        ("clear", "adapted", 70),
    ];
    let longer = Made::new("longer-s4", 4, all);
    Made {
        change: |config| config.adapt.steps = 200,
        images: 5,
        clip: ClipOrigin {
            digest: "cafe".into(),
            training: ClipTraining::Unmarked,
        },
        ..longer
    }
    .write(&bench)
    .await;
    let elsewhere = Made::new("elsewhere-s5", 5, all);
    Made {
        change: |config| {
            config.clip.checkpoint = "/other/clip.pt".into();
            config.source.root = "/other/city".into();
            config.evaluate.sets[2].root = "/other/city".into();
            config.checkpoint.every = 7;
        },
        ..elsewhere
    }
    .write(&bench)
    .await;
    let warnings = |arguments: &[&str]| {
        let output = bench.output(&[&["compare"], arguments].concat());
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(warnings(&["a=runs/ulda-s1,runs/elsewhere-s5"]), "");
    assert_eq!(
        warnings(&["a=runs/ulda-s1,runs/longer-s4"]),
        "warning: evaluation set `night` has 4 images in `runs/ulda-s1` and 5 images in `runs/longer-s4`\n\
         warning: evaluation set `fog` has 4 images in `runs/ulda-s1` and 5 images in `runs/longer-s4`\n\
         warning: evaluation set `clear` has 4 images in `runs/ulda-s1` and 5 images in `runs/longer-s4`\n\
         warning: the runs stand on different CLIP weights: beef in `runs/ulda-s1`; cafe in `runs/longer-s4`\n\
         warning: method `a` mixes configurations: `runs/ulda-s1` and `runs/longer-s4` differ in adapt.steps (100 and 200)\n"
    );
    assert_eq!(
        warnings(&["runs/ulda-s1", "runs/poda-fog-s2"]),
        "warning: method `poda-fog` has no score on `night` for seed 2; its mean of targets is left out\n\
         warning: method `poda-fog` has no seed in common with the reference\n"
    );
}

#[tokio::test]
async fn what_cannot_be_compared_gets_its_sentence() {
    let bench = Bench::new();
    made(&bench).await;
    let begun = Made::new("begun-s1", 1, &[]);
    Made {
        finished: false,
        ..begun
    }
    .write(&bench)
    .await;
    Made::new("silent-s1", 1, &[]).write(&bench).await;
    Made::new("torn-s1", 1, &[]).write(&bench).await;
    let journal = bench.path("runs/torn-s1/journal.sqlite");
    std::fs::write(
        &journal,
        "no database, and long enough to be looked at ".repeat(30),
    )
    .unwrap();
    for (arguments, code, sentence) in [
        (
            &["runs/ulda-s1", "runs/begun-s1"][..],
            78,
            "error: run `runs/begun-s1` is interrupted: its coordinator is gone",
        ),
        (
            &["runs/torn-s1"],
            78,
            "error: run `runs/torn-s1` cannot be compared: `DIR/runs/torn-s1/journal.sqlite` is not a journal\n  hint:",
        ),
        (
            &["runs/silent-s1"],
            78,
            "error: run `runs/silent-s1` has no scores of model `adapted`; it has none\n  hint:",
        ),
        (
            &["runs/poda-fog-s1", "--model", "adapted-best"],
            78,
            "error: run `runs/poda-fog-s1` has no scores of model `adapted-best`; it has `adapted`\n  hint:",
        ),
        (&["runs/none"], 78, "error: `runs/none` is not a run directory"),
        (
            &["runs/ulda-s1", "--reference", "poda"],
            78,
            "error: --reference `poda` is no method; there is `ulda`\n  hint:",
        ),
        (
            &["runs/ulda-s1", "--sets", "night,snow"],
            78,
            "error: --sets `snow` is no evaluation set of these runs; there is `night`, `fog`, `clear`\n  hint:",
        ),
        (
            &["a=runs/ulda-s1,runs/../runs/ulda-s1"],
            78,
            "error: run `runs/../runs/ulda-s1` is given twice for method `a`\n  hint:",
        ),
        (
            &["a:adapted=runs/ulda-s1", "a:source-only=runs/ulda-s2"],
            78,
            "error: method `a` is to be scored by adapted and by source-only\n  hint:",
        ),
        (&["a:best=runs/ulda-s1"], 2, "`best` is no model"),
        (&[], 2, "required arguments were not provided"),
    ] {
        let said = told(&bench, &bench.output(&[&["compare"], arguments].concat()));
        assert!(
            said.starts_with(&format!("exit {code}\n")) && said.contains(sentence),
            "{arguments:?}: {said}"
        );
    }
}
