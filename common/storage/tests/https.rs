//! A storage over HTTPS: whom a host trusts, and what it says of a certificate that it does not.
//!
//! What decides it are variables of the environment, so each case is a process with its own.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ulda_run::spec::RunConfig;
use ulda_s3::{Server, TestCertificate};
use ulda_storage::fetch::Inputs;
use ulda_storage::{Settings, Storage, StorageCounters, StorageError};

/// Set in the processes of the cases.
const CASE: &str = "ULDA_HTTPS_CASE";
/// Longest time in which a request is repeated there; what is not repeated ends long before.
const DEADLINE: Duration = Duration::from_secs(60);
const TEXT: &str = "kept";

/// What became of it in the process of a case.
#[derive(Debug)]
struct Refusal {
    text: String,
    is_passing: bool,
    is_of_the_storage: bool,
    took: Duration,
}

/// Uses the server in a process with the variables that reach it, and these for whom to trust.
fn with(server: &Server, variables: &[(&str, &Path)]) -> Result<(), Refusal> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_process_of_a_case", "--nocapture"])
        .env_clear()
        .env(CASE, server.url("runs"))
        .envs(server.environment())
        .env_remove("AWS_CA_BUNDLE")
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let field = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let Some(text) = field("refused: ") else {
        assert_eq!(field("kept: ").as_deref(), Some(TEXT), "{printed}");
        return Ok(());
    };
    Err(Refusal {
        text,
        is_passing: field("passing: ").unwrap() == "true",
        is_of_the_storage: field("of the storage: ").unwrap() == "true",
        took: Duration::from_millis(field("ms: ").unwrap().parse().unwrap()),
    })
}

/// An object written, read and fetched as an input.
fn use_storage(url: &str) -> Result<String, StorageError> {
    let settings = Settings {
        endpoint: None,
        region: None,
        path_style: None,
        allow_http: None,
        request: Duration::from_secs(5),
        deadline: DEADLINE,
    };
    let storage = Storage::open(url, &settings, StorageCounters::default())?;
    storage.put("x", TEXT)?;
    assert_eq!(&storage.get("x")?[..], TEXT.as_bytes());
    let cache = TempDir::new().unwrap();
    let inputs = Inputs::new(
        &RunConfig::default(),
        Some(cache.path().to_owned()),
        StorageCounters::default(),
    );
    let fetched = inputs.bring_input("clip.checkpoint", Path::new(&storage.url("x")));
    let fetched = fetched.map_err(|error| *error.cause)?;
    Ok(std::fs::read_to_string(fetched).unwrap())
}

/// Does nothing unless another test runs it.
#[test]
fn the_process_of_a_case() {
    let Ok(url) = std::env::var(CASE) else {
        return;
    };
    let began = Instant::now();
    match use_storage(&url) {
        Ok(text) => println!("\nkept: {text}"),
        Err(error) => {
            println!("\nms: {}", began.elapsed().as_millis());
            println!("passing: {}", error.is_passing());
            println!("of the storage: {}", error.is_of_the_storage());
            println!("refused: {error}; hint: {}", error.hint().unwrap());
        }
    }
}

impl Refusal {
    /// It says all of this, at once, and that a person has to act.
    fn assert_says(&self, words: &[&str]) {
        for words in words {
            assert!(self.text.contains(words), "{:?} in {}", words, self.text);
        }
        assert!(!self.is_passing, "{self:?}");
        assert!(self.took < DEADLINE / 4, "nothing is asked again: {self:?}");
    }
}

#[test]
fn the_bundle_of_the_environment_is_trusted() {
    let server = Server::start_https();
    let bundle = server.authority_file();
    with(&server, &[("AWS_CA_BUNDLE", &bundle)]).unwrap();
    // As the libraries of other tools do, which replaces the system's.
    with(&server, &[("SSL_CERT_FILE", &bundle)]).unwrap();
    // A bundle is enough on a host without certificates.
    let none = Path::new("/nonexistent.pem");
    with(&server, &[("AWS_CA_BUNDLE", &bundle), ("SSL_CERT_FILE", none)]).unwrap();
}

#[test]
fn an_authority_that_is_not_trusted_is_named_at_once_with_its_remedy() {
    let server = Server::start_https();
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("other.pem");
    for (other, words) in [("localhost", "UnknownIssuer"), ("127.0.0.1", "BadSignature")] {
        // The second is an authority of the same name, with another key.
        std::fs::write(&bundle, TestCertificate::new(&[other]).authority_pem).unwrap();
        let refusal = with(&server, &[("AWS_CA_BUNDLE", &bundle)]).unwrap_err();
        refusal.assert_says(&[
            "write `s3://bucket/runs/x`: the storage's certificate is not trusted on this host",
            words,
            "hint: name a PEM file with the certificate of its authority in AWS_CA_BUNDLE",
        ]);
        assert!(!refusal.is_of_the_storage, "a worker ends with 78, not 75");
        assert!(!refusal.text.contains("tries in"), "{}", refusal.text);
    }
}

#[test]
fn a_certificate_that_does_not_hold_is_the_storages_matter() {
    for (certificate, words) in [
        (TestCertificate::expired(&["127.0.0.1"]), "expired"),
        (TestCertificate::new(&["storage.example"]), "not valid for name"),
        (TestCertificate::self_signed(&["127.0.0.1"]), "CaUsedAsEndEntity"),
    ] {
        let server = Server::start_with(Some(certificate));
        let refusal = with(&server, &[("AWS_CA_BUNDLE", &server.authority_file())]).unwrap_err();
        refusal.assert_says(&[
            "the storage's certificate is not valid",
            words,
            "hint: give the storage",
        ]);
        assert!(refusal.is_of_the_storage, "{refusal:?}");
    }
}

#[test]
fn a_bundle_that_cannot_be_used_is_named_before_anything_is_asked() {
    let server = Server::start_https();
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let missing = folder.path().join("missing.pem");
    for (bundle, words) in [
        (missing.as_path(), "No such file or directory"),
        (folder.path(), "it is a folder, not a file"),
        (empty.as_path(), "has no certificate"),
    ] {
        let refusal = with(&server, &[("AWS_CA_BUNDLE", bundle)]).unwrap_err();
        let named = format!("AWS_CA_BUNDLE `{}`", bundle.display());
        refusal.assert_says(&[&named, words, "hint: name a readable PEM file"]);
        assert!(!refusal.is_of_the_storage, "{refusal:?}");
    }
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn a_host_without_certificates_says_so_and_needs_none_without_tls() {
    let nothing = [("SSL_CERT_FILE", Path::new("/nonexistent.pem"))];
    let refusal = with(&Server::start_https(), &nothing).unwrap_err();
    refusal.assert_says(&[
        "this host has no certificates of authorities",
        "hint: SSL_CERT_FILE and SSL_CERT_DIR replace the system's",
    ]);
    with(&Server::start(), &nothing).unwrap();
}
