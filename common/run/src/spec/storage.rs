//! Where a run's files and inputs may lie besides local disks: URLs, and how the storage behind them is reached.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Object storage, for runs whose processes share no disk. Credentials come from the environment (AWS_ACCESS_KEY_ID,
/// AWS_SECRET_ACCESS_KEY, roles) or from ~/.aws/credentials, never from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Keeps the run's checkpoints, models, style bank, examples and report, in a folder of the run's name. Left out: only
    /// the run directory does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"s3://bucket/runs")]
    pub url: Option<String>,
    /// Of a storage that is not Amazon's. Left out: AWS_ENDPOINT_URL, else Amazon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"https://minio.example.org:9000")]
    pub endpoint: Option<String>,
    /// Left out: AWS_REGION, else us-east-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"us-east-1")]
    pub region: Option<String>,
    /// Bucket in the path of a request, not in its host name. Left out: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = true)]
    pub path_style: Option<bool>,
    /// Speak to an endpoint without TLS. Left out: AWS_ALLOW_HTTP, else false.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = false)]
    pub allow_http: Option<bool>,
    /// Folder of each host that keeps inputs fetched by URL. Left out: ~/.cache/ulda/inputs; ULDA_CACHE of a worker wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"), example = &"/var/cache/ulda")]
    pub cache: Option<PathBuf>,
    /// Longest wait for the answer to one request, seconds.
    #[schemars(range(min = 0.1, max = 1e6))]
    pub request: f64,
    /// Longest time in which one request is repeated, seconds; then it is given up, and training goes on.
    #[schemars(range(min = 0.1, max = 1e6))]
    pub deadline: f64,
    /// Longest time that a run that is done waits for its models to lie in the storage, seconds.
    #[schemars(range(min = 0.1, max = 1e6))]
    pub final_models: f64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            url: None,
            endpoint: None,
            region: None,
            path_style: None,
            allow_http: None,
            cache: None,
            request: 30.0,
            deadline: 120.0,
            final_models: 3600.0,
        }
    }
}

/// The scheme of a location that is a URL and not a path: `s3` of `s3://bucket/data`.
#[must_use]
pub fn url_scheme(location: &str) -> Option<&str> {
    let (scheme, _) = location.split_once("://")?;
    let letters = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(letters)).then_some(scheme)
}

/// Whether a location of a run.toml is a URL.
#[must_use]
pub fn is_url(location: &Path) -> bool {
    location.to_str().and_then(url_scheme).is_some()
}

/// What is wrong with a URL, and what to do.
pub(super) fn url_problem(url: &str) -> Option<(String, &'static str)> {
    const FORMS: &str = "write s3://BUCKET/PREFIX or file:///FOLDER";
    let rest = match url_scheme(url) {
        Some("s3" | "file") => url.split_once("://").map_or("", |(_, rest)| rest),
        Some(scheme) => return Some((format!("`{scheme}` is not a storage that is known"), FORMS)),
        None => return Some((format!("`{url}` is not a URL"), FORMS)),
    };
    if url.starts_with("file") {
        return (!rest.starts_with('/')).then(|| (format!("`{url}` names no absolute path"), FORMS));
    }
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains('@') || bucket.contains(':') {
        return Some((
            "holds credentials or a port".to_owned(),
            "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials, a port from \
             storage.endpoint",
        ));
    }
    let named = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if bucket.is_empty() || !bucket.chars().all(named) {
        return Some((format!("`{url}` names no bucket"), FORMS));
    }
    if url.contains(['?', '#']) || path.split('/').any(|part| part == "." || part == "..") {
        return Some((
            format!("`{url}` is not a plain path"),
            "leave out `?`, `#`, `.` and `..`",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        assert_eq!(url_scheme("s3://bucket/data"), Some("s3"));
        assert!(is_url(Path::new("file:///data")));
        for path in ["/data", "data/a://b", "://x", "C:/data", "s3:/bucket"] {
            assert!(!is_url(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn wrong_urls_get_a_sentence() {
        for good in ["s3://bucket", "s3://bucket/a/b.tar.gz", "file:///data/set"] {
            assert_eq!(url_problem(good), None, "{good}");
        }
        for (bad, expected) in [
            ("https://host/x", "`https` is not a storage"),
            ("bucket/prefix", "is not a URL"),
            ("file://data", "no absolute path"),
            ("s3:///prefix", "names no bucket"),
            ("s3://key:secret@bucket/x", "holds credentials"),
            ("s3://bucket/a/../b", "not a plain path"),
            ("s3://bucket/a?b", "not a plain path"),
        ] {
            let (what, _) = url_problem(bad).unwrap();
            assert!(what.contains(expected), "{bad}: {what}");
            assert!(!what.contains("secret"), "credentials are not repeated");
        }
    }
}
