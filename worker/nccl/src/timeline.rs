//! What a communicator needs of the device's runtime.

use std::ffi::c_void;

/// A stream of the device and the events on it, as the communicator's thread uses them. The communicator has
/// the stream for itself.
///
/// No call blocks until the device has worked something off: waits are the communicator's, with deadlines.
/// Errors are the runtime's own words.
pub trait Timeline: Send + 'static {
    /// A point in a stream's order of work: an event.
    type Mark: Send + 'static;

    /// Makes the device the current one of the calling thread. It is called once, before all others, on the
    /// thread that makes them.
    ///
    /// # Errors
    /// What the runtime says.
    fn enter(&mut self) -> Result<(), String>;

    /// The stream: a `cudaStream_t`, valid as long as this value.
    fn stream(&self) -> *mut c_void;

    /// Lets what is put on the stream from now on wait for `ready`, a mark on any stream of the device.
    ///
    /// # Errors
    /// What the runtime says.
    fn after(&mut self, ready: &Self::Mark) -> Result<(), String>;

    /// A mark after all that is on the stream.
    ///
    /// # Errors
    /// What the runtime says.
    fn mark(&mut self) -> Result<Self::Mark, String>;

    /// Whether the device has worked off all before the mark.
    ///
    /// # Errors
    /// What the runtime says, also of earlier work on the device that failed.
    fn passed(&self, mark: &Self::Mark) -> Result<bool, String>;
}
