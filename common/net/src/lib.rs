//! What every listener of a run needs so that no peer ends or starves it: caps on connections ([`Admission`]), an HTTP
//! server with deadlines ([`serve_http`]), and the process's descriptors ([`raise_descriptor_limit`], [`Shortage`]).
//!
//! Invariants: a listener never ends because the system refuses a descriptor; connections that have proved nothing take
//! at most a quarter of the process's descriptors per listener, and the rest is the run's.

mod accept;
mod admission;
mod descriptors;
mod http;

pub use accept::accept;
pub use admission::{Admission, AdmissionCaps, AdmittedConnection, RequestInProgress};
pub use descriptors::{Shortage, descriptor_limit, raise_descriptor_limit};
pub use http::{HTTP_HEADER_DEADLINE, HTTP_SEND_DEADLINE, serve_http};
