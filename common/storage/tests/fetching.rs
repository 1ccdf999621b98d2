//! Inputs by URL: once per host, whole or not at all, going on after a break.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::settings;
use ulda_run::spec::{DomainConfig, EvaluationSetConfig, FilesConfig, Layout, RunConfig};
use ulda_s3::{Fault, Rule, Server};
use ulda_storage::fetch::{Inputs, Probe};
use ulda_storage::{Operation, Storage, StorageCounters};

struct Bench {
    server: Server,
    storage: Storage,
    cache: tempfile::TempDir,
    counters: StorageCounters,
    inputs: Inputs,
}

impl Bench {
    fn new() -> Self {
        let server = Server::start();
        let storage = Storage::open("s3://bucket", &settings(&server), StorageCounters::default()).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let mut config = RunConfig::default();
        config.storage.endpoint = Some(server.endpoint());
        config.storage.allow_http = Some(true);
        config.storage.deadline = 5.0;
        let counters = StorageCounters::default();
        let inputs = Inputs::new(&config, Some(cache.path().to_owned()), counters.clone());
        Self {
            server,
            storage,
            cache,
            counters,
            inputs,
        }
    }

    fn root(&self, url: &str) -> Result<PathBuf, String> {
        let brought = self.inputs.bring_input("source.root", Path::new(url));
        brought.map_err(|error| format!("{error}; hint: {}", error.cause.hint().unwrap()))
    }

    fn bytes_read(&self) -> u64 {
        self.counters.read().operations[Operation::Get as usize].bytes
    }

    /// Names in the cache, without locks.
    fn cached(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }
}

const FILES: [(&str, &str); 3] = [
    ("leftImg8bit/train/a/1.png", "image"),
    ("gtFine/train/a/1.png", "label"),
    ("gtFine/train/a/empty.png", ""),
];

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        // Written by hand: the builder refuses the names that an attacker would use.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (name, content) in files {
        let file = archive
            .new_file(rawzip::path::EntryPath::verbatim(name.as_bytes()))
            .compression_method(rawzip::CompressionMethod::DEFLATE);
        let (mut entry, config) = file.start().unwrap();
        let deflated = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::fast());
        let mut writer = config.wrap(deflated);
        writer.write_all(content.as_bytes()).unwrap();
        let (deflated, descriptor) = writer.finish().unwrap();
        deflated.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

fn assert_holds(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), *content, "{name}");
    }
}

#[test]
fn archives_and_prefixes_become_folders() {
    let bench = Bench::new();
    let inside: Vec<(String, &str)> = FILES
        .iter()
        .map(|(name, content)| (format!("cityscapes/{name}"), *content))
        .collect();
    let inside: Vec<(&str, &str)> = inside
        .iter()
        .map(|(name, content)| (name.as_str(), *content))
        .collect();
    for (name, bytes) in [
        ("a.tar", tar(&FILES)),
        ("a.tar.gz", gzip(&tar(&inside))),
        ("a.tgz", gzip(&tar(&FILES))),
        ("a.zip", zip(&inside)),
    ] {
        bench.storage.put(&format!("data/{name}"), bytes).unwrap();
        let root = bench.root(&format!("s3://bucket/data/{name}")).unwrap();
        assert_holds(&root, &FILES);
    }
    for (name, content) in FILES {
        bench.storage.put(&format!("plain/{name}"), content).unwrap();
    }
    let root = bench.root("s3://bucket/plain/").unwrap();
    assert_holds(&root, &FILES);
    assert_eq!(bench.cached().len(), 5, "no leftovers: {:?}", bench.cached());
}

