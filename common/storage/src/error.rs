//! What went wrong with a storage, told apart by what a person has to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind};
use rustls::CertificateError;

use crate::counters::Operation;
use crate::trust::certificate_error;

/// The cause of a failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageErrorKind {
    NotFound,
    NoBucket,
    NoCredentials,
    /// Refused by the server, with its code where it gave one.
    Denied {
        code: String,
    },
    WrongRegion,
    /// This host does not know the authority that signed the server's certificate.
    UntrustedCertificate,
    /// The server's certificate does not hold, whoever signed it: not now, not for its name, or not for a server.
    InvalidCertificate,
    Unreachable,
    /// 5xx or 429.
    Busy {
        status: String,
    },
    TimedOut,
    /// The connection ended before the answer did.
    Cut,
    /// The object became another one while it was read.
    Changed,
    Other,
}

impl StorageErrorKind {
    /// Whether the same request may succeed in a moment. A host's role may be late where no credentials are found.
    pub(crate) fn is_worth_repeating(&self) -> bool {
        self.is_passing() || *self == Self::NoCredentials
    }

    /// Whether it may pass although nobody does anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable | Self::Busy { .. } | Self::TimedOut | Self::Cut | Self::Other => true,
            Self::NotFound
            | Self::NoBucket
            | Self::NoCredentials
            | Self::Denied { .. }
            | Self::WrongRegion
            | Self::UntrustedCertificate
            | Self::InvalidCertificate
            | Self::Changed => false,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::NotFound => "there is no such object".into(),
            Self::NoBucket => "there is no such bucket".into(),
            Self::NoCredentials => "no credentials were found".into(),
            Self::Denied { code } if code.is_empty() => "the storage refuses it".into(),
            Self::Denied { code } => format!("the storage refuses it ({code})"),
            Self::WrongRegion => "the bucket is in another region".into(),
            Self::UntrustedCertificate => "the storage's certificate is not trusted on this host".into(),
            Self::InvalidCertificate => "the storage's certificate is not valid".into(),
            Self::Unreachable => "the storage cannot be reached".into(),
            Self::Busy { status } => format!("the storage answers {status}"),
            Self::TimedOut => "the storage did not answer in time".into(),
            Self::Cut => "the connection broke".into(),
            Self::Changed => "the object changed while it was read".into(),
            Self::Other => "the storage could not do it".into(),
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::NotFound => "check the URL",
            Self::NoBucket => "create the bucket, or check the URL and storage.endpoint",
            Self::NoCredentials => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write ~/.aws/credentials, or give the host a role"
            }
            Self::Denied { code } => match code.as_str() {
                "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
                    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                }
                "ExpiredToken" | "TokenRefreshRequired" => "renew AWS_SESSION_TOKEN",
                "RequestTimeTooSkewed" => "set this host's clock",
                _ => "the credentials need the rights to list, read, write and delete below the URL",
            },
            Self::WrongRegion => "set storage.region or AWS_REGION to the bucket's",
            Self::UntrustedCertificate => {
                "name a PEM file with the certificate of its authority in AWS_CA_BUNDLE, on every host of the run"
            }
            Self::InvalidCertificate => {
                "give the storage a server's certificate, not an authority's, for the name of its endpoint; check the clocks"
            }
            Self::Unreachable => "check storage.endpoint or AWS_ENDPOINT_URL, and the network",
            Self::Busy { .. } | Self::TimedOut | Self::Cut | Self::Other => {
                "it may pass; look at the storage's own log if it does not"
            }
            Self::Changed => "leave it alone while it is read, then try again",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("`{url}` is not a URL of a storage")]
    Url { url: String },
    #[error("storage `{url}` cannot be set up: {what}")]
    Setting {
        url: String,
        what: String,
        hint: &'static str,
    },
    #[error("{} `{url}`: {}{}{}", operation.verb(), kind.told(), told(detail), tried(*tries, *waited))]
    Failed {
        operation: Operation,
        url: String,
        kind: StorageErrorKind,
        /// The last answer's own words.
        detail: String,
        tries: u32,
        waited: Duration,
    },
    #[error("{} `{url}`: given up, because this process ends", operation.verb())]
    Cancelled { operation: Operation, url: String },
    #[error("{action} `{}`: {cause}", path.display())]
    Disk {
        action: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    #[error("`{url}` {what}")]
    Content {
        url: String,
        what: String,
        hint: &'static str,
    },
    #[error("another process fetches into `{}`, and did not get on for {} s", lock.display(), waited.as_secs())]
    Locked { lock: PathBuf, waited: Duration },
    #[error("the runtime for storage cannot start")]
    Runtime(#[source] io::Error),
}

fn told(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    }
}

fn tried(tries: u32, waited: Duration) -> String {
    if tries < 2 {
        return String::new();
    }
    format!(", after {tries} tries in {:.1} s", waited.as_secs_f64())
}

