//! A coordinator that a supervisor keeps running, as Kubernetes does, and workers that come from elsewhere.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use ulda_coordinator::journal::JournalReader;

use super::bench::{Bench, ask, outcome, tiny_worker, wait_for};
use super::lives::{signal, start};

struct Cluster {
    bench: Bench,
    control: String,
    page: String,
}

impl Cluster {
    fn new() -> Self {
        let free = || {
            TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .to_string()
        };
        Self {
            bench: Bench::new(),
            control: free(),
            page: free(),
        }
    }

    fn coordinator(&self, more: &[&str]) -> Child {
        let mut arguments = vec![
            "train",
            "--supervised",
            "--no-launch",
            "--resume",
            "--workers",
            "2",
            "--state",
            "disk",
            "--log",
            "json",
            "--listen",
            &self.control,
            "--http",
            &self.page,
        ];
        arguments.extend(more);
        start(&self.bench, &arguments, "2")
    }

    fn worker(&self, slot: u32) -> Command {
        let mut command = Command::new(tiny_worker());
        command
            .args([
                "join",
                "--coordinator",
                &format!("https://{}", self.control),
                "--run",
                "small",
            ])
            .args(["--slot", &slot.to_string(), "--credentials"])
            .arg(self.bench.run().join("credentials"))
            .envs([("TINY_STAYS", "1"), ("TINY_STEP_MILLIS", "4")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn workers(&self) -> Vec<Child> {
        self.until_up();
        (0..2).map(|slot| self.worker(slot).spawn().unwrap()).collect()
    }

    fn until_up(&self) {
        wait_for("the page", || {
            ask(&self.page, "GET /healthz").filter(|answer| answer.status == 200)
        });
    }

    fn state(&self) -> String {
        let answer = ask(&self.page, "GET /api/status").map_or_else(String::new, |answer| answer.body);
        let status: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        status["state"].as_str().unwrap_or_default().to_owned()
    }

    fn committed(&self) -> usize {
        let journal = JournalReader::open(&self.bench.path("disk/small/journal.sqlite"));
        let records = journal.and_then(|journal| journal.records()).unwrap_or_default();
        records
            .iter()
            .filter(|row| row.json.contains("committed"))
            .count()
    }
}

fn ended(child: Child, with: libc::c_int) -> (Option<i32>, String) {
    signal(child.id(), with);
    let output = outcome(child);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_supervised_coordinator_hands_over_and_stays_after_the_end() {
    let cluster = Cluster::new();
    let first = cluster.coordinator(&[]);
    let workers = cluster.workers();
    wait_for("committed steps", || (cluster.committed() > 3).then_some(()));
    let (code, said) = ended(first, libc::SIGTERM);
    assert_eq!(code, Some(143), "{said}");
    assert!(said.contains("the run goes on"), "{said}");
    assert!(
        !cluster.bench.run().join("journal.sqlite").exists(),
        "the journal lies on the other disk"
    );

    let second = cluster.coordinator(&[]);
    for worker in workers {
        let output = outcome(worker);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    wait_for("the end on the page", || {
        (cluster.state() == "finished").then_some(())
    });
    let late = wait_for("an answer to a worker that comes late", || {
        let output = cluster.worker(0).output().ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.contains("the run is finished").then_some(said)
    });
    assert!(late.contains("ulda-exit-code"), "{late}");
    assert!(cluster.bench.run().join("report/index.html").is_file());
    let (code, said) = ended(second, libc::SIGTERM);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(r#""event":"run-ended.v1","state":"finished""#),
        "{said}"
    );

    let third = cluster.coordinator(&[]);
    cluster.until_up();
    assert_eq!(cluster.state(), "finished");
    let metrics = ask(&cluster.page, "GET /metrics").unwrap().body;
    assert!(
        metrics.contains("ulda_run_state{state=\"finished\",run=\"small\"} 1")
            || metrics.contains("finished"),
        "{metrics}"
    );
    assert_eq!(ended(third, libc::SIGTERM).0, Some(0));
}

#[test]
fn a_run_that_failed_is_tried_again_only_under_another_name() {
    let cluster = Cluster::new();
    let first = cluster.coordinator(&["--attempt", "one"]);
    cluster.until_up();
    let mut bad = cluster.worker(0);
    bad.envs([("TINY_FAILS", "78")]);
    let mut bad = bad.spawn().unwrap();
    wait_for("the failure on the page", || {
        (cluster.state() == "failed").then_some(())
    });
    let _ = bad.kill();
    let _ = outcome(bad);
    assert_eq!(ended(first, libc::SIGTERM).0, Some(78));

    let again = cluster.coordinator(&["--attempt", "one"]);
    cluster.until_up();
    assert_eq!(cluster.state(), "failed", "a restart alone is no other try");
    assert_eq!(ended(again, libc::SIGTERM).0, Some(78));

    let other = cluster.coordinator(&["--attempt", "two"]);
    let workers = cluster.workers();
    for worker in workers {
        let output = outcome(worker);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    wait_for("the end on the page", || {
        (cluster.state() == "finished").then_some(())
    });
    assert_eq!(ended(other, libc::SIGTERM).0, Some(0));
}

#[test]
fn supervision_without_what_it_needs_is_a_wrong_command_line() {
    let bench = Bench::new();
    let output = bench.output(&["train", "--supervised", "--workers", "2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--no-launch"));
}
