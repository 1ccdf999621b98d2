//! Declarations of the shim and the crossing in both directions.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;

use crate::TorchError;

pub type Release = unsafe extern "C" fn(*mut c_void);
pub type Gather =
    unsafe extern "C" fn(*mut c_void, u32, c_int, *const f64, usize, *mut f64, *mut c_char, usize) -> c_int;
pub type Hook = unsafe extern "C" fn(*mut c_void, i64, *mut c_char, usize) -> c_int;

unsafe extern "C" {
    pub fn ulda_last_error() -> *const c_char;
    pub fn ulda_sync_batch_norms(
        xs: *const *mut c_void,
        weights: *const *mut c_void,
        biases: *const *mut c_void,
        count: usize,
        eps: f64,
        sync: *mut c_void,
        release: Release,
        callback: Gather,
        shards: usize,
        layer: u32,
        parts: usize,
        ys: *mut *mut c_void,
        means: *mut *mut c_void,
        vars: *mut *mut c_void,
        counts: *mut f64,
    ) -> c_int;
    pub fn ulda_conv2d(
        x: *mut c_void,
        weight: *mut c_void,
        padding: i64,
        dilation: i64,
        y: *mut *mut c_void,
    ) -> c_int;
    pub fn ulda_conv2d_relu(
        x: *mut c_void,
        weight: *mut c_void,
        bias: *mut c_void,
        residual: *mut c_void,
        stride: i64,
        padding: i64,
        dilation: i64,
        y: *mut *mut c_void,
    ) -> c_int;
    pub fn ulda_restyle(
        normalised: *mut c_void,
        mean: *mut c_void,
        std: *mut c_void,
        styled: *mut *mut c_void,
    ) -> c_int;
    pub fn ulda_style_gradient(
        normalised: *mut c_void,
        styled: *mut c_void,
        gradient: *mut c_void,
        mean: *mut *mut c_void,
        std: *mut *mut c_void,
    ) -> c_int;
    pub fn ulda_hook_set(
        parameter: *mut c_void,
        closure: *mut c_void,
        release: Release,
        callback: Hook,
        index: i64,
    ) -> c_int;
    pub fn ulda_hook_clear(parameter: *mut c_void) -> c_int;
    pub fn ulda_set_grad(parameter: *mut c_void, gradient: *mut c_void) -> c_int;
    pub fn ulda_dropout_mask(
        like: *mut c_void,
        p: f64,
        seeds: *const u64,
        parts: usize,
        mask: *mut *mut c_void,
    ) -> c_int;
    pub fn ulda_fused_sgd(
        parameters: *const *mut c_void,
        gradients: *const *mut c_void,
        velocities: *const *mut c_void,
        count: usize,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
    ) -> c_int;
    pub fn ulda_gather_gradients(
        parameters: *const *mut c_void,
        places: *const *mut c_void,
        count: usize,
    ) -> c_int;
    pub fn ulda_move_running(
        running: *const *mut c_void,
        found: *const *mut c_void,
        factors: *const f64,
        count: usize,
        counters: *const *mut c_void,
        steps: usize,
        momentum: f64,
    ) -> c_int;
    pub fn ulda_set_deterministic(on: c_int) -> c_int;
    pub fn ulda_set_tf32(on: c_int) -> c_int;
    pub fn ulda_exact_products_enter(guard: *mut *mut c_void) -> c_int;
    pub fn ulda_exact_products_leave(guard: *mut c_void);
    pub fn ulda_set_threads(count: c_int) -> c_int;
    pub fn ulda_keep_freed_memory() -> c_int;
    pub fn ulda_threads(count: *mut c_int) -> c_int;
    pub fn ulda_autocast_enter(
        cuda: c_int,
        kind: c_int,
        was_enabled: *mut c_int,
        was_kind: *mut c_int,
    ) -> c_int;
    pub fn ulda_autocast_leave(cuda: c_int, was_enabled: c_int, was_kind: c_int) -> c_int;
    pub fn ulda_inference_enter(guard: *mut *mut c_void) -> c_int;
    pub fn ulda_inference_leave(guard: *mut c_void);
    pub fn ulda_channels_last(input: *mut c_void, output: *mut *mut c_void) -> c_int;
    pub fn ulda_cuda_memory(index: c_int, figures: *mut i64) -> c_int;
    pub fn ulda_settle_thread() -> c_int;
    pub fn ulda_device_use(index: c_int) -> c_int;
    pub fn ulda_device_synchronize(index: c_int) -> c_int;
    pub fn ulda_stream_current(index: c_int, id: *mut i64) -> c_int;
    pub fn ulda_stream_pool(index: c_int, id: *mut i64) -> c_int;
    pub fn ulda_stream_native(index: c_int, id: i64, handle: *mut *mut c_void) -> c_int;
    pub fn ulda_event_record(index: c_int, id: i64, event: *mut *mut c_void) -> c_int;
    pub fn ulda_event_block(event: *mut c_void, index: c_int, id: i64) -> c_int;
    pub fn ulda_event_query(event: *mut c_void, passed: *mut c_int) -> c_int;
    pub fn ulda_event_free(event: *mut c_void);
    pub fn ulda_host_bytes(
        size: *const i64,
        dimensions: usize,
        pinned: c_int,
        tensor: *mut *mut c_void,
    ) -> c_int;
}

/// Turns the status of the shim's `call` into a result, with the thread's error text.
pub fn check(call: &'static str, status: c_int) -> Result<(), TorchError> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the shim's text is NUL-terminated and lives until the next failing call on this thread.
    let text = unsafe { CStr::from_ptr(ulda_last_error()) }.to_string_lossy();
    Err(TorchError {
        call,
        message: tidy(&text),
    })
}

/// Drops libtorch's stack traces and the wording of its nested rethrows.
fn tidy(text: &str) -> String {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("Exception raised from"));
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

pub fn raw(tensor: &Tensor) -> *mut c_void {
    tensor.as_ptr().cast_mut().cast()
}

/// Takes over a tensor that the shim made.
///
/// # Safety
/// `tensor` is a live `at::Tensor*` that nothing else owns.
pub unsafe fn own(tensor: *mut c_void) -> Tensor {
    // SAFETY: as the caller promises.
    unsafe { Tensor::from_ptr(tensor.cast()) }
}

/// Runs the body of a callback: an error, or a panic, is written as text into the shim's buffer.
///
/// # Safety
/// `error` has room for `error_len` bytes.
pub unsafe fn answer(
    error: *mut c_char,
    error_len: usize,
    body: impl FnOnce() -> Result<(), String>,
) -> c_int {
    let message = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(message)) => message,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("callback panicked: {}", text.unwrap_or("no message"))
        }
    };
    let kept = &message.as_bytes()[..message.floor_char_boundary(error_len - 1)];
    // SAFETY: `kept` and its terminator fit in the buffer.
    unsafe {
        std::ptr::copy_nonoverlapping(kept.as_ptr().cast(), error, kept.len());
        *error.add(kept.len()) = 0;
    }
    -1
}
