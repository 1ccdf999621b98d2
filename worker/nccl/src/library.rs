//! NCCL as found on this host.
//!
//! Invariants: a library once loaded stays until the process ends, as threads of its own may outlive every
//! communicator; one that cannot be used is refused when it is opened.

use std::ffi::{CStr, OsString, c_int};
use std::fmt;
use std::path::{Path, PathBuf};

use cudarc::nccl::sys::ncclUniqueId;

use crate::error::{Attempt, NcclError, NcclFailure};
use crate::seat::RankSeat;
use crate::table::{Code, Table};
use crate::unique_id::UniqueId;

/// Names the file to load, before all other places.
const VARIABLE: &str = "ULDA_NCCL";

/// The name that both NVIDIA's packages and the wheel give it.
const NAME: &str = "libnccl.so.2";

/// NCCL's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NcclVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl NcclVersion {
    /// The first whose config structure is the one in use here; later 2.x accept it.
    const OLDEST: NcclVersion = NcclVersion {
        major: 2,
        minor: 28,
        patch: 0,
    };

    fn from_code(code: u32) -> NcclVersion {
        // Up to 2.8 the number had a digit less for the major version.
        let major_unit = if code < 10_000 { 1_000 } else { 10_000 };
        NcclVersion {
            major: code / major_unit,
            minor: code % major_unit / 100,
            patch: code % 100,
        }
    }

    fn is_supported(self) -> bool {
        self >= NcclVersion::OLDEST && self.major == NcclVersion::OLDEST.major
    }
}

impl fmt::Display for NcclVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// NCCL, loaded.
#[derive(Clone)]
pub struct Library {
    table: Table,
    path: PathBuf,
    version: NcclVersion,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NCCL {} at `{}`", self.version, self.path.display())
    }
}

impl Library {
    /// Loads the first of these that can be: the file that the environment variable `ULDA_NCCL` names,
    /// `libnccl.so.2` from where the system's loader looks, and the one that was installed beside this
    /// process's libtorch. [`path`](Library::path) says which it was.
    ///
    /// # Errors
    /// `NotFound` with all that was tried; of a file that is there, as [`open`](Library::open).
    pub fn find() -> Result<Library, NcclError> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Library::find_among(&candidates(std::env::var_os(VARIABLE), &maps))
    }

    fn find_among(candidates: &[PathBuf]) -> Result<Library, NcclError> {
        let mut tried = Vec::new();
        for path in candidates {
            match Library::open(path) {
                Err(NcclError::Load(attempt)) => tried.push(attempt),
                outcome => return outcome,
            }
        }
        Err(NcclError::NotFound { tried })
    }

    /// Loads this file.
    ///
    /// # Errors
    /// `Load` or `MissingFunction` when it is not NCCL; `Version` when it is another than 2.x from 2.28 on;
    /// `BlockingOverride` when the environment would make its calls block.
    pub fn open(path: impl AsRef<Path>) -> Result<Library, NcclError> {
        refuse_blocking(std::env::var_os("NCCL_COMM_BLOCKING"))?;
        let path = path.as_ref();
        // SAFETY: the file is one that its user named, or has NCCL's name; NCCL's initialisers only set up
        // its own state.
        let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
            let reason = loaders_words(&error, path);
            let path = path.to_owned();
            NcclError::Load(Attempt { path, reason })
        })?;
        // SAFETY: the names are NCCL's, whose major version 2 has kept these signatures; the library is
        // forgotten below, thus never unloaded.
        let table = unsafe { Table::load(&library) }.map_err(|function| NcclError::MissingFunction {
            path: path.to_owned(),
            function: function.to_owned(),
        })?;
        std::mem::forget(library);
        let mut code: c_int = 0;
        // SAFETY: the pointer is to a live integer.
        let answer = unsafe { (table.get_version)(&mut code) };
        let library = Library {
            table,
            path: path.to_owned(),
            version: NcclVersion::from_code(code.unsigned_abs()),
        };
        if answer != Code::SUCCESS {
            return Err(library.failure(answer, None, "ask NCCL for its version", "ncclGetVersion"));
        }
        if !library.version.is_supported() {
            let (path, found) = (library.path, library.version);
            return Err(NcclError::Version { path, found });
        }
        Ok(library)
    }

    /// Its version.
    pub fn version(&self) -> NcclVersion {
        self.version
    }

    /// The file, as it was given to the loader.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new communicator's id; rank 0 makes it, and this process serves the others' first contact. The one
    /// call of NCCL on the caller's thread: it opens a socket and waits for nobody.
    ///
    /// # Errors
    /// What NCCL says, e.g. `System` when no network interface can be used.
    pub fn unique_id(&self) -> Result<UniqueId, NcclError> {
        let mut raw = ncclUniqueId { internal: [0; 128] };
        // SAFETY: the pointer is to a live id.
        let answer = unsafe { (self.table.get_unique_id)(&mut raw) };
        if answer != Code::SUCCESS {
            return Err(self.failure(answer, None, "make a communicator's id", "ncclGetUniqueId"));
        }
        Ok(UniqueId::from_raw(&raw))
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// What a code means that is neither success nor progress.
    pub(crate) fn failure(
        &self,
        code: Code,
        seat: Option<RankSeat>,
        during: &str,
        call: &'static str,
    ) -> NcclError {
        // SAFETY: NCCL answers any code with a static string.
        let meaning = unsafe { text((self.table.get_error_string)(code)) };
        // SAFETY: the argument is unused as of 2.28 and may be null; the string is a static buffer.
        let detail = unsafe { text((self.table.get_last_error)(std::ptr::null_mut())) };
        let failure = NcclFailure {
            seat,
            during: during.to_owned(),
            call,
            text: if detail.is_empty() {
                meaning
            } else {
                format!("{meaning}: {detail}")
            },
        };
        match code {
            _ if failure.text.contains("Duplicate GPU") => NcclError::DuplicateGpu(failure),
            Code::CUDA => NcclError::Cuda(failure),
            Code::REMOTE => NcclError::Remote(failure),
            Code::SYSTEM => NcclError::System(failure),
            _ => NcclError::Refused(failure),
        }
    }
}

