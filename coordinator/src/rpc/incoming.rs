//! Connections of the control plane: accepted, and shaken hands with, each on a task of its own.
//!
//! Invariants: a caller that says nothing holds up nobody else and is dropped at a deadline; only connections
//! whose certificates were checked reach the service, where TLS is asked for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::Error;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use ulda_credentials::why_not_trusted;

use super::guard::Guard;

/// Longest wait of a connection for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes under way at once.
const PENDING: usize = 256;
/// Before the next attempt where the system has no descriptors left.
const BREATH: Duration = Duration::from_millis(50);

/// Where a call comes from.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub address: SocketAddr,
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Connection {
    caller: Caller,
    wire: Wire,
}

#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// The connections that are let in, until `closing`.
pub(super) fn incoming(
    listener: TcpListener,
    guard: Guard,
    closing: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
    let (let_in, connections) = mpsc::channel(PENDING);
    tokio::spawn(accept(listener, guard, closing, let_in));
    ReceiverStream::new(connections)
}

async fn accept(
    listener: TcpListener,
    guard: Guard,
    closing: CancellationToken,
    let_in: mpsc::Sender<io::Result<Connection>>,
) {
    let pending = Arc::new(Semaphore::new(PENDING));
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = let_in.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let Ok(seat) = pending.clone().try_acquire_owned() else {
            let why = format!("{PENDING} others are shaking hands");
            guard
                .strangers
                .refused("control plane", Some(address), None, &why);
            continue;
        };
        let (guard, let_in) = (guard.clone(), let_in.clone());
        tokio::spawn(async move {
            match shake_hands(stream, &guard).await {
                Ok(wire) => {
                    let caller = Caller { address };
                    // Nobody takes it once the coordinator ends.
                    let _ = let_in.send(Ok(Connection { caller, wire })).await;
                }
                Err(why) => guard
                    .strangers
                    .refused("control plane", Some(address), None, &why),
            }
            drop(seat);
        });
    }
}

async fn shake_hands(stream: TcpStream, guard: &Guard) -> Result<Wire, String> {
    // An error means that the caller is gone, which the next read tells.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &guard.tls else {
        return Ok(Wire::Plain(stream));
    };
    let shaken = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(tls.clone()).accept(stream)).await;
    match shaken {
        Ok(Ok(stream)) => Ok(Wire::Secure(Box::new(stream))),
        Ok(Err(cause)) => Err(
            match cause.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(cause) => why_not_trusted(cause),
                None => format!("it hung up during the TLS handshake: {cause}"),
            },
        ),
        Err(_) => Err(format!(
            "its TLS handshake took longer than {} s",
            HANDSHAKE.as_secs()
        )),
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Wire::Secure(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
