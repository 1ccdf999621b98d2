//! Callers that are not of the run are refused by name on each of its listeners, the run goes on, and its secrets stay in
//! its credentials folder.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use ulda_tests::{Json, Program, World, binary, credentials};

/// Lets the libraries below tell whatever they tell, so that a secret among it is found.
const TALKATIVE: &str = "info,h2=trace,hyper=trace,hyper_util=trace,tonic=trace,tower=trace,rustls=trace";

/// A run across hosts on one: workers on two addresses that encrypt what they tell each other.
struct Across {
    world: World,
    keys: PathBuf,
    coordinator: Program,
    address: String,
    page: String,
}

impl Across {
    fn start() -> Self {
        let world = World::new();
        let keys = world.path("keys");
        credentials::make(&keys, &[]);
        let mut command = world.command(&["--workers", "2", "--no-launch", "--data-tls", "always"]);
        command
            .args([
                "--set",
                "run.name=across",
                "--http",
                "127.0.0.1:0",
                "--credentials",
            ])
            .arg(&keys)
            .env("ULDA_LOG", TALKATIVE);
        let mut coordinator = Program::start(command);
        let (address, page) = coordinator.wait_for("its address", |event| {
            (event.text("message") == "serving")
                .then(|| (event.text("address").to_owned(), event.text("page").to_owned()))
        });
        let page = page
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned();
        Self {
            world,
            keys,
            coordinator,
            address,
            page,
        }
    }

    fn worker(&self, slot: u32, keys: &Path) -> Program {
        let listen = format!("127.0.0.{}:0", slot + 1);
        let mut command = Command::new(binary("worker"));
        command
            .args(["join", "--run", "across", "--slot", &slot.to_string()])
            .args(["--coordinator", &format!("https://{}", self.address)])
            .args(["--data-listen", &listen, "--credentials"])
            .arg(keys)
            .env("OMP_NUM_THREADS", "1")
            .env("RUST_LOG", TALKATIVE)
            .env("NO_COLOR", "1");
        Program::start(command)
    }

    /// Waits for the coordinator's line on a refused caller; what it claimed and why it was refused.
    fn refused(&mut self, peer: &str) -> (String, String) {
        self.coordinator
            .wait_for("a refusal", |event| refusal(event, "control plane", peer))
    }
}

fn refusal(event: &Json, listener: &str, peer: &str) -> Option<(String, String)> {
    let told = event.text("message") == "unauthenticated caller refused"
        && event.text("listener") == listener
        && (event.text("peer") == peer || peer.is_empty());
    told.then(|| (event.text("claim").to_owned(), event.text("why").to_owned()))
}

/// Connects with TLS as somebody who believes the run's authority and shows the certificate in `shown`, if any.
fn knock(address: &str, keys: &Path, shown: Option<&Path>) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(keys.join("ca.pem")).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some(folder) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(folder.join("worker.pem")).unwrap()],
                PrivateKeyDer::from_pem_file(folder.join("worker.key")).unwrap(),
            )
            .unwrap(),
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let peer = socket.local_addr().unwrap().to_string();
    let mut stream = StreamOwned::new(session, socket);
    let heard = stream
        .write_all(b"hello")
        .and_then(|()| stream.read(&mut [0; 64]));
    assert!(
        !matches!(heard, Ok(1..)),
        "an unauthenticated caller got an answer"
    );
    peer
}

/// Connects without TLS and says something; what is answered does not matter.
fn shout(address: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let peer = socket.local_addr().unwrap().to_string();
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: there\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(
        answer.len() < 64,
        "an unauthenticated caller got an answer: {answer:?}"
    );
    peer
}

#[test]
fn unauthenticated_callers_are_named_and_change_nothing() {
    let mut run = Across::start();

    // Wrong token, right certificates.
    let forged = run.world.path("forged");
    ulda_tests::copy_tree(&run.keys, &forged);
    std::fs::write(forged.join("token"), "0123456789abcdef0123456789abcdef").unwrap();
    let told = run.worker(7, &forged).finish().expect(78).said();
    assert!(
        told.contains("the coordinator does not take the token in `"),
        "{told}"
    );
    let (claim, why) = run.refused("");
    assert_eq!(
        (claim.as_str(), why.as_str()),
        ("run `across`, slot 7", "its token is not this run's")
    );

    // Another run's credentials: the worker sees it first.
    let others = run.world.path("others");
    credentials::make(&others, &[]);
    let told = run.worker(8, &others).finish().expect(78).said();
    assert!(told.contains("was not signed by this run's authority"), "{told}");

    // A certificate of another authority, none at all, and no TLS.
    let peer = knock(&run.address, &run.keys, Some(&others));
    let (_, why) = run.refused(&peer);
    assert_eq!(
        why,
        "its certificate, for worker.ulda.internal, was not signed by this run's authority"
    );
    let peer = knock(&run.address, &run.keys, None);
    assert_eq!(run.refused(&peer).1, "it showed no certificate");
    let peer = shout(&run.address);
    assert_eq!(run.refused(&peer).1, "it does not speak TLS");

    // The data plane of a worker that waits for the other one.
    let mut first = run.worker(0, &run.keys);
    let data = first.wait_for("its data plane", |event| {
        (event.text("message") == "joined").then(|| event.text("address").to_owned())
    });
    let peer = shout(&data);
    let (claim, why) = first.wait_for("a refusal", |event| refusal(event, "data plane", &peer));
    assert_eq!(
        (claim.as_str(), why.as_str()),
        ("nothing", "the other side does not speak the data-plane protocol")
    );
    let peer = knock_at_data_plane(&data, &others);
    let (_, why) = first.wait_for("a refusal", |event| refusal(event, "data plane", &peer));
    assert!(why.contains("was not signed by this run's authority"), "{why}");

    let second = run.worker(1, &run.keys);
    let status = run
        .world
        .start(&["status", "runs/across", "-o", "json"])
        .finish()
        .expect(0);
    let seen = [
        ask(&run.page, "GET", "/api/status", &[]).1,
        ask(&run.page, "GET", "/", &[]).1,
        ask(&run.page, "GET", "/metrics", &[]).1,
        status.said(),
    ];
    let lines: Vec<String> = [run.coordinator.id(), first.id(), second.id()]
        .into_iter()
        .flat_map(|process| ["cmdline", "environ"].map(|file| format!("/proc/{process}/{file}")))
        .map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned())
        .collect();

    let ended =
        [run.coordinator.finish(), first.finish(), second.finish()].map(|ended| ended.expect(0).said());
    let secrets = secrets(&run.keys);
    for text in seen.iter().chain(&lines).chain(&ended) {
        without(&secrets, "what was said", text.as_bytes());
    }
    without_below(&secrets, &run.world.path("runs"));
    let plain = run.world.train("plain", 1, &[]);
    assert_eq!(
        run.world.finished("across"),
        plain,
        "an encrypted run on two addresses against a plain one"
    );
}

