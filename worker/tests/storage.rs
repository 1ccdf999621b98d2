//! Checkpoints on disk and in a storage: the newest whole one is found wherever it lies, an outage only delays.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tch::Tensor;
use ulda_run::clip::{ClipOrigin, ClipTraining};
use ulda_run::stage::{Cursor, Stage};
use ulda_s3::{Fault, KEY_ID, Rule, SECRET, Server};
use ulda_storage::{Settings, Storage, StorageCount, StorageCounters};
use ulda_worker::checkpoint::{
    CheckpointError, CheckpointStore, Checkpoints, FileEntry, RemoteStore, Upload, UploadObserver, Uploaded,
    Uploads,
};
use ulda_worker::state::RunState;

/// Longest wait for an upload.
const PATIENCE: Duration = Duration::from_secs(60);

struct UploadWatcher(Sender<Uploaded>);

impl UploadObserver for UploadWatcher {
    fn uploaded(&self, checkpoint: Uploaded) {
        let _ = self.0.send(checkpoint);
    }

    fn counted(&self, _: StorageCount) {}
}

fn storage(server: &Server, deadline: Duration) -> Storage {
    static CREDENTIALS: OnceLock<()> = OnceLock::new();
    CREDENTIALS.get_or_init(|| {
        // SAFETY: before any other thread of this process reads its environment.
        unsafe {
            std::env::set_var("AWS_ACCESS_KEY_ID", KEY_ID);
            std::env::set_var("AWS_SECRET_ACCESS_KEY", SECRET);
        }
    });
    let settings = Settings {
        endpoint: Some(server.endpoint()),
        region: None,
        path_style: None,
        allow_http: Some(true),
        request: Duration::from_secs(5),
        deadline,
    };
    let storage = Storage::open(&server.url("runs"), &settings, StorageCounters::default()).unwrap();
    storage.below("a")
}

/// One host's view of the run: a disk of its own and the storage.
struct Host {
    disk: tempfile::TempDir,
    checkpoints: Checkpoints,
    uploaded: Receiver<Uploaded>,
    storage: Storage,
}

impl Host {
    fn new(server: &Server) -> Self {
        Self::with_deadline(server, Duration::from_secs(10))
    }

    fn with_deadline(server: &Server, deadline: Duration) -> Self {
        let disk = tempfile::tempdir().unwrap();
        let storage = storage(server, deadline);
        let clip = ClipOrigin {
            digest: "c".into(),
            training: ClipTraining::Untrained,
        };
        let local = CheckpointStore::new(disk.path().join("checkpoints"), "a".into(), clip.clone(), 2);
        let remote = RemoteStore::new(storage.clone(), "a".into(), clip, 2);
        let (sender, uploaded) = channel();
        let uploads =
            Uploads::start(disk.path().to_owned(), &storage, &remote, UploadWatcher(sender)).unwrap();
        Self {
            disk,
            checkpoints: Checkpoints::with_storage(local, remote, Arc::new(uploads)),
            uploaded,
            storage,
        }
    }

    fn write(&self, step: u64) {
        let state = state(step);
        self.checkpoints.write(&state, &state.digest()).unwrap();
    }

    fn settle(&self) {
        assert!(
            self.checkpoints.uploads().unwrap().settle(PATIENCE, |_| true),
            "in time"
        );
    }

    fn newest(&self) -> (u64, Vec<CheckpointError>) {
        let (found, _) = self.checkpoints.newest().unwrap();
        let found = found.expect("there is one");
        assert_eq!(found.state.digest(), state(found.state.cursor.step).digest());
        (found.state.cursor.step, found.passed_over)
    }

    fn names(&self) -> Vec<String> {
        let objects = self.storage.list("checkpoints").unwrap();
        objects.into_iter().map(|object| object.name).collect()
    }
}

