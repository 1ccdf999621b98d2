//! Bytes to and from a storage: small objects in one request, large ones in parts, each repeated by itself.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStoreExt, PutPayload};

use crate::connect::PrefixedStore;
use crate::counters::Operation;
use crate::error::{StorageError, StorageErrorKind};
use crate::retry::Patience;
use crate::storage::Object;

/// Bytes of one request; S3 wants 5 MiB at least. With those that share the link, 0.6 MiB/s moves them within the default
/// deadline of a request.
const PART_BYTES: usize = 8 << 20;
/// Requests of one transfer that are on their way at once.
const AT_ONCE: usize = 2;
/// Longest wait for what was sent of an upload to be given up, where nobody may wait any more.
const LEAVING: Duration = Duration::from_secs(1);

pub(crate) async fn put(
    client: &PrefixedStore,
    patience: &Patience,
    url: &str,
    path: &Path,
    bytes: Bytes,
) -> Result<(), StorageError> {
    match &client.parts {
        Some(parts) if bytes.len() > PART_BYTES => {
            put_parts(client, parts.as_ref(), patience, url, path, bytes).await
        }
        _ => {
            let put = || client.store.put(path, PutPayload::from(bytes.clone()));
            patience.insist(Operation::Put, url, put).await.map(drop)
        }
    }
}

async fn put_parts(
    client: &PrefixedStore,
    store: &dyn MultipartStore,
    patience: &Patience,
    url: &str,
    path: &Path,
    bytes: Bytes,
) -> Result<(), StorageError> {
    let size = bytes.len() as u64;
    let id = patience
        .insist(Operation::Put, url, || store.create_multipart(path))
        .await?;
    let id = &id;
    let parts = (0..bytes.len().div_ceil(PART_BYTES)).map(|index| {
        let from = index * PART_BYTES;
        let part = bytes.slice(from..bytes.len().min(from + PART_BYTES));
        async move {
            let put = || store.put_part(path, id, index, PutPayload::from(part.clone()));
            patience.insist(Operation::Put, url, put).await
        }
    });
    let outcome = match stream::iter(parts)
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
    {
        Ok(parts) => {
            let complete = || store.complete_multipart(path, id, parts.clone());
            patience.insist(Operation::Put, url, complete).await.map(drop)
        }
        Err(error) => Err(error),
    };
    let Err(error) = outcome else { return Ok(()) };
    // Of an upload that was completed although the answer was lost, nothing is known any more.
    if error.is_not_found()
        && let Ok(meta) = client.store.head(path).await
        && meta.size == size
    {
        return Ok(());
    }
    // What was sent of it costs space until it is given up; the storage's own rules remove it, too.
    let longest = match patience.cancel.is_cancelled() {
        true => LEAVING,
        false => patience.deadline,
    };
    let _ = tokio::time::timeout(longest, store.abort_multipart(path, id)).await;
    Err(error)
}

pub(crate) async fn get(
    client: &PrefixedStore,
    patience: &Patience,
    url: &str,
    path: &Path,
) -> Result<Bytes, StorageError> {
    let meta = patience
        .insist(Operation::Get, url, || client.store.head(path))
        .await?;
    if meta.size <= PART_BYTES as u64 {
        let whole = || async { client.store.get(path).await?.bytes().await };
        return patience.insist(Operation::Get, url, whole).await;
    }
    let object = Object {
        name: String::new(),
        size_bytes: meta.size,
        etag: meta.e_tag.unwrap_or_default(),
    };
    let mut all = Vec::with_capacity(usize::try_from(meta.size).unwrap_or_default());
    chunks(client, patience, url, path, &object, 0, |bytes| {
        all.extend_from_slice(&bytes);
        Ok(())
    })
    .await?;
    Ok(all.into())
}

/// Hands over the bytes from `from` on, in order. An object that changes meanwhile is an error.
pub(crate) async fn chunks(
    client: &PrefixedStore,
    patience: &Patience,
    url: &str,
    path: &Path,
    object: &Object,
    from: u64,
    mut take: impl FnMut(Bytes) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let size = object.size_bytes;
    let starts = (from..size).step_by(PART_BYTES);
    let requests = starts.map(|start| {
        let range = start..size.min(start + PART_BYTES as u64);
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            if_match: (!object.etag.is_empty()).then(|| object.etag.clone()),
            ..GetOptions::default()
        };
        async move {
            let get = || async { client.store.get_opts(path, options.clone()).await?.bytes().await };
            let bytes = patience.insist(Operation::Get, url, get).await?;
            if bytes.len() as u64 == range.end - range.start {
                return Ok(bytes);
            }
            Err(StorageError::Failed {
                operation: Operation::Get,
                url: url.to_owned(),
                kind: StorageErrorKind::Changed,
                detail: String::new(),
                tries: 1,
                waited: Duration::ZERO,
            })
        }
    });
    let mut requests = std::pin::pin!(stream::iter(requests).buffered(AT_ONCE));
    while let Some(bytes) = requests.next().await {
        take(bytes?)?;
    }
    Ok(())
}
