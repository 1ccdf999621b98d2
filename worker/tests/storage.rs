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
    CheckpointError, CheckpointStore, Checkpoints, RemoteStore, Upload, UploadObserver, Uploaded, Uploads,
};
use ulda_worker::state::RunState;

/// Longest wait for an upload.
const PATIENCE: Duration = Duration::from_secs(60);

struct Ear(Sender<Uploaded>);

impl UploadObserver for Ear {
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
        let uploads = Uploads::start(disk.path().to_owned(), &storage, &remote, Ear(sender)).unwrap();
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
