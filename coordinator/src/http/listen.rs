//! Taking an address and serving on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use ulda_net::{Admission, AdmissionCaps, serve_http};
use ulda_run::hints;

use super::routes::router;
use super::site::Site;

/// Where the page is looked for first; free by convention of the Prometheus exporters.
const USUAL_PORT: u16 = 9464;
/// Open connections get this long to end, in which open pages are told how the run was left.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// What the command line says of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpAddress {
    /// Port 9464 of this host, else any free one.
    Usual,
    At(SocketAddr),
    Off,
}

impl FromStr for HttpAddress {
    type Err = NotAListenAddress;

    fn from_str(text: &str) -> Result<Self, NotAListenAddress> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Usual),
            other => other.parse().map(Self::At).map_err(|_| NotAListenAddress),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("give HOST:PORT such as 127.0.0.1:9464 or 0.0.0.0:9464, `auto` or `off`")]
pub struct NotAListenAddress;

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("address {address} is taken")]
    Taken { address: SocketAddr },
    #[error("listen on {address}")]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
}

hints!(pub HttpError {
    Self::Taken { .. } => "give another port with --http, `auto` for any free one, or `off`",
});

/// Takes the address; `None` where nothing is to be served.
///
/// # Errors
/// The address is taken, or is not this host's.
pub async fn bind(wanted: HttpAddress) -> Result<Option<TcpListener>, HttpError> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match wanted {
        HttpAddress::Off => Ok(None),
        HttpAddress::At(address) => bind_to(address).await.map(Some),
        HttpAddress::Usual => match bind_to(local(USUAL_PORT)).await {
            Err(HttpError::Taken { .. }) => bind_to(local(0)).await.map(Some),
            other => other.map(Some),
        },
    }
}

async fn bind_to(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => HttpError::Taken { address },
            _ => HttpError::Bind { address, source },
        })
}

/// A server that runs until it is closed.
#[derive(Debug)]
pub struct HttpServer {
    site: Arc<Site>,
    closing: CancellationToken,
    task: JoinHandle<()>,
}

/// Serves `site` on `listener`.
#[must_use]
pub fn serve(listener: TcpListener, site: Site) -> HttpServer {
    let closing = site.closing();
    let site = Arc::new(site);
    let admission = Admission::new("status page", AdmissionCaps::of_process());
    let task = tokio::spawn(serve_http(
        listener,
        router(site.clone()),
        admission,
        closing.clone(),
    ));
    HttpServer { site, closing, task }
}

impl HttpServer {
    /// Lets whoever scrapes the metrics regularly see the last values; at most 30 seconds.
    pub async fn until_scraped(&self) {
        self.site.until_scraped().await;
    }

    /// Tells open pages how the run was left and ends all connections, within two seconds.
    pub async fn close(mut self) {
        self.closing.cancel();
        // What does not end by then is cut off.
        let _ = tokio::time::timeout(CLOSE_DEADLINE, &mut self.task).await;
        self.task.abort();
    }

    /// Runs until the server ends or is asked to.
    pub async fn until_closed(&mut self) {
        let _ = (&mut self.task).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_explained() {
        let parse = |text: &str| text.parse::<HttpAddress>().map_err(|cause| cause.to_string());
        assert_eq!(parse("off"), Ok(HttpAddress::Off));
        assert_eq!(parse("auto"), Ok(HttpAddress::Usual));
        assert_eq!(
            parse("0.0.0.0:1"),
            Ok(HttpAddress::At(SocketAddr::from(([0, 0, 0, 0], 1))))
        );
        assert!(parse("9464").unwrap_err().starts_with("give HOST:PORT"));
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = held.local_addr().unwrap();
        let refused = bind(HttpAddress::At(address)).await.unwrap_err();
        assert!(matches!(refused, HttpError::Taken { address: taken } if taken == address));
    }
}
