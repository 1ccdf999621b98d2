//! Dashboard, rules and runbooks against the documented metrics; on request against a real Prometheus.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::bench::{Bench, ask, page_of, wait_for};
use super::lives::{signal, start, workers};
use super::metrics::{Listing, Server, documented};

/// Every metric there is, of coordinator and workers.
fn listed() -> Listing {
    let mut all = documented(Server::Coordinator);
    all.extend(documented(Server::Worker));
    all
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/ulda.json")).unwrap()
}

/// Title and expression of every query of the dashboard.
fn expressions() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let of = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let queries = targets
            .into_iter()
            .map(|target| target["expr"].as_str().unwrap().to_owned());
        queries
            .map(move |expression| (title.clone(), expression))
            .collect::<Vec<_>>()
    };
    panels.iter().flat_map(of).collect()
}

/// Words of ours in a text of queries, without what histograms add.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':');
    words
        .filter(|word| word.contains("ulda_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

fn after<'a>(text: &'a str, mark: &str) -> BTreeSet<&'a str> {
    text.lines()
        .filter_map(|line| Some(line.trim().strip_prefix(mark)?.trim()))
        .collect()
}

#[test]
fn everything_that_is_asked_for_exists() {
    let rules = text("deploy/prometheus/rules.yml");
    let cases = text("deploy/prometheus/rules.test.yml");
    let listed = listed();
    let recorded = after(&rules, "- record:");
    let queries: String = expressions()
        .into_iter()
        .map(|(_, expression)| expression + "\n")
        .collect();
    for metric in metrics_in(&format!("{rules}\n{cases}\n{queries}")) {
        assert!(
            listed.contains_key(&metric) || recorded.contains(metric.as_str()),
            "{metric} is neither documented nor recorded"
        );
    }
    for metric in metrics_in(&text("docs/operate.md")) {
        assert!(listed.contains_key(&metric), "{metric} in docs/operate.md");
    }
}

#[test]
fn every_alert_has_a_severity_a_runbook_and_a_case() {
    let rules = text("deploy/prometheus/rules.yml");
    let alerts = after(&rules, "- alert:");
    assert!(alerts.len() >= 10);
    let cases = text("deploy/prometheus/rules.test.yml");
    let tested = after(&cases, "alertname:");
    assert_eq!(alerts, tested);
    for part in ["for:", "severity:", "summary:"] {
        let count = rules.lines().filter(|line| line.trim().starts_with(part)).count();
        assert_eq!(count, alerts.len(), "{part}");
    }
    let books = after(&rules, "runbook_url:");
    let operate = text("docs/operate.md");
    for alert in &alerts {
        // The place is the external label `runbooks`, or that in the repository.
        let book = format!("\"{{{{ or $externalLabels.runbooks `docs/runbooks` }}}}/{alert}.md\"");
        assert!(books.contains(book.as_str()), "{book}");
        assert!(
            operate.contains(&format!("- [{alert}](runbooks/{alert}.md): ")),
            "{alert} in docs/operate.md"
        );
        let page = format!("docs/runbooks/{alert}.md");
        assert!(text(&page).contains("## What to do"), "{page}");
        for metric in metrics_in(&text(&page))
            .iter()
            .filter(|metric| !metric.contains(':'))
        {
            assert!(listed().contains_key(metric), "{metric} in {page}");
        }
    }
    let pages = std::fs::read_dir(repository("docs/runbooks")).unwrap();
    assert_eq!(pages.count(), alerts.len());
    let shown: BTreeSet<String> = alerts
        .iter()
        .flat_map(|alert| fenced(&text(&format!("docs/runbooks/{alert}.md"))))
        .collect();
    let mut lines = rules.lines().skip_while(|line| !line.contains("- alert:"));
    while let Some(line) = lines.next() {
        if line.trim().starts_with("expr:") {
            let expression = lines.next().unwrap().trim();
            assert!(shown.contains(expression), "no runbook has {expression}");
        }
    }
}

