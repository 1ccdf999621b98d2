//! An HTTP/1.1 server with deadlines and caps, for pages and metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::accept::accept;
use crate::admission::{Admission, AdmittedConnection};

/// Longest wait for a whole request header, from the connection's beginning or the end of the request before.
pub const HTTP_HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for a peer to take in anything of an answer.
pub const HTTP_SEND_DEADLINE: Duration = Duration::from_secs(20);

/// Serves `router` on `listener` until `closing`, then lets requests in progress end. Handlers find the peer as
/// `ConnectInfo<SocketAddr>`.
pub async fn serve_http(
    listener: TcpListener,
    router: Router,
    admission: Admission,
    closing: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let evicted = CancellationToken::new();
        let close = {
            let evicted = evicted.clone();
            move || evicted.cancel()
        };
        let Some(admitted) = admission.admit(peer.ip(), close) else {
            continue;
        };
        let (router, closing) = (router.clone(), closing.clone());
        connections.spawn(serve_connection(
            stream,
            peer,
            router,
            Arc::new(admitted),
            evicted,
            closing,
        ));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    admitted: Arc<AdmittedConnection>,
    evicted: CancellationToken,
    closing: CancellationToken,
) {
    // An error of either means that the peer is gone, which the next read finds.
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(HTTP_SEND_DEADLINE));
    let service = service_fn(|request| answer(router.clone(), admitted.clone(), peer, request));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HTTP_HEADER_DEADLINE)
            .serve_connection(TokioIo::new(stream), service)
    );
    // Errors are the peer's: it hung up, was too slow, or does not speak HTTP.
    tokio::select! {
        biased;
        () = evicted.cancelled() => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
        _ = connection.as_mut() => return,
    }
    tokio::select! {
        () = evicted.cancelled() => {}
        _ = connection => {}
    }
}

/// The router's answer; the request is in progress until its last byte is handed on.
async fn answer(
    router: Router,
    admitted: Arc<AdmittedConnection>,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let in_progress = admitted.begin_request();
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let answer = router.oneshot(request).await?;
    Ok(answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &in_progress;
            frame
        }))
    }))
}
