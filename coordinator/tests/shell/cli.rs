//! Help, files and sentences, as a person sees them.

use std::net::TcpListener;
use std::path::Path;

use super::bench::{Bench, assert_snapshot, coordinator, tiny_worker, told};

#[test]
fn help_is_as_documented() {
    let bench = Bench::new();
    let mut text = String::new();
    for verb in [
        &[][..],
        &["resume"],
        &["init"],
        &["schema"],
        &["check"],
        &["status"],
        &["view"],
        &["list"],
        &["logs"],
        &["export-tensorboard"],
        &["stop"],
        &["report"],
        &["compare"],
        &["predict"],
        &["export"],
        &["credentials", "new"],
        &["submit"],
        &["cluster"],
        &["cluster", "logs"],
        &["cluster", "delete"],
    ] {
        let arguments: Vec<&str> = verb.iter().copied().chain(["--help"]).collect();
        let mut command = bench.command(&arguments);
        let output = command
            .env_remove("ULDA_WORKER")
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        text.push_str(&format!(
            "$ coordinator {}\n{}\n",
            arguments.join(" "),
            told(&bench, &output)
        ));
    }
    assert_snapshot("help.txt", &text);
}

#[test]
fn init_writes_once_and_only_once() {
    let bench = Bench::new();
    let written = told(&bench, &bench.output(&["init", "new.toml"]));
    assert!(written.starts_with("exit 0\nwrote new.toml\n"), "{written}");
    assert_eq!(
        told(&bench, &bench.output(&["init", "new.toml"])),
        "exit 78\nerror: `new.toml` is there already\n  hint: give another path, or --force to overwrite it\n"
    );
    assert!(bench.output(&["init", "--force", "new.toml"]).status.success());
    let printed = bench.output(&["init", "-"]).stdout;
    assert_eq!(printed, std::fs::read(bench.path("new.toml")).unwrap());
    assert_snapshot("run.toml", &String::from_utf8(printed).unwrap());
}

/// One line of the table: what is done to the bench, the arguments, and what must be said.
type Case = (&'static str, fn(&Bench), &'static [&'static str], &'static str);

fn nothing(_: &Bench) {}

fn remove(bench: &Bench, name: &str) {
    let path = bench.path(name);
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap()
    } else {
        std::fs::remove_file(path).unwrap()
    }
}

fn cut(bench: &Bench, name: &str) {
    let bytes = std::fs::read(bench.path(name)).unwrap();
    std::fs::write(bench.path(name), &bytes[..bytes.len() / 2]).unwrap();
}

const TRAIN_IMAGE: &str = "city/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png";
const TRAIN_LABEL: &str = "city/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png";

const CASES: &[Case] = &[
    (
        "all is well",
        nothing,
        &["check"],
        "run `small`: nothing wrong was found",
    ),
    (
        "no workers",
        nothing,
        &["check", "--workers", "0"],
        "0 workers cannot train",
    ),
    (
        "unknown key",
        nothing,
        &["--set", "adapt.stpes=3"],
        "the nearest known key is `adapt.steps`",
    ),
    (
        "wrong type",
        nothing,
        &["--set", "adapt.steps=many"],
        "`adapt.steps` is the text \"many\"",
    ),
    (
        "no domain",
        |bench| std::fs::write(bench.path("run.toml"), "").unwrap(),
        &["check"],
        "there is no target domain",
    ),
    (
        "not toml",
        |bench| std::fs::write(bench.path("run.toml"), "[run\n").unwrap(),
        &["check"],
        "is not TOML",
    ),
    (
        "no such file",
        nothing,
        &["check", "-c", "none.toml"],
        "configuration `none.toml` does not exist",
    ),
    (
        "unknown key in file",
        |bench| std::fs::write(bench.path("run.toml"), "[ruin]\nname = 1").unwrap(),
        &["check"],
        "the nearest known key is `run`",
    ),
    (
        "no data",
        |bench| remove(bench, "city"),
        &["check"],
        "data set folder `DIR/city` does not exist",
    ),
    (
        "no image folder",
        |bench| remove(bench, "city/leftImg8bit/val"),
        &["check"],
        "folder `DIR/city/leftImg8bit/val` does not exist",
    ),
    (
        "empty split",
        |bench| remove(bench, TRAIN_IMAGE),
        &["check"],
        "holds an image ending in `_leftImg8bit.png`",
    ),
    (
        "no label",
        |bench| remove(bench, TRAIN_LABEL),
        &["check"],
        "aachen_000000_000019_gtFine_labelIds.png` does not exist",
    ),
    (
        "cut image",
        |bench| cut(bench, TRAIN_IMAGE),
        &["check", "--pixels"],
        "aachen_000000_000019_leftImg8bit.png` is cut short",
    ),
    (
        "crop too large",
        nothing,
        &["check", "--set", "adapt.crop=128"],
        "adapt.crop",
    ),
    (
        "no clip, no launch",
        |bench| remove(bench, "clip.pt"),
        &["check", "--no-launch"],
        "`DIR/clip.pt` does not exist",
    ),
    (
        "no worker binary",
        nothing,
        &["check", "--worker-binary", "none"],
        "worker binary `DIR/none` does not exist",
    ),
    (
        "no space",
        nothing,
        &[
            "check",
            "--set",
            "checkpoint.keep=4000000000",
            "--set",
            "pretrain.head_channels=4000000000",
        ],
        "MiB free, and the run needs about",
    ),
    (
        "fog of another size",
        nothing,
        &["check", "--set", "evaluate.set.1.only_size=[1920, 1080]"],
        "none of the 1 images of split `val`",
    ),
    (
        "not a run",
        nothing,
        &["status", "city"],
        "`city` is not a run directory",
    ),
    (
        "no model",
        nothing,
        &["predict", "--model", "m", "--out", "o", "none.png"],
        "input `none.png` does not exist",
    ),
];

