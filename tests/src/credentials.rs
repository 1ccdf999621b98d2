//! Credentials folders, whole and broken.

use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use ulda_credentials::issue;

/// A whole folder, as `coordinator credentials new` makes it.
///
/// # Panics
/// When the disk refuses.
pub fn make(folder: &Path, hosts: &[&str]) {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    issue::create(folder, &hosts).unwrap();
}

/// Replaces a certificate by one of the same authority that was valid until some weeks ago.
///
/// # Panics
/// When the folder is not whole.
pub fn expire(folder: &Path, who: &str) {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority
        .distinguished_name
        .push(DnType::CommonName, issue::AUTHORITY_NAME);
    let issuer = Issuer::new(authority, KeyPair::from_pem(&read("ca.key")).unwrap());
    let key = KeyPair::from_pem(&read(&format!("{who}.key"))).unwrap();
    let names = vec!["localhost".to_owned(), ulda_credentials::WORKER_NAME.to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 3, 1);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join(format!("{who}.pem")), certificate.pem()).unwrap();
}
