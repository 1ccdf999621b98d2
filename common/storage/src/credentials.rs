//! The credentials file that other tools of the field share: `~/.aws/credentials`, or `AWS_SHARED_CREDENTIALS_FILE`.
//!
//! Read again whenever the file changes, as mounted secrets are rotated while a run goes on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use ulda_files::MOST_CREDENTIAL_BYTES;

/// A profile of a credentials file.
pub(crate) struct CredentialsFile {
    path: PathBuf,
    profile: String,
    read: Mutex<Option<(SystemTime, Arc<AwsCredential>)>>,
}

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("read credentials file `{}`: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("credentials file `{}` has no complete profile `{profile}`", path.display())]
    Profile { path: PathBuf, profile: String },
}

impl CredentialsFile {
    /// The file that the environment or the home folder names, where there is one.
    pub(crate) fn find() -> Option<Self> {
        let named = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
        let path = named.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".aws/credentials")))?;
        let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".into());
        path.is_file().then(|| Self {
            path,
            profile,
            read: Mutex::new(None),
        })
    }

    fn current(&self) -> Result<Arc<AwsCredential>, FileError> {
        let io = |source| FileError::Io {
            path: self.path.clone(),
            source,
        };
        let changed = std::fs::metadata(&self.path)
            .and_then(|file| file.modified())
            .map_err(io)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, credential)) = read.as_ref()
            && *at == changed
        {
            return Ok(Arc::clone(credential));
        }
        let text = ulda_files::read_text(&self.path, MOST_CREDENTIAL_BYTES).map_err(io)?;
        let credential = profile(&text, &self.profile).ok_or_else(|| FileError::Profile {
            path: self.path.clone(),
            profile: self.profile.clone(),
        })?;
        let credential = Arc::new(credential);
        *read = Some((changed, Arc::clone(&credential)));
        Ok(credential)
    }
}

impl fmt::Debug for CredentialsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialsFile({}, {})", self.path.display(), self.profile)
    }
}

#[async_trait]
impl CredentialProvider for CredentialsFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.current()
            .map_err(|error| object_store::Error::Unauthenticated {
                path: self.path.display().to_string(),
                source: Box::new(error),
            })
    }
}

/// The keys of one `[profile]`.
fn profile(text: &str, wanted: &str) -> Option<AwsCredential> {
    let mut inside = false;
    let (mut key_id, mut secret_key, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == wanted;
        } else if let Some((key, value)) = line
            .split_once('=')
            .filter(|_| inside && !line.starts_with(['#', ';']))
        {
            let value = Some(value.trim().to_owned());
            match key.trim() {
                "aws_access_key_id" => key_id = value,
                "aws_secret_access_key" => secret_key = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(AwsCredential {
        key_id: key_id?,
        secret_key: secret_key?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[other]\naws_access_key_id = o\n# c\n[default]\naws_access_key_id=a\n\
                        aws_secret_access_key = b=c \n";

    #[test]
    fn a_profile_is_found_among_others() {
        let found = profile(TEXT, "default").unwrap();
        assert_eq!(
            (found.key_id.as_str(), found.secret_key.as_str(), found.token),
            ("a", "b=c", None)
        );
        assert!(profile(TEXT, "other").is_none(), "it has no secret");
        assert!(profile(TEXT, "third").is_none());
    }

    #[test]
    fn a_rotated_file_is_read_again_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, TEXT).unwrap();
        let file = CredentialsFile {
            path: path.clone(),
            profile: "default".into(),
            read: Mutex::new(None),
        };
        assert_eq!(file.current().unwrap().key_id, "a");
        std::fs::write(&path, TEXT.replace("=a\n", "=z\n")).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(file.current().unwrap().key_id, "z");
        assert!(!format!("{file:?}").contains("b=c"));
        std::fs::write(&path, "[default]\n").unwrap();
        std::fs::File::open(&path)
            .unwrap()
            .set_modified(later + std::time::Duration::from_secs(5))
            .unwrap();
        assert!(
            file.current()
                .unwrap_err()
                .to_string()
                .contains("no complete profile `default`")
        );
    }
}
