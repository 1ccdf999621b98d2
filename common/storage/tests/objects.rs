//! Objects on an S3 server that verifies signatures, and what its faults come to.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod common;

use std::time::{Duration, Instant};

use common::settings;
use tokio_util::sync::CancellationToken;
use ulda_s3::{BUCKET, Fault, Rule, Server};
use ulda_storage::{Operation, Settings, Storage, StorageCounters, StorageError, StorageErrorKind};

fn storage(server: &Server) -> Storage {
    Storage::open(&server.url("runs"), &settings(server), StorageCounters::default()).unwrap()
}

fn kind(error: StorageError) -> StorageErrorKind {
    match error {
        StorageError::Failed { kind, .. } => kind,
        other => panic!("{other}"),
    }
}

fn names(storage: &Storage, folder: &str) -> Vec<String> {
    let listed = storage.list(folder).unwrap();
    listed.into_iter().map(|object| object.name).collect()
}

/// Bytes that are not the same everywhere.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 251 + index) as u8).collect()
}

#[test]
fn objects_are_written_read_listed_and_deleted() {
    let server = Server::start();
    let storage = storage(&server);
    assert_eq!(storage.url("a/b"), "s3://bucket/runs/a/b");
    assert_eq!(names(&storage, ""), Vec::<String>::new());
    storage.put("a/x", "1").unwrap();
    storage.put("a/deep/y", "22").unwrap();
    storage.put("ab", "").unwrap();
    assert_eq!(names(&storage, ""), ["a/deep/y", "a/x", "ab"]);
    assert_eq!(names(&storage, "a"), ["a/deep/y", "a/x"], "a prefix is a folder");
    assert_eq!(&storage.get("a/deep/y").unwrap()[..], b"22");
    assert_eq!(&storage.get("ab").unwrap()[..], b"");
    assert_eq!(storage.look("a/x").unwrap().size_bytes, 1);
    storage.put("a/x", "333").unwrap();
    assert_eq!(&storage.get("a/x").unwrap()[..], b"333");
    storage.delete("a/x").unwrap();
    storage.delete("a/x").unwrap();
    assert!(storage.get("a/x").unwrap_err().is_not_found());
    let count = storage.counters().read();
    let put = count.operations[Operation::Put as usize];
    assert_eq!((put.total, put.failures, put.bytes), (4, 0, 6));
    assert!(count.last_put_millis.is_some());
}

#[test]
fn the_storage_copies_objects_by_itself() {
    let server = Server::start();
    let storage = storage(&server);
    let whole = bytes(300_000);
    storage.put("a/x", whole.clone()).unwrap();
    storage.put("b/y", "old").unwrap();
    storage.copy("a/x", "b/y").unwrap();
    storage.delete("a/x").unwrap();
    assert_eq!(&storage.get("b/y").unwrap()[..], whole);
    assert!(storage.copy("a/x", "b/z").unwrap_err().is_not_found());
    let put = storage.counters().read().operations[Operation::Put as usize];
    assert_eq!((put.total, put.failures), (4, 0));
    assert_eq!(put.bytes, 300_003, "copies pass no bytes through this host");
}

#[test]
fn large_objects_go_in_parts_through_faults_in_the_middle() {
    let server = Server::start();
    let storage = storage(&server);
    let large = bytes((20 << 20) + 7);
    server.fail(Rule::next(2, Fault::Status(503), "PUT"));
    server.fail(Rule::next(1, Fault::LostAnswer, "PUT"));
    server.fail(Rule::next(1, Fault::Cut, "GET"));
    storage.put("large", large.clone()).unwrap();
    let parts = server
        .asked()
        .iter()
        .filter(|asked| asked.starts_with("PUT"))
        .count();
    assert_eq!(parts, 3 + 3, "three parts and as many repetitions");
    assert!(storage.get("large").unwrap() == large);
    let count = storage.counters().read();
    let of = |operation| count.operations[operation as usize];
    assert_eq!((of(Operation::Put).retries, of(Operation::Put).failures), (3, 0));
    assert_eq!(of(Operation::Get).retries, 1);
    assert_eq!(of(Operation::Get).bytes, large.len() as u64);
}

#[test]
fn what_passes_is_tried_again() {
    let server = Server::start();
    let storage = storage(&server);
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::HangUp,
        Fault::LostAnswer,
    ] {
        for work in ["PUT", "GET"] {
            server.fail(Rule::next(1, fault.clone(), work));
        }
        storage.put("x", "1").unwrap();
        assert_eq!(&storage.get("x").unwrap()[..], b"1", "{fault:?}");
    }
}

