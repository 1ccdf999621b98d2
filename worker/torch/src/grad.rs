//! Gradient slots, hooks after accumulation, and dropout with a seed of its own.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use tch::Tensor;

use crate::{TorchError, ffi};

/// Makes `gradient` the `.grad` of `parameter`, or empties the slot.
///
/// A view of a flat buffer (`flat.narrow(..).view_as(p).data()`) makes backward accumulate there; the
/// `.data()` matters, and so does clearing with `flat.zero_()` rather than `zero_grad()`, which would
/// drop the binding.
///
/// # Errors
/// Libtorch's, when the tensors do not fit.
pub fn set_grad(parameter: &Tensor, gradient: Option<&Tensor>) -> Result<(), TorchError> {
    let gradient = gradient.map_or(std::ptr::null_mut(), ffi::raw);
    // SAFETY: both tensors are alive; null empties the slot.
    ffi::check("set_grad", unsafe {
        ffi::ulda_set_grad(ffi::raw(parameter), gradient)
    })
}

/// Copies the gradient of each of `parameters` to its place, of the same shape; zeros where a parameter has none. On a GPU
/// that is about one launch for all.
///
/// # Errors
/// The lists differ in length, or a gradient and its place in shape.
pub fn gather_gradients(parameters: &[Tensor], places: &[Tensor]) -> Result<(), TorchError> {
    if parameters.len() != places.len() {
        return Err(TorchError {
            call: "gather gradients",
            message: format!("{} places for {} parameters", places.len(), parameters.len()),
        });
    }
    let handles = |tensors: &[Tensor]| tensors.iter().map(ffi::raw).collect::<Vec<_>>();
    let (from, to) = (handles(parameters), handles(places));
    // SAFETY: two lists of so many tensors, which are alive.
    ffi::check("gather gradients", unsafe {
        ffi::ulda_gather_gradients(from.as_ptr(), to.as_ptr(), from.len())
    })
}

/// Inverted dropout: each value of `x` becomes 0 with probability `p`, else is divided by 1 − p.
///
/// The mask comes from a fresh generator with this seed, on the device of `x`: CPUs and GPUs draw different masks. It
/// does not depend on the number of threads, and libtorch's global generators are not touched. `p = 0` gives `x` itself.
///
/// # Errors
/// `p` is not in [0, 1).
pub fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor, TorchError> {
    dropout_parts(x, p, &[seed])
}

/// The same for batches of equal size that lie one after the other in `x`, as many as there are `seeds`: each has
/// the mask that its seed would give it alone.
///
/// # Errors
/// As [`dropout`], or `x` cannot be cut so.
pub fn dropout_parts(x: &Tensor, p: f64, seeds: &[u64]) -> Result<Tensor, TorchError> {
    if p == 0.0 {
        return Ok(x.shallow_clone());
    }
    let failed = |message: String| TorchError {
        call: "dropout",
        message,
    };
    let size = x.size();
    if seeds.is_empty() || size.first().is_none_or(|images| images % seeds.len() as i64 != 0) {
        return Err(failed(format!("{size:?} in {} parts", seeds.len())));
    }
    let mut mask = std::ptr::null_mut();
    // SAFETY: `x` is alive, `seeds` has as many numbers as is said, and the out-pointer is valid.
    ffi::check("dropout", unsafe {
        ffi::ulda_dropout_mask(ffi::raw(x), p, seeds.as_ptr(), seeds.len(), &mut mask)
    })?;
    // SAFETY: on success the mask is set and ours.
    let mask = unsafe { ffi::own(mask) };
    x.f_mul(&mask).map_err(|error| failed(error.to_string()))
}

type Closure = Arc<Mutex<dyn FnMut(i64) -> Result<(), String> + Send>>;

/// Hooks on parameters that run right after a gradient is accumulated; dropping the guard removes them.
pub struct GradientHooks {
    parameters: Vec<Tensor>,
}

impl GradientHooks {
    /// Runs `closure(i)` whenever backward has accumulated the gradient of `parameters[i]`: last layer
    /// first, on the thread that called backward; for a GPU that thread must be settled
    /// ([`crate::runtime::settle_thread`]), else libtorch's own thread of the GPU runs it. An `Err` surfaces from `f_backward`. One hook per parameter: an earlier one is replaced.
    ///
    /// # Errors
    /// A parameter is not a leaf that requires a gradient; then no hook stays.
    pub fn install(
        parameters: &[Tensor],
        closure: impl FnMut(i64) -> Result<(), String> + Send + 'static,
    ) -> Result<Self, TorchError> {
        let closure: Closure = Arc::new(Mutex::new(closure));
        let mut guard = Self {
            parameters: Vec::with_capacity(parameters.len()),
        };
        for (index, parameter) in parameters.iter().enumerate() {
            let shared = Box::into_raw(Box::new(Arc::clone(&closure)));
            // SAFETY: `shared` belongs to the shim, which gives it to `release` exactly once.
            let status = unsafe {
                ffi::ulda_hook_set(
                    ffi::raw(parameter),
                    shared.cast(),
                    release,
                    accumulated,
                    index as i64,
                )
            };
            ffi::check("gradient hook", status)?;
            guard.parameters.push(parameter.shallow_clone());
        }
        Ok(guard)
    }
}

impl Drop for GradientHooks {
    fn drop(&mut self) {
        for parameter in &self.parameters {
            // SAFETY: the parameter is alive; clearing cannot fail on a leaf that had a hook.
            let _ = unsafe { ffi::ulda_hook_clear(ffi::raw(parameter)) };
        }
    }
}

unsafe extern "C" fn release(closure: *mut c_void) {
    // SAFETY: `closure` came from `Box::into_raw` above and is released once.
    drop(unsafe { Box::from_raw(closure.cast::<Closure>()) });
}

unsafe extern "C" fn accumulated(
    closure: *mut c_void,
    index: i64,
    error: *mut c_char,
    error_len: usize,
) -> c_int {
    // SAFETY: the shim keeps `closure` alive and `error` has the length it says.
    unsafe {
        ffi::answer(error, error_len, || {
            let closure = &*closure.cast::<Closure>();
            let mut run = closure.lock().unwrap_or_else(PoisonError::into_inner);
            (*run)(index)
        })
    }
}