fn state(step: u64) -> RunState {
    let mut state = RunState::new(Cursor {
        stage: Stage::Adapt,
        step,
    });
    let values: Vec<f32> = (0..3000)
        .map(|index| (index as f32).sin() * step as f32)
        .collect();
    state.tensors.insert("w".into(), Tensor::from_slice(&values));
    state
}

#[test]
fn a_host_with_an_empty_disk_goes_on_from_what_another_one_left() {
    let server = Server::start();
    let first = Host::new(&server);
    for step in [1, 2, 3] {
        first.write(step);
        first.settle();
    }
    assert_eq!(
        first.names(),
        [
            "checkpoints/adapt-00000002/manifest.json",
            "checkpoints/adapt-00000002/state.safetensors",
            "checkpoints/adapt-00000003/manifest.json",
            "checkpoints/adapt-00000003/state.safetensors"
        ],
        "the oldest is pruned"
    );
    let told: Vec<u64> = first
        .uploaded
        .try_iter()
        .map(|uploaded| uploaded.cursor.step)
        .collect();
    assert_eq!(told, [1, 2, 3]);

    let second = Host::new(&server);
    let (step, passed_over) = second.newest();
    assert_eq!((step, passed_over.len()), (3, 0));
    // Nearer is better: what is on disk is not fetched.
    second.write(4);
    second.settle();
    let before = server.asked().len();
    assert_eq!(second.newest().0, 4);
    let asked = server.asked().split_off(before);
    assert!(
        asked.iter().all(|asked| !asked.contains("adapt-00000004/state")),
        "{asked:?}"
    );
}

/// A state with a source head, which stays, and what each step changes.
fn state_with_source(step: u64) -> RunState {
    let mut state = state(step);
    state.cursor.stage = Stage::Simulate;
    let source: Vec<f32> = (0..100_000).map(|index| (index as f32).cos()).collect();
    state.set_section("source", [("w".to_owned(), Tensor::from_slice(&source))]);
    state
}

#[test]
fn what_did_not_change_is_neither_written_nor_sent_again() {
    let server = Server::start();
    let host = Host::new(&server);
    let put_bytes = || {
        let count = host.storage.counters().read();
        count.operations[ulda_storage::Operation::Put as usize].bytes
    };
    let mut sent = Vec::new();
    for step in [1, 2, 3, 4] {
        let state = state_with_source(step);
        let before = put_bytes();
        let written = host.checkpoints.write(&state, &state.digest()).unwrap();
        host.settle();
        sent.push(put_bytes() - before);
        assert!(written.size_bytes > 400_000);
        assert_eq!(written.written_bytes > 400_000, step == 1, "{written:?}");
    }
    assert!(
        sent[0] > 400_000 && sent[1..].iter().all(|bytes| *bytes < 20_000),
        "{sent:?}"
    );
    // The ones that it was first written and copied with are gone; each is whole by itself.
    let source = "checkpoints/simulate-00000004/source.safetensors";
    assert!(host.names().contains(&source.to_owned()), "{:?}", host.names());
    let read = |host: &Host| host.checkpoints.newest().unwrap().0.unwrap().state.digest();
    let other = Host::new(&server);
    assert_eq!(read(&other), state_with_source(4).digest());
    assert_eq!(read(&host), state_with_source(4).digest());
    // Whoever read it there has the storage copy it, too.
    let before = server.asked().len();
    let state = state_with_source(5);
    assert!(
        other
            .checkpoints
            .write(&state, &state.digest())
            .unwrap()
            .written_bytes
            > 400_000
    );
    other.settle();
    assert_eq!(read(&Host::new(&server)), state.digest());
    assert!(server.asked().len() > before);
}

#[test]
fn a_part_that_was_damaged_on_disk_is_written_anew() {
    let server = Server::start();
    let host = Host::new(&server);
    let write = |step: u64| {
        let state = state_with_source(step);
        host.checkpoints.write(&state, &state.digest()).unwrap()
    };
    let first = write(1);
    let source = first.path.join("source.safetensors");
    let mut bytes = std::fs::read(&source).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&source, bytes).unwrap();
    assert!(write(2).written_bytes > 400_000);
    assert!(write(3).written_bytes < 20_000);
    // The damaged one is pruned by now.
    assert!(!first.path.exists());
    let (found, _) = host.checkpoints.newest().unwrap();
    assert_eq!(found.unwrap().state.digest(), state_with_source(3).digest());
}

