//! The report of a made-up run.

use std::io::Write as _;

use ulda_coordinator::journal::{Journal, JournalEntry};
use ulda_coordinator::observe::status_page;
use ulda_coordinator::report;
use ulda_coordinator::run_directory::RunDirectory;
use ulda_dataset::ConfusionMatrix;
use ulda_run::spec::{EndAfter, Host, RunConfig, RunSpec};
use ulda_run::stage::{Cursor, Stage};

use super::bench::{Bench, RUN_TOML, assert_snapshot, told};

fn confusion(right: u64) -> ConfusionMatrix {
    let cells: Vec<u64> = (0..361)
        .map(|cell| {
            if cell / 19 == 16 || cell % 19 == 16 {
                0
            } else if cell / 19 == cell % 19 {
                right
            } else {
                10
            }
        })
        .collect();
    ConfusionMatrix::from_counts(&cells).unwrap()
}

fn picture(path: &std::path::Path) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), 256, 48);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let pixels: Vec<u8> = (0..256 * 48)
        .flat_map(|pixel| [(pixel % 256) as u8, (pixel / 256 * 5) as u8, 90])
        .collect();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
}

async fn made_up_run(bench: &Bench) -> RunDirectory {
    made_up_run_until(bench, EndAfter::Adapt).await
}

async fn made_up_run_until(bench: &Bench, end_after: EndAfter) -> RunDirectory {
    let mut config: RunConfig = toml::from_str(RUN_TOML).unwrap();
    config.run.end_after = end_after;
    let models: &[(&str, u64)] = match end_after {
        EndAfter::Adapt => &[("source-only", 0), ("adapted", 200)],
        EndAfter::Pretrain | EndAfter::Simulate => &[("source-only", 0)],
    };
    config.rebase(std::path::Path::new("/data"));
    let spec = RunSpec::resolve(config, Host { workers: 2, cores: 2 }).unwrap();
    let directory = RunDirectory::at(bench.run());
    directory.create(&spec).unwrap();
    let mut journal = Journal::open(&directory.journal_file()).unwrap();
    let place = |stage, step| Cursor { stage, step };
    for step in 1..=100 {
        let value = 2.0 / step as f64;
        journal.note(JournalEntry::Metric {
            place: place(Stage::Adapt, step),
            name: "loss.seg".into(),
            value,
        });
        journal.note(JournalEntry::Metric {
            place: place(Stage::Adapt, step),
            name: "lr.head".into(),
            value: 0.01,
        });
        journal.note(JournalEntry::Metric {
            place: place(Stage::Simulate, step),
            name: "loss.cross".into(),
            value,
        });
    }
    for (set, right) in [("night", 300), ("fog", 500)] {
        for &(model, more) in models {
            let (model, set) = (model.into(), set.parse().unwrap());
            journal.note(JournalEntry::Evaluation {
                model,
                set,
                place: place(Stage::Evaluate, 0),
                images: 4,
                confusion: confusion(right + more),
                seconds: 1.0,
            });
        }
    }
    journal.note(JournalEntry::Evaluation {
        model: "validation".into(),
        set: "source".parse().unwrap(),
        place: place(Stage::Adapt, 50),
        images: 4,
        confusion: confusion(400),
        seconds: 1.0,
    });
    journal.note(JournalEntry::StageDone {
        stage: Stage::Adapt,
        seconds: 12.0,
        digest: "abc".into(),
    });
    for (name, amount) in [("forward", 6.0), ("data", 2.0), ("images", 200.0)] {
        journal.note(JournalEntry::Phase {
            stage: Stage::Adapt,
            slot: 0,
            name: name.into(),
            amount,
        });
    }
    journal.note(JournalEntry::Record {
        json: r#"{"record":"run-started","term":1}"#.into(),
    });
    journal.note(JournalEntry::Record {
        json: r#"{"record":"finished","digest":"f00d"}"#.into(),
    });
    journal.commit().await.unwrap();
    std::fs::create_dir_all(directory.examples().join("night")).unwrap();
    picture(&directory.examples().join("night/00.png"));
    std::fs::create_dir_all(directory.final_checkpoints()).unwrap();
    let mut manifest = std::fs::File::create(directory.final_checkpoints().join("manifest.json")).unwrap();
    let text = r#"{"run":"small","digest":"cafe","clip":{"digest":"beef","untrained":true},"files":{"adapted.safetensors":{"blake3":"a1b2c3","size_bytes":5}},"version":"0.1.0"}"#;
    manifest.write_all(text.as_bytes()).unwrap();
    directory
}

