//! An S3 server in this process, on loopback and a folder that vanishes with it, that can be told to fail.
//!
//! It verifies signatures. A fault holds for the requests that its rule takes, until its number is used up. With a
//! certificate it speaks HTTPS.
#![allow(
    clippy::unwrap_used,
    reason = "a test whose server cannot be set up has failed"
)]

mod certificate;
mod fault;

pub use certificate::TestCertificate;
pub use fault::{Fault, Rule};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fault::Faults;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

pub(crate) type Answer = Response<BoxBody<Bytes, Broken>>;

/// Ends a connection.
#[derive(Debug)]
pub(crate) struct Broken(String);

impl Broken {
    pub fn of(cause: impl std::fmt::Debug) -> Self {
        Self(format!("{cause:?}"))
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// The only bucket.
pub const BUCKET: &str = "bucket";
pub const KEY_ID: &str = "test-key-id";
pub const SECRET: &str = "test-secret";

/// In a server's folder: the folder of its buckets, and the file of [`Server::authority_file`].
const BUCKETS: &str = "buckets";
const AUTHORITY: &str = "authority.pem";

/// A running server. Dropping it ends it and removes what it holds.
pub struct Server {
    address: SocketAddr,
    folder: TempDir,
    is_https: bool,
    faults: Faults,
    asked: Arc<Mutex<Vec<String>>>,
    runtime: Option<Runtime>,
}

impl Server {
    /// A server without TLS.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// A server that speaks HTTPS with a certificate for its address.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_https() -> Self {
        Self::start_with(Some(TestCertificate::new(&["127.0.0.1"])))
    }

    /// A server that speaks HTTPS if it is given a certificate.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_with(certificate: Option<TestCertificate>) -> Self {
        let folder = TempDir::new().unwrap();
        if let Some(certificate) = &certificate {
            std::fs::write(folder.path().join(AUTHORITY), &certificate.authority_pem).unwrap();
        }
        let is_https = certificate.is_some();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (faults, asked) = (Faults::default(), Arc::default());
        let endpoint = Endpoint {
            service: service(&folder.path().join(BUCKETS)),
            faults: faults.clone(),
            asked: Arc::clone(&asked),
        };
        runtime.spawn(accept(listener, certificate.map(acceptor), endpoint));
        Self {
            address,
            folder,
            is_https,
            faults,
            asked,
            runtime: Some(runtime),
        }
    }

    /// `http://host:port`, or `https://`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate that a client of a server with HTTPS has to trust.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.folder.path().join(AUTHORITY)
    }

    /// URL of a place in the bucket.
    #[must_use]
    pub fn url(&self, below: &str) -> String {
        format!("s3://{BUCKET}/{below}")
    }

    /// Variables with which a program reaches it.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let of_scheme = match self.is_https {
            true => ("AWS_CA_BUNDLE", self.authority_file().display().to_string()),
            false => ("AWS_ALLOW_HTTP", "true".into()),
        };
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            of_scheme,
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
        ]
    }

    /// The file in which it keeps an object.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(BUCKETS).join(BUCKET).join(name)
    }

    /// Fails from now on as the rule says; rules are tried in order.
    pub fn fail(&self, rule: Rule) {
        self.faults.add(rule);
    }

    /// Fails no more.
    pub fn recover(&self) {
        self.faults.clear();
    }

    /// Method, path and range of every request so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Endpoint {
    service: S3Service,
    faults: Faults,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Broken> {
        let range = request
            .headers()
            .get("range")
            .and_then(|range| range.to_str().ok());
        let asked = format!(
            "{} {} {}",
            request.method(),
            request.uri().path(),
            range.unwrap_or_default()
        );
        let fault = self.faults.meet(&asked);
        self.asked.lock().unwrap().push(asked);
        if let Some(answer) = fault.before().await? {
            return Ok(answer);
        }
        let answer = Service::call(&self.service, request).await.map_err(Broken::of)?;
        let answer = answer.map(|body| body.map_err(Broken::of).boxed());
        fault.after(answer).await
    }
}

/// Serves from a folder until the process ends, with the only bucket, and over HTTPS.
///
/// # Errors
/// When the address cannot be listened on.
///
/// # Panics
/// When the folder cannot be written.
pub fn serve_https(address: SocketAddr, folder: &Path, certificate: TestCertificate) -> std::io::Result<()> {
    let endpoint = Endpoint {
        service: service(folder),
        faults: Faults::default(),
        asked: Arc::default(),
    };
    Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        accept(listener, Some(acceptor(certificate)), endpoint).await;
        Ok(())
    })
}

fn service(folder: &Path) -> S3Service {
    std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
    let mut builder = S3ServiceBuilder::new(FileSystem::new(folder).unwrap());
    builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
    builder.build()
}

fn acceptor(certificate: TestCertificate) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(certificate.server_config()))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, endpoint: Endpoint) {
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, endpoint) = (tls.clone(), endpoint.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(socket, endpoint).await,
                // A client that does not trust the certificate ends it.
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        serve(socket, endpoint).await;
                    }
                }
            }
        });
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, endpoint: Endpoint) {
    let service = service_fn(move |request| {
        let endpoint = endpoint.clone();
        async move { endpoint.answer(request).await }
    });
    // A client that hangs up, or a fault, ends it.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(socket), service)
        .await;
}
