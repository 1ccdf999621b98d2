//! The second list of `docs/metrics.md` against what real workers serve.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ulda_tests::{Program, World, get};

/// Type and labels of each metric, by its full name.
type Listing = BTreeMap<String, (String, BTreeSet<String>)>;

fn documented() -> Listing {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, text) = text.split_once("## Of each worker").unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `ulda_worker_"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let labels = cells[3].split(", ").filter(|label| !label.is_empty());
            let labels = labels.map(str::to_owned).collect();
            (
                cells[1].trim_matches('`').to_owned(),
                (cells[2].to_owned(), labels),
            )
        })
        .collect()
}

/// Adds what one scrape holds: each metric has HELP, its unit in its name, and run and rank on all samples.
fn read(text: &str, listing: &mut Listing) {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut present = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no HELP");
            let ending = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            present = format!("{name}{ending}");
        } else if let Some((_, rest)) = line.split_once('{') {
            let labels = rest[..rest.rfind('}').unwrap()].split("\",");
            let mut names: BTreeSet<String> = labels
                .map(|label| label.split_once('=').unwrap().0.to_owned())
                .collect();
            assert!(names.remove("run") && names.remove("rank"), "{line}");
            let kind = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("# TYPE {} ", stem(&present))));
            let known = listing.entry(present.clone()).or_default();
            kind.unwrap().clone_into(&mut known.0);
            known.1.extend(names);
        }
    }
}

fn stem(name: &str) -> &str {
    let bare = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info"));
    bare.unwrap_or(name)
}

/// The sum of all samples whose line begins so.
fn total(text: &str, series: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(series));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

/// Addresses of the workers' metrics by slot, as the coordinator tells Prometheus.
fn targets(page: &str) -> BTreeMap<String, String> {
    let told: serde_json::Value = serde_json::from_str(&get(page, "/api/targets").unwrap()).unwrap();
    let groups = told.as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    groups
        .map(|group| (text(&group["labels"]["slot"]), text(&group["targets"][0])))
        .collect()
}

#[test]
fn real_workers_serve_every_documented_metric_and_no_other() {
    let world = World::new();
    let mut command = world.command(&[
        "--workers",
        "2",
        "--http",
        "127.0.0.1:0",
        "--set",
        "adapt.steps=120",
        "--set",
        "checkpoint.every=20",
    ]);
    command.env("ULDA_WORKER_HTTP", "127.0.0.1:0");
    let mut run = Program::start(command);
    let page = run.wait_for("the coordinator's page", |event| {
        let page = event.text("page");
        page.strip_prefix("http://")
            .map(|page| page.trim_end_matches('/').to_owned())
    });
    let victim = run.wait_for("a worker in slot 1", |event| {
        (event.text("message") == "worker started" && event.number("slot") == 1)
            .then(|| event.number("process_id"))
    });
    run.wait_for("a checkpoint of adapt", |event| {
        (event.text("message") == "checkpoint written" && event.text("stage") == "adapt").then_some(())
    });
    let before = targets(&page);
    assert_eq!(before.keys().collect::<Vec<_>>(), ["0", "1"]);
    let mut listing = Listing::new();
    for (slot, address) in &before {
        let text = get(address, "/metrics").unwrap();
        read(&text, &mut listing);
        assert_eq!(get(address, "/healthz").as_deref(), Some("ok\n"));
        let labels = format!("{{run=\"small\",rank=\"{slot}\"");
        let of = |name: &str| total(&text, &format!("{name}{labels}"));
        for name in [
            "ulda_worker_images_decoded_total",
            "ulda_worker_decode_seconds_total",
            "ulda_worker_data_wait_seconds_total",
            "ulda_worker_collective_sent_bytes_total",
            "ulda_worker_collective_received_bytes_total",
            "ulda_worker_collective_shared_bytes_total",
            "ulda_worker_collective_operations_total",
            "ulda_worker_collective_wait_seconds_total",
            "ulda_worker_cpu_seconds_total",
            "ulda_worker_generation",
        ] {
            assert!(of(name) > 0.0, "{name} of rank {slot}:\n{text}");
        }
        // Two of four shards, six steps of pretrain each.
        let pretrain = |line: &&str| line.starts_with("ulda_worker_steps_total") && line.contains("pretrain");
        let steps: f64 = text
            .lines()
            .filter(pretrain)
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        assert_eq!(steps, 12.0, "{text}");
        assert!(of("ulda_worker_memory_resident_bytes") > 5e7, "{text}");
        assert_eq!(of("ulda_worker_collective_aborts_total"), 0.0);
    }
    // What only a GPU has is listed, too.
    let mut expected = documented();
    let gpu = expected.extract_if(.., |name, _| name.contains("_gpu_"));
    assert_eq!(gpu.count(), 1);
    assert_eq!(listing, expected);

    // SAFETY: kill takes plain integers.
    assert_eq!(
        unsafe { libc::kill(i32::try_from(victim).unwrap(), libc::SIGKILL) },
        0
    );
    let generation = |text: &str| total(text, "ulda_worker_generation{");
    let first = generation(&get(&before["0"], "/metrics").unwrap());
    run.wait_for("the next generation", |event| {
        (event.text("message") == "checkpoint written").then_some(())
    });
    let survivor = get(&before["0"], "/metrics").unwrap();
    assert!(generation(&survivor) > first, "{survivor}");
    assert_eq!(
        total(&survivor, "ulda_worker_collective_aborts_total{"),
        1.0,
        "{survivor}"
    );
    assert!(total(&survivor, "ulda_worker_images_decoded_total") > 0.0);
    let after = targets(&page);
    assert_eq!(after["0"], before["0"]);
    assert_ne!(after["1"], before["1"]);
    let _ = run.finish().expect(0);
}