#[test]
fn a_folder_of_the_version_before_is_read() {
    let disk = tempfile::tempdir().unwrap();
    let clip = ClipOrigin {
        digest: "c".into(),
        training: ClipTraining::Untrained,
    };
    let state = state_with_source(7);
    let bytes = state.to_bytes().unwrap();
    let folder = disk.path().join("simulate-00000007");
    std::fs::create_dir(&folder).unwrap();
    let manifest = |format: u32| {
        let entry = FileEntry::of(&bytes);
        serde_json::json!({
            "format": format, "run": "a", "cursor": state.cursor, "digest": state.digest(), "clip": clip,
            "files": {"state.safetensors": entry}, "version": "0.1.0",
        })
        .to_string()
    };
    std::fs::write(folder.join("state.safetensors"), &bytes).unwrap();
    std::fs::write(folder.join("manifest.json"), manifest(1)).unwrap();
    let store = CheckpointStore::new(disk.path().to_owned(), "a".into(), clip.clone(), 2);
    assert_eq!(store.read(&folder).unwrap().digest(), state.digest());
    std::fs::write(folder.join("manifest.json"), manifest(3)).unwrap();
    let refused = store.read(&folder).unwrap_err().to_string();
    assert!(
        refused.contains("its format is 3, this program reads 1 to 2"),
        "{refused}"
    );
    let elsewhere = manifest(2).replace(
        "\"state.safetensors\":",
        "\"../x.safetensors\":{\"blake3\":\"\",\"size_bytes\":0},\"state.safetensors\":",
    );
    std::fs::write(folder.join("manifest.json"), elsewhere).unwrap();
    let refused = store.read(&folder).unwrap_err().to_string();
    assert!(refused.contains("`../x.safetensors`"), "{refused}");
}

#[test]
fn torn_cut_and_flipped_checkpoints_of_the_storage_are_passed_over() {
    type Damage = fn(&Path);
    let damages: [(Damage, &str); 4] = [
        (
            |folder| std::fs::remove_file(folder.join("manifest.json")).unwrap(),
            "upload did not end",
        ),
        (
            |folder| {
                let file = folder.join("state.safetensors");
                let bytes = std::fs::read(&file).unwrap();
                std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
            },
            "bytes, the manifest says",
        ),
        (
            |folder| {
                let file = folder.join("state.safetensors");
                let mut bytes = std::fs::read(&file).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                std::fs::write(&file, bytes).unwrap();
            },
            "do not have the manifest's digest",
        ),
        (
            |folder| std::fs::remove_file(folder.join("state.safetensors")).unwrap(),
            "no such object",
        ),
    ];
    for (damage, told) in damages {
        let server = Server::start();
        let first = Host::new(&server);
        first.write(1);
        first.settle();
        first.write(2);
        first.settle();
        damage(&server.file("runs/a/checkpoints/adapt-00000002"));
        let second = Host::new(&server);
        let (step, passed_over) = second.newest();
        let text: Vec<String> = passed_over.iter().map(ToString::to_string).collect();
        assert_eq!(step, 1, "{told}");
        assert!(text.len() == 1 && text[0].contains(told), "{text:?}");
        // Come to the same step again, it is written anew although a manifest says that it is there.
        second.write(2);
        second.settle();
        assert_eq!(Host::new(&server).newest().0, 2, "{told}");
    }
}

