//! Whatever text becomes a path, nothing outside of the folder that it is joined to is named, written or read: names of
//! runs, domains and sets, entries of archives, files of checkpoints, and images of exported styles.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::Config;
use ulda_coordinator::run_directory::RunDirectory;
use ulda_method::stylebank::authors_file_name;
use ulda_run::spec::{PathName, RunConfig};
use ulda_storage::unpack_named;
use ulda_worker::checkpoint::{CheckpointError, CheckpointManifest};

/// A folder that the absolute names below would write into.
fn elsewhere() -> &'static Path {
    static FOLDER: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        // What paths are made of.
        "[ab./\\\\ \u{0}\n~-]{0,10}",
        "(\\.\\./){1,6}[ab]{0,3}",
        "[a-z]{90,300}",
        Just(format!("{}/absolute", elsewhere().display())),
    ]
}

/// Whether joining `name` to a folder gives a direct child of it.
fn is_child(name: &str) -> bool {
    let folder = Path::new("/folder");
    let path = folder.join(name);
    path.parent() == Some(folder) && path.file_name().is_some_and(|last| last == name)
}

/// Names below `folder`, which is then empty again.
fn swept(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    for path in &found {
        let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    }
    found.iter().map(|path| path.display().to_string()).collect()
}

/// Unpacks `archive` into a folder beside which nothing may appear.
fn unpacked_stays_inside(name: &str, archive: &[u8]) -> Result<(), TestCaseError> {
    let outer = tempfile::tempdir().unwrap();
    let (file, inner) = (outer.path().join(name), outer.path().join("a/b/inner"));
    fs::write(&file, archive).unwrap();
    fs::create_dir_all(&inner).unwrap();
    // Refused or not.
    let _ = unpack_named(&file, &inner);
    prop_assert_eq!(swept(elsewhere()), Vec::<String>::new());
    for folder in ["a/b", "a", "."] {
        prop_assert_eq!(
            fs::read_dir(outer.path().join(folder)).unwrap().count(),
            if folder == "." { 2 } else { 1 },
            "something appeared in {}",
            folder
        );
    }
    let mut below = vec![inner];
    while let Some(folder) = below.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            prop_assert!(kind.is_file() || kind.is_dir(), "{:?}", entry.path());
            if kind.is_dir() {
                below.push(entry.path());
            }
        }
    }
    Ok(())
}

/// An archive of entries with these names, types and link targets, as no writer of archives would make it.
fn tar_of(entries: &[(String, u8, String)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, target) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::new(*kind));
        let bytes = header.as_mut_bytes();
        for (field, text) in [(0, name), (157, target)] {
            let text = &text.as_bytes()[..text.len().min(100)];
            bytes[field..field + text.len()].copy_from_slice(text);
        }
        header.set_cksum();
        archive.append(&header, &b"abc"[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn zip_of(names: &[String]) -> Option<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for name in names {
        zip.start_file(name.as_str(), options).ok()?;
        std::io::Write::write_all(&mut zip, b"abc").ok()?;
    }
    Some(zip.finish().ok()?.into_inner())
}

fn manifest(file: &str) -> Vec<u8> {
    let entry = serde_json::json!({"blake3": "ab".repeat(32), "size_bytes": 3});
    let files = serde_json::json!({"state.safetensors": entry, file: entry});
    let all = serde_json::json!({
        "format": 2, "run": "small", "cursor": {"stage": "adapt", "step": 3}, "digest": "ab",
        "clip": {"digest": "cd", "training": "unmarked"}, "files": files, "version": "0.1.0",
    });
    serde_json::to_vec(&all).unwrap()
}

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_runs_name_is_a_folder_in_its_directory(text in any_text()) {
        let Ok(name) = text.parse::<PathName>() else { return Ok(()) };
        prop_assert!(is_child(name.as_str()));
        let mut config = RunConfig::default();
        config.run.directory = "/runs".into();
        config.run.name = name;
        let directory = RunDirectory::of(&config);
        prop_assert_eq!(directory.root().parent(), Some(Path::new("/runs")));
    }

    #[test]
    fn entries_of_a_tar_stay_inside(
        entries in prop::collection::vec((any_text(), prop::sample::select(&b"012345670Lx"[..]), any_text()), 1..5)
    ) {
        unpacked_stays_inside("data.tar", &tar_of(&entries))?;
    }

    #[test]
    fn entries_of_a_zip_stay_inside(names in prop::collection::vec(any_text(), 1..5)) {
        let Some(archive) = zip_of(&names) else { return Ok(()) };
        unpacked_stays_inside("data.zip", &archive)?;
    }

    #[test]
    fn a_checkpoint_reads_files_of_its_folder(text in any_text()) {
        let manifest = CheckpointManifest::parse(&manifest(&text), Path::new("manifest.json")).unwrap();
        let asked = RefCell::new(Vec::new());
        let read = |file: &str, _: u64| -> Result<Vec<u8>, CheckpointError> {
            asked.borrow_mut().push(file.to_owned());
            Ok(b"abc".to_vec())
        };
        prop_assert!(manifest.state(Path::new("/folder"), read).is_err());
        for file in asked.borrow().iter() {
            prop_assert!(is_child(file), "{}", file);
        }
    }

    #[test]
    fn the_image_of_an_exported_style_is_a_file_of_its_folder(text in any_text()) {
        let name = authors_file_name(&text);
        prop_assert!(is_child(&name), "{}", name);
    }
}
