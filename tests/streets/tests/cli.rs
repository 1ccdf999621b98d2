//! The program's words and exit codes.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn streets(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_streets"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn one_line_per_tree() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sets");
    let out = out.to_str().unwrap();
    let made = streets(&[
        out,
        "--size",
        "64x32",
        "--gta-size",
        "48x40",
        "--train",
        "2",
        "--val",
        "1",
        "--per-condition",
        "1",
        "--gta",
        "2",
    ]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let text = String::from_utf8(made.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("{out}/cityscapes: 2 train, 1 val, 64x32"));
    assert_eq!(
        lines[1],
        format!("{out}/acdc: fog, night, rain, snow with 1 train and 1 val each, 64x32")
    );
    assert_eq!(lines[2], format!("{out}/gta5: 2 scenes, 48x40"));
    assert!(lines[3].ends_with(" of 19 classes occur"));
    let again = streets(&[out, "--train", "1"]);
    assert_eq!(again.status.code(), Some(78));
    assert_eq!(
        stderr(&again),
        format!(
            "streets: `{out}` is not empty\n  hint: name a new folder, or pass --force to write into this one\n"
        )
    );
}

#[test]
fn faults_have_sentences_and_codes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sets");
    let out = out.to_str().unwrap();
    for (arguments, code, text) in [
        (
            vec![out, "--size", "big"],
            78,
            "streets: size `big` is not WIDTHxHEIGHT",
        ),
        (
            vec![out, "--size", "8x64"],
            78,
            "streets: size is 8x64, each side must be 16 to 8192 pixels",
        ),
        (
            vec![
                out,
                "--train",
                "0",
                "--val",
                "0",
                "--per-condition",
                "0",
                "--gta",
                "0",
            ],
            78,
            "nothing to make: every count is 0",
        ),
        (vec![out, "--train", "many"], 78, "invalid value 'many'"),
        (
            vec!["/dev/null/sets", "--train", "1"],
            1,
            "streets: look into `/dev/null/sets`",
        ),
    ] {
        let output = streets(&arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(text),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    }
    assert_eq!(streets(&["--help"]).status.code(), Some(0));
}
