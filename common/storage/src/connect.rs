//! From a place and its settings to a client that speaks with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::ClientConfigKey;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::answers::StatusConnector;
use crate::credentials::CredentialsFile;
use crate::trust::{self, BundleError};
use crate::{Settings, StorageError, StorageLocation};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// A client, and the prefix below which this storage lies.
#[derive(Clone)]
pub(crate) struct PrefixedStore {
    pub store: Arc<dyn ObjectStore>,
    /// Where objects can be written in parts.
    pub parts: Option<Arc<dyn MultipartStore>>,
    pub prefix: String,
}

/// # Errors
/// When the settings contradict each other. Nothing is asked of the storage yet.
pub(crate) fn connect(place: &StorageLocation, settings: &Settings) -> Result<PrefixedStore, StorageError> {
    match place {
        StorageLocation::S3 { bucket, prefix } => s3(place, bucket, prefix, settings),
        StorageLocation::File { path } => file(place, path),
    }
}

fn file(place: &StorageLocation, path: &Path) -> Result<PrefixedStore, StorageError> {
    std::fs::create_dir_all(path).map_err(StorageError::disk("create folder", path))?;
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| refused(place, &error))?;
    Ok(PrefixedStore {
        store: Arc::new(store.with_automatic_cleanup(true).with_fsync(true)),
        parts: None,
        prefix: String::new(),
    })
}

fn s3(
    place: &StorageLocation,
    bucket: &str,
    prefix: &str,
    settings: &Settings,
) -> Result<PrefixedStore, StorageError> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let given = |key| builder.get_config_value(&key);
    let key_given = given(AmazonS3ConfigKey::AccessKeyId).is_some();
    let role_given = given(AmazonS3ConfigKey::WebIdentityTokenFile).is_some()
        || given(AmazonS3ConfigKey::ContainerCredentialsRelativeUri).is_some()
        || given(AmazonS3ConfigKey::ContainerCredentialsFullUri).is_some();
    let endpoint = settings
        .endpoint
        .clone()
        .or_else(|| given(AmazonS3ConfigKey::S3Endpoint))
        .or_else(|| given(AmazonS3ConfigKey::Endpoint));
    let http_given = given(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    let allow_http = settings
        .allow_http
        .unwrap_or_else(|| http_given.is_some_and(|value| value == "true" || value == "1"));
    if !allow_http
        && endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.starts_with("http://"))
    {
        return Err(StorageError::Setting {
            url: place.to_string(),
            what: "its endpoint has no TLS, and storage.allow_http is not set".into(),
            hint: "use https://, or set storage.allow_http = true where the network is trusted",
        });
    }
    // A provider that is there already serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = options(place, settings, allow_http)?;
    builder = builder
        .with_client_options(options.clone())
        .with_http_connector(StatusConnector)
        // Objects are deleted one by one, which every storage understands.
        .with_disable_bulk_delete(true)
        .with_allow_http(allow_http)
        // Repeating is done, counted and bounded in one place: `retry`.
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 0,
            retry_timeout: settings.request,
        });
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    let path_style = settings.path_style.unwrap_or(true);
    builder = builder.with_virtual_hosted_style_request(!path_style);
    if let Some(endpoint) = endpoint.clone() {
        // The client takes the endpoint of a bucket in its host name as it is.
        let hosted = endpoint.replacen("://", &format!("://{bucket}."), 1);
        let endpoint = if path_style { endpoint } else { hosted };
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if !key_given
        && !role_given
        && let Some(file) = CredentialsFile::find()
    {
        builder = builder.with_credentials(Arc::new(file));
    }
    let needs_no_tls = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let store = match builder.clone().build() {
        // A host without certificates reaches a storage without TLS all the same.
        Err(error) if needs_no_tls && trust::is_without_authorities(&error) => builder
            .with_client_options(options.with_no_system_certificates(true))
            .build(),
        built => built,
    };
    let store = Arc::new(store.map_err(|error| refused(place, &error))?);
    Ok(PrefixedStore {
        store: Arc::clone(&store) as Arc<dyn ObjectStore>,
        parts: Some(store),
        prefix: prefix.to_owned(),
    })
}

fn options(
    place: &StorageLocation,
    settings: &Settings,
    allow_http: bool,
) -> Result<ClientOptions, StorageError> {
    let mut options = ClientOptions::new()
        .with_allow_http(allow_http)
        .with_timeout(settings.request)
        .with_connect_timeout(CONNECT.min(settings.request));
    let bundle = trust::bundle().map_err(|error| StorageError::Setting {
        url: place.to_string(),
        what: error.to_string(),
        hint: BundleError::HINT,
    })?;
    for certificate in bundle {
        options = options.with_root_certificate(certificate);
    }
    Ok(options)
}

fn refused(place: &StorageLocation, error: &object_store::Error) -> StorageError {
    let url = place.to_string();
    if trust::is_without_authorities(error) {
        return StorageError::Setting {
            url,
            what: "this host has no certificates of authorities to check the storage's with".into(),
            hint: trust::hint_without_authorities(),
        };
    }
    StorageError::Setting {
        url,
        what: crate::error::chain(error),
        hint: "check [storage] of the run.toml and the AWS_ variables of the environment",
    }
}
