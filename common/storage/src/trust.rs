//! Whom this host trusts: the certificates of authorities with which a storage's own certificate is checked.
//!
//! The HTTP client reads the system's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead. `AWS_CA_BUNDLE` adds
//! a file of one's own to them. What is wrong with any of it is found before the first request.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use object_store::Certificate;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, RootCertStore};
use ulda_files::MOST_CREDENTIAL_BYTES;

/// What is wrong with the bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error("AWS_CA_BUNDLE `{}` cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("AWS_CA_BUNDLE `{}` has no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("AWS_CA_BUNDLE `{}`: certificate {number} is damaged", path.display())]
    Damaged { path: PathBuf, number: usize },
}

impl BundleError {
    pub(crate) const HINT: &'static str =
        "name a readable PEM file of certificates in AWS_CA_BUNDLE, or unset it if the system's suffice";
}

/// The certificates of the bundle, if the environment names one.
pub(crate) fn bundle() -> Result<Vec<Certificate>, BundleError> {
    match std::env::var_os("AWS_CA_BUNDLE") {
        Some(path) if !path.is_empty() => read_bundle(Path::new(&path)),
        _ => Ok(Vec::new()),
    }
}

fn read_bundle(path: &Path) -> Result<Vec<Certificate>, BundleError> {
    let pem =
        ulda_files::read_file(path, MOST_CREDENTIAL_BYTES).map_err(|cause| BundleError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
    let mut certificates = Vec::new();
    for (index, found) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        // What the client would only call a builder error.
        let usable = found.ok().and_then(|der| {
            RootCertStore::empty().add(der.clone()).ok()?;
            Certificate::from_der(&der).ok()
        });
        certificates.push(usable.ok_or_else(|| BundleError::Damaged {
            path: path.to_owned(),
            number: index + 1,
        })?);
    }
    match certificates.is_empty() {
        true => Err(BundleError::Empty {
            path: path.to_owned(),
        }),
        false => Ok(certificates),
    }
}

/// What to do on a host without certificates.
pub(crate) fn hint_without_authorities() -> &'static str {
    let replaced = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    match replaced {
        true => "SSL_CERT_FILE and SSL_CERT_DIR replace the system's certificates: correct or unset them",
        false => "install the package ca-certificates, or name a PEM file of certificates in AWS_CA_BUNDLE",
    }
}

/// Whether a client could not be made because this host has no certificates of authorities.
pub(crate) fn is_without_authorities(error: &object_store::Error) -> bool {
    // The bundle's were looked at before: what is left is that none were found.
    tls_error(error).is_some()
}

/// Why a server's certificate was refused, if that is the cause.
pub(crate) fn certificate_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(cause) => Some(cause),
        _ => None,
    }
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An IO error names as its source not what it wraps, but the source of that.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, text).unwrap();
        let read = read_bundle(&path).map(|certificates| certificates.len());
        read.map_err(|error| error.to_string().replace(&path.display().to_string(), "ca.pem"))
    }

    #[test]
    fn a_bundle_that_is_none_is_named() {
        let authority = ulda_s3::TestCertificate::new(&["localhost"]).authority_pem;
        assert_eq!(read(&format!("a comment\n{authority}\n{authority}")), Ok(2));
        assert_eq!(read(""), Err("AWS_CA_BUNDLE `ca.pem` has no certificate".into()));
        let torn = format!("{authority}-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        assert_eq!(
            read(&torn),
            Err("AWS_CA_BUNDLE `ca.pem`: certificate 2 is damaged".into())
        );
        assert!(matches!(
            read_bundle(Path::new("/")),
            Err(BundleError::Unreadable { .. })
        ));
    }
}
