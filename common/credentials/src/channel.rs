//! A worker's way to its coordinator: gRPC over TLS, the token and what the worker claims to be on every call.
//!
//! Owns the dialling. A connection that fails for want of trust, which no further attempt mends, leaves its reason
//! in [`CoordinatorAccess::distrust`].

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use ulda_proto::v1::coordinator_client::CoordinatorClient;

use crate::error::listed;
use crate::{Token, why_not_trusted};

/// What a worker calls its coordinator through.
pub type AuthenticatedClient = CoordinatorClient<InterceptedService<Channel, Bearer>>;

/// Name of the header in which a caller says what it claims to be.
pub const CLAIM: &str = "ulda-claim";

/// Why two sides do not trust each other. No further attempt helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("the coordinator's certificate {reason}")]
    Coordinator { reason: String },
    #[error("the coordinator's certificate covers {covered}, not `{host}`")]
    Name { host: String, covered: String },
    #[error("the coordinator refused this worker's certificate ({reason})")]
    Worker { reason: String },
    #[error("what answers there does not speak TLS")]
    NoTls,
}

impl Distrust {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Coordinator { .. } | Self::Worker { .. } => {
                "is this the credentials folder of the run's coordinator?".into()
            }
            Self::Name { host, .. } => format!(
                "dial it by one of these names, or make credentials that cover it with `coordinator \
                 credentials new DIR --host {host}`"
            ),
            Self::NoTls => "is it a coordinator? one with --insecure-loopback is dialled by http://".into(),
        })
    }
}

/// Says the token and the claim on every call.
#[derive(Clone)]
pub struct Bearer {
    token: MetadataValue<Ascii>,
    claim: MetadataValue<Ascii>,
}

impl Bearer {
    fn new(token: &Token, claim: &str) -> Self {
        let text = format!("Bearer {}", token.reveal());
        let mut token: MetadataValue<Ascii> = text.parse().expect("a token is visible ASCII");
        // Headers marked so are left out of what HTTP libraries log, and of their compression tables.
        token.set_sensitive(true);
        let plain: String = claim
            .chars()
            .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
            .collect();
        Self {
            token,
            claim: plain.parse().expect("visible ASCII"),
        }
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearer({:?})", self.claim)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.token.clone());
        metadata.insert(CLAIM, self.claim.clone());
        Ok(request)
    }
}

/// How to reach coordinators of one run.
#[derive(Clone, Debug)]
pub struct CoordinatorAccess {
    bearer: Bearer,
    /// None for plain connections within a host.
    tls: Option<Arc<ClientConfig>>,
    distrust: Arc<Mutex<Option<Distrust>>>,
}

impl CoordinatorAccess {
    /// `claim` is what the worker says of itself, for the log of whoever refuses it.
    #[must_use]
    pub fn new(token: &Token, tls: Option<Arc<ClientConfig>>, claim: &str) -> Self {
        Self {
            bearer: Bearer::new(token, claim),
            tls,
            distrust: Arc::default(),
        }
    }

    /// Connects when it is first used, and again whenever the connection is lost.
    #[must_use]
    pub fn client(&self, endpoint: &Endpoint) -> AuthenticatedClient {
        let channel = endpoint.connect_with_connector_lazy(self.dialler());
        CoordinatorClient::with_interceptor(channel, self.bearer.clone())
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody answers, or one side does not trust the other; then [`distrust`](Self::distrust) has the reason.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<AuthenticatedClient, tonic::transport::Error> {
        let channel = endpoint.connect_with_connector(self.dialler()).await?;
        Ok(CoordinatorClient::with_interceptor(channel, self.bearer.clone()))
    }

    /// Why the last attempt failed, if it did so for want of trust; forgets it.
    #[must_use]
    pub fn distrust(&self) -> Option<Distrust> {
        self.distrust
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn note(&self, distrust: Distrust) {
        *self.distrust.lock().unwrap_or_else(PoisonError::into_inner) = Some(distrust);
    }

    fn dialler(
        &self,
    ) -> impl tower::Service<
        tonic::codegen::http::Uri,
        Response = TokioIo<CoordinatorConnection>,
        Error = io::Error,
        Future = impl Future<Output = io::Result<TokioIo<CoordinatorConnection>>> + Send + use<>,
    > + Send
    + use<> {
        let way = self.clone();
        tower::service_fn(move |uri: tonic::codegen::http::Uri| {
            let way = way.clone();
            async move { way.dial(&uri).await.map(TokioIo::new) }
        })
    }

    async fn dial(self, uri: &tonic::codegen::http::Uri) -> io::Result<CoordinatorConnection> {
        let host = host_of(uri);
        let port = uri
            .port_u16()
            .unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls.clone() else {
            return Ok(CoordinatorConnection::Plain(stream));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        match TlsConnector::from(tls).connect(name, stream).await {
            Ok(stream) => Ok(CoordinatorConnection::Secure {
                stream: Box::new(stream),
                way: self,
            }),
            Err(cause) => {
                self.note_cause(&cause, host);
                Err(cause)
            }
        }
    }

    fn note_cause(&self, cause: &io::Error, host: &str) {
        let Some(cause) = cause.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return;
        };
        self.note(match cause {
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
                Distrust::Name {
                    host: host.to_owned(),
                    covered: listed(presented),
                }
            }
            Error::InvalidCertificate(_) => Distrust::Coordinator {
                reason: why_not_trusted(cause),
            },
            Error::InvalidMessage(_) => Distrust::NoTls,
            Error::AlertReceived(alert) => Distrust::Worker {
                reason: format!("{alert:?}"),
            },
            _ => return,
        });
    }
}

/// Host of an address, without the brackets of IPv6.
#[must_use]
pub fn host_of(uri: &tonic::codegen::http::Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether what is sent to `host` stays on this host.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A connection to a coordinator.
#[derive(Debug)]
pub enum CoordinatorConnection {
    Plain(TcpStream),
    Secure {
        stream: Box<TlsStream<TcpStream>>,
        /// Where a refusal of the worker's certificate is noted, which arrives after the handshake.
        way: CoordinatorAccess,
    },
}

impl AsyncRead for CoordinatorConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Secure { stream, way } => {
                let read = Pin::new(stream).poll_read(cx, into);
                if let Poll::Ready(Err(cause)) = &read {
                    way.note_cause(cause, "");
                }
                read
            }
        }
    }
}

impl AsyncWrite for CoordinatorConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure { stream, .. } => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure { stream, .. } => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure { stream, .. } => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
