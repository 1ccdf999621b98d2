//! A journal with rows that no coordinator wrote: each is named and left out, and the rest is shown.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rusqlite::Connection;

use super::bench::{Bench, ask, outcome, told};
use super::lives::signal;

/// Beside the good rows of the same tables.
fn add_bad_rows(bench: &Bench) {
    let journal = Connection::open(bench.run().join("journal.sqlite")).unwrap();
    let cells = |cell: u64| serde_json::to_string(&vec![cell; 361]).unwrap();
    let (ones, most) = (cells(1), cells(u64::MAX));
    for row in [
        format!("evaluations VALUES ('adapted', '../../x', 'evaluate', 1, 12, '{ones}', 0.5, 1.0, 1)"),
        format!("evaluations VALUES ('adapted', 'overflow', 'evaluate', 1, 12, '{most}', 0.5, 1.0, 1)"),
        "evaluations VALUES ('adapted', 'short', 'evaluate', 1, 12, '[1, 2]', 0.5, 1.0, 1)".to_owned(),
        format!("evaluations VALUES ('adapted', 'endless', 'evaluate', 1, 12, '{ones}', 0.5, 9e999, 1)"),
        "stages VALUES ('lunch', 1.0, 'd', 1)".to_owned(),
        "phases VALUES ('adapt', 0, 'endless', 9e999)".to_owned(),
        "phases VALUES ('adapt', -1, 'forward', 1.0)".to_owned(),
        "metrics VALUES ('loss.seg', 'adapt', -5, 1.0, 1)".to_owned(),
        "metrics VALUES ('loss.seg', 'adapt', 9223372036854775807, 1.0, 1)".to_owned(),
        "metrics VALUES ('loss.other', 'adapt', 7, 9e999, 9223372036854775807)".to_owned(),
        "checkpoints VALUES ('never', 'adapt', 1, 'd', -1, 9223372036854775807)".to_owned(),
        "events VALUES (NULL, -9223372036854775808, 'info', NULL, 'before all time')".to_owned(),
        "records VALUES (NULL, 9223372036854775807, 'nonsense')".to_owned(),
        "records VALUES (NULL, 1, x'00ff')".to_owned(),
    ] {
        journal.execute(&format!("INSERT INTO {row}"), []).unwrap();
    }
    let endless = "UPDATE stages SET seconds = 9e999 WHERE stage = 'adapt'";
    assert_eq!(journal.execute(endless, []).unwrap(), 1);
}

#[test]
fn a_bad_row_is_named_and_the_rest_is_shown() {
    let bench = Bench::new();
    let trained = bench.output(&["--workers", "2", "--tensorboard", "off"]);
    assert!(trained.status.success(), "{}", told(&bench, &trained));
    add_bad_rows(&bench);
    let outcomes: [(&str, i32, &[&str]); 5] = [
        (
            "status",
            0,
            &[
                "row (model adapted, set_name ../../x, stage evaluate, step 1) of `evaluations` is left out",
                "set_name overflow, stage evaluate, step 1) of `evaluations` is left out",
                "set_name short, stage evaluate, step 1) of `evaluations` is left out",
                "set_name endless, stage evaluate, step 1) of `evaluations` is left out",
                "row (stage lunch, seconds 1, digest d, at 1) of `stages` is left out",
                "row (stage adapt, seconds inf,",
                "row (path never,",
                "of `events` is left out",
                "of the journal is left out",
                "finished",
            ],
        ),
        (
            "report",
            0,
            &["of `phases` is left out", "of `metrics` is left out"],
        ),
        (
            "compare",
            0,
            &["set_name overflow", "of `evaluations` is left out"],
        ),
        ("export-tensorboard", 0, &["of `metrics` is left out"]),
        // Its verdict is on the journal as a whole.
        (
            "ledger",
            1,
            &["every sample was used exactly once", "is no record"],
        ),
    ];
    for (command, code, says) in outcomes {
        let output = bench.output(&[command, "runs/small"]);
        let told = told(&bench, &output);
        assert_eq!(output.status.code(), Some(code), "{command}: {told}");
        for part in says {
            assert!(told.contains(part), "{command} does not say `{part}`: {told}");
        }
        assert!(!told.contains("panicked"), "{command}: {told}");
    }
    let scores = std::fs::read_to_string(bench.run().join("report/scores.csv")).unwrap();
    assert!(
        scores.contains("adapted,fog,") && !scores.contains("overflow"),
        "{scores}"
    );

    let mut command = bench.command(&["view", "runs/small", "--http", "127.0.0.1:0"]);
    let mut view = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let stdout = view.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut address).unwrap();
    let address = address
        .trim()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    for page in ["/", "/api/status"] {
        let answer = ask(&address, &format!("GET {page}")).unwrap();
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
    }
    signal(view.id(), libc::SIGTERM);
    let output = outcome(view);
    assert!(
        !told(&bench, &output).contains("panicked"),
        "{}",
        told(&bench, &output)
    );
}
