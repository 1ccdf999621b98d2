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
use ulda_model::pickle::Pickle;
use ulda_model::{Tokenizer, Weights};
use ulda_proto::v1;
use ulda_run::spec::{Host, RunConfig, RunSpec};
use ulda_run::stage::Stage;

/// A function that reads foreign bytes.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    take: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 14] = [
    Target::new("configuration", configuration),
    Target::new("wire", wire),
    Target::new("frame", frame),
    Target::new("refusal", refusal),
    Target::new("png", |bytes| image(bytes, "image.png")),
    Target::new("jpeg", |bytes| image(bytes, "image.jpg")),
    Target::new("labels", labels),
    Target::new("pickle", pickle),
    Target::new("safetensors", |bytes| weights(bytes, "model.safetensors")),
    Target::new("checkpoint", |bytes| weights(bytes, "model.pth")),
    Target::new("archive", archive),
    Target::new("manifest", manifest),
    Target::new("journal", journal),
    Target::new("tokenizer", tokenizer),
];

impl Target {
    const fn new(name: &'static str, take: fn(&[u8])) -> Self {
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

    /// Reads `bytes`; read or refused, it returns.
    pub fn take(&self, bytes: &[u8]) {
        (self.take)(bytes);
    }
}

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("the temporary folder takes a folder");
}

/// With a file of these bytes.
fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("the temporary folder takes a file");
        read(&path);
    });
}

/// A run.toml. One that is accepted says the same when it was written and read again.
fn configuration(bytes: &[u8]) {
    with_file("run.toml", bytes, |path| {
        let layers = Layers {
            file: Some(path.to_owned()),
            ..Layers::default()
        };
        let host = Host { workers: 2, cores: 4 };
        let Ok(config) = load(&layers, Path::new("/")) else {
            return;
        };
        let Ok(spec) = RunSpec::resolve(config, host) else {
            return;
        };
        let again: RunConfig = match toml::from_str(&spec.to_toml()) {
            Ok(again) => again,
            Err(cause) => panic!("a resolved run.toml is refused: {cause}"),
        };
        let again = RunSpec::resolve(again, host).unwrap_or_else(|cause| panic!("{cause}"));
        assert_eq!(again.to_toml(), spec.to_toml());
    });
}

/// A message of a worker: the first byte says which one.
fn wire(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let spec = spec();
    match which % 3 {
        0 => {
            if let Ok(message) = v1::Attendance::decode(bytes) {
                let _ = probe::attendance(message, &spec);
            }
        }
        1 => {
            if let Ok(message) = v1::ReportRequest::decode(bytes) {
                let _ = probe::report(message, &spec);
            }
        }
        _ => {
            if let Ok(message) = v1::LogRequest::decode(bytes) {
                let _ = probe::log(message);
            }
        }
    }
}

/// A run of two shards, as the bounds of messages know it.
fn spec() -> RunSpec {
    let config = toml::from_str(SPEC).expect("it is a run.toml");
    RunSpec::resolve(config, Host { workers: 2, cores: 4 }).unwrap_or_else(|cause| panic!("{cause}"))
}

const SPEC: &str = include_str!("../run.toml");

/// The header of a frame between two workers.
fn frame(bytes: &[u8]) {
    let _ = ulda_collective::is_header(bytes);
}

/// Why a worker does not take another's connection, in that one's words.
fn refusal(bytes: &[u8]) {
    let _ = ulda_collective::is_refusal(bytes);
}

fn image(bytes: &[u8], name: &str) {
    with_file(name, bytes, |path| {
        let header = ulda_dataset::read_header(path);
        let image = ulda_dataset::read_image(path);
        if let (Ok(header), Ok(image)) = (header, image) {
            assert_eq!(header.size(), image.size);
        }
    });
}

fn labels(bytes: &[u8]) {
    with_file("labels.png", bytes, |path| {
        let _ = ulda_dataset::read_label_ids(path);
    });
}

/// Pickles one after another, as the published styles have them; and the first one as such styles.
fn pickle(bytes: &[u8]) {
    let mut left = bytes;
    while let Ok(pickle) = Pickle::read(&mut left) {
        let root = pickle.root();
        let _ = (root.items().map(|items| items.len()), root.text(), root.ints());
        if left.is_empty() {
            break;
        }
    }
    let _ = ulda_method::stylebank::BankStyle::from_authors_pickle(bytes, "a.pkl");
}

fn weights(bytes: &[u8], name: &str) {
    with_file(name, bytes, |path| {
        if let Ok(weights) = Weights::read(path) {
            for name in weights.names() {
                let _ = weights.shape(name);
            }
        }
    });
}

/// An input that was fetched as an archive; the first byte says of which format.
fn archive(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let name = ["data.tar", "data.tar.gz", "data.zip"][usize::from(which % 3)];
    with_file(name, bytes, |path| {
        let into = tempfile::tempdir().expect("the temporary folder takes a folder");
        let _ = ulda_storage::unpack_named(path, into.path());
    });
}

fn manifest(bytes: &[u8]) {
    with_file("manifest.json", bytes, |path| {
        let _ = ulda_worker::checkpoint::CheckpointManifest::parse(bytes, path);
        if let Some(folder) = path.parent() {
            let _ = ulda_worker::checkpoint::read_manifest(folder);
        }
    });
}

/// Records, one per line; or a whole journal, where the bytes begin as SQLite's files do.
fn journal(bytes: &[u8]) {
    if !bytes.starts_with(b"SQLite format 3") {
        let text = String::from_utf8_lossy(bytes);
        let rows: Vec<RecordRow> = text
            .lines()
            .map(|line| RecordRow {
                at_millis: 0,
                json: line.to_owned(),
            })
            .collect();
        let _ = fold(&known_records(&rows));
        return;
    }
    with_file("journal.sqlite", bytes, |path| {
        let Ok(reader) = JournalReader::open(path) else {
            return;
        };
        let _ = audit_journal(&reader);
        let _ = (reader.facts(), reader.claimed_term(), reader.curves());
        let _ = (reader.measurements(), reader.phases(), reader.stages());
        let _ = (reader.checkpoints(), reader.evaluations(), reader.processes());
        let _ = (reader.last_events(10), reader.latest(Stage::Adapt));
        if let Ok(rows) = reader.records() {
            let _ = fold(&known_records(&rows));
        }
    });
}

fn tokenizer(bytes: &[u8]) {
    thread_local! {
        static TOKENIZER: Tokenizer = Tokenizer::new();
    }
    let prompt = String::from_utf8_lossy(bytes);
    TOKENIZER.with(|tokenizer| {
        if let Ok(ids) = tokenizer.encode(&prompt, 77) {
            assert_eq!(ids.len(), 77);
        }
    });
}
