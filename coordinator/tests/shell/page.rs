//! The status page of live and finished runs, over real HTTP.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::bench::{Bench, ask, ask_for, outcome, page_of, told, wait_for};
use super::lives::{signal, start, workers};

#[test]
fn the_page_of_a_live_run_shows_it_and_changes_nothing() {
    let bench = Bench::new();
    let run = start(&bench, &["--workers", "2", "--http", "127.0.0.1:0"], "20");
    workers(&bench, 2);
    let address = page_of(&bench);
    let page = wait_for("a page with ranks", || {
        ask(&address, "GET /").filter(|page| page.body.contains("Phases of a step"))
    });
    assert_eq!(page.status, 200);
    for part in [
        "default-src 'none'; script-src 'self'",
        "x-content-type-options: nosniff",
        "content-type: text/html",
    ] {
        assert!(page.head.contains(part), "{part}: {}", page.head);
    }
    for part in ["of all steps", "trains", "<progress", "L_seg", "running"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    for foreign in ["http://", "https://", "data:", "style=\"", "<script>", "onclick"] {
        assert!(!page.body.contains(foreign), "{foreign} in {}", page.body);
    }
    for part in ["/style.css", "/page.js", "/icon.svg", "/live"] {
        assert_eq!(
            ask(&address, &format!("GET {part}")).unwrap().status,
            200,
            "{part}"
        );
    }
    let status = ask(&address, "GET /api/status").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status.body).unwrap();
    assert_eq!(status["run"], "small");
    assert_eq!(status["state"], "running");
    assert_eq!(ask(&address, "GET /healthz").unwrap().body, "ok\n");
    assert_eq!(ask(&address, "GET /nothing").unwrap().status, 404);
    let rebound = ask_for("evil.example", &address, "GET /api/status").unwrap();
    assert_eq!(rebound.status, 421, "{}", rebound.body);
    assert_eq!(ask(&address, "POST /").unwrap().status, 405);
    for name in [
        "/examples/..%2f/journal.sqlite",
        "/examples/..%2f..%2fsmall/run.toml",
        "/examples/../run.lock",
        "/examples/night/none.png",
    ] {
        assert_eq!(
            ask(&address, &format!("GET {name}")).unwrap().status,
            404,
            "{name}"
        );
    }
    let shown = told(&bench, &bench.output(&["status", "runs/small"]));
    assert!(shown.contains(&format!("http://{address}/")), "{shown}");
    signal(run.id(), libc::SIGTERM);
    assert_eq!(outcome(run).status.code(), Some(143));
    assert!(
        ask(&address, "GET /healthz").is_none(),
        "the page goes with its coordinator"
    );
}

#[test]
fn an_open_page_is_told_of_changes_and_how_its_coordinator_left_the_run() {
    let bench = Bench::new();
    let run = start(&bench, &["--workers", "1", "--http", "127.0.0.1:0"], "20");
    workers(&bench, 1);
    let mut stream = std::net::TcpStream::connect(page_of(&bench)).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    std::io::Write::write_all(
        &mut stream,
        b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .unwrap();
    let mut lines = BufReader::new(stream).lines();
    let changes = lines
        .by_ref()
        .map_while(Result::ok)
        .filter(|line| line == "event: changed");
    assert_eq!(changes.take(2).count(), 2);
    signal(run.id(), libc::SIGTERM);
    assert_eq!(outcome(run).status.code(), Some(143));
    let mut rest = lines.map_while(Result::ok);
    assert!(rest.any(|line| line == "event: left"));
    let left: String = rest.collect();
    assert!(left.starts_with("data: <main>"), "{left}");
    assert!(left.contains(">stopped</span>"), "{left}");
    assert!(!left.contains("data-running"), "{left}");
}

#[test]
fn a_finished_run_can_be_viewed() {
    let bench = Bench::new();
    assert_eq!(bench.output(&["--http", "off"]).status.code(), Some(0));
    let mut command = bench.command(&["view", "runs/small", "--http", "127.0.0.1:0"]);
    let mut view = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(view.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .trim()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let page = ask(&address, "GET /").unwrap();
    assert!(
        page.body.contains("finished") && page.body.contains("mIoU by domain"),
        "{}",
        page.body
    );
    assert_eq!(ask(&address, "GET /metrics").unwrap().status, 404);
    signal(view.id(), libc::SIGTERM);
    assert_eq!(view.wait().unwrap().code(), Some(143));
}

#[test]
fn a_taken_page_address_is_told_and_auto_finds_another() {
    let bench = Bench::new();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let refused = told(&bench, &bench.output(&["--http", &address]));
    assert_eq!(
        refused,
        format!(
            "exit 75\nerror: address {address} is taken\n  hint: give another port with --http, `auto` for any free \
             one, or `off`\n"
        )
    );
    let nonsense = told(&bench, &bench.output(&["--http", "9464"]));
    assert!(
        nonsense.starts_with("exit 2\n") && nonsense.contains("give HOST:PORT such as"),
        "{nonsense}"
    );
}