#[test]
fn images_of_a_domain_are_files_or_folders() {
    let bench = Bench::new();
    for name in ["a.png", "dusk/b.png"] {
        bench.storage.put(&format!("photos/{name}"), name).unwrap();
    }
    let domain = DomainConfig {
        name: "night".parse().unwrap(),
        prompt: "driving at night".into(),
        images: ["s3://bucket/photos", "s3://bucket/photos/a.png"]
            .map(PathBuf::from)
            .into(),
    };
    let config = RunConfig {
        domains: vec![domain],
        ..RunConfig::default()
    };
    let brought = bench.inputs.bring(&config).unwrap();
    let [folder, file] = brought.domains[0].images.as_slice() else {
        panic!("{brought:?}")
    };
    assert_holds(folder, &[("a.png", "a.png"), ("dusk/b.png", "dusk/b.png")]);
    assert_eq!(fs::read_to_string(file).unwrap(), "a.png");
}

#[test]
fn styles_are_a_bank_or_the_folders_of_their_files() {
    let bench = Bench::new();
    let files = [("fog/a.pkl", "fog"), ("night/a.pkl", "night")];
    for (name, content) in files {
        bench.storage.put(&format!("saved/{name}"), content).unwrap();
    }
    bench.storage.put("saved.tar", tar(&files)).unwrap();
    bench.storage.put("bank.safetensors", "bank").unwrap();
    let bring = |url: &str| bench.inputs.bring_input("simulate.bank", Path::new(url)).unwrap();
    assert_eq!(
        fs::read_to_string(bring("s3://bucket/bank.safetensors")).unwrap(),
        "bank"
    );
    assert_holds(&bring("s3://bucket/saved"), &files);
    assert_holds(&bring("s3://bucket/saved.tar"), &files);
}

#[test]
fn a_compressed_archive_whose_checksum_is_wrong_is_refused() {
    let bench = Bench::new();
    let mut bytes = gzip(&tar(&FILES));
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    bench.storage.put("data/a.tar.gz", bytes).unwrap();
    let refused = bench.root("s3://bucket/data/a.tar.gz").unwrap_err().to_string();
    assert!(refused.contains("cannot be unpacked"), "{refused}");
}

#[test]
fn what_is_there_is_not_fetched_again_and_another_content_is() {
    let bench = Bench::new();
    let url = "s3://bucket/a.tar";
    bench.storage.put("a.tar", tar(&FILES)).unwrap();
    let source = Path::new(url);
    let size = tar(&FILES).len() as u64;
    let unfetched = bench.inputs.probe("source.root", source).unwrap();
    assert_eq!(
        unfetched,
        Probe::There {
            objects: 1,
            bytes: size
        }
    );
    let first = bench.root(url).unwrap();
    let read = bench.bytes_read();
    assert_eq!(bench.root(url).unwrap(), first);
    assert_eq!(bench.bytes_read(), read);
    assert_eq!(
        bench.inputs.probe("source.root", source).unwrap(),
        Probe::Here(first.clone())
    );
    bench.storage.put("a.tar", tar(&[("gtFine/new", "n")])).unwrap();
    let second = bench.root(url).unwrap();
    assert_ne!(second, first);
    assert_holds(&second, &[("gtFine/new", "n")]);
    assert_holds(&first, &FILES);
}

#[test]
fn many_processes_of_a_host_fetch_once() {
    let bench = Bench::new();
    let content = vec![7; 3 << 20];
    bench.storage.put("weights/RN50.pt", content.clone()).unwrap();
    let url = Path::new("s3://bucket/weights/RN50.pt");
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let fetch = || bench.inputs.bring_input("clip.checkpoint", url).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(fetch)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(paths.iter().all(|path| *path == paths[0]));
    assert!(
        paths[0].to_str().unwrap().ends_with("-RN50.pt"),
        "loaders go by the ending"
    );
    assert!(fs::read(&paths[0]).unwrap() == content);
    assert_eq!(bench.bytes_read(), content.len() as u64);
}

