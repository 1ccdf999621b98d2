//! Making credentials: a token, an authority of their own, and two certificates signed by it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::ServerName;

use crate::files::{AUTHORITY, AUTHORITY_KEY, COORDINATOR, COORDINATOR_KEY, TOKEN, WORKER, WORKER_KEY};
use crate::{Coordinator, CredentialsError, Token, WORKER_NAME, WorkerCredentials};

/// The authority's name. Certificates made later are signed in the same name.
pub const AUTHORITY_NAME: &str = "ulda run authority";
/// How long certificates are valid.
const LIFE: Duration = Duration::from_secs(2 * 365 * 86_400);
/// A run's own certificates are renewed when they end within this time.
const RENEWED_BEFORE: Duration = Duration::from_secs(90 * 86_400);
/// Clocks of different hosts may differ by so much.
const CLOCK_SKEW: Duration = Duration::from_secs(86_400);

/// One file of a credentials folder.
pub struct File {
    pub name: &'static str,
    pub content: String,
}

/// A whole new set of files. The coordinator's certificate covers `hosts`, names and addresses that workers may
/// reach it by; this host's loopback is always among them.
///
/// # Errors
/// A host that is none, or the system gives no random bytes.
pub fn new_files(hosts: &[String]) -> Result<Vec<File>, CredentialsError> {
    let token = Token::draw().map_err(|source| CredentialsError::Unreadable {
        path: "/dev/urandom".into(),
        source,
    })?;
    let key = KeyPair::generate()?;
    let authority = authority().self_signed(&key)?;
    let mut files = vec![
        File {
            name: TOKEN,
            content: format!("{}\n", token.reveal()),
        },
        File {
            name: AUTHORITY,
            content: authority.pem(),
        },
        File {
            name: AUTHORITY_KEY,
            content: key.serialize_pem(),
        },
    ];
    let issuer = Issuer::new(self::authority(), key);
    files.extend(signed(&issuer, hosts)?);
    Ok(files)
}

/// Makes a credentials folder, readable by its owner only.
///
/// # Errors
/// The folder is not empty or cannot be written, or a host is none.
pub fn create(folder: &Path, hosts: &[String]) -> Result<(), CredentialsError> {
    let occupied = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(CredentialsError::Occupied {
            path: folder.to_owned(),
        });
    }
    let files = new_files(hosts)?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)))
        .map_err(|source| unwritable(folder, source))?;
    // The token comes last: a folder with a token is whole.
    files.iter().rev().try_for_each(|file| write(folder, file))
}

/// A run's own folder: made where it is not there, its certificates renewed where they no longer serve.
///
/// # Errors
/// As of [`create`] and [`Coordinator::read`]. Nothing is renewed where the authority's key is missing.
pub fn keep(folder: &Path, hosts: &[String]) -> Result<(), CredentialsError> {
    if !folder.join(TOKEN).exists() {
        // What a coordinator left that died while it made them.
        if folder.is_dir() {
            fs::remove_dir_all(folder).map_err(|source| unwritable(folder, source))?;
        }
        return create(folder, hosts);
    }
    let serves = || {
        let coordinator = Coordinator::read(folder)?;
        WorkerCredentials::read(folder)?;
        hosts.iter().try_for_each(|host| coordinator.covers(host))
    };
    match serves() {
        Ok(()) if !is_old(&folder.join(COORDINATOR)) => return Ok(()),
        Ok(()) => {}
        // A key that does not fit is what a coordinator leaves that dies while it renews.
        Err(
            CredentialsError::Expired { .. }
            | CredentialsError::Uncovered { .. }
            | CredentialsError::KeyMismatch { .. },
        ) if folder.join(AUTHORITY_KEY).exists() => {}
        Err(cause) => return Err(cause),
    }
    let key_file = folder.join(AUTHORITY_KEY);
    let key = String::from_utf8(crate::files::secret(&key_file)?).map_err(|_| CredentialsError::NotPem {
        path: key_file,
        expected: "private key",
    })?;
    let issuer = Issuer::new(authority(), KeyPair::from_pem(&key)?);
    signed(&issuer, hosts)?
        .iter()
        .try_for_each(|file| write(folder, file))
}

/// Whether a certificate made at that time ends soon.
fn is_old(path: &Path) -> bool {
    let made = fs::metadata(path).and_then(|metadata| metadata.modified());
    let age = made.ok().and_then(|made| made.elapsed().ok());
    age.is_some_and(|age| age > LIFE - RENEWED_BEFORE)
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    in_date(&mut params, 10 * LIFE);
    params
}