/// The queries that a page shows.
fn fenced(page: &str) -> Vec<String> {
    let blocks = page.split("```promql\n").skip(1);
    blocks
        .map(|block| block.split("\n```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn runs_of_one_name_in_two_namespaces_are_two_runs() {
    let rules = text("deploy/prometheus/rules.yml");
    for word in ["by (", "on (", "ignoring (", "without ("] {
        for (at, _) in rules.match_indices(word) {
            let rest = &rules[at + word.len()..];
            assert!(rest.starts_with("namespace, run"), "{word}{}", &rest[..30]);
        }
    }
    let cases = text("deploy/prometheus/rules.test.yml");
    for (title, expression) in expressions() {
        if title == "GPU utilisation" {
            let asked = expression.replace("$namespace", "vision").replace("$run", "a");
            assert!(cases.contains(&asked), "no case asks for {asked}");
        }
        let selected = expression
            .matches("{namespace=\"$namespace\", run=\"$run\"")
            .count();
        assert_eq!(
            selected,
            expression.matches("ulda_").count(),
            "{title}: {expression}"
        );
        for part in expression.split(" or ").filter(|part| part.contains("DCGM_")) {
            assert!(
                part.contains("namespace=\"$namespace\"") && part.contains("$run-worker-"),
                "{title}: {part}"
            );
        }
    }
}

/// A panel's place in the grid, which is 24 columns wide.
fn place(panel: &Value) -> [i64; 4] {
    ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_i64().unwrap())
}

#[test]
fn panels_do_not_overlap_and_leave_no_gap() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = std::collections::BTreeMap::new();
    for panel in panels {
        let [x, y, w, h] = place(panel);
        for cell in (y..y + h).flat_map(|row| (x..x + w).map(move |column| (row, column))) {
            let before = taken.insert(cell, &panel["title"]);
            assert_eq!(before, None, "{} lies at {cell:?} too", panel["title"]);
        }
    }
    let rows = taken.keys().map(|(row, _)| row + 1).max().unwrap();
    assert_eq!(taken.len(), usize::try_from(rows * 24).unwrap());
    assert!(taken.keys().all(|(_, column)| (0..24).contains(column)));
}

/// What a query's values are: the power of seconds and of bytes, and whether they are a share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Dimension {
    seconds: i32,
    bytes: i32,
    share: bool,
}

/// The dimension of a query: that of the first metric with one, per second for a rate, divided by that of the denominator.
fn dimension(expression: &str) -> Dimension {
    if let Some((numerator, denominator)) = expression.split_once(" / ") {
        let (above, below) = (dimension(numerator), dimension(denominator));
        return Dimension {
            seconds: above.seconds - below.seconds,
            bytes: above.bytes - below.bytes,
            share: above == below,
        };
    }
    let mut found = Dimension::default();
    for metric in metrics_in(expression) {
        let stem = metric.trim_end_matches("_total");
        found.seconds += i32::from(stem.ends_with("_seconds"));
        found.bytes += i32::from(stem.ends_with("_bytes"));
        found.share |= stem.ends_with("_ratio") || stem == "ulda_style_health";
        if found != Dimension::default() {
            break;
        }
    }
    // A quantile is in the unit of its histogram.
    let per_second = expression.contains("rate(") && !expression.starts_with("histogram_quantile(");
    found.seconds -= i32::from(per_second);
    found
}

#[test]
fn each_panel_has_one_unit_and_it_is_that_of_its_queries() {
    let dashboard = dashboard();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        let heatmap = panel["type"] == "heatmap";
        let unit = match &panel["fieldConfig"]["defaults"]["unit"] {
            Value::String(unit) => unit.as_str(),
            _ if heatmap => panel["options"]["cellValues"]["unit"].as_str().unwrap(),
            _ => {
                assert_eq!(panel["type"], "row", "{title} has no unit");
                continue;
            }
        };
        assert_eq!(
            panel["fieldConfig"]["overrides"],
            serde_json::json!([]),
            "{title}"
        );
        let targets = panel["targets"].as_array().unwrap();
        for expression in targets.iter().map(|target| target["expr"].as_str().unwrap()) {
            let Dimension {
                seconds,
                bytes,
                share,
            } = dimension(expression);
            let fits = match (seconds, bytes, expression.split('{').next().unwrap()) {
                (.., "DCGM_FI_DEV_GPU_UTIL") => unit == "percent",
                (.., "DCGM_FI_DEV_FB_USED") => unit == "mbytes",
                (.., "DCGM_FI_DEV_GPU_TEMP") => unit == "celsius",
                _ if expression.contains("DCGM_") => false,
                // Buckets hold counts.
                _ if expression.contains("_bucket") && heatmap => unit == "short",
                (0, 0, _) if share => unit == "percentunit",
                // Counts, and seconds of each second.
                (0, 0, _) => ["short", "percentunit", "suffix: cores"].contains(&unit),
                (1, 0, _) => unit == "s",
                (0, 1, _) => unit == "bytes",
                (-1, 1, _) => unit == "Bps",
                (-1, 0, _) => unit == "ops" || (unit.starts_with("suffix: ") && unit.ends_with("/s")),
                _ => false,
            };
            assert!(
                fits,
                "{title}, in {unit}: {expression}: {:?}",
                dimension(expression)
            );
        }
    }
}

