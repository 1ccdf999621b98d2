//! A certificate with its key, and the authority both sides trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};

use crate::CredentialsError;
use crate::error::seconds_between;
use crate::files;
use crate::verify::{names_of, provider};

/// Who signs the certificates of this run.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pub path: PathBuf,
    pub roots: Arc<RootCertStore>,
}

impl Authority {
    pub fn read(folder: &Path) -> Result<Self, CredentialsError> {
        let path = folder.join(files::AUTHORITY);
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&path)? {
            roots
                .add(certificate)
                .map_err(|cause| CredentialsError::Unusable {
                    path: path.clone(),
                    reason: cause.to_string(),
                    remedy: "it must be the certificate of an authority",
                })?;
        }
        Ok(Self {
            path,
            roots: Arc::new(roots),
        })
    }
}

/// A certificate, those between it and the authority, and its key.
#[derive(Debug)]
pub(crate) struct TlsIdentity {
    pub path: PathBuf,
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl TlsIdentity {
    pub fn read(folder: &Path, certificate: &str, key: &str) -> Result<Self, CredentialsError> {
        let (path, key_path) = (folder.join(certificate), folder.join(key));
        let chain = certificates(&path)?;
        let not_pem = |_| CredentialsError::NotPem {
            path: key_path.clone(),
            expected: "private key",
        };
        let key = PrivateKeyDer::from_pem_slice(&files::secret(&key_path)?).map_err(not_pem)?;
        match CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider()) {
            Ok(_) => Ok(Self { path, chain, key }),
            Err(Error::InconsistentKeys(_)) => Err(CredentialsError::KeyMismatch {
                certificate: path,
                key: key_path,
            }),
            Err(Error::InvalidCertificate(_)) => Err(CredentialsError::Unusable {
                path,
                reason: "it is damaged".into(),
                remedy: "copy it again",
            }),
            Err(cause) => Err(CredentialsError::Unusable {
                path: key_path,
                reason: cause.to_string(),
                remedy: "give a key of a usual kind: ECDSA P-256 or P-384, Ed25519 or RSA",
            }),
        }
    }

    pub fn end_entity(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.chain[1..]
    }

    /// Turns what a verifier said of this certificate into words for its owner.
    pub fn explain(&self, cause: Error, authority: &Authority) -> CredentialsError {
        let path = self.path.clone();
        match cause {
            Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => {
                CredentialsError::Expired {
                    path,
                    seconds: seconds_between(not_after, time),
                }
            }
            Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before }) => {
                CredentialsError::NotYetValid {
                    path,
                    seconds: seconds_between(time, not_before),
                }
            }
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                CredentialsError::OtherAuthority {
                    path,
                    authority: authority.path.clone(),
                }
            }
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
                CredentialsError::NotAWorker { path, presented }
            }
            other => CredentialsError::Unusable {
                path,
                reason: other.to_string(),
                remedy: "make new credentials with `coordinator credentials new`",
            },
        }
    }

    /// # Errors
    /// The certificate is not for `host`.
    pub fn covers(&self, host: &str) -> Result<(), CredentialsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| CredentialsError::NotAHost {
            host: host.to_owned(),
        })?;
        let parsed = ParsedCertificate::try_from(self.end_entity());
        let valid = parsed.and_then(|parsed| rustls::client::verify_server_name(&parsed, &name));
        valid.map_err(|_| CredentialsError::Uncovered {
            path: self.path.clone(),
            host: host.to_owned(),
            presented: names_of(self.end_entity()),
        })
    }
}

pub(crate) fn now() -> UnixTime {
    UnixTime::now()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let not_pem = || CredentialsError::NotPem {
        path: path.to_owned(),
        expected: "certificate",
    };
    let bytes = files::open(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    read.ok().filter(|found| !found.is_empty()).ok_or_else(not_pem)
}
