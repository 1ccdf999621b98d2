//! What the coordinator serves to browsers and Prometheus. Read-only for all; only `POST /api/stop`, which asks for the
//! run's token, changes something.
//!
//! `/` status page, `/api/status` what `coordinator status -o json` prints, `/api/events` a word whenever
//! something changed, `/api/targets` where the workers' metrics are, `/metrics`, `/healthz`. Reads the run's
//! journal and [`crate::observe::Live`]; knows nothing of the run's owner. Every answer has a deadline; pages take nothing from anywhere else.

mod events;
mod headers;
mod host;
mod listen;
mod routes;
mod site;
mod stop;
mod targets;

pub use listen::{HttpAddress, HttpError, HttpServer, bind, serve};
pub use site::Site;
pub use stop::Stopper;
