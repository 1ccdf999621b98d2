//! One rank's part of an operation, and what an operation does once all ranks have come to it.

use std::collections::BTreeMap;
use std::ffi::c_int;

pub const UINT8: u32 = 1;
pub const FLOAT32: u32 = 7;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sum,
    Gather,
    Broadcast(c_int),
}

/// One rank's part of an operation; addresses are of host memory.
#[derive(Clone, Copy)]
pub struct Call {
    pub kind: Kind,
    pub send: usize,
    pub receive: usize,
    pub count: usize,
    pub element: u32,
}

impl Call {
    pub fn element_bytes(&self) -> usize {
        if self.element == FLOAT32 { 4 } else { 1 }
    }

    pub fn received_bytes(&self, ranks: c_int) -> usize {
        let parts = if self.kind == Kind::Gather {
            ranks as usize
        } else {
            1
        };
        self.count * self.element_bytes() * parts
    }

    pub fn sent(&self) -> Vec<u8> {
        let bytes = self.count * self.element_bytes();
        // SAFETY: the caller of the operation vouches for its memory until it has completed.
        unsafe { std::slice::from_raw_parts(self.send as *const u8, bytes) }.to_vec()
    }

    pub fn receive(&self, bytes: &[u8]) {
        // SAFETY: as for what is sent; the call has room for this many bytes.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.receive as *mut u8, bytes.len()) };
    }
}

/// Computes an operation once all its ranks have come to it.
pub fn carry_out(ranks: &BTreeMap<c_int, Call>) -> Result<(), String> {
    let calls: Vec<Call> = ranks.values().copied().collect();
    let Some(first) = calls.first() else {
        return Ok(());
    };
    if calls
        .iter()
        .any(|call| (call.kind, call.count, call.element) != (first.kind, first.count, first.element))
    {
        return Err("the ranks call different operations".to_owned());
    }
    let sent: Vec<Vec<u8>> = calls.iter().map(Call::sent).collect();
    let result = match first.kind {
        Kind::Sum => sum(&sent),
        Kind::Gather => sent.concat(),
        Kind::Broadcast(root) => sent[root as usize].clone(),
    };
    for call in calls {
        call.receive(&result);
    }
    Ok(())
}

pub fn sum(sent: &[Vec<u8>]) -> Vec<u8> {
    let mut total = vec![0_f32; sent[0].len() / 4];
    for part in sent {
        for (sum, bytes) in total.iter_mut().zip(part.chunks_exact(4)) {
            *sum += f32::from_le_bytes(std::array::from_fn(|place| bytes[place]));
        }
    }
    total.into_iter().flat_map(f32::to_le_bytes).collect()
}
