//! What reads bytes that somebody else wrote, each as a function of those bytes: whatever they are, it returns, without a
//! panic, within seconds and within 2 GiB. `make fuzz` looks for bytes with which it does not; the test `corpus` gives all of
//! them to every function again that were worth keeping.

use std::fs;
use std::path::Path;

use prost::Message;
use tempfile::TempDir;
use ulda_coordinator::config::{Layers, load};
use ulda_coordinator::history::known_records;
use ulda_coordinator::journal::{JournalReader, RecordRow, audit_journal};
use ulda_coordinator::rpc::probe;
use ulda_machine::fold;
use ulda_method::stylebank::StyleBank;
use ulda_model::pickle::Pickle;
use ulda_model::{Tokenizer, Weights};
use ulda_proto::v1;
use ulda_run::spec::{Host, RunConfig, RunSpec};
use ulda_run::stage::Stage;
use ulda_worker::checkpoint::CheckpointManifest;
use ulda_worker::state::RunState;

/// A function that reads foreign bytes.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    take: fn(&[u8]) -> bool,
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    Target::new("configuration", configuration),
    Target::new("wire", wire),
    Target::new("frame", ulda_collective::is_header),
    Target::new("refusal", ulda_collective::is_refusal),
    Target::new("png", |bytes| image(bytes, "image.png")),
    Target::new("jpeg", |bytes| image(bytes, "image.jpg")),
    Target::new("labels", labels),
    Target::new("pickle", pickle),
    Target::new("safetensors", |bytes| weights(bytes, "model.safetensors")),
    Target::new("checkpoint", |bytes| weights(bytes, "model.pth")),
    Target::new("archive", archive),
    Target::new("manifest", manifest),
    Target::new("state", state),
    Target::new("bank", bank),
    Target::new("journal", journal),
    Target::new("tokenizer", tokenizer),
];

impl Target {
    const fn new(name: &'static str, take: fn(&[u8]) -> bool) -> Self {
        Self { name, take }
    }

    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    #[must_use]
    pub fn names() -> Vec<&'static str> {
        TARGETS.iter().map(|target| target.name).collect()
    }

    /// Reads `bytes`; says whether they were accepted.
    #[must_use]
    pub fn take(&self, bytes: &[u8]) -> bool {
        (self.take)(bytes)
    }
}

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("the temporary folder takes a folder");
}

/// With a file of these bytes.
fn with_file<T>(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("the temporary folder takes a file");
        read(&path)
    })
}

/// A run.toml. One that is accepted says the same when it was written and read again.
fn configuration(bytes: &[u8]) -> bool {
    let host = Host { workers: 2, cores: 4 };
    with_file("run.toml", bytes, |path| {
        let layers = Layers {
            file: Some(path.to_owned()),
            ..Layers::default()
        };
        let Ok(loaded) = load(&layers, Path::new("/")) else {
            return false;
        };
        let Ok(spec) = RunSpec::resolve(loaded.config, host) else {
            return false;
        };
        assert_eq!(resolved(&spec.to_toml()).to_toml(), spec.to_toml());
        true
    })
}

fn resolved(run_toml: &str) -> RunSpec {
    let config: RunConfig = toml::from_str(run_toml).unwrap_or_else(|cause| panic!("{cause}"));
    RunSpec::resolve(config, Host { workers: 2, cores: 4 }).unwrap_or_else(|cause| panic!("{cause}"))
}

/// A message of a worker to a run of two shards: the first byte says which one.
fn wire(bytes: &[u8]) -> bool {
    let Some((which, bytes)) = bytes.split_first() else {
        return false;
    };
    let spec = resolved(include_str!("../run.toml"));
    match which % 3 {
        0 => v1::Attendance::decode(bytes).is_ok_and(|message| probe::attendance(message, &spec).is_ok()),
        1 => v1::ReportRequest::decode(bytes).is_ok_and(|message| probe::report(message, &spec).is_ok()),
        _ => v1::LogRequest::decode(bytes).is_ok_and(|message| probe::log(message).is_ok()),
    }
}

fn image(bytes: &[u8], name: &str) -> bool {
    with_file(name, bytes, |path| {
        let header = ulda_dataset::read_header(path);
        let image = ulda_dataset::read_image(path);
        if let (Ok(header), Ok(image)) = (header, &image) {
            assert_eq!(header.size(), image.size);
        }
        image.is_ok()
    })
}

