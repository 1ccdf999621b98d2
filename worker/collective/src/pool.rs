//! Payloads, and buffers for them, used again instead of being allocated anew.
//!
//! Fresh pages cost more than the copy into them. Invariant: at most [`KEPT`] idle buffers are held.

use std::sync::{Arc, Mutex, Weak};

use crate::frame::PIECE_BYTES;
use crate::segment::Loan;
use crate::wait::lock;

/// Idle buffers kept, of [`PIECE_BYTES`] each.
const KEPT: usize = 32;
/// Payloads up to this size are allocated as they come.
const SMALL_BYTES: usize = 4096;

/// The idle buffers of one plane.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Box<[u8]>>>,
}

impl Pool {
    /// A buffer of `length` bytes, at most [`PIECE_BYTES`], of any content.
    pub fn take(self: &Arc<Self>, length: usize) -> Buffer {
        if length <= SMALL_BYTES {
            let bytes = vec![0; length].into_boxed_slice();
            return Buffer {
                bytes,
                length,
                home: Weak::new(),
            };
        }
        let idle = lock(&self.idle).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; PIECE_BYTES].into_boxed_slice());
        Buffer {
            bytes,
            length,
            home: Arc::downgrade(self),
        }
    }

    /// A buffer with a copy of `bytes`.
    pub fn copy(self: &Arc<Self>, bytes: &[u8]) -> Buffer {
        let mut buffer = self.take(bytes.len());
        buffer.bytes_mut().copy_from_slice(bytes);
        buffer
    }
}

/// A payload as it arrived.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Copied into this process.
    Own(Buffer),
    /// On the sender's segment.
    Lent(Loan),
}

impl Payload {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::Own(buffer) => buffer.bytes(),
            Payload::Lent(loan) => loan.bytes(),
        }
    }
}

/// Bytes of this process; go back to their pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
    home: Weak<Pool>,
}

impl Buffer {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.home.upgrade() {
            let mut idle = lock(&pool.idle);
            if idle.len() < KEPT {
                idle.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}
