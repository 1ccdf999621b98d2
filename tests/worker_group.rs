//! Workers that share a pod: one program with a process, a slot and a port of its own for each.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;

use ulda_tests::{Json, Program, World, get};

/// A coordinator that waits for two workers, and the address that they dial.
fn coordinator(world: &World, name: &str, sets: &[&str]) -> (Program, String) {
    let named = format!("run.name={name}");
    let mut arguments = vec!["--workers", "2", "--no-launch", "--http", "off", "--set", &named];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let mut run = world.start(&arguments);
    let address = run.wait_for("its address", |event| {
        let address = event.text("address");
        (event.text("message") == "serving").then(|| format!("https://{address}"))
    });
    (run, address)
}

/// Three ports in a row of this host: the group's, and one for each of two workers.
fn three_ports() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let rest = [1, 2].map(|more| {
            port.checked_add(more)
                .map(|port| TcpListener::bind(("127.0.0.1", port)))
        });
        if rest.iter().all(|bound| matches!(bound, Some(Ok(_)))) {
            return port;
        }
    }
    panic!("no three ports in a row are free");
}

fn group(world: &World, name: &str, coordinator: &str, http: &str) -> Program {
    let credentials = format!("runs/{name}/credentials");
    let mut command = world.worker(&["join", "--run", name, "--slot", "0", "--processes", "2"]);
    command
        .args([
            "--coordinator",
            coordinator,
            "--credentials",
            &credentials,
            "--http",
            http,
        ])
        .env("RUST_LOG", "info");
    Program::start(command)
}

/// The slot of the span that a line was written in.
fn slot_of(line: &Json) -> Option<u64> {
    let spans = line.0["spans"].as_array()?;
    spans.iter().find_map(|span| span["slot"].as_u64())
}

/// Process ids of the workers that a program started, which must be gone with it.
fn children(process_id: u32) -> Vec<u32> {
    let path = format!("/proc/{process_id}/task/{process_id}/children");
    let ids = std::fs::read_to_string(path).unwrap();
    ids.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

fn is_alive(process_id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

#[test]
fn two_workers_of_one_program_train_a_run_to_the_same_bits_and_show_their_metrics_on_one_port() {
    let world = World::new();
    let alone = world.train("alone", 1, &[]);
    let (run, address) = coordinator(&world, "shared", &[]);
    let port = three_ports();
    let http = format!("127.0.0.1:{port}");
    let mut workers = group(&world, "shared", &address, &http);
    let mut joined = BTreeSet::new();
    while joined.len() < 2 {
        joined.insert(workers.wait_for("both workers to join", |event| {
            let slot = slot_of(event);
            slot.filter(|_| event.text("message") == "joined")
        }));
    }
    assert_eq!(joined, BTreeSet::from([0, 1]));
    assert_eq!(get(&http, "/healthz").as_deref(), Some("ok\n"));
    let text = get(&http, "/metrics").unwrap();
    for rank in 0..2 {
        let sample = format!("ulda_worker_cpu_seconds_total{{run=\"shared\",rank=\"{rank}\"}}");
        assert!(text.contains(&sample), "{sample}: {text}");
    }
    let described = text.matches("# TYPE ulda_worker_cpu_seconds ").count();
    assert_eq!(described, 1, "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let _ = workers.finish().expect(0);
    let _ = run.finish().expect(0);
    assert_eq!(world.finished("shared"), alone);
}

#[test]
fn a_worker_that_is_killed_ends_the_group_with_its_code_and_the_next_group_goes_on() {
    let world = World::new();
    let sets = ["adapt.steps=60", "checkpoint.every=2"];
    let (mut run, address) = coordinator(&world, "broken", &sets);
    let first = group(&world, "broken", &address, "off");
    run.wait_for("a checkpoint", |event| {
        (event.text("message") == "checkpoint written").then_some(())
    });
    let processes = children(first.id());
    assert_eq!(processes.len(), 2);
    // SAFETY: kill takes plain integers.
    unsafe { libc::kill(i32::try_from(processes[1]).unwrap(), libc::SIGKILL) };
    let ended = first.finish().expect(137);
    assert!(
        ended.err.contains("the others are asked to leave"),
        "{}",
        ended.err
    );
    assert!(!processes.iter().any(|id| is_alive(*id)), "{processes:?}");
    let second = group(&world, "broken", &address, "off");
    let _ = second.finish().expect(0);
    let _ = run.finish().expect(0);
    let _ = world.finished("broken");
}

#[test]
fn a_group_that_is_told_to_leave_leaves_as_a_worker_does() {
    let world = World::new();
    let (mut run, address) = coordinator(&world, "leaving", &["adapt.steps=4000"]);
    let workers = group(&world, "leaving", &address, "off");
    run.wait_for("a checkpoint", |event| {
        (event.text("message") == "checkpoint written").then_some(())
    });
    let processes = children(workers.id());
    workers.signal(libc::SIGTERM);
    let _ = workers.finish().expect(143);
    assert!(!processes.iter().any(|id| is_alive(*id)), "{processes:?}");
}

#[test]
fn the_last_line_of_a_group_is_the_error_of_the_worker_that_failed() {
    let world = World::new();
    let mut command = world.worker(&["join", "--run", "small", "--slot", "0", "--processes", "2"]);
    command.args(["--coordinator", "https://127.0.0.1:9", "--credentials", "nowhere"]);
    let ended = Program::start(command).finish().expect(78);
    let last = ended.err.lines().last().and_then(Json::parse).unwrap();
    assert_eq!(last.text("level"), "ERROR", "{}", ended.err);
    assert!(last.text("message").contains("nowhere"), "{}", ended.err);
}
