//! Whose certificate a certificate is.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::WORKER_NAME;
use crate::error::listed;

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn worker_name() -> ServerName<'static> {
    ServerName::try_from(WORKER_NAME).expect("a constant host name")
}

/// The names a certificate is for, as far as they can be read.
#[must_use]
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let nobody = ServerName::try_from("nobody.invalid").expect("a constant host name");
    let refused =
        ParsedCertificate::try_from(certificate).and_then(|parsed| verify_server_name(&parsed, &nobody));
    match refused {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) => {
            presented
        }
        _ => Vec::new(),
    }
}

/// A certificate that was refused, and why.
#[derive(Debug)]
pub struct RefusedCertificate {
    names: Vec<String>,
    why: String,
}

impl fmt::Display for RefusedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its certificate, for {}, {}", listed(&self.names), self.why)
    }
}

impl std::error::Error for RefusedCertificate {}

/// Accepts the certificates of this run's workers: signed by its authority, in date, and with the workers' name.
#[derive(Debug)]
pub(crate) struct WorkersOnly(Arc<dyn ClientCertVerifier>);

impl WorkersOnly {
    pub fn of(authority: Arc<RootCertStore>) -> Result<Arc<Self>, String> {
        let inner = WebPkiClientVerifier::builder_with_provider(authority, provider())
            .build()
            .map_err(|cause| cause.to_string())?;
        Ok(Arc::new(Self(inner)))
    }

    pub fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &worker_name())?;
        Ok(verified)
    }
}

impl ClientCertVerifier for WorkersOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now).map_err(|cause| {
            let refused = RefusedCertificate {
                names: names_of(end_entity),
                why: why_not_trusted(&cause),
            };
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Checks server certificates against one authority.
pub(crate) fn servers(authority: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(authority, provider())
        .build()
        .map_err(|cause| cause.to_string())
}

/// A failed TLS handshake in words that follow "its certificate" or stand alone.
#[must_use]
pub fn why_not_trusted(cause: &Error) -> String {
    use CertificateError as Wrong;
    match cause {
        Error::NoCertificatesPresented => "it showed no certificate".into(),
        Error::InvalidMessage(_) => "it does not speak TLS".into(),
        Error::InvalidCertificate(wrong) => match wrong {
            Wrong::UnknownIssuer | Wrong::BadSignature => "was not signed by this run's authority".into(),
            Wrong::Expired | Wrong::ExpiredContext { .. } => "has expired".into(),
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "is not valid yet".into(),
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                format!("is not for {WORKER_NAME}")
            }
            Wrong::Other(OtherError(refused)) => refused.to_string(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}
