//! Whole lives of runs: real coordinator, real worker processes that only count.

use std::process::{Child, Stdio};

use ulda_coordinator::journal::JournalReader;
use ulda_coordinator::launch::ProcessIdentity;
use ulda_run::stage::Stage;

use super::bench::{Bench, outcome, told, wait_for};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn start(bench: &Bench, arguments: &[&str], pace_millis: &str) -> Child {
    let mut command = bench.command(arguments);
    command
        .env("TINY_STEP_MILLIS", pace_millis)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

pub fn signal(process_id: u32, signal: libc::c_int) {
    // SAFETY: kill takes plain integers.
    assert_eq!(unsafe { libc::kill(process_id.try_into().unwrap(), signal) }, 0);
}

/// The worker processes of a run, once `count` of them train.
pub fn workers(bench: &Bench, count: usize) -> Vec<ProcessIdentity> {
    wait_for("workers that train", || {
        let journal = JournalReader::open(&bench.run().join("journal.sqlite")).ok()?;
        let trains = journal
            .records()
            .ok()?
            .iter()
            .any(|row| row.json.contains("\"committed\""));
        let found: Vec<ProcessIdentity> = journal
            .processes()
            .ok()?
            .iter()
            .filter_map(|row| ProcessIdentity::of(row.process_id))
            .collect();
        (trains && found.len() == count).then_some(found)
    })
}

fn assert_gone(processes: &[ProcessIdentity]) {
    wait_for("the workers to be gone", || {
        processes.iter().all(|process| !process.is_alive()).then_some(())
    });
}

#[test]
fn what_the_host_decides_is_written_down_when_the_run_is_created_and_kept() {
    let decided = |bench: &Bench| {
        let config = std::fs::read_to_string(bench.run().join("run.toml")).unwrap();
        let config: ulda_run::spec::RunConfig = toml::from_str(&config).unwrap();
        config.simulate.domains_at_once
    };
    let run = |bench: &Bench, arguments: &[&str], advice: &str| {
        let mut command = bench.command(arguments);
        let output = command.env("TINY_ADVICE", advice).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    };
    let bench = Bench::new();
    run(&bench, &[], r#"{"domains_at_once":3}"#);
    assert_eq!(decided(&bench), Some(3));
    run(&bench, &["resume", "runs/small"], r#"{"domains_at_once":2}"#);
    assert_eq!(decided(&bench), Some(3));

    let silent = Bench::new();
    run(&silent, &[], "");
    assert_eq!(decided(&silent), Some(1));
    let given = Bench::new();
    run(
        &given,
        &["--set", "simulate.domains_at_once=2"],
        r#"{"domains_at_once":3}"#,
    );
    assert_eq!(decided(&given), Some(2));
}

#[test]
fn a_run_finishes_and_leaves_scores_report_and_no_process() {
    let bench = Bench::new();
    let output = bench.output(&["--workers", "2"]);
    let (said, logged) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{logged}");
    assert!(
        said.contains("per class results, night:") && said.contains("| adapted-best "),
        "{said}"
    );
    for line in logged.lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    for file in [
        "report/index.html",
        "report/report.json",
        "report/scores.csv",
        "run.toml",
        "logs/worker-1.log",
    ] {
        assert!(bench.run().join(file).is_file(), "{file}");
    }
    assert_eq!(
        JournalReader::open(&bench.run().join("journal.sqlite"))
            .unwrap()
            .processes()
            .unwrap(),
        []
    );

    let status = text(&bench.output(&["status", "runs/small"]).stdout);
    assert!(
        status.contains("finished: all stages are done") && status.contains("100.0 % of all steps"),
        "{status}"
    );
    let json = bench.output(&["status", "runs/small", "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["state"], "finished");
    assert_eq!(json["evaluations"].as_array().unwrap().len(), 5 + 6);
    let list = text(&bench.output(&["list"]).stdout);
    assert!(list.contains("runs/small  finished  100.0 %"), "{list}");

    let again = told(&bench, &bench.output(&["--workers", "2"]));
    assert_eq!(
        again,
        "exit 78\nerror: run directory `DIR/runs/small` already holds this run\n  hint: continue it with `coordinator \
         resume DIR/runs/small`, or give a new run its own run.name\n"
    );
    let other = told(
        &bench,
        &bench.output(&["--workers", "2", "--set", "adapt.steps=101", "--resume"]),
    );
    assert!(
        other.contains("holds another run:\n  `adapt.steps` is 100 there and 101 here\n"),
        "{other}"
    );
}

#[test]
fn a_worker_that_dies_is_named_with_its_cause_and_replaced() {
    let bench = Bench::new();
    let mut command = bench.command(&["--workers", "2"]);
    command.env("TINY_DIES_IN_SLOT", "1").env("TINY_STEP_MILLIS", "5");
    let output = command.output().unwrap();
    let logged = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{logged}");
    assert!(
        logged.contains("worker died") && logged.contains("read image `a.png`: it is cut short"),
        "{logged}"
    );
}

#[test]
fn bad_input_of_a_worker_ends_the_run_with_its_cause_and_log() {
    let bench = Bench::new();
    let mut command = bench.command(&["--workers", "2"]);
    command
        .env("TINY_DIES_IN_SLOT", "1")
        .env("TINY_EXIT", "78")
        .env("TINY_STEP_MILLIS", "5");
    let output = command.output().unwrap();
    let logged = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{logged}");
    let told = logged.split("error: ").last().unwrap();
    assert!(
        told.contains("bad configuration or input") && told.contains("it is cut short"),
        "{told}"
    );
    assert!(
        told.contains("worker in slot 1 ended with exit code 78") && told.contains("logs/worker-1.log"),
        "{told}"
    );
}

#[test]
fn stop_drains_the_run_and_resume_finishes_it() {
    let bench = Bench::new();
    let run = start(&bench, &["--workers", "2"], "20");
    let processes = workers(&bench, 2);
    let served = told(&bench, &bench.output(&["resume", "runs/small"]));
    assert!(
        served.starts_with("exit 75\nerror: run `DIR/runs/small` is served by another coordinator"),
        "{served}"
    );

    assert_eq!(bench.output(&["stop", "runs/small"]).status.code(), Some(0));
    let output = outcome(run);
    assert_eq!(output.status.code(), Some(143), "{}", text(&output.stderr));
    assert_gone(&processes);
    let again = told(&bench, &bench.output(&["stop", "runs/small"]));
    assert!(
        again.starts_with("exit 75\nerror: run `runs/small` is not served by any coordinator"),
        "{again}"
    );

    let resumed = bench.output(&["resume", "runs/small", "--workers", "3"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed.stderr));
}

#[test]
fn interrupting_ends_stubborn_workers_too() {
    let bench = Bench::new();
    let mut command = bench.command(&["--workers", "2", "--set", "deadline.drain=0.5"]);
    command
        .env("TINY_IGNORES_STOP", "1")
        .env("TINY_STEP_MILLIS", "20");
    let run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let processes = workers(&bench, 2);
    signal(run.id(), libc::SIGINT);
    assert_eq!(outcome(run).status.code(), Some(130));
    assert_gone(&processes);
}

#[test]
fn the_next_coordinator_finds_what_a_killed_one_left() {
    let bench = Bench::new();
    let mut run = start(&bench, &["--workers", "2"], "20");
    let processes = workers(&bench, 2);
    run.kill().unwrap();
    run.wait().unwrap();
    let status = text(&bench.output(&["status", "runs/small"]).stdout);
    assert!(
        status.contains("interrupted: its coordinator is gone"),
        "{status}"
    );
    let resumed = bench.output(&["resume", "runs/small"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed.stderr));
    assert_gone(&processes);
}

#[test]
fn workers_that_outlive_their_coordinator_go_on_under_the_next() {
    let bench = Bench::new();
    let mut command = bench.command(&["--workers", "2", "--set", "adapt.steps=400"]);
    command
        .env("TINY_STEP_MILLIS", "10")
        .env("TINY_STAYS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    let processes = workers(&bench, 2);
    run.kill().unwrap();
    run.wait().unwrap();
    let resumed = bench.output(&["resume", "runs/small"]);
    let logged = text(&resumed.stderr);
    assert_eq!(resumed.status.code(), Some(0), "{logged}");
    assert!(
        !logged.contains("worker started"),
        "the old processes must go on: {logged}"
    );
    // What they measure is still written down.
    let journal = JournalReader::open(&bench.run().join("journal.sqlite")).unwrap();
    let curves = journal.curves().unwrap();
    let last = curves[&Stage::Adapt]["loss.seg"].last().unwrap();
    assert_eq!(last.step, 400);
    assert_gone(&processes);
}

#[test]
fn a_worker_that_never_gets_anywhere_ends_the_run_with_its_cause() {
    let bench = Bench::new();
    let mut command = bench.command(&["--workers", "1"]);
    command.env("TINY_DIES_IN_SLOT", "0").env("TINY_ALWAYS", "1");
    let output = command.output().unwrap();
    let logged = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{logged}");
    let told = logged.split("error: ").last().unwrap();
    assert!(
        told.contains("restarts of slot 0 are spent")
            && told.contains("| 2026-01-01T00:00:00Z ERROR read image"),
        "{told}"
    );
}

#[test]
fn a_closed_terminal_ends_the_run_in_order() {
    let bench = Bench::new();
    let run = start(&bench, &["--workers", "2"], "20");
    let processes = workers(&bench, 2);
    signal(run.id(), libc::SIGHUP);
    assert_eq!(outcome(run).status.code(), Some(143));
    assert_gone(&processes);
}
