//! Numbers as wire bytes, and the additions of a reduction.
//!
//! The wire is little-endian; so are all hosts this crate builds for, which lets a buffer be sent where it
//! lies. Invariant: every sum is formed as `accumulated + next`, so the order of additions is the order of
//! the calls.

#[cfg(not(target_endian = "little"))]
compile_error!("ulda-collective sends buffers in memory order and needs a little-endian target");

use crate::frame::OperationId;

/// A number that can be reduced: `f32` (IEEE addition) or `u64` (wrapping addition).
pub(crate) trait Summand: Copy + Send + 'static {
    /// Size of one number on the wire.
    const BYTES: usize;
    /// What a reduction of this type is called on the wire.
    const REDUCE: OperationId;

    /// The buffer as it goes onto the wire.
    fn as_bytes(numbers: &[Self]) -> &[u8];
    /// `numbers = bytes`
    fn assign(numbers: &mut [Self], bytes: &[u8]);
    /// `numbers = numbers + bytes`
    fn add(numbers: &mut [Self], bytes: &[u8]);
    /// `numbers = prefix + numbers`
    fn add_to_prefix(numbers: &mut [Self], prefix: &[u8]);
    /// `prefix = prefix + bytes`, both in wire form.
    fn fold(prefix: &mut [u8], bytes: &[u8]);
}

macro_rules! element {
    ($number:ty, $operation:expr, $add:expr) => {
        impl Summand for $number {
            const BYTES: usize = size_of::<$number>();
            const REDUCE: OperationId = $operation;

            fn as_bytes(numbers: &[Self]) -> &[u8] {
                // SAFETY: the numbers are plain, without padding; any of their bytes is a valid u8, and the
                // lifetime is that of `numbers`.
                unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
            }

            fn assign(numbers: &mut [Self], bytes: &[u8]) {
                for (number, raw) in numbers.iter_mut().zip(bytes.as_chunks().0) {
                    *number = <$number>::from_le_bytes(*raw);
                }
            }

            fn add(numbers: &mut [Self], bytes: &[u8]) {
                for (number, raw) in numbers.iter_mut().zip(bytes.as_chunks().0) {
                    *number = $add(*number, <$number>::from_le_bytes(*raw));
                }
            }

            fn add_to_prefix(numbers: &mut [Self], prefix: &[u8]) {
                for (number, raw) in numbers.iter_mut().zip(prefix.as_chunks().0) {
                    *number = $add(<$number>::from_le_bytes(*raw), *number);
                }
            }

            fn fold(prefix: &mut [u8], bytes: &[u8]) {
                for (sum, raw) in prefix.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
                    let total: $number = $add(
                        <$number>::from_le_bytes(*sum),
                        <$number>::from_le_bytes(*raw),
                    );
                    *sum = total.to_le_bytes();
                }
            }
        }
    };
}

element!(f32, OperationId::ReduceF32, |a: f32, b: f32| a + b);
element!(u64, OperationId::ReduceU64, u64::wrapping_add);
