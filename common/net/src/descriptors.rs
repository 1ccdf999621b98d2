//! How many files and sockets this process may open, and errors that mean it has run out of them.

use std::error::Error;
use std::io;

/// What the system had too little of: a temporary fault of the machine, never of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// This process has too many open files (`EMFILE`).
    Descriptors,
    /// The whole host has too many open files (`ENFILE`).
    HostDescriptors,
    /// The kernel had no memory for it (`ENOMEM`, `ENOBUFS`).
    Memory,
}

impl Shortage {
    /// What `error` or one of its causes says the system had too little of.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(cause) = next {
            let number = cause.downcast_ref().and_then(io::Error::raw_os_error);
            if let Some(found) = number.and_then(Self::of_number) {
                return Some(found);
            }
            next = cause.source();
        }
        // Libraries that are not written in Rust pass the system's sentence on without its number.
        let text = error.to_string();
        if text.contains("Too many open files in system") {
            Some(Self::HostDescriptors)
        } else if text.contains("Too many open files") {
            Some(Self::Descriptors)
        } else {
            None
        }
    }

    /// What to do about `error`: `hint`, unless the system was short of something.
    #[must_use]
    pub fn hint_or(error: &(dyn Error + 'static), hint: Option<String>) -> Option<String> {
        Self::of(error)
            .map(|shortage| shortage.hint().to_owned())
            .or(hint)
    }

    fn of_number(number: i32) -> Option<Self> {
        match number {
            libc::EMFILE => Some(Self::Descriptors),
            libc::ENFILE => Some(Self::HostDescriptors),
            libc::ENOMEM | libc::ENOBUFS => Some(Self::Memory),
            _ => None,
        }
    }

    /// What a person can do about it, if it does not pass.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Descriptors => "too many open files: raise the hard limit (`ulimit -n`) of this process",
            Self::HostDescriptors => "too many open files on this host: raise the sysctl fs.file-max",
            Self::Memory => "free memory on this host",
        }
    }
}

/// Descriptors that this process may have open at a time.
#[must_use]
pub fn descriptor_limit() -> u64 {
    read_limit().map_or(1024, |limit| limit.rlim_cur)
}

/// Raises the soft limit of open files to the hard one; processes started from now on inherit it.
///
/// # Errors
/// The system refuses; the limit is then as it was.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = read_limit()?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the argument lives for the call.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn read_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the argument lives for the call.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(io::Error);

    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("read `a.png`")
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_shortage_is_found_through_all_causes_and_in_foreign_texts() {
        let of = |number| Shortage::of(&Wrapped(io::Error::from_raw_os_error(number)));
        assert_eq!(of(libc::EMFILE), Some(Shortage::Descriptors));
        assert_eq!(of(libc::ENFILE), Some(Shortage::HostDescriptors));
        assert_eq!(of(libc::ENOBUFS), Some(Shortage::Memory));
        assert_eq!(of(libc::ENOENT), None);
        let foreign = io::Error::other("open file failed, strerror: Too many open files");
        assert_eq!(Shortage::of(&foreign), Some(Shortage::Descriptors));
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_descriptor_limit().expect("a process may raise its own soft limit");
        assert_eq!(
            Some(descriptor_limit()),
            read_limit().ok().map(|limit| limit.rlim_max)
        );
    }
}