#[tokio::test]
async fn the_page_holds_everything_and_needs_nothing_else() {
    let bench = Bench::new();
    let directory = made_up_run(&bench).await;
    report::write(&directory).unwrap();
    let page = std::fs::read_to_string(directory.report().join("index.html")).unwrap();
    for part in [
        "<h1>small</h1>",
        "Untrained miniature",
        "“driving at night”",
        "mIoU by domain",
        "data:image/png;base64,",
        "source-only</span><span>adapted",
        "traffic light",
        "L_cross",
        "learning rate, head",
        "a1b2c3",
        "16.67 images/s",
        "Resolved configuration",
        "head_channels = 256",
        "f00d",
        "beef",
    ] {
        assert!(page.contains(part), "`{part}` is not in the page");
    }
    for foreign in ["http:", "https:", "<script", "@import", "url("] {
        assert!(
            !page.contains(foreign),
            "`{foreign}` in a page that has to open offline"
        );
    }
    let csv = std::fs::read_to_string(directory.report().join("scores.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 4 * (19 + 3) + 2 * 2);
    assert!(
        csv.contains("adapted,fog,train,,\n"),
        "a class that does not occur has no score"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.report().join("report.json")).unwrap()).unwrap();
    assert_eq!(json["clip"]["training"], "untrained");
    // Each class hits `right` pixels, loses 17 × 10 to the others and takes 17 × 10 from them.
    let iou = |right: f64| right / (right + 340.0);
    let source = (iou(300.0) + iou(500.0)) / 2.0;
    let adapted = (iou(500.0) + iou(700.0)) / 2.0;
    for (index, model, mean, gain) in [
        (0, "source-only", source, 0.0),
        (1, "adapted", adapted, adapted - source),
    ] {
        let found = &json["target_means"][index];
        let near = |key: &str, value: f64| (found[key].as_f64().unwrap() - value).abs() < 1e-12;
        assert!(
            found["model"] == model && near("mean_iou", mean) && near("gain", gain),
            "{found}"
        );
        assert!(
            csv.contains(&format!("{model},mean of targets,mIoU,{}", found["mean_iou"])),
            "{csv}"
        );
    }
    assert!(page.contains("mean of targets"));
    assert_eq!(
        json["sets"][0]["models"][1]["confusion"]
            .as_array()
            .unwrap()
            .len(),
        361
    );
}

#[tokio::test]
async fn a_run_without_an_adapted_model_says_so_and_has_no_empty_columns() {
    let bench = Bench::new();
    let directory = made_up_run_until(&bench, EndAfter::Pretrain).await;
    let data = report::write(&directory).unwrap();
    let page = report::render(&data);
    for part in [
        "This run ends after pretrain, so it has no adapted model.",
        "<th>Source-only</th></tr>",
        "<span>truth</span><span>source-only</span></div>",
    ] {
        assert!(page.contains(part), "`{part}` is not in the page");
    }
    for absent in [
        "<th>Adapted</th>",
        "<th>Gain</th>",
        "<th>Best on source</th>",
        "<span>adapted</span>",
    ] {
        assert!(!page.contains(absent), "`{absent}` is in the page");
    }
    let tables = report::terminal_tables(&data);
    assert!(
        tables.contains("note: this run ends before adapt; it has no adapted model\n"),
        "{tables}"
    );
    assert!(!tables.contains("IoU adapted"), "{tables}");
}

#[tokio::test]
async fn the_terminal_table_reads_like_the_fields_own() {
    let bench = Bench::new();
    let directory = made_up_run(&bench).await;
    assert_snapshot(
        "tables.txt",
        &report::terminal_tables(&report::gather(&directory).unwrap()),
    );
}

#[test]
fn a_run_without_a_single_step_has_a_report_too() {
    let bench = Bench::new();
    let mut config: RunConfig = toml::from_str(RUN_TOML).unwrap();
    config.rebase(std::path::Path::new("/data"));
    let directory = RunDirectory::at(bench.run());
    directory
        .create(&RunSpec::resolve(config, Host { workers: 1, cores: 1 }).unwrap())
        .unwrap();
    drop(Journal::open(&directory.journal_file()).unwrap());
    let data = report::write(&directory).unwrap();
    assert!(report::render(&data).contains("No model of this run has been evaluated yet."));
}

#[test]
fn every_place_with_scores_says_what_clip_they_stand_on() {
    let bench = Bench::new();
    let mut command = bench.command(&["--http", "off"]);
    let trained = command.env("TINY_CLIP", "generated-streets").output().unwrap();
    let note = "note: CLIP is a small model trained on generated streets";
    let trained = told(&bench, &trained);
    assert!(trained.contains(note), "{trained}");
    let status = told(&bench, &bench.output(&["status", "runs/small"]));
    assert!(status.contains(note), "{status}");
    let status = bench.output(&["status", "runs/small", "-o", "json"]).stdout;
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["clip"]["training"], "generated-streets");
    let page = std::fs::read_to_string(bench.run().join("report/index.html")).unwrap();
    assert!(page.contains("CLIP trained on generated streets"));
    let live = status_page::live_part(&RunDirectory::at(bench.run()), None).unwrap();
    assert!(live.contains("CLIP trained on generated streets"));
}
