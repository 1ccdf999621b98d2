//! Inputs by URL, brought once to each host.
//!
//! What was fetched lies in the cache folder under a name that holds the digest of its URL and of what the server
//! says identifies its content, so that another content is another entry and an entry under its final name is whole.
//! One process of a host fetches, the others wait for it. A fetch that breaks goes on where it was.

mod cache;
mod files;
mod inputs;
mod lock;
mod progress;

pub use inputs::{InputError, Inputs, Probe};