#[test]
fn every_wrong_input_gets_its_sentence() {
    for (what, break_it, arguments, sentence) in CASES {
        let bench = Bench::new();
        break_it(&bench);
        let said = told(&bench, &bench.output(arguments));
        let exit = if *what == "all is well" {
            "exit 0\n"
        } else {
            "exit 78\n"
        };
        assert!(
            said.starts_with(exit) && said.contains(sentence),
            "{what}: {said}"
        );
        assert!(
            what == &"all is well" || said.contains("hint:") || what == &"not toml",
            "{what} has no hint: {said}"
        );
        assert!(!bench.path("runs").exists(), "{what}: nothing may be created");
    }
}

#[test]
fn findings_of_the_worker_are_told_with_the_others() {
    let bench = Bench::new();
    remove(&bench, "acdc/rgb_anon/night");
    let mut command = bench.command(&["check", "-o", "json"]);
    command.env(
        "TINY_FINDINGS",
        r#"{"key": "clip.checkpoint", "what": "`clip.pt` is not an archive", "hint": "download it again"}"#,
    );
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<&str> = found
        .iter()
        .filter_map(|finding| finding["key"].as_str())
        .collect();
    assert_eq!(keys, ["evaluate.set[0]", "clip.checkpoint"]);
}

#[test]
fn a_published_rate_with_other_domains_is_noted_and_no_error() {
    let bench = Bench::new();
    let said = told(&bench, &bench.output(&["check"]));
    assert!(
        said.starts_with(
            "exit 0\nrun `small`: nothing wrong was found\nnote: `simulate.lr_pin`: is the published 1"
        ) && said.contains("with 2 × 2 a style takes steps 3.00 times as long")
            && said.contains("0.3333 keeps the published step"),
        "{said}"
    );
    let said = told(
        &bench,
        &bench.output(&["check", "--set", "simulate.lr_pin=0.3333"]),
    );
    assert!(!said.contains("note:"), "{said}");
}

#[test]
fn a_taken_port_is_told() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = told(&bench, &bench.output(&["--listen", &address]));
    assert_eq!(
        said,
        format!(
            "exit 75\nerror: address {address} is taken\n  hint: give another port with --listen, or 0 for any free one\n"
        )
    );
    assert!(told(&bench, &bench.output(&["check", "--listen", &address])).contains("is taken"));
}

#[test]
fn a_foreign_folder_in_the_runs_place_is_left_alone() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.run()).unwrap();
    std::fs::write(bench.run().join("thesis.tex"), "precious").unwrap();
    assert_eq!(
        told(&bench, &bench.output(&[])),
        "exit 78\nerror: `DIR/runs/small` is not empty and holds no run\n  hint: choose another run.name or run.directory\n"
    );
}

