//! Memory of the device that operations read and write.

use std::any::Any;
use std::ffi::c_void;

use cudarc::nccl::sys::ncclDataType_t;

/// What an operation can be over.
pub trait Element: Copy + Send + 'static + sealed::Named {}

impl Element for f32 {}
impl Element for u8 {}

pub(crate) mod sealed {
    use super::ncclDataType_t;

    /// An element as NCCL calls it.
    pub trait Named {
        const NAME: ncclDataType_t;
    }

    impl Named for f32 {
        const NAME: ncclDataType_t = ncclDataType_t::ncclFloat32;
    }

    impl Named for u8 {
        const NAME: ncclDataType_t = ncclDataType_t::ncclUint8;
    }
}

/// A run of elements in the device's memory, and what keeps that memory.
pub struct DeviceSpan<E> {
    pointer: *mut E,
    elements: usize,
    keeper: Keeper,
}

/// Drops with the last use of the memory.
pub(crate) type Keeper = Box<dyn Any + Send>;

// SAFETY: the pointer is dereferenced by the device alone, and the constructor's contract holds on any thread.
unsafe impl<E: Element> Send for DeviceSpan<E> {}

impl<E: Element> DeviceSpan<E> {
    /// A span of `elements` elements from `pointer` on, kept by `keeper`. The keeper is dropped on the
    /// communicator's thread once the operation was seen complete, or the abort that ended it returned.
    ///
    /// # Safety
    /// Until `keeper` is dropped: the span lies within one allocation of the device whose runtime the
    /// communicator's [`Timeline`](crate::Timeline) stands for, aligned for `E`; and nothing else, on the host
    /// or on any stream, writes it, or reads it where the operation writes, except work before the
    /// operation's ready mark and operations of the same communicator.
    pub unsafe fn new(pointer: *mut E, elements: usize, keeper: Box<dyn Any + Send>) -> DeviceSpan<E> {
        DeviceSpan {
            pointer,
            elements,
            keeper,
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.elements
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer.cast()
    }

    pub(crate) fn into_keeper(self) -> Keeper {
        self.keeper
    }
}