fn labels(bytes: &[u8]) -> bool {
    with_file("labels.png", bytes, |path| {
        ulda_dataset::read_label_ids(path).is_ok()
    })
}

/// Pickles one after another, and the first one as the published styles.
fn pickle(bytes: &[u8]) -> bool {
    let mut left = bytes;
    let mut read = false;
    while !left.is_empty() {
        let Ok(pickle) = Pickle::read(&mut left) else {
            break;
        };
        let root = pickle.root();
        let _ = (root.items().map(|items| items.len()), root.text(), root.ints());
        let _ = (root.numbered_entries().map(Iterator::count), root.number());
        read = true;
    }
    let _ = ulda_method::stylebank::BankStyle::from_authors_pickle(bytes, "a.pkl");
    read
}

fn weights(bytes: &[u8], name: &str) -> bool {
    with_file(name, bytes, |path| {
        let weights = Weights::read(path);
        if let Ok(weights) = &weights {
            for name in weights.names() {
                assert!(weights.shape(name).is_some());
            }
        }
        weights.is_ok()
    })
}

/// An input that was fetched as an archive; the first byte says of which format.
fn archive(bytes: &[u8]) -> bool {
    let Some((which, bytes)) = bytes.split_first() else {
        return false;
    };
    let name = ["data.tar", "data.tar.gz", "data.zip"][usize::from(which % 3)];
    with_file(name, bytes, |path| {
        let into = tempfile::tempdir().expect("the temporary folder takes a folder");
        ulda_storage::unpack_named(path, into.path()).is_ok()
    })
}

fn manifest(bytes: &[u8]) -> bool {
    CheckpointManifest::parse(bytes, Path::new("manifest.json")).is_ok()
}

/// A run's state, as a checkpoint holds it. One that is accepted is the same when it was written and read again.
fn state(bytes: &[u8]) -> bool {
    let Ok(state) = RunState::from_bytes(bytes) else {
        return false;
    };
    let written = state.to_bytes().expect("what was read can be written");
    let again = RunState::from_bytes(&written).expect("what was written can be read");
    assert_eq!(again.digest(), state.digest());
    true
}

/// A style bank. One that is accepted is the same when it was written and read again.
fn bank(bytes: &[u8]) -> bool {
    let Ok(bank) = StyleBank::from_bytes(bytes, "bank.safetensors") else {
        return false;
    };
    let written = bank.to_bytes().expect("what was read can be written");
    let again = StyleBank::from_bytes(&written, "bank.safetensors").expect("what was written can be read");
    assert_eq!(again, bank);
    true
}

/// Records, one per line; or a whole journal, where the bytes begin as SQLite's files do.
fn journal(bytes: &[u8]) -> bool {
    if !bytes.starts_with(b"SQLite format 3") {
        let text = String::from_utf8_lossy(bytes);
        let row = |line: &str| RecordRow {
            at_millis: 0,
            json: line.to_owned(),
        };
        let rows: Vec<RecordRow> = text.lines().map(row).collect();
        let known = known_records(&rows);
        let _ = fold(&known);
        return known.len() == rows.len();
    }
    with_file("journal.sqlite", bytes, |path| {
        let Ok(reader) = JournalReader::open(path) else {
            return false;
        };
        let _ = audit_journal(&reader);
        let _ = (reader.facts(), reader.claimed_term(), reader.curves());
        let _ = (reader.measurements(), reader.phases(), reader.stages());
        let _ = (reader.checkpoints(), reader.evaluations(), reader.processes());
        let _ = (reader.last_events(10), reader.latest(Stage::Adapt));
        let rows = reader.records();
        if let Ok(rows) = &rows {
            let _ = fold(&known_records(rows));
        }
        rows.is_ok()
    })
}

fn tokenizer(bytes: &[u8]) -> bool {
    thread_local! {
        static TOKENIZER: Tokenizer = Tokenizer::new();
    }
    let prompt = String::from_utf8_lossy(bytes);
    TOKENIZER.with(|tokenizer| {
        let ids = tokenizer.encode(&prompt, 77);
        if let Ok(ids) = &ids {
            assert_eq!(ids.len(), 77);
        }
        ids.is_ok()
    })
}
