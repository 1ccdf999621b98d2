//! Storage by URL: `s3://bucket/prefix` or `file:///folder`, behind one blocking interface.
//!
//! [`Storage`] puts, gets, lists and deletes whole objects below a prefix; [`fetch`] brings inputs that are named by
//! URL into a cache folder of this host. The crate owns its IO runtime: callers are plain threads and hand over no
//! futures. Invariants: every request has a deadline and every operation a longer one, within which what passes by
//! itself (a busy server, a cut connection) is tried again; an error says what was done to which URL, how often and
//! for how long, and what to do; no credential is ever part of an error or a log line.

mod answers;
mod archive;
mod connect;
mod counters;
mod credentials;
mod error;
pub mod fetch;
mod place;
mod retry;
mod runtime;
mod settings;
mod storage;
mod transfer;
mod trust;

#[doc(hidden)]
pub use archive::unpack_named;
pub use counters::{Operation, OperationCount, StorageCount, StorageCounters};
pub use error::{StorageError, StorageErrorKind};
pub use place::StorageLocation;
pub use settings::Settings;
pub use storage::{Object, Storage};