/// Knocks with the certificate of another authority, as a dialler that believes nobody in particular would.
fn knock_at_data_plane(address: &str, others: &Path) -> String {
    // The other side's certificate is not believed either; what it says of ours arrives all the same or not at all.
    let socket = TcpStream::connect(address).unwrap();
    let peer = socket.local_addr().unwrap().to_string();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(others.join("worker.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(others.join("worker.key")).unwrap(),
        )
        .unwrap();
    let name = ServerName::try_from("worker.ulda.internal").unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket);
    let heard = stream
        .write_all(b"hello")
        .and_then(|()| stream.read(&mut [0; 64]));
    assert!(
        !matches!(heard, Ok(1..)),
        "an unauthenticated caller got an answer"
    );
    peer
}

/// Believes every certificate.
#[derive(Debug)]
struct Gullible;

impl rustls::client::danger::ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[test]
fn a_run_is_stopped_by_whoever_has_its_token() {
    let world = World::new();
    let mut command = world.command(&["--workers", "2", "--http", "127.0.0.1:0"]);
    command
        .args(["--set", "adapt.steps=100000"])
        .env("ULDA_LOG", TALKATIVE);
    let mut coordinator = Program::start(command);
    let page = coordinator.wait_for("its page", |event| {
        (event.text("message") == "serving").then(|| event.text("page").to_owned())
    });
    let page = page
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let process = coordinator.wait_for("a worker", |event| {
        (event.text("message") == "worker started").then(|| event.number("process_id"))
    });
    let keys = world.path("runs/small/credentials");
    let secrets = secrets(&keys);
    for file in ["cmdline", "environ"] {
        without(
            &secrets,
            file,
            &std::fs::read(format!("/proc/{process}/{file}")).unwrap(),
        );
    }

    let token = std::fs::read_to_string(keys.join("token")).unwrap();
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let agent = "User-Agent: nosy/1";
    for (headers, status) in [
        (vec![agent], 401),
        (vec![agent, "Authorization: Bearer nonsense"], 401),
        (vec![agent, &bearer, "Origin: http://elsewhere"], 403),
    ] {
        let (told, body) = ask(&page, "POST", "/api/stop", &headers);
        assert_eq!(told, status, "{headers:?}: {body}");
        let (claim, why) = coordinator.wait_for("a refusal", |event| refusal(event, "status page", ""));
        assert_eq!(claim, "nosy/1", "{why}");
    }
    assert!(ask(&page, "GET", "/", &[]).1.contains("Stop this run"));
    let (status, body) = ask(&page, "POST", "/api/stop", &[&bearer]);
    assert_eq!(
        (status, body.as_str()),
        (202, "the run stops; `coordinator resume` continues it\n")
    );
    let said = coordinator.finish().expect(143).said();
    assert!(said.contains("asked to stop on the status page"), "{said}");
    without(&secrets, "what was said", said.as_bytes());
    without_below(&secrets, &world.path("runs"));

    let modes: Vec<u32> = ["", "token", "ca.key", "worker.key", "coordinator.key"]
        .iter()
        .map(|file| {
            use std::os::unix::fs::PermissionsExt;
            keys.join(file).metadata().unwrap().permissions().mode() & 0o777
        })
        .collect();
    assert_eq!(modes, [0o700, 0o600, 0o600, 0o600, 0o600]);
}

/// One request; its status and body.
fn ask(address: &str, method: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The token, and the middle of each key.
fn secrets(keys: &Path) -> Vec<Vec<u8>> {
    let read = |file: &str| std::fs::read_to_string(keys.join(file)).unwrap();
    let mut secrets = vec![read("token").trim().as_bytes().to_vec()];
    for file in ["ca.key", "coordinator.key", "worker.key"] {
        secrets.push(read(file).lines().nth(1).unwrap().as_bytes().to_vec());
    }
    secrets
}

fn without(secrets: &[Vec<u8>], what: &str, bytes: &[u8]) {
    for secret in secrets {
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "a secret stands in {what}");
    }
}

/// No file below holds a secret, but those of a credentials folder.
fn without_below(secrets: &[Vec<u8>], folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "credentials") {
                without_below(secrets, &path);
            }
        } else {
            without(
                secrets,
                &path.display().to_string(),
                &std::fs::read(&path).unwrap(),
            );
        }
    }
}