/// What the system's loader said, which starts with the path.
fn loaders_words(error: &libloading::Error, path: &Path) -> String {
    let words = match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    let start = format!("{}: ", path.display());
    words.strip_prefix(&start).unwrap_or(&words).to_owned()
}

/// A string of NCCL's on one line.
///
/// # Safety
/// The pointer is null or to a string that stays.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    let whole = unsafe { CStr::from_ptr(pointer) }.to_string_lossy();
    whole.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where to look, best first; `maps` is this process's `/proc/self/maps`.
fn candidates(named: Option<OsString>, maps: &str) -> Vec<PathBuf> {
    let named = named.filter(|path| !path.is_empty()).map(PathBuf::from);
    let torch = maps
        .lines()
        .filter_map(|line| line.find('/').map(|start| Path::new(&line[start..])))
        .find(|path| path.file_name().is_some_and(|name| name == "libtorch_cpu.so"))
        .and_then(Path::parent)
        .map(|folder| folder.join("../../nvidia/nccl/lib").join(NAME));
    named
        .into_iter()
        .chain([PathBuf::from(NAME)])
        .chain(torch)
        .collect()
}

/// NCCL heeds this variable before the config that it is given.
fn refuse_blocking(set: Option<OsString>) -> Result<(), NcclError> {
    match set {
        Some(value) if value != "0" => Err(NcclError::BlockingOverride {
            value: value.to_string_lossy().into_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_both_kinds_of_number() {
        let table = [
            (22809, "2.28.9", true),
            (22800, "2.28.0", true),
            (23004, "2.30.4", true),
            (22705, "2.27.5", false),
            (2708, "2.7.8", false),
            (30000, "3.0.0", false),
        ];
        for (code, text, supported) in table {
            let version = NcclVersion::from_code(code);
            assert_eq!(
                (version.to_string().as_str(), version.is_supported()),
                (text, supported)
            );
        }
    }

    #[test]
    fn the_named_file_comes_before_the_systems_and_torchs() {
        let maps = "7f00-7f01 r--p 00000000 00:2a 99  /usr/lib/libc.so.6\n\
                    7f10-7f20 r-xp 00000000 00:2a 17  /opt/my packages/torch/lib/libtorch_cpu.so\n\
                    7f30-7f31 rw-p 00000000 00:00 0   [heap]\n";
        let places = candidates(Some("/opt/libnccl.so.2.28.9".into()), maps);
        let expected = [
            "/opt/libnccl.so.2.28.9",
            "libnccl.so.2",
            "/opt/my packages/torch/lib/../../nvidia/nccl/lib/libnccl.so.2",
        ];
        assert_eq!(places, expected.map(PathBuf::from));
        assert_eq!(candidates(Some("".into()), ""), [PathBuf::from("libnccl.so.2")]);
    }

    #[test]
    fn a_missing_library_is_a_sentence_with_all_that_was_tried() {
        let places = ["/nowhere/libnccl.so.2", "/elsewhere/libnccl.so.2"].map(PathBuf::from);
        let error = Library::find_among(&places).unwrap_err();
        assert!(matches!(&error, NcclError::NotFound { tried } if tried.len() == 2));
        let text = error.to_string();
        assert!(
            text.starts_with("NCCL was not found; tried `/nowhere/libnccl.so.2` ("),
            "{text}"
        );
        for part in ["`/elsewhere/libnccl.so.2` (", "No such file"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(error.hint().unwrap().contains("`ULDA_NCCL`"));
    }

    #[test]
    fn a_library_that_is_not_nccl_is_named() {
        let error = Library::open("libc.so.6").unwrap_err();
        let expected = "`libc.so.6` is not NCCL: it has no function `ncclGetVersion`";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_blocking_override_is_refused() {
        assert!(refuse_blocking(None).is_ok());
        assert!(refuse_blocking(Some("0".into())).is_ok());
        let error = refuse_blocking(Some("1".into())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`NCCL_COMM_BLOCKING` is `1`, which makes calls of NCCL block past every deadline"
        );
        assert_eq!(error.hint().as_deref(), Some("unset it"));
    }
}