#[test]
fn an_outage_is_given_up_within_the_deadline_and_named() {
    let server = Server::start();
    let counters = StorageCounters::default();
    let quick = Settings {
        deadline: Duration::from_secs(2),
        request: Duration::from_millis(300),
        ..settings(&server)
    };
    let storage = Storage::open(&server.url("runs"), &quick, counters.clone()).unwrap();
    for (fault, wanted) in [
        (
            Fault::Status(503),
            StorageErrorKind::Busy { status: "503".into() },
        ),
        (Fault::Slow(Duration::from_secs(3)), StorageErrorKind::TimedOut),
    ] {
        server.fail(Rule::all(fault, "PUT"));
        let began = Instant::now();
        let error = storage.put("x", "1").unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert!(error.is_passing());
        let text = error.to_string();
        assert!(text.contains("write `s3://bucket/runs/x`"), "{text}");
        assert!(text.contains("tries in"), "{text}");
        assert!(error.hint().unwrap().starts_with("it may pass"), "{error:?}");
        assert_eq!(kind(error), wanted);
        server.recover();
    }
    assert_eq!(counters.read().operations[Operation::Put as usize].failures, 2);
    storage.put("x", "1").unwrap();
}

#[test]
fn a_wait_ends_when_the_process_does() {
    let server = Server::start();
    let cancel = CancellationToken::new();
    let storage = storage(&server).until(cancel.clone());
    server.fail(Rule::all(Fault::Status(503), "PUT"));
    let began = Instant::now();
    let outcome = std::thread::scope(|scope| {
        let put = scope.spawn(|| storage.put("x", "1"));
        while server.asked().is_empty() {
            std::thread::yield_now();
        }
        cancel.cancel();
        put.join().unwrap()
    });
    assert!(matches!(outcome, Err(StorageError::Cancelled { .. })));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_a_person_has_to_mend_is_told_at_once_and_keeps_secrets() {
    let server = Server::start();
    let right = settings(&server);
    let open =
        |url: &str, settings: &Settings| Storage::open(url, settings, StorageCounters::default()).unwrap();

    let error = open("s3://no-such-bucket/runs", &right).list("").unwrap_err();
    assert_eq!(kind(error), StorageErrorKind::NoBucket);

    server.fail(Rule::all(Fault::Status(403), "GET"));
    let error = open(&server.url("x"), &right).list("").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("list `s3://bucket/x`: the storage refuses it (Injected)"),
        "{text}"
    );
    assert!(
        !text.contains(ulda_s3::SECRET) && !text.contains("Signature="),
        "{text}"
    );
    assert!(!error.is_passing());
    assert_eq!(server.asked().len(), 2, "nothing is asked again");

    let nowhere = Settings {
        endpoint: Some("http://127.0.0.1:1".into()),
        deadline: Duration::from_millis(500),
        ..right.clone()
    };
    let error = open(&server.url("x"), &nowhere).list("").unwrap_err();
    assert!(
        error.hint().unwrap().contains("check storage.endpoint"),
        "{error}"
    );
    assert_eq!(kind(error), StorageErrorKind::Unreachable);

    let plain = Settings {
        allow_http: Some(false),
        ..right
    };
    let error = Storage::open(&format!("s3://{BUCKET}"), &plain, StorageCounters::default()).unwrap_err();
    assert!(
        error.hint().unwrap().contains("set storage.allow_http"),
        "{error}"
    );
}

#[test]
fn names_are_taken_as_they_are() {
    let server = Server::start();
    let url = server.url("~me/läufe [1]");
    let storage = Storage::open(&url, &settings(&server), StorageCounters::default()).unwrap();
    storage.put("a b/50%.png", "1").unwrap();
    assert_eq!(names(&storage, ""), ["a b/50%.png"]);
    assert_eq!(names(&storage, "a b"), ["a b/50%.png"]);
    assert_eq!(&storage.get("a b/50%.png").unwrap()[..], b"1");
    assert!(server.file("~me/läufe [1]/a b/50%.png").is_file());
}

#[test]
fn a_folder_is_a_storage_too() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/new", folder.path().display());
    let server_less = Settings {
        endpoint: None,
        region: None,
        path_style: None,
        allow_http: None,
        request: Duration::from_secs(5),
        deadline: Duration::from_secs(5),
    };
    let storage = Storage::open(&url, &server_less, StorageCounters::default()).unwrap();
    let large = bytes((20 << 20) + 1);
    storage.put("a/large", large.clone()).unwrap();
    storage.put("a/empty", "").unwrap();
    assert_eq!(names(&storage, "a"), ["a/empty", "a/large"]);
    assert!(storage.get("a/large").unwrap() == large);
    storage.delete("a/large").unwrap();
    assert!(storage.get("a/large").unwrap_err().is_not_found());
}
