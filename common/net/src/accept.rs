//! Accepting connections for as long as a process lives.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// Pause before the next attempt where the system refuses, as when no descriptors are left.
const BACKOFF: Duration = Duration::from_millis(50);

/// The next connection. Errors never end a listener: it backs off and tries again.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut is_logged = false;
    loop {
        let error = match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => error,
        };
        // The peer of these has hung up; the next one may be waiting already.
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
        ) {
            continue;
        }
        if !is_logged {
            is_logged = true;
            let address = listener.local_addr().ok();
            tracing::warn!(%error, ?address, "no connection can be accepted for the moment");
        }
        tokio::time::sleep(BACKOFF).await;
    }
}
