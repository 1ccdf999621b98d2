//! The name under which the ranks of one communicator find each other.

use std::fmt;

use cudarc::nccl::sys::ncclUniqueId;

use crate::error::NcclError;

/// Names one communicator: rank 0 makes it ([`Library::unique_id`](crate::Library::unique_id)) and gives it
/// to the others over a channel of their own. Whoever has it can join, so it is a secret, and not printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UniqueId([u8; UniqueId::BYTES]);

impl UniqueId {
    /// Length of an id in bytes.
    pub const BYTES: usize = 128;

    /// The id as it is sent to the other ranks.
    pub fn as_bytes(&self) -> &[u8; UniqueId::BYTES] {
        &self.0
    }

    pub(crate) fn from_raw(raw: &ncclUniqueId) -> UniqueId {
        UniqueId(raw.internal.map(|byte| byte as u8))
    }

    pub(crate) fn raw(&self) -> ncclUniqueId {
        ncclUniqueId {
            internal: self.0.map(|byte| byte as _),
        }
    }
}

impl From<[u8; UniqueId::BYTES]> for UniqueId {
    fn from(bytes: [u8; UniqueId::BYTES]) -> UniqueId {
        UniqueId(bytes)
    }
}

impl TryFrom<&[u8]> for UniqueId {
    type Error = NcclError;

    fn try_from(bytes: &[u8]) -> Result<UniqueId, NcclError> {
        let (found, expected) = (bytes.len(), UniqueId::BYTES);
        let whole = bytes.try_into().map(UniqueId);
        whole.map_err(|_| NcclError::UniqueIdLength { found, expected })
    }
}

impl fmt::Debug for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UniqueId(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_travels_as_bytes_and_is_not_printed() {
        let bytes: [u8; UniqueId::BYTES] = std::array::from_fn(|place| place as u8 + 100);
        let id = UniqueId::from(bytes);
        assert_eq!(UniqueId::from_raw(&id.raw()), id);
        assert_eq!(UniqueId::try_from(id.as_bytes().as_slice()).unwrap(), id);
        assert_eq!(format!("{id:?}"), "UniqueId(hidden)");
        let error = UniqueId::try_from(&bytes[..5]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a unique id of NCCL has 128 bytes, these are 5"
        );
    }
}
