//! TorchScript archives, such as OpenAI's `RN50.pt`.

use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tch::Tensor;

use crate::{TorchError, ffi};

/// Every named tensor of the archive at `path`, on the CPU, in the kinds it stores: parameters first,
/// then buffers (BatchNorm statistics), then integer attributes as i64 scalars.
///
/// # Errors
/// The file cannot be read or is no TorchScript archive.
pub fn read(path: &Path) -> Result<Vec<(String, Tensor)>, TorchError> {
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| TorchError {
        call: "archive",
        message: format!("path `{}` contains a zero byte", path.display()),
    })?;
    let mut found: Vec<(String, Tensor)> = Vec::new();
    // SAFETY: the path is NUL-terminated; `found` outlives the call and only `visit` touches it.
    let status = unsafe { ffi::ulda_archive_read(c_path.as_ptr(), (&raw mut found).cast(), visit) };
    ffi::check("archive", status)?;
    Ok(found)
}

unsafe extern "C" fn visit(sink: *mut c_void, name: *const c_char, name_len: usize, tensor: *mut c_void) {
    // SAFETY: `sink` is the vector of `read`, the name has that length, the tensor is ours.
    unsafe {
        let name = std::slice::from_raw_parts(name.cast::<u8>(), name_len);
        let found = &mut *sink.cast::<Vec<(String, Tensor)>>();
        found.push((String::from_utf8_lossy(name).into_owned(), ffi::own(tensor)));
    }
}
