//! What workers of other hosts log is at hand where the coordinator is.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::process::Command;

use ulda_tests::{Json, Program, World, binary};

/// A worker that nobody launched: its output is seen by nobody.
fn join(world: &World, coordinator: &str, slot: u32) -> Program {
    let mut command = Command::new(binary("worker"));
    let slot = slot.to_string();
    command
        .current_dir(world.path("."))
        .args([
            "join",
            "--coordinator",
            coordinator,
            "--run",
            "small",
            "--slot",
            &slot,
            "--credentials",
            "runs/small/credentials",
        ])
        .env("RUST_LOG", "info")
        .env_remove("ULDA_WORKER_HTTP");
    Program::start(command)
}

/// Value of a field of the innermost span that has it.
fn of_span(line: &Json, key: &str) -> Option<u64> {
    let spans = line.0["spans"].as_array()?;
    spans.iter().rev().find_map(|span| span[key].as_u64())
}

#[test]
fn lines_of_workers_that_nobody_launched_are_kept_and_shown() {
    let world = World::new();
    let mut run = world.start(&["--workers", "2", "--no-launch", "--http", "off"]);
    let address = run.wait_for("its address", |event| {
        let address = event.text("address");
        (event.text("message") == "serving").then(|| format!("https://{address}"))
    });
    let workers = [join(&world, &address, 0), join(&world, &address, 1)];
    let said: Vec<String> = workers
        .into_iter()
        .map(|worker| worker.finish().expect(0).err)
        .collect();
    let _ = run.finish().expect(0);

    for (slot, said) in said.iter().enumerate() {
        let file = world.path(&format!("runs/small/logs/worker-{slot}.log"));
        // Every line that was written, once and in order.
        assert_eq!(&std::fs::read_to_string(file).unwrap(), said);
        let lines: Vec<Json> = said.lines().filter_map(Json::parse).collect();
        let joined = lines
            .iter()
            .find(|line| line.text("message") == "joined")
            .unwrap();
        assert_eq!(of_span(joined, "slot"), Some(slot as u64));
        assert!(of_span(joined, "worker").is_some(), "{joined:?}");
        let trains = lines
            .iter()
            .find(|line| line.text("message") == "training")
            .unwrap();
        assert_eq!(of_span(trains, "generation"), Some(1), "{trains:?}");
        assert_eq!(trains.0["spans"][0]["run"], "small");
    }

    let shown = world
        .start(&["logs", "runs/small", "-w", "1"])
        .finish()
        .expect(0)
        .out;
    assert!(
        shown.contains("INFO  worker-1 g1 training") && !shown.contains("worker-0 "),
        "{shown}"
    );
    let json = world
        .start(&["logs", "runs/small", "-o", "json", "--follow"])
        .finish()
        .expect(0)
        .out;
    let times: Vec<Json> = json.lines().map(|line| Json::parse(line).unwrap()).collect();
    assert_eq!(
        times.len(),
        said.iter().map(|said| said.lines().count()).sum::<usize>()
    );
    assert!(times.is_sorted_by(|one, other| one.text("timestamp") <= other.text("timestamp")));
    for quiet in [&["--level", "error"], &["--since", "2999-01-01T00:00:00"]] {
        let mut arguments = vec!["logs", "runs/small"];
        arguments.extend(quiet);
        assert_eq!(world.start(&arguments).finish().expect(0).out, "");
    }
    let nobody = world.start(&["logs", "runs/small", "-w", "9"]).finish().expect(0);
    assert_eq!(nobody.out, "");
    assert!(
        nobody.err.contains("workers that logged are in slot 0, 1"),
        "{}",
        nobody.err
    );
}
