//! The dashboard's rows on worker processes against a real Prometheus that finds real workers by itself.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ulda_tests::{Program, World};

/// Scrapes that a rate needs, and some more.
const SCRAPED_FOR: Duration = Duration::from_secs(6);

/// A Prometheus that ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Queries of the dashboard on metrics of workers that every host has.
fn expressions() -> Vec<String> {
    let listed = std::fs::read_to_string(repository("docs/metrics.md")).unwrap();
    let (_, listed) = listed.split_once("## Of each worker").unwrap();
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| !name.contains("_gpu_"))
        .collect();
    let text = std::fs::read_to_string(repository("deploy/grafana/ulda.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .filter(|expression| names.iter().any(|name| expression.contains(name)))
        .collect()
}

/// How many series an expression has within the last minute.
fn series(prometheus: &str, expression: &str) -> usize {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let escaped = expression.bytes().fold(String::new(), |mut escaped, byte| {
        write!(escaped, "%{byte:02X}").unwrap();
        escaped
    });
    let path = format!(
        "/api/v1/query_range?query={escaped}&start={}&end={now}&step=0.25",
        now - 60.0
    );
    let answer = get(prometheus, &path).unwrap();
    assert!(
        answer.contains("\"status\":\"success\""),
        "{expression}: {answer}"
    );
    answer.matches("\"metric\":").count()
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
#[ignore = "needs prometheus; run by deploy/prometheus/check"]
fn a_real_prometheus_finds_the_workers_and_has_data_for_their_panels() {
    let world = World::new();
    let mut command = world.command(&[
        "--workers",
        "2",
        "--http",
        "127.0.0.1:0",
        "--set",
        "adapt.steps=100000",
    ]);
    command.env("ULDA_WORKER_HTTP", "127.0.0.1:0");
    let mut run = Program::start(command);
    let page = run.wait_for("the coordinator's page", |event| {
        let page = event.text("page").strip_prefix("http://")?;
        Some(page.trim_end_matches('/').to_owned())
    });
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rules = repository("deploy/prometheus/rules.yml").canonicalize().unwrap();
    let config = std::fs::read_to_string(repository("deploy/prometheus/prometheus.yml")).unwrap();
    let config = config
        .replace("127.0.0.1:9464", &page)
        .replace("15s", "500ms")
        .replace("rules.yml", &rules.to_string_lossy());
    std::fs::write(world.path("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!(
            "--config.file={}",
            world.path("prometheus.yml").display()
        ))
        .arg(format!("--storage.tsdb.path={}", world.path("tsdb").display()))
        .arg(format!("--web.listen-address={free}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _prometheus = Prometheus(command.spawn().unwrap());
    run.wait_for("a checkpoint of adapt", |event| {
        (event.text("message") == "checkpoint written" && event.text("stage") == "adapt").then_some(())
    });
    let address = free.to_string();
    let asked = |expression: &str| {
        expression
            .replace("$__rate_interval", "4s")
            .replace("$namespace", "local")
            .replace("$run", "small")
    };
    // Each checkpoint is one more look; a run that trains writes many.
    let until = Instant::now() + SCRAPED_FOR;
    while Instant::now() < until {
        run.wait_for("more steps", |event| {
            (event.text("message") == "checkpoint written").then_some(())
        });
    }
    assert_eq!(series(&address, "up{job=\"ulda-workers\"} == 1"), 2);
    let found: Vec<(usize, String)> = expressions()
        .into_iter()
        .map(|expression| (series(&address, &asked(&expression)), expression))
        .collect();
    for (count, expression) in &found {
        println!("{count:4}  {expression}");
    }
    assert!(found.len() >= 8, "{found:?}");
    assert!(found.iter().all(|(count, _)| *count > 0));
    run.signal(libc::SIGTERM);
    let _ = run.finish().expect(143);
}
