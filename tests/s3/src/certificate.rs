//! A server's certificate and the authority that signed it.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate for some names, signed by an authority of its own that nobody trusts yet.
pub struct TestCertificate {
    /// The authority's certificate, which a client has to trust.
    pub authority_pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl TestCertificate {
    /// For DNS names and IP addresses.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        Self::make(names, |_| {})
    }

    /// One that was valid until some years ago.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn expired(names: &[&str]) -> Self {
        Self::make(names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 3, 1);
        })
    }

    /// One that signs itself and is an authority's, as `openssl req -x509` makes it.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn self_signed(names: &[&str]) -> Self {
        let mut params = params("test storage", names);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            authority_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    fn make(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut authority = params(&format!("authority of {}", names.join(", ")), &[]);
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_key = KeyPair::generate().unwrap();
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);

        let mut server = params("test storage", names);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut server);
        let key = KeyPair::generate().unwrap();
        let certificate = server.signed_by(&key, &issuer).unwrap();
        Self {
            authority_pem,
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    pub(crate) fn server_config(self) -> ServerConfig {
        let provider = rustls::crypto::ring::default_provider();
        ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate], self.key)
            .unwrap()
    }
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
