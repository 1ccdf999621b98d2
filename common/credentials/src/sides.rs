//! What each side makes of a credentials folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};

use crate::files::{COORDINATOR, COORDINATOR_KEY, WORKER, WORKER_KEY};
use crate::identity::{Authority, TlsIdentity, now};
use crate::verify::{WorkersOnly, provider, servers, worker_name};
use crate::{CredentialsError, Token, TokenDigest};

const HTTP2: &[u8] = b"h2";

/// A coordinator's side.
pub struct Coordinator {
    token: TokenDigest,
    identity: TlsIdentity,
    tls: Arc<ServerConfig>,
}

/// A worker's side.
pub struct WorkerCredentials {
    folder: PathBuf,
    token: Token,
    to_coordinator: Arc<ClientConfig>,
    to_peers: Arc<ClientConfig>,
    from_peers: Arc<ServerConfig>,
}

impl Coordinator {
    /// Reads token, authority and the coordinator's certificate, and checks that they belong together and are in date.
    ///
    /// # Errors
    /// A file is missing, unreadable, open to others, damaged, out of date or of another authority.
    pub fn read(folder: &Path) -> Result<Self, CredentialsError> {
        let token = Token::read(folder)?.digest();
        let authority = Authority::read(folder)?;
        let identity = TlsIdentity::read(folder, COORDINATOR, COORDINATOR_KEY)?;
        is_a_servers(&identity, &authority)?;
        let tls = server_config(&identity, &authority, &[HTTP2])?;
        Ok(Self { token, identity, tls })
    }

    /// Whether workers that dial `host` will recognise this coordinator.
    ///
    /// # Errors
    /// Its certificate is not for `host`.
    pub fn covers(&self, host: &str) -> Result<(), CredentialsError> {
        self.identity.covers(host)
    }

    #[must_use]
    pub fn token(&self) -> TokenDigest {
        self.token
    }

    /// For HTTP/2 from workers, who must show their certificates.
    #[must_use]
    pub fn tls(&self) -> Arc<ServerConfig> {
        self.tls.clone()
    }
}

impl WorkerCredentials {
    /// Reads token, authority and the workers' certificate, and checks that they belong together and are in date.
    ///
    /// # Errors
    /// A file is missing, unreadable, open to others, damaged, out of date or of another authority.
    pub fn read(folder: &Path) -> Result<Self, CredentialsError> {
        let token = Token::read(folder)?;
        let authority = Authority::read(folder)?;
        let identity = TlsIdentity::read(folder, WORKER, WORKER_KEY)?;
        let workers =
            WorkersOnly::of(authority.roots.clone()).map_err(|cause| unusable(&authority, cause))?;
        workers
            .check(identity.end_entity(), identity.intermediates(), now())
            .map_err(|cause| identity.explain(cause, &authority))?;
        is_a_servers(&identity, &authority)?;
        Ok(Self {
            folder: folder.to_owned(),
            token,
            to_coordinator: client_config(&identity, &authority, &[HTTP2])?,
            to_peers: client_config(&identity, &authority, &[])?,
            from_peers: server_config(&identity, &authority, &[])?,
        })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// For HTTP/2 to the coordinator.
    #[must_use]
    pub fn to_coordinator(&self) -> Arc<ClientConfig> {
        self.to_coordinator.clone()
    }

    /// For the data plane, as the one who dials; the other side must be [`peer_name`](Self::peer_name).
    #[must_use]
    pub fn to_peers(&self) -> Arc<ClientConfig> {
        self.to_peers.clone()
    }

    /// For the data plane, as the one who is dialled.
    #[must_use]
    pub fn from_peers(&self) -> Arc<ServerConfig> {
        self.from_peers.clone()
    }

    #[must_use]
    pub fn peer_name(&self) -> ServerName<'static> {
        worker_name()
    }
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator")
            .field("certificate", &self.identity.path)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WorkerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

fn is_a_servers(identity: &TlsIdentity, authority: &Authority) -> Result<(), CredentialsError> {
    let servers = servers(authority.roots.clone()).map_err(|cause| unusable(authority, cause))?;
    let checked = servers.verify_server_cert(
        identity.end_entity(),
        identity.intermediates(),
        &worker_name(),
        &[],
        now(),
    );
    match checked {
        // The name is looked at last, and a coordinator has others.
        Ok(_)
        | Err(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Ok(()),
        Err(cause) => Err(identity.explain(cause, authority)),
    }
}

fn unusable(authority: &Authority, reason: String) -> CredentialsError {
    CredentialsError::Unusable {
        path: authority.path.clone(),
        reason,
        remedy: "it must be the certificate of an authority",
    }
}

fn server_config(
    identity: &TlsIdentity,
    authority: &Authority,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, CredentialsError> {
    let workers = WorkersOnly::of(authority.roots.clone()).map_err(|cause| unusable(authority, cause))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_client_cert_verifier(workers)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|cause| identity.explain(cause, authority))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    // Every connection shows its certificates anew.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client_config(
    identity: &TlsIdentity,
    authority: &Authority,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, CredentialsError> {
    let servers = servers(authority.roots.clone()).map_err(|cause| unusable(authority, cause))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_webpki_verifier(servers)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|cause| identity.explain(cause, authority))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
