//! Who may take part in a run: its token, its own certificate authority, and the certificates of coordinator and
//! workers.
//!
//! A *credentials folder* holds all of it in files of fixed names ([`files`]). [`issue`] makes one, [`Coordinator`]
//! and [`WorkerCredentials`] read what their side needs and check it before anything is listened on or dialled; [`channel`] is a
//! worker's way to its coordinator. Invariants: a token or a key is never shown by `Debug`, `Display` or an error;
//! whatever is wrong with a file is told with its path and a remedy.

pub mod channel;
mod error;
pub mod files;
mod identity;
pub mod issue;
mod refusal_log;
mod sides;
mod token;
mod verify;

pub use error::CredentialsError;
pub use refusal_log::RefusalLog;
pub use sides::{Coordinator, WorkerCredentials};
pub use token::{Token, TokenDigest};
pub use verify::{RefusedCertificate, names_of, why_not_trusted};

/// The name in every worker's certificate, whatever host it runs on.
pub const WORKER_NAME: &str = "worker.ulda.internal";
