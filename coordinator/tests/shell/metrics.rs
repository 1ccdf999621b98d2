//! `docs/metrics.md` against what a real run says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::bench::{Bench, ask, page_of};
use super::lives::start;

/// Type and labels of each metric, by its full name.
pub type Listing = BTreeMap<String, (String, BTreeSet<String>)>;

/// Who serves a metric.
#[derive(Clone, Copy, Debug)]
pub enum Server {
    Coordinator,
    Worker,
}

/// What `docs/metrics.md` lists.
pub fn documented(server: Server) -> Listing {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (coordinator, worker) = text.split_once("## Of each worker").unwrap();
    let text = match server {
        Server::Coordinator => coordinator,
        Server::Worker => worker,
    };
    let rows = text.lines().filter(|line| line.starts_with("| `ulda_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3]
            .split(',')
            .map(str::trim)
            .filter(|label| !label.is_empty());
        (
            cells[1].trim_matches('`').to_owned(),
            (cells[2].to_owned(), labels.map(str::to_owned).collect()),
        )
    })
    .collect()
}

/// Adds what one scrape holds.
fn read(text: &str, listing: &mut Listing, helped: &mut BTreeSet<String>) {
    let mut present = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped.insert(rest.split(' ').next().unwrap().to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name), "{name} has no HELP");
            let ending = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            present = format!("{name}{ending}");
            listing
                .entry(present.clone())
                .or_insert_with(|| (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, rest)) = line.split_once('{') {
            let labels = rest[..rest.rfind('}').unwrap()].split("\",");
            let names = labels.map(|label| label.split_once('=').unwrap().0.to_owned());
            let known = &mut listing.get_mut(&present).unwrap().1;
            known.extend(names.filter(|name| name != "run" && name != "le"));
        }
    }
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_real_run_has_every_documented_metric_and_no_other() {
    let bench = Bench::new();
    let storage = bench.storage();
    let mut command = bench.command(&["--workers", "2", "--http", "127.0.0.1:0", "--set", &storage]);
    command
        .env("TINY_DIES_IN_SLOT", "1")
        .env("TINY_STEP_MILLIS", "10")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut run = command.spawn().unwrap();
    let address = page_of(&bench);
    let (mut listing, mut helped, mut last) = (Listing::new(), BTreeSet::new(), String::new());
    // The coordinator waits at the end for one who scrapes regularly.
    while let Some(answer) = ask(&address, "GET /metrics") {
        assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
        read(&answer.body, &mut listing, &mut helped);
        last = answer.body;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert_eq!(listing, documented(Server::Coordinator));

    for (series, wanted) in [
        ("ulda_run_state{run=\"small\",state=\"finished\"}", 1.0),
        ("ulda_run_state{run=\"small\",state=\"training\"}", 0.0),
        ("ulda_stage_progress_ratio{run=\"small\",stage=\"adapt\"}", 1.0),
        (
            "ulda_steps_committed_total{run=\"small\",stage=\"pretrain\"}",
            60.0,
        ),
        ("ulda_workers_lost_total", 1.0),
        ("ulda_recovery_seconds_count", 1.0),
        ("ulda_checkpoints_total", 2.0),
        ("ulda_losses_not_finite_total{run=\"small\",stage=\"adapt\"}", 0.0),
        (
            "ulda_storage_operations_total{run=\"small\",client=\"coordinator\",operation=\"put\"}",
            1.0,
        ),
    ] {
        assert_eq!(value(&last, series), wanted, "{series}");
    }
    assert!(value(&last, "ulda_goodput_seconds_total") > 1.0);
    assert!(
        value(
            &last,
            "ulda_miou_ratio{run=\"small\",set=\"night\",model=\"adapted\"}"
        ) > 0.1
    );
}

#[test]
fn counters_start_anew_and_gauges_go_on_when_a_run_is_taken_up_again() {
    let bench = Bench::new();
    let mut run = start(&bench, &["--workers", "1", "--http", "127.0.0.1:0"], "10");
    let scrape = |series: &str, least: f64| {
        let address = page_of(&bench);
        super::bench::wait_for(series, || {
            let text = ask(&address, "GET /metrics")?.body;
            (text.contains(series) && value(&text, series) >= least).then_some(text)
        })
    };
    // By the end of the next stage, the journal has the one before on disk.
    scrape("ulda_stage_progress_ratio{run=\"small\",stage=\"simulate\"}", 1.0);
    run.kill().unwrap();
    run.wait().unwrap();
    std::fs::remove_file(bench.run().join("run.lock")).unwrap();
    let mut command = bench.command(&["resume", "runs/small", "--http", "127.0.0.1:0"]);
    command
        .env("TINY_STEP_MILLIS", "10")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut resumed = command.spawn().unwrap();
    let text = scrape("ulda_coordinator_term", 2.0);
    assert_eq!(
        value(
            &text,
            "ulda_stage_progress_ratio{run=\"small\",stage=\"pretrain\"}"
        ),
        1.0
    );
    assert_eq!(
        value(
            &text,
            "ulda_steps_committed_total{run=\"small\",stage=\"pretrain\"}"
        ),
        0.0
    );
    super::lives::signal(resumed.id(), libc::SIGTERM);
    resumed.wait().unwrap();
}