/// The coordinator's and the workers' certificate with their keys.
fn signed(issuer: &Issuer<'_, KeyPair>, hosts: &[String]) -> Result<[File; 4], CredentialsError> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    for host in hosts {
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(CredentialsError::NotAHost { host: host.clone() });
        }
        if !names.contains(host) {
            names.push(host.clone());
        }
    }
    let (coordinator, coordinator_key) = one(issuer, "coordinator", names, false)?;
    let (worker, worker_key) = one(issuer, "worker", vec![WORKER_NAME.to_owned()], true)?;
    let file = |name, content| File { name, content };
    Ok([
        file(COORDINATOR, coordinator),
        file(COORDINATOR_KEY, coordinator_key),
        file(WORKER, worker),
        file(WORKER_KEY, worker_key),
    ])
}

fn one(
    issuer: &Issuer<'_, KeyPair>,
    who: &str,
    names: Vec<String>,
    dials: bool,
) -> Result<(String, String), CredentialsError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = named(&format!("ulda {who}"));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if dials {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    in_date(&mut params, LIFE);
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn in_date(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + life).into();
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Beside, then renamed: nobody reads half a file.
fn write(folder: &Path, file: &File) -> Result<(), CredentialsError> {
    let path = folder.join(file.name);
    let beside = folder.join(format!(".{}.new", file.name));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&beside)
        .and_then(|mut open| {
            open.write_all(file.content.as_bytes())
                .and_then(|()| open.sync_all())
        })
        .and_then(|()| fs::rename(&beside, &path))
        .map_err(|source| unwritable(&path, source))
}

fn unwritable(path: &Path, source: io::Error) -> CredentialsError {
    CredentialsError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Addresses of a host as certificates name them: an address that stands for all of them is none.
#[must_use]
pub fn host_of(address: IpAddr) -> Option<String> {
    (!address.is_unspecified()).then(|| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hosts: &[&str]) -> Vec<String> {
        hosts.iter().map(|&host| host.to_owned()).collect()
    }

    fn content(folder: &Path, file: &str) -> String {
        fs::read_to_string(folder.join(file)).unwrap()
    }

    #[test]
    fn what_is_made_serves_both_sides_and_covers_its_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        create(&path, &names(&["node7.example", "10.0.0.7", "fe80::7"])).unwrap();
        WorkerCredentials::read(&path).unwrap();
        let coordinator = Coordinator::read(&path).unwrap();
        for host in [
            "localhost",
            "127.0.0.1",
            "::1",
            "node7.example",
            "10.0.0.7",
            "fe80::7",
        ] {
            coordinator.covers(host).unwrap();
        }
        let refused = coordinator.covers("node8").unwrap_err().to_string();
        assert!(
            refused.contains("node7.example, 10.0.0.7, fe80::7, not `node8`"),
            "{refused}"
        );
        assert!(matches!(
            create(&path, &[]),
            Err(CredentialsError::Occupied { .. })
        ));
        for file in fs::read_dir(&path).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_runs_own_are_kept_and_renewed_under_the_same_authority() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        keep(&path, &names(&["10.0.0.1"])).unwrap();
        let before = [TOKEN, AUTHORITY, COORDINATOR].map(|file| content(&path, file));
        keep(&path, &names(&["10.0.0.1"])).unwrap();
        assert_eq!(
            [TOKEN, AUTHORITY, COORDINATOR].map(|file| content(&path, file)),
            before
        );

        keep(&path, &names(&["10.0.0.2"])).unwrap();
        Coordinator::read(&path).unwrap().covers("10.0.0.2").unwrap();
        WorkerCredentials::read(&path).unwrap();
        assert_eq!([TOKEN, AUTHORITY].map(|file| content(&path, file)), before[..2]);
        assert_ne!(content(&path, COORDINATOR), before[2]);

        // Died while renewing: the key is an older one's.
        let other = folder.path().join("other");
        create(&other, &[]).unwrap();
        fs::copy(other.join(COORDINATOR_KEY), path.join(COORDINATOR_KEY)).unwrap();
        keep(&path, &[]).unwrap();

        fs::remove_file(path.join(AUTHORITY_KEY)).unwrap();
        let refused = keep(&path, &names(&["10.0.0.3"]));
        assert!(
            matches!(refused, Err(CredentialsError::Uncovered { .. })),
            "{refused:?}"
        );
        // Died before the token was there: nothing was in use yet.
        fs::remove_file(path.join(TOKEN)).unwrap();
        keep(&path, &[]).unwrap();
        WorkerCredentials::read(&path).unwrap();
    }

    #[test]
    fn mounted_secrets_are_links_that_the_group_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let (data, mounted) = (folder.path().join("..data"), folder.path().join("mounted"));
        create(&data, &[]).unwrap();
        fs::create_dir(&mounted).unwrap();
        for file in crate::files::OF_WORKERS {
            fs::set_permissions(data.join(file), fs::Permissions::from_mode(0o440)).unwrap();
            std::os::unix::fs::symlink(data.join(file), mounted.join(file)).unwrap();
        }
        WorkerCredentials::read(&mounted).unwrap();
        let refused = Coordinator::read(&mounted).unwrap_err().to_string();
        assert!(refused.contains("coordinator.pem` is missing"), "{refused}");
    }
}