#[test]
fn a_broken_fetch_goes_on_where_it_was() {
    let bench = Bench::new();
    let content: Vec<u8> = (0..40_u32 << 20).map(|index| (index >> 9) as u8).collect();
    bench.storage.put("large.pt", content.clone()).unwrap();
    // The first two of three parts come, then the storage is gone.
    bench
        .server
        .fail(Rule::all(Fault::Status(403), "bytes=33554432-"));
    let url = Path::new("s3://bucket/large.pt");
    let error = bench
        .inputs
        .bring_input("clip.checkpoint", url)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("clip.checkpoint: read `s3://bucket/large.pt`"),
        "{error}"
    );
    let left = bench.cached();
    assert!(left.len() == 1 && left[0].ends_with(".part"), "{left:?}");
    bench.server.recover();
    let before = bench.server.asked().len();
    let path = bench.inputs.bring_input("clip.checkpoint", url).unwrap();
    let asked = bench.server.asked().split_off(before);
    let parts = asked.iter().filter(|asked| asked.starts_with("GET")).count();
    assert_eq!(parts, 1, "{asked:?}");
    assert!(fs::read(path).unwrap() == content);
}

#[test]
fn nothing_in_an_archive_reaches_outside() {
    let bench = Bench::new();
    let mut link = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    link.append_link(&mut header, "gtFine", "/etc").unwrap();
    for (name, bytes, told) in [
        (
            "up.tar",
            tar(&[("../evil", "x")]),
            "`../evil`, which points outside",
        ),
        ("deep.tar", tar(&[("a/../../evil", "x")]), "points outside"),
        ("root.tar", tar(&[("/tmp/evil", "x")]), "points outside"),
        ("up.zip", zip(&[("../evil", "x")]), "points outside"),
        ("link.tar", link.into_inner().unwrap(), "is a link"),
        (
            "torn.tar.gz",
            gzip(&tar(&FILES))[..60].to_vec(),
            "cannot be unpacked",
        ),
        ("text.zip", b"no archive".to_vec(), "cannot be unpacked"),
    ] {
        bench.storage.put(name, bytes).unwrap();
        let error = bench.root(&format!("s3://bucket/{name}")).unwrap_err();
        assert!(
            error.contains(told) && error.contains("hint: "),
            "{name}: {error}"
        );
    }
    assert!(!bench.cache.path().join("evil").exists());
    assert!(!bench.cache.path().parent().unwrap().join("evil").exists());
    let whole = bench.cached().into_iter().filter(|name| !name.ends_with(".part"));
    assert_eq!(whole.count(), 0);
}

#[test]
fn all_inputs_of_a_configuration_are_brought() {
    let bench = Bench::new();
    bench.storage.put("a.tar", tar(&FILES)).unwrap();
    bench.storage.put("RN50.pt", "weights").unwrap();
    let local = tempfile::tempdir().unwrap();
    let mut config = RunConfig::default();
    config.clip.checkpoint = "s3://bucket/RN50.pt".into();
    config.source.root = "s3://bucket/a.tar".into();
    let set = |root: PathBuf| EvaluationSetConfig {
        name: "night".parse().unwrap(),
        layout: Layout::Cityscapes,
        root,
        split: "val".into(),
        condition: None,
        only_size: None,
        centre_crop: None,
        files: FilesConfig::default(),
    };
    config.evaluate.sets = vec![
        set(local.path().to_owned()),
        set(format!("file://{}", local.path().display()).into()),
    ];
    let brought = bench.inputs.bring(&config).unwrap();
    assert_eq!(fs::read_to_string(&brought.clip.checkpoint).unwrap(), "weights");
    assert_holds(&brought.source.root, &FILES);
    assert_eq!(brought.evaluate.sets[0].root, local.path());
    assert_eq!(brought.evaluate.sets[1].root, local.path());
    config.evaluate.sets[0].root = "s3://bucket/nothing".into();
    let error = bench.inputs.bring(&config).unwrap_err().to_string();
    assert!(
        error.starts_with("evaluate.set[0].root: `s3://bucket/nothing` holds no objects"),
        "{error}"
    );
}
