//! Connections of the control plane: accepted, and shaken hands with, each on a task of its own.
//!
//! Invariants: a caller that says nothing holds up nobody else and is dropped at a deadline; only connections
//! whose certificates were checked reach the service, where TLS is asked for. Connections whose callers have not shown
//! the run's token share a bounded number of places, in which the longest idle makes room for the next; those of
//! the run's workers take none of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::Error;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use ulda_credentials::why_not_trusted;
use ulda_net::{Admission, AdmissionCaps, accept};

use super::caller::Caller;
use super::guard::Guard;

/// Longest wait of a connection for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest wait of a connection, from its beginning, for the first call with the run's token.
const FIRST_CALL: Duration = Duration::from_secs(10);

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct AcceptedConnection {
    caller: Caller,
    wire: Wire,
    /// Until its caller is authenticated.
    probation: Option<Probation>,
}

/// Ends a connection that shows no token in time, or whose place another one needs.
#[derive(Debug)]
struct Probation {
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    deadline: Pin<Box<Sleep>>,
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
) -> ReceiverStream<io::Result<AcceptedConnection>> {
    let admission = Admission::new("control plane", AdmissionCaps::of_process());
    let (let_in, connections) = mpsc::channel(admission.caps().total);
    tokio::spawn(accept_all(listener, guard, admission, closing, let_in));
    ReceiverStream::new(connections)
}

async fn accept_all(
    listener: TcpListener,
    guard: Guard,
    admission: Admission,
    closing: CancellationToken,
    let_in: mpsc::Sender<io::Result<AcceptedConnection>>,
) {
    loop {
        let (stream, address) = tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = let_in.closed() => return,
            accepted = accept(&listener) => accepted,
        };
        let evicted = CancellationToken::new();
        let close = {
            let evicted = evicted.clone();
            move || evicted.cancel()
        };
        let Some(admitted) = admission.admit(address.ip(), close) else {
            continue;
        };
        let caller = Caller::new(address, admitted);
        tokio::spawn(introduce(stream, caller, evicted, guard.clone(), let_in.clone()));
    }
}

/// Shakes hands with a caller and lets it in.
async fn introduce(
    stream: TcpStream,
    caller: Caller,
    evicted: CancellationToken,
    guard: Guard,
    let_in: mpsc::Sender<io::Result<AcceptedConnection>>,
) {
    let deadline = Instant::now() + FIRST_CALL;
    let shaken = tokio::select! {
        biased;
        // The admission's own log line counts it.
        () = evicted.cancelled() => return,
        shaken = shake_hands(stream, &guard) => shaken,
    };
    match shaken {
        Ok(wire) => {
            let probation = Some(Probation {
                evicted: Box::pin(evicted.cancelled_owned()),
                deadline: Box::pin(sleep_until(deadline)),
            });
            let connection = AcceptedConnection {
                caller,
                wire,
                probation,
            };
            // Nobody takes it once the coordinator ends.
            let _ = let_in.send(Ok(connection)).await;
        }
        Err(why) => guard
            .refusals
            .refused("control plane", Some(caller.address), None, &why),
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

impl Connected for AcceptedConnection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AcceptedConnection {
    /// Whether the connection has to end, because its caller has not shown the run's token. Asked in reads and writes: a
    /// peer that takes in nothing keeps HTTP/2 from reading.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.caller.is_authenticated() {
            self.probation = None;
        }
        self.probation.as_mut().is_some_and(|probation| {
            probation.evicted.as_mut().poll(cx).is_ready() || probation.deadline.as_mut().poll(cx).is_ready()
        })
    }
}

impl AsyncRead for AcceptedConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        if connection.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        match &mut connection.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Wire::Secure(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for AcceptedConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let connection = self.get_mut();
        if connection.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        match &mut connection.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        if connection.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        match &mut connection.wire {
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
