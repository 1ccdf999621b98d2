//! A URL taken apart.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::StorageError;

/// Where a URL points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageLocation {
    /// `prefix` has no slash at either end.
    S3 {
        bucket: String,
        prefix: String,
    },
    File {
        path: PathBuf,
    },
}

impl StorageLocation {
    /// # Errors
    /// When the URL has another scheme, or none.
    pub fn parse(url: &str) -> Result<Self, StorageError> {
        let unknown = || StorageError::Url { url: url.to_owned() };
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
        match scheme {
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
                if bucket.is_empty() || parts.contains(&"..") {
                    return Err(unknown());
                }
                Ok(Self::S3 {
                    bucket: bucket.to_owned(),
                    prefix: parts.join("/"),
                })
            }
            "file" if Path::new(rest).is_absolute() => Ok(Self::File { path: rest.into() }),
            _ => Err(unknown()),
        }
    }

    /// The place `name` below this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        if name.is_empty() {
            return self.clone();
        }
        match self {
            Self::S3 { bucket, prefix } => Self::S3 {
                bucket: bucket.clone(),
                prefix: if prefix.is_empty() {
                    name.to_owned()
                } else {
                    format!("{prefix}/{name}")
                },
            },
            Self::File { path } => Self::File {
                path: path.join(name),
            },
        }
    }

    /// The last part of its path, or the bucket.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::S3 { bucket, prefix } => match prefix.rsplit('/').next() {
                None | Some("") => bucket,
                Some(name) => name,
            },
            Self::File { path } => path.file_name().and_then(|name| name.to_str()).unwrap_or("root"),
        }
    }
}

impl fmt::Display for StorageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File { path } => write!(f, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        for (url, again, name) in [
            ("s3://b", "s3://b", "b"),
            ("s3://b//a//c/", "s3://b/a/c", "c"),
            ("file:///x/y.tar", "file:///x/y.tar", "y.tar"),
        ] {
            let place = StorageLocation::parse(url).unwrap();
            assert_eq!((place.to_string().as_str(), place.name()), (again, name));
        }
        assert_eq!(
            StorageLocation::parse("s3://b/p").unwrap().below("").to_string(),
            "s3://b/p"
        );
        assert_eq!(
            StorageLocation::parse("s3://b").unwrap().below("x").to_string(),
            "s3://b/x"
        );
        assert_eq!(
            StorageLocation::parse("s3://b/p")
                .unwrap()
                .below("x/y")
                .to_string(),
            "s3://b/p/x/y"
        );
        for url in ["https://b/x", "b/x", "file://x", "s3:///x", "s3://b/../x"] {
            assert!(StorageLocation::parse(url).is_err(), "{url}");
        }
    }
}
