//! The HTTP server against peers that are slow, silent or many.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Extension, Router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use ulda_net::{Admission, AdmissionCaps, HTTP_HEADER_DEADLINE, HTTP_SEND_DEADLINE, serve_http};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// For whatever a loaded machine adds to a deadline.
const SLACK: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    admission: Admission,
    closing: CancellationToken,
    /// When a request for `/slow` has begun.
    begun: Arc<Notify>,
}

async fn slow(Extension(begun): Extension<Arc<Notify>>) -> &'static str {
    begun.notify_one();
    tokio::time::sleep(Duration::from_secs(2)).await;
    "done"
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let begun = Arc::new(Notify::new());
        let router = Router::new()
            .route("/", get(async || "ok"))
            .route(
                "/peer",
                get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()),
            )
            .route("/large", get(async || vec![0_u8; 64 << 20]))
            .route("/slow", get(slow))
            .layer(Extension(begun.clone()));
        let admission = Admission::new(
            "test",
            AdmissionCaps {
                total: 16,
                per_peer: 8,
            },
        );
        let closing = CancellationToken::new();
        tokio::spawn(serve_http(listener, router, admission.clone(), closing.clone()));
        Self {
            address,
            admission,
            closing,
            begun,
        }
    }

    async fn dial(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// The answer to a request of a new connection from `from`.
    async fn get(&self, from: Ipv4Addr, path: &str) -> String {
        let mut stream = self.dial(from).await;
        let text = format!("GET {path} HTTP/1.1\r\nHost: there\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(SLACK, stream.read_to_string(&mut answer));
        read.await.expect("the server answers").unwrap();
        answer
    }
}

/// How long the server takes to close the connection; what it says before does not matter.
async fn until_closed(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut said = Vec::new();
    let read = tokio::time::timeout(HTTP_HEADER_DEADLINE + SLACK, stream.read_to_end(&mut said));
    // A reset is an end as well.
    let _ = read.await.expect("the server closes the connection");
    begun.elapsed()
}

#[tokio::test]
async fn silent_connections_cost_no_other_peer_anything() {
    let server = Server::start().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(server.dial(ELSEWHERE).await);
    }
    // The address that floods gets through as well.
    for from in [HERE, ELSEWHERE] {
        let answer = server.get(from, "/peer").await;
        assert!(
            answer.ends_with(&format!("\r\n\r\n{}", IpAddr::V4(from))),
            "{answer}"
        );
    }
    assert!(server.admission.count() <= 8);
    // The oldest made room for the newest.
    assert!(until_closed(&mut silent[0]).await < HTTP_HEADER_DEADLINE);
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_has_one_deadline() {
    let server = Server::start().await;
    let mut stream = server.dial(HERE).await;
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    stream.write_all(b"GET / HTTP/1.1\r\nX-Long: ").await.unwrap();
    let mut byte = [0];
    loop {
        let end = tokio::select! {
            read = stream.read(&mut byte) => read.is_err() || read.is_ok_and(|count| count == 0),
            _ = ticks.tick() => stream.write_all(b"a").await.is_err(),
        };
        if end {
            break;
        }
        assert!(begun.elapsed() < HTTP_HEADER_DEADLINE + SLACK, "it is still read");
    }
    assert!(
        begun.elapsed() >= HTTP_HEADER_DEADLINE,
        "it had {:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_a_while_and_then_closed() {
    let server = Server::start().await;
    let mut stream = server.dial(HERE).await;
    let mut answer = [0; 1024];
    for _ in 0..2 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: there\r\n\r\n")
            .await
            .unwrap();
        let count = stream.read(&mut answer).await.unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200 OK"), "kept alive");
    }
    let idle = until_closed(&mut stream).await;
    assert!(
        idle + Duration::from_secs(1) > HTTP_HEADER_DEADLINE,
        "closed after {idle:?}"
    );
    assert_eq!(server.admission.count(), 0);
}

#[tokio::test]
async fn a_peer_that_reads_no_answer_is_dropped() {
    let server = Server::start().await;
    let mut stream = server.dial(HERE).await;
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: there\r\n\r\n")
        .await
        .unwrap();
    let deadline = Instant::now() + HTTP_SEND_DEADLINE + 2 * SLACK;
    // Accepted first: the count is above zero from the first byte of the answer on.
    stream.readable().await.unwrap();
    while server.admission.count() > 0 {
        assert!(Instant::now() < deadline, "its answer still waits for it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn requests_in_progress_are_finished_and_others_closed_when_it_ends() {
    let server = Server::start().await;
    let mut idle = server.dial(HERE).await;
    assert!(server.get(HERE, "/").await.ends_with("ok"));
    let slow = server.get(HERE, "/slow");
    let end = async {
        server.begun.notified().await;
        server.closing.cancel();
        until_closed(&mut idle).await
    };
    let (answer, idle) = tokio::join!(slow, end);
    assert!(
        answer.ends_with("done"),
        "a request in progress was broken off: {answer}"
    );
    assert!(
        idle < HTTP_HEADER_DEADLINE,
        "an idle connection was closed after {idle:?}"
    );
}
