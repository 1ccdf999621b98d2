//! What a worker ends with for an error.

use ulda_run::Exit;

/// `exit`, but as unavailable where the system was short of descriptors or memory, whatever it was needed for.
#[must_use]
pub fn exit_of(error: &(dyn std::error::Error + 'static), exit: Exit) -> Exit {
    match ulda_net::Shortage::of(error) {
        Some(_) => Exit::Unavailable,
        None => exit,
    }
}
