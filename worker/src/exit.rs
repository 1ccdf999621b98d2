//! What a worker says of an error, and what it ends with.

use std::error::Error;

use ulda_net::Shortage;
use ulda_run::{Exit, hinted};

/// `exit`, but as unavailable where the system was short of descriptors or memory, whatever it was needed for.
#[must_use]
pub fn exit_of(error: &(dyn Error + 'static), exit: Exit) -> Exit {
    match Shortage::of(error) {
        Some(_) => Exit::Unavailable,
        None => exit,
    }
}

/// `error` with its causes, and last what to do: `hint`, unless the system was short of something.
#[must_use]
pub fn with_hint(error: &(dyn Error + 'static), hint: Option<String>) -> String {
    hinted(crate::with_causes(error), Shortage::hint_or(error, hint))
}

#[cfg(test)]
mod tests {
    use ulda_dataset::SampleError;

    use super::*;

    fn told(error: &SampleError) -> String {
        with_hint(error, error.hint())
    }

    #[test]
    fn too_few_descriptors_are_no_fault_of_the_file() {
        let refused = SampleError::Unreadable {
            path: "a.png".into(),
            source: std::io::Error::from_raw_os_error(libc::EMFILE),
        };
        assert_eq!(
            told(&refused),
            "cannot read `a.png`: Too many open files (os error 24); hint: too many open files: raise the hard limit \
             (`ulimit -n`) of this process"
        );
        assert_eq!(exit_of(&refused, Exit::BadInput), Exit::Unavailable);
    }

    #[test]
    fn the_hint_comes_last() {
        let path = std::path::PathBuf::from("a.png");
        assert_eq!(
            told(&SampleError::NotAnImage { path }),
            "`a.png` is neither a png nor a jpeg file; hint: images must be PNG or JPEG files; convert it, or copy it again"
        );
    }
}
