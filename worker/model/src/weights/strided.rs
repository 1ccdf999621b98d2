//! Tensors as a checkpoint describes them, checked before any byte of them is read.

use tch::{Kind, Tensor};

use crate::weights::source::MOST_BYTES;

/// More dimensions than the weights of any network have.
const MOST_DIMENSIONS: usize = 8;

/// A view of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StridedTensor<'p> {
    /// Key of the storage in its archive.
    pub storage: &'p str,
    pub kind: Kind,
    /// Offset and strides count numbers, not bytes.
    pub offset: i64,
    pub size: Vec<i64>,
    pub stride: Vec<i64>,
}

/// Why a tensor of a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorProblem {
    #[error("is not described the way PyTorch does it: {0}")]
    Malformed(&'static str),
    #[error("is made by `{0}`, which is not read")]
    Maker(String),
    #[error("has a storage of kind `{0}`, expected floats or integers")]
    StorageKind(String),
    #[error("has {0} dimensions, at most {MOST_DIMENSIONS} are read")]
    Dimensions(usize),
    #[error("has the impossible shape {0:?}")]
    Shape(Vec<i64>),
    #[error("has impossible strides {0:?}")]
    Strides(Vec<i64>),
    #[error("reaches past its storage: it needs {needed} bytes of `{entry}`, which has {found}")]
    OutOfStorage { entry: String, needed: u64, found: u64 },
    #[error(
        "is one too many: the checkpoint's tensors take more than {0} bytes, which its file is too small for"
    )]
    Memory(u64),
    #[error("cannot be made: {0}")]
    Torch(String),
}

/// Numbers that a tensor of this shape would have if no dimension were 0, which bounds all that is computed from it.
fn checked_count(size: &[i64]) -> Result<u64, TensorProblem> {
    if size.len() > MOST_DIMENSIONS {
        return Err(TensorProblem::Dimensions(size.len()));
    }
    let mut count = 1_u64;
    for &dimension in size {
        let dimension = u64::try_from(dimension).ok();
        count = dimension
            .and_then(|dimension| count.checked_mul(dimension.max(1)))
            .filter(|count| *count <= MOST_BYTES)
            .ok_or_else(|| TensorProblem::Shape(size.to_vec()))?;
    }
    Ok(count)
}

/// Bytes that the tensors of a checkpoint may take in memory.
pub struct MemoryBudget {
    most_bytes: u64,
    left_bytes: u64,
}

impl MemoryBudget {
    /// Half floats become twice as long, and a state dictionary may hold a tensor under two names: four times the
    /// file's length is enough for both.
    pub fn of_file(length: u64) -> Self {
        const SMALLEST: u64 = 1 << 20;
        let most_bytes = (4 * length).clamp(SMALLEST, MOST_BYTES);
        Self {
            most_bytes,
            left_bytes: most_bytes,
        }
    }

    /// Takes what a tensor needs once it is read: floats become f32, integers i64.
    pub fn take(&mut self, size: &[i64], kind: Kind) -> Result<(), TensorProblem> {
        let width = match kind {
            Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double => 4,
            _ => 8,
        };
        let bytes = checked_count(size)?.saturating_mul(width);
        self.left_bytes = self
            .left_bytes
            .checked_sub(bytes)
            .ok_or(TensorProblem::Memory(self.most_bytes))?;
        Ok(())
    }
}

impl StridedTensor<'_> {
    /// Bytes of its storage that it reaches over.
    pub fn reach_bytes(&self) -> Result<u64, TensorProblem> {
        let impossible = || TensorProblem::Strides(self.stride.clone());
        if self.stride.len() != self.size.len() || self.stride.iter().any(|stride| *stride < 0) {
            return Err(impossible());
        }
        if self.offset < 0 {
            return Err(TensorProblem::Malformed("its offset is negative"));
        }
        if self.size.contains(&0) {
            return Ok(0);
        }
        let width = self.kind.elt_size_in_bytes() as i64;
        let last = self
            .size
            .iter()
            .zip(&self.stride)
            .try_fold(self.offset, |at, (size, stride)| {
                at.checked_add((size - 1).checked_mul(*stride)?)
            });
        let reach = last.and_then(|last| last.checked_add(1)?.checked_mul(width));
        Ok(reach.ok_or_else(impossible)?.unsigned_abs())
    }

    /// The tensor, out of its storage's numbers as one row; it reaches no further than they do.
    pub fn view(&self, numbers: &Tensor) -> Result<Tensor, TensorProblem> {
        if self.size.contains(&0) {
            return Tensor::f_zeros(&self.size, (self.kind, tch::Device::Cpu)).map_err(torch);
        }
        numbers
            .f_as_strided(&self.size, &self.stride, self.offset)
            .and_then(|view| view.f_contiguous())
            .map_err(torch)
    }
}

/// As many whole numbers as the bytes hold.
pub fn numbers(bytes: &[u8], kind: Kind) -> Result<Tensor, TensorProblem> {
    let count = bytes.len() / kind.elt_size_in_bytes();
    Tensor::f_from_data_size(bytes, &[count as i64], kind).map_err(torch)
}

pub fn torch(error: tch::TchError) -> TensorProblem {
    TensorProblem::Torch(error.to_string())
}
