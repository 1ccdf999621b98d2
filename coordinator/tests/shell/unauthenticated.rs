//! Who is let in to the control plane, over real sockets and real certificates.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;
use tonic::transport::Endpoint;
use ulda_coordinator::rpc::{Ask, Guard, VERSION, WorkerService, bind, serve};
use ulda_credentials::channel::{CoordinatorAccess, Distrust};
use ulda_credentials::{Coordinator, RefusalLog, Token, WorkerCredentials, issue};
use ulda_proto::v1;
use ulda_proto::v1::coordinator_client::CoordinatorClient;

use super::bench::small;

struct Run {
    folder: tempfile::TempDir,
    address: SocketAddr,
    owner: mpsc::Receiver<Ask>,
    closing: CancellationToken,
}

impl Run {
    async fn new() -> Self {
        Self::at([127, 0, 0, 1]).await
    }

    async fn at(address: [u8; 4]) -> Self {
        let folder = made(&[]);
        let credentials = Coordinator::read(folder.path()).unwrap();
        let listener = bind(SocketAddr::from((address, 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asks, owner) = mpsc::channel(16);
        let closing = CancellationToken::new();
        let silence = Duration::from_secs(5);
        let service = WorkerService::new(&small(), 1, asks, closing.clone(), TaskTracker::new(), silence);
        let guard = Guard::new(
            credentials.token(),
            Some(credentials.tls()),
            RefusalLog::default(),
        );
        tokio::spawn(serve(listener, service, guard));
        Self {
            folder,
            address,
            owner,
            closing,
        }
    }

    fn worker(&self) -> WorkerCredentials {
        WorkerCredentials::read(self.folder.path()).unwrap()
    }

    fn endpoint(&self, host: &str) -> Endpoint {
        let address = format!("https://{host}:{}", self.address.port());
        Endpoint::from_shared(address)
            .unwrap()
            .connect_timeout(Duration::from_secs(10))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

fn made(hosts: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    issue::create(folder.path(), &hosts).unwrap();
    folder
}

fn introduction() -> v1::JoinRequest {
    v1::JoinRequest {
        run: "small".into(),
        slot: 1,
        data_address: "10.0.0.3:4000".into(),
        device: "cpu".into(),
        process_id: 7,
        version: VERSION.into(),
        metrics_address: String::new(),
    }
}

/// Joins; the status of the refusal.
async fn join(way: &CoordinatorAccess, endpoint: &Endpoint) -> tonic::Status {
    match way.connect(endpoint).await {
        Ok(mut client) => client.join(introduction()).await.unwrap_err(),
        Err(cause) => tonic::Status::unavailable(cause.to_string()),
    }
}

#[tokio::test]
async fn a_worker_of_the_run_is_let_in() {
    let mut run = Run::new().await;
    let worker = run.worker();
    let way = CoordinatorAccess::new(worker.token(), Some(worker.to_coordinator()), "slot 1");
    for host in ["127.0.0.1", "localhost"] {
        let mut client = way.connect(&run.endpoint(host)).await.unwrap();
        let joining = tokio::spawn(async move { client.join(introduction()).await });
        let Some(Ask::Join { who, reply }) = run.owner.recv().await else {
            panic!("no join")
        };
        assert_eq!(who.slot.0, 1);
        drop(reply);
        let told = joining.await.unwrap().unwrap_err();
        assert_eq!(told.message(), "the run is ending", "by {host}");
        assert_eq!(way.distrust(), None);
    }
}

#[tokio::test]
async fn no_token_and_another_token_are_refused_on_every_call() {
    let mut run = Run::new().await;
    let worker = run.worker();
    let tls = Some(worker.to_coordinator());
    let other = CoordinatorAccess::new(&Token::draw().unwrap(), tls, "slot 1");
    let told = join(&other, &run.endpoint("127.0.0.1")).await;
    assert_eq!(told.code(), Code::Unauthenticated);
    assert!(
        told.message().starts_with("its token is not this run's; hint: "),
        "{told}"
    );

    let mut client = other.connect(&run.endpoint("127.0.0.1")).await.unwrap();
    let attend = client.attend(tokio_stream::empty::<v1::Attendance>()).await;
    assert_eq!(attend.unwrap_err().code(), Code::Unauthenticated);
    let report = client.report(v1::ReportRequest::default()).await;
    assert_eq!(report.unwrap_err().code(), Code::Unauthenticated);
    assert!(run.owner.try_recv().is_err(), "the owner is not bothered");
}

#[tokio::test]
async fn a_call_without_a_token_is_answered_before_its_body_is_read() {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asks, mut owner) = mpsc::channel(16);
    let closing = CancellationToken::new();
    let silence = Duration::from_secs(5);
    let service = WorkerService::new(&small(), 1, asks, closing.clone(), TaskTracker::new(), silence);
    let token = Token::draw().unwrap();
    tokio::spawn(serve(
        listener,
        service,
        Guard::new(token.digest(), None, RefusalLog::default()),
    ));
    let mut client = CoordinatorClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    let told = client.join(introduction()).await.unwrap_err();
    assert_eq!(told.code(), Code::Unauthenticated);
    assert!(told.message().starts_with("it showed no token; hint: "), "{told}");
    // A stream whose first message never comes.
    let begun = std::time::Instant::now();
    let told = client
        .attend(tokio_stream::pending::<v1::Attendance>())
        .await
        .unwrap_err();
    assert_eq!(told.code(), Code::Unauthenticated);
    assert!(begun.elapsed() < silence, "waited for a message");
    assert!(owner.try_recv().is_err(), "the owner is not bothered");
    closing.cancel();
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused_on_both_sides() {
    let run = Run::new().await;
    let worker = run.worker();
    let others = made(&[]);
    let other = WorkerCredentials::read(others.path()).unwrap();
    let way = CoordinatorAccess::new(worker.token(), Some(other.to_coordinator()), "slot 1");
    join(&way, &run.endpoint("127.0.0.1")).await;
    let Some(Distrust::Coordinator { reason: told }) = way.distrust() else {
        panic!("the coordinator's certificate was believed")
    };
    assert_eq!(told, "was not signed by this run's authority");

    // A caller that believes anybody, and shows its own certificate.
    std::fs::copy(run.folder.path().join("ca.pem"), others.path().join("run.pem")).unwrap();
    let way = CoordinatorAccess::new(
        worker.token(),
        Some(believing(others.path(), "run.pem")),
        "slot 1",
    );
    let told = join(&way, &run.endpoint("127.0.0.1")).await;
    let Some(Distrust::Worker { .. }) = way.distrust() else {
        panic!("a certificate of another authority was let in: {told}")
    };
}

/// A client that trusts `authority` and shows the worker's certificate in `folder`.
fn believing(folder: &Path, authority: &str) -> Arc<tokio_rustls::rustls::ClientConfig> {
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(folder.join(authority)).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(folder.join("worker.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(folder.join("worker.key")).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[tokio::test]
async fn a_name_the_certificate_does_not_cover_is_told() {
    let run = Run::at([127, 0, 0, 2]).await;
    let worker = run.worker();
    let way = CoordinatorAccess::new(worker.token(), Some(worker.to_coordinator()), "slot 1");
    join(&way, &run.endpoint("127.0.0.2")).await;
    let Some(Distrust::Name { host, covered }) = way.distrust() else {
        panic!("a name that is not covered was believed")
    };
    assert_eq!(
        (host.as_str(), covered.as_str()),
        ("127.0.0.2", "localhost, 127.0.0.1, ::1")
    );
}

#[tokio::test]
async fn who_speaks_no_tls_or_nothing_is_dropped() {
    let run = Run::new().await;
    let address = run.address;
    let answer = tokio::task::spawn_blocking(move || {
        let mut plain = TcpStream::connect(address).unwrap();
        plain.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut silent = TcpStream::connect(address).unwrap();
        silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = Vec::new();
        // A closed connection with unread bytes may be told as a reset.
        let _ = plain.read_to_end(&mut bytes);
        let begun = std::time::Instant::now();
        let end = silent.read(&mut [0; 8]);
        (
            bytes.len() < 64,
            end.is_ok_and(|count| count == 0),
            begun.elapsed(),
        )
    });
    let (short, dropped, waited) = answer.await.unwrap();
    assert!(short, "nothing but an alert is said to who speaks no TLS");
    assert!(
        dropped && waited < Duration::from_secs(15),
        "a silent caller was kept for {waited:?}"
    );
}

/// More silent connections than there are places, from the address that the run's workers come from.
async fn silent(address: SocketAddr) -> Vec<TcpStream> {
    // The listener accepts meanwhile: they are more than its backlog.
    let dial = move || (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    tokio::task::spawn_blocking(dial).await.unwrap()
}

#[tokio::test]
async fn a_worker_joins_beside_more_silent_connections_than_there_are_places() {
    let mut run = Run::new().await;
    let _silent = silent(run.address).await;
    let worker = run.worker();
    let way = CoordinatorAccess::new(worker.token(), Some(worker.to_coordinator()), "slot 1");
    let mut client = way.connect(&run.endpoint("127.0.0.1")).await.unwrap();
    let joining = tokio::spawn(async move { client.join(introduction()).await });
    let asked = tokio::time::timeout(Duration::from_secs(20), run.owner.recv()).await;
    assert!(
        matches!(asked, Ok(Some(Ask::Join { .. }))),
        "the call did not reach the owner: {asked:?}"
    );
    joining.abort();
}

#[tokio::test]
async fn a_worker_that_has_shown_its_token_keeps_its_connection() {
    let mut run = Run::new().await;
    let worker = run.worker();
    let way = CoordinatorAccess::new(worker.token(), Some(worker.to_coordinator()), "slot 1");
    let mut client = way.connect(&run.endpoint("127.0.0.1")).await.unwrap();
    let joining = tokio::spawn(async move { client.join(introduction()).await });
    let Some(Ask::Join { reply, .. }) = run.owner.recv().await else {
        panic!("no join")
    };
    let silent = silent(run.address).await;
    // The first one is closed when all places are taken.
    let first = silent[0].try_clone().unwrap();
    first.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let end = tokio::task::spawn_blocking(move || (&first).read(&mut [0; 8]));
    assert!(
        end.await.unwrap().is_ok_and(|count| count == 0),
        "no place was given up"
    );
    drop(reply);
    let told = joining.await.unwrap().unwrap_err();
    assert_eq!(told.message(), "the run is ending", "its own call went on");
}

#[tokio::test]
async fn a_caller_that_makes_no_call_is_dropped() {
    use tokio::io::AsyncReadExt;
    let run = Run::new().await;
    let connector = tokio_rustls::TlsConnector::from(believing(run.folder.path(), "ca.pem"));
    let socket = tokio::net::TcpStream::connect(run.address).await.unwrap();
    let name = tokio_rustls::rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, socket).await.unwrap();
    let mut said = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said)).await;
    assert!(end.is_ok(), "it holds its connection for as long as it likes");
}