#[test]
fn an_outage_delays_uploads_and_nothing_else() {
    let server = Server::start();
    let host = Host::with_deadline(&server, Duration::from_millis(300));
    server.fail(Rule::all(Fault::Status(503), "/bucket"));
    let began = std::time::Instant::now();
    for step in [1, 2, 3] {
        host.write(step);
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "nobody waited for the storage"
    );
    let uploads = host.checkpoints.uploads().unwrap();
    assert!(!uploads.settle(Duration::from_secs(1), |parcel| matches!(
        parcel,
        Upload::Checkpoint(..)
    )));
    assert_eq!(host.newest().0, 3, "the disk has it");
    let count = host.storage.counters().read();
    assert!(count.pending > 0 && count.operations.iter().any(|operation| operation.failures > 0));
    server.recover();
    host.write(4);
    host.settle();
    assert_eq!(Host::new(&server).newest().0, 4);
    let told: Vec<u64> = host
        .uploaded
        .try_iter()
        .map(|uploaded| uploaded.cursor.step)
        .collect();
    assert_eq!(told, [4], "older ones are of no use any more");
    assert_eq!(host.storage.counters().read().pending, 0);
}

#[test]
fn a_storage_that_refuses_to_be_read_hides_a_checkpoint_and_is_no_empty_one() {
    let server = Server::start();
    let first = Host::new(&server);
    first.write(1);
    first.settle();
    server.fail(Rule::all(
        Fault::Status(403),
        "GET /bucket/runs/a/checkpoints/adapt-00000001",
    ));
    let refused = Host::new(&server).checkpoints.newest();
    assert!(matches!(refused, Err(CheckpointError::Storage(_))));
}

#[test]
fn what_cannot_be_brought_keeps_nothing_else_from_it() {
    let server = Server::start();
    let host = Host::with_deadline(&server, Duration::from_millis(300));
    for name in ["styles.bin", "zebra.bin"] {
        std::fs::write(host.disk.path().join(name), "x").unwrap();
    }
    server.fail(Rule::all(Fault::Status(503), "styles.bin"));
    let uploads = host.checkpoints.uploads().unwrap();
    uploads.offer(Upload::File("styles.bin".into()));
    uploads.offer(Upload::File("zebra.bin".into()));
    let is_zebra = |parcel: &Upload| *parcel == Upload::File("zebra.bin".into());
    assert!(uploads.settle(PATIENCE, is_zebra), "in time");
    assert!(!uploads.settle(Duration::ZERO, |_| true), "the other one waits");
    server.recover();
    host.write(1);
    host.settle();
    let names: Vec<String> = host
        .storage
        .list("")
        .unwrap()
        .into_iter()
        .map(|object| object.name)
        .collect();
    assert!(names.contains(&"styles.bin".to_owned()), "{names:?}");
}

#[test]
fn a_checkpoint_that_is_damaged_on_disk_does_not_stand_for_the_one_before() {
    let server = Server::start();
    let host = Host::with_deadline(&server, Duration::from_millis(300));
    server.fail(Rule::all(Fault::Status(503), "/bucket"));
    host.write(1);
    host.write(2);
    let newest = host.disk.path().join("checkpoints/adapt-00000002");
    std::fs::write(newest.join("state.safetensors"), "cut").unwrap();
    server.recover();
    host.checkpoints
        .uploads()
        .unwrap()
        .offer(Upload::File("nothing".into()));
    host.settle();
    assert_eq!(Host::new(&server).newest().0, 1);
}

#[test]
fn a_storage_that_cannot_be_asked_is_no_empty_one() {
    let server = Server::start();
    Host::new(&server).write(1);
    let host = Host::with_deadline(&server, Duration::from_millis(300));
    server.fail(Rule::all(Fault::Status(503), "/bucket"));
    assert!(matches!(
        host.checkpoints.newest(),
        Err(CheckpointError::Storage(_))
    ));
    host.write(7);
    let (step, passed_over) = host.newest();
    assert_eq!((step, passed_over.len()), (7, 1), "the disk serves, loudly");
    assert!(host.disk.path().join("checkpoints/adapt-00000007").exists());
}
