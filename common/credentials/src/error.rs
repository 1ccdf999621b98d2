//! What can be wrong with credentials, one variant per cause.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use rustls::pki_types::UnixTime;

/// The text names the file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("credentials folder `{}` does not exist", path.display())]
    NoFolder { path: PathBuf },
    #[error("`{}` is missing", path.display())]
    Missing { path: PathBuf },
    #[error("read `{}`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` is a secret that every user of this host can read or write (mode {mode:04o})", path.display())]
    Open {
        path: PathBuf,
        mode: u32,
        remedy: &'static str,
    },
    #[error("`{}` is empty", path.display())]
    EmptyToken { path: PathBuf },
    #[error("`{}` holds no token: {reason}", path.display())]
    NotAToken { path: PathBuf, reason: &'static str },
    #[error("`{}` holds no {expected} in PEM form", path.display())]
    NotPem { path: PathBuf, expected: &'static str },
    #[error("`{}` does not fit `{}`", key.display(), certificate.display())]
    KeyMismatch { certificate: PathBuf, key: PathBuf },
    #[error("`{}` expired {} ago", path.display(), days(*seconds))]
    Expired { path: PathBuf, seconds: u64 },
    #[error("`{}` is not valid yet, for {}", path.display(), days(*seconds))]
    NotYetValid { path: PathBuf, seconds: u64 },
    #[error("`{}` was not signed by the authority in `{}`", path.display(), authority.display())]
    OtherAuthority { path: PathBuf, authority: PathBuf },
    #[error("`{}` cannot be used: {reason}", path.display())]
    Unusable {
        path: PathBuf,
        reason: String,
        remedy: &'static str,
    },
    #[error(
        "`{}` is no worker's certificate: it is for {}, not for {}",
        path.display(), listed(presented), crate::WORKER_NAME
    )]
    NotAWorker { path: PathBuf, presented: Vec<String> },
    #[error("`{}` covers {}, not `{host}`", path.display(), listed(presented))]
    Uncovered {
        path: PathBuf,
        host: String,
        presented: Vec<String>,
    },
    #[error("`{}` is there already and not empty", path.display())]
    Occupied { path: PathBuf },
    #[error("`{host}` is neither a host name nor an address")]
    NotAHost { host: String },
    #[error("make certificates")]
    Make {
        #[from]
        source: rcgen::Error,
    },
    #[error("write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl CredentialsError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoFolder { .. } => {
                "a run's own is `credentials` in its directory; `coordinator credentials new` makes one \
                 beforehand"
                    .into()
            }
            Self::Missing { .. } => {
                "is this the run's credentials folder? `coordinator credentials new` makes a whole one".into()
            }
            Self::Unreadable { .. } => "let this user read it, and others not".into(),
            Self::Open { path, remedy, .. } => format!("chmod {remedy} {}", path.display()),
            Self::EmptyToken { .. } => "write a token into it, or copy the run's".into(),
            Self::NotAToken { .. } => {
                "a token is one line of 16 to 512 letters, digits or signs, without spaces".into()
            }
            Self::NotPem { .. } => "copy it again; it begins with -----BEGIN".into(),
            Self::KeyMismatch { .. } => "copy certificate and key again, both from one folder".into(),
            Self::Expired { .. } => "renew it, or make new credentials".into(),
            Self::NotYetValid { .. } => "set this host's clock".into(),
            Self::OtherAuthority { .. } => "copy both again, from one folder".into(),
            Self::Unusable { remedy, .. } => (*remedy).to_owned(),
            Self::NotAWorker { .. } => "give it that name besides its others".into(),
            Self::Uncovered { host, .. } => {
                format!("make credentials that cover it with `coordinator credentials new DIR --host {host}`")
            }
            Self::Occupied { .. } => "name a new folder; credentials in use are never overwritten".into(),
            Self::NotAHost { .. } => "such as node1.example or 10.0.0.1, without a port".into(),
            Self::Make { .. } | Self::Write { .. } => return None,
        })
    }
}

/// Names as a person lists them.
pub(crate) fn listed(names: &[String]) -> String {
    match names {
        [] => "no name".to_owned(),
        names => names
            .iter()
            .map(|name| plain_name(name))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// webpki tells names as `DnsName("a")` and `IpAddress(0::1)`.
fn plain_name(name: &str) -> String {
    let inner = ["DnsName(", "IpAddress("]
        .iter()
        .find_map(|kind| name.strip_prefix(kind)?.strip_suffix(')'))
        .unwrap_or(name);
    let inner = inner.trim_matches('"');
    inner
        .parse::<IpAddr>()
        .map_or_else(|_| inner.to_owned(), |address| address.to_string())
}

fn days(seconds: u64) -> String {
    match seconds / 86_400 {
        0 => format!("{} h", seconds / 3600),
        days => format!("{days} days"),
    }
}

pub(crate) fn seconds_between(earlier: UnixTime, later: UnixTime) -> u64 {
    later.as_secs().saturating_sub(earlier.as_secs())
}