fn is_full(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl StorageError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Url { .. } => "write s3://BUCKET/PREFIX or file:///FOLDER".into(),
            Self::Setting { hint, .. } | Self::Content { hint, .. } => (*hint).to_owned(),
            Self::Failed { kind, .. } => kind.hint().to_owned(),
            Self::Locked { .. } => "end it".into(),
            Self::Disk { cause, .. } if is_full(cause) => {
                "no space is left there, free some or name another folder in storage.cache".into()
            }
            Self::Cancelled { .. } | Self::Disk { .. } | Self::Runtime(_) => return None,
        })
    }

    pub(crate) fn disk(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Disk { action, path, cause }
    }

    /// Whether there is simply no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Failed {
                kind: StorageErrorKind::NotFound,
                ..
            }
        )
    }

    /// Whether the object is the cause: it is not there, or became another one.
    #[must_use]
    pub fn is_about_the_object(&self) -> bool {
        matches!(
            self,
            Self::Failed {
                kind: StorageErrorKind::NotFound | StorageErrorKind::Changed,
                ..
            }
        )
    }

    /// Whether the storage is the cause: it refused, was away, or had nothing of that name. Whom to trust is this host's
    /// matter.
    #[must_use]
    pub fn is_of_the_storage(&self) -> bool {
        match self {
            Self::Failed { kind, .. } => *kind != StorageErrorKind::UntrustedCertificate,
            Self::Locked { .. } => true,
            _ => false,
        }
    }

    /// Whether it may pass although nobody does anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Failed { kind, .. } => kind.is_passing(),
            Self::Disk { cause, .. } => !matches!(
                cause.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::NotADirectory
            ),
            Self::Cancelled { .. } | Self::Locked { .. } | Self::Runtime(_) => true,
            Self::Url { .. } | Self::Setting { .. } | Self::Content { .. } => false,
        }
    }
}

/// What an error of the client is due to, and its own words. `status` is the server's last answer.
pub(crate) fn diagnose(error: &object_store::Error, status: Option<u16>) -> (StorageErrorKind, String) {
    let text = chain(error);
    let kind = kind_of(error, &text, status);
    let detail = match &kind {
        StorageErrorKind::Other => text,
        StorageErrorKind::Unreachable => innermost(error),
        StorageErrorKind::UntrustedCertificate | StorageErrorKind::InvalidCertificate => {
            certificate_error(error)
                .map(ToString::to_string)
                .unwrap_or_default()
        }
        StorageErrorKind::WrongRegion | StorageErrorKind::Busy { .. } => {
            tag(&text, "Message").unwrap_or_default().to_owned()
        }
        _ => String::new(),
    };
    (kind, detail)
}

fn kind_of(error: &object_store::Error, text: &str, status: Option<u16>) -> StorageErrorKind {
    if text.contains("/latest/api/token") || text.contains("169.254.169.254") {
        return StorageErrorKind::NoCredentials;
    }
    let code = tag(text, "Code").unwrap_or_default();
    match code {
        "NoSuchBucket" => return StorageErrorKind::NoBucket,
        "RequestTimeout"
        | "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "InternalError"
        | "IDPCommunicationError" => {
            return StorageErrorKind::Busy {
                status: code.to_owned(),
            };
        }
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
            return StorageErrorKind::WrongRegion;
        }
        _ => {}
    }
    match error {
        object_store::Error::NotFound { .. } => return StorageErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            return StorageErrorKind::Denied {
                code: code.to_owned(),
            };
        }
        object_store::Error::Precondition { .. } => return StorageErrorKind::Changed,
        _ => {}
    }
    match status {
        Some(400 | 401 | 403 | 405 | 501) => {
            return StorageErrorKind::Denied {
                code: code.to_owned(),
            };
        }
        Some(300..400) => return StorageErrorKind::WrongRegion,
        Some(404) => return StorageErrorKind::NotFound,
        Some(status @ (408 | 429 | 500..600)) => {
            return StorageErrorKind::Busy {
                status: status.to_string(),
            };
        }
        Some(400..500) => return StorageErrorKind::Other,
        // An answer that broke off, or none.
        _ => {}
    }
    if let Some(cause) = certificate_error(error) {
        return kind_of_certificate(cause);
    }
    match http(error).map(HttpError::kind) {
        Some(HttpErrorKind::Connect) => StorageErrorKind::Unreachable,
        Some(HttpErrorKind::Timeout) => StorageErrorKind::TimedOut,
        Some(HttpErrorKind::Interrupted | HttpErrorKind::Request | HttpErrorKind::Decode) => {
            StorageErrorKind::Cut
        }
        _ => StorageErrorKind::Other,
    }
}

fn kind_of_certificate(cause: &CertificateError) -> StorageErrorKind {
    match cause {
        // The second: another key than that of a trusted authority of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            StorageErrorKind::UntrustedCertificate
        }
        _ => StorageErrorKind::InvalidCertificate,
    }
}

/// The content of an element of the server's answer, which is XML.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once('<')?.0)
}

fn http<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a HttpError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(http);
        }
        next = error.source();
    }
    None
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The text with those causes that it does not repeat.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}