#[test]
fn states_are_shown_as_timelines_that_name_each_state() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let timelines: Vec<&Value> = panels
        .iter()
        .filter(|panel| panel["type"] == "state-timeline")
        .collect();
    assert!(timelines.len() >= 3);
    let state = timelines
        .iter()
        .find(|panel| panel["title"] == "State over time")
        .unwrap();
    let names = &state["fieldConfig"]["defaults"]["mappings"][0]["options"];
    let expression = state["targets"][0]["expr"].as_str().unwrap();
    let pages = text("docs/metrics.md");
    let row = pages
        .lines()
        .find(|line| line.starts_with("| `ulda_run_state`"))
        .unwrap();
    let states = row.split(['(', ')']).nth(1).unwrap().split(", ");
    let mut count = 0;
    for (at, state) in states.enumerate() {
        let number = (at + 1).to_string();
        assert_eq!(names[number.as_str()]["text"], state);
        assert!(
            expression.contains(&format!("{number} * (ulda_run_state{{")),
            "{number}"
        );
        assert!(expression.contains(&format!("state=\"{state}\"")), "{state}");
        count += 1;
    }
    assert_eq!(count, names.as_object().unwrap().len());
}

#[test]
fn the_dashboard_can_be_pointed_at_any_run() {
    let dashboard = dashboard();
    assert_eq!(dashboard["schemaVersion"], 42);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["datasource", "namespace", "run"]);
    assert_eq!(
        variables[2]["definition"],
        "label_values(ulda_run_info{namespace=\"$namespace\"}, run)"
    );
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["description"].is_string(), "{}", panel["title"]);
    }
}

/// A Prometheus that ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        write!(escaped, "%{byte:02X}").unwrap();
        escaped
    })
}

/// How many series an expression has within the last minute.
fn series(prometheus: &str, expression: &str) -> usize {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let query = format!(
        "POST /api/v1/query_range\nquery={}&start={}&end={now}&step=0.25",
        escaped(expression),
        now - 60.0
    );
    let answer = ask(prometheus, &query).unwrap();
    // A long answer comes in chunks; the JSON is between the first and the last brace.
    let body = &answer.body[answer.body.find('{').unwrap()..=answer.body.rfind('}').unwrap()];
    assert!(body.contains("\"status\":\"success\""), "{expression}: {body}");
    body.matches("\"metric\":").count()
}

#[test]
#[ignore = "needs prometheus; run by deploy/prometheus/check"]
fn a_real_prometheus_has_data_for_every_panel() {
    let bench = Bench::new();
    let storage = bench.storage();
    let arguments = ["--workers", "2", "--http", "127.0.0.1:0", "--set", &storage];
    let mut run = start(&bench, &arguments, "50");
    let page = page_of(&bench);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let rules = repository("deploy/prometheus/rules.yml").canonicalize().unwrap();
    let config = text("deploy/prometheus/prometheus.yml")
        .replace("127.0.0.1:9464", &page)
        .replace("15s", "500ms")
        .replace("rules.yml", &rules.to_string_lossy());
    std::fs::write(bench.path("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!(
            "--config.file={}",
            bench.path("prometheus.yml").display()
        ))
        .arg(format!("--storage.tsdb.path={}", bench.path("tsdb").display()))
        .arg(format!("--web.listen-address={free}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _prometheus = Prometheus(command.spawn().unwrap());
    let address = free.to_string();
    wait_for("a first scrape", || {
        ask(&address, "GET /-/ready").filter(|answer| answer.status == 200)?;
        (series(&address, "ulda_generation") > 0).then_some(())
    });
    let victim = workers(&bench, 2)[1];
    signal(victim.process_id, libc::SIGKILL);
    assert_eq!(run.wait().unwrap().code(), Some(0));

    let mut empty = Vec::new();
    for (title, expression) in expressions() {
        let asked = expression
            .replace("$__rate_interval", "4s")
            .replace("$__range", "60s")
            .replace("$namespace", "local")
            .replace("$run", "small");
        let count = series(&address, &asked);
        println!("{count:4}  {title}: {expression}");
        // Only a host with GPUs has DCGM's metrics; the workers of this run only count, and serve none.
        let of_workers = metrics_in(&expression)
            .iter()
            .any(|metric| documented(Server::Worker).contains_key(metric));
        if count == 0 && !of_workers && !expression.contains("DCGM_") {
            empty.push(expression);
        }
    }
    assert_eq!(empty, Vec::<String>::new());
    assert!(series(&address, "run:ulda_progress:ratio") > 0);
    assert!(series(&address, "ulda_run_state{state=\"finished\"} == 1") > 0);
    assert!(series(&address, "ALERTS{severity=\"critical\"}") == 0);
}