#[test]
fn predict_hands_over_arguments_and_exit_code() {
    let bench = Bench::new();
    let model = bench.run().join("checkpoints/final/adapted.safetensors");
    let arguments = ["predict", "--run", "runs/small", "--out", "out", "city"];
    std::fs::create_dir_all(model.parent().unwrap()).unwrap();
    std::fs::write(
        bench.run().join("run.toml"),
        "[clip]\ncheckpoint = \"/c/RN50.pt\"",
    )
    .unwrap();
    let said = told(&bench, &bench.output(&arguments));
    assert!(
        said.starts_with("exit 78\nerror: run `runs/small` has no adapted model: `DIR/runs/small/checkpoints/final/adapted.safetensors` does not exist"),
        "{said}"
    );
    std::fs::write(&model, "").unwrap();
    let mut command = bench.command(&arguments);
    let output = command.env("TINY_EXIT", "3").output().unwrap();
    let model = Path::new("DIR").join(model.strip_prefix(bench.folder.path()).unwrap());
    assert_eq!(
        told(&bench, &output),
        format!("exit 3\npredict --model {} --out out city\n", model.display())
    );
}

#[test]
fn export_hands_over_the_model_that_was_asked_for() {
    let bench = Bench::new();
    let config = "[clip]\ncheckpoint = \"/c/RN50.pt\"";
    for file in [
        "checkpoints/final/adapted-best.safetensors",
        "styles/bank.safetensors",
    ] {
        let path = bench.run().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    std::fs::write(bench.run().join("run.toml"), config).unwrap();
    let said = |arguments: &[&str]| {
        let arguments = [&["export", "small"], arguments].concat();
        told(&bench, &bench.output(&arguments))
    };
    assert_eq!(
        said(&["--format", "onnx", "--model", "adapted-best", "--out", "a.onnx"]),
        "exit 0\nexport --format onnx --from DIR/runs/small/checkpoints/final/adapted-best.safetensors --out a.onnx\n"
    );
    assert_eq!(
        said(&["--format", "pickle-styles"]),
        "exit 0\nexport --format pickle-styles --from DIR/runs/small/styles/bank.safetensors --out \
         DIR/runs/small/export/styles\n"
    );
    let refused = said(&["--format", "pickle-styles", "--model", "adapted"]);
    assert!(
        refused.starts_with("exit 78\nerror: --model does not go with pickle-styles\n  hint: leave it out"),
        "{refused}"
    );
    let refused = said(&["--format", "pth"]);
    assert!(
        refused.starts_with("exit 78\nerror: run `small` has no adapted model: `DIR/runs/small/checkpoints"),
        "{refused}"
    );
    let refused = said(&["--format", "tf"]);
    assert!(
        refused.starts_with("exit 2\n") && refused.contains("pth, pickle-styles, onnx, torchscript"),
        "{refused}"
    );
}

/// The name that an earlier build gave its file could be known before: it held the process's number, which `exec`
/// keeps.
#[test]
fn check_writes_into_no_file_that_others_can_place() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("tmp")).unwrap();
    std::fs::write(bench.path("precious"), "untouched").unwrap();
    let place_and_check =
        r#"ln -s ../precious "tmp/ulda-check-$$.toml" && exec "$0" check --worker-binary "$1""#;
    let output = std::process::Command::new("sh")
        .args(["-c", place_and_check, coordinator()])
        .arg(tiny_worker())
        .current_dir(bench.folder.path())
        .env("TMPDIR", bench.path("tmp"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&bench, &output));
    let precious = std::fs::read_to_string(bench.path("precious")).unwrap();
    assert_eq!(precious, "untouched");
    let left = std::fs::read_dir(bench.path("tmp")).unwrap().count();
    assert_eq!(left, 1, "only the link is there");
}

/// The number in run.lock may be of another host's process, or have passed to another process.
#[test]
fn stop_ends_no_process_that_does_not_serve_the_run() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.run()).unwrap();
    std::fs::copy(bench.path("run.toml"), bench.run().join("run.toml")).unwrap();
    let lock = std::fs::File::create(bench.run().join("run.lock")).unwrap();
    lock.lock().unwrap();
    let mut bystander = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    for process_id in [bystander.id(), gone.id()] {
        let text = format!(r#"{{"process_id":{process_id},"address":"10.0.0.7:4000"}}"#);
        std::fs::write(bench.run().join("run.lock"), text).unwrap();
        let said = told(&bench, &bench.output(&["stop", "runs/small", "--wait", "1"]));
        assert!(
            said.starts_with(&format!(
                "exit 75\nerror: run `runs/small` is served, but not by process {process_id} of this host"
            )) && said.contains("hint: stop it on the host"),
            "{said}"
        );
    }
    assert!(bystander.try_wait().unwrap().is_none(), "it was signalled");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}
