//! TFRecord framing: length, masked CRC-32C of the length, bytes, masked CRC-32C of the bytes; all little-endian.

/// Bytes that a record adds to its content.
pub const OVERHEAD: usize = 16;

/// Appends `content` as one record to `out`.
pub fn frame(content: &[u8], out: &mut Vec<u8>) {
    let length = (content.len() as u64).to_le_bytes();
    out.reserve(content.len() + OVERHEAD);
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked(crc_fast::crc32_iscsi(&length)).to_le_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(&masked(crc_fast::crc32_iscsi(content)).to_le_bytes());
}

/// A checksum that may itself lie in checksummed data is stored rotated and shifted.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record that TensorFlow's own writer puts into every event file, with wall time 0.
    #[test]
    fn a_record_is_what_tensorflow_writes() {
        // Checksums of RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc_fast::crc32_iscsi(&[0; 32]), 0x8a91_36aa);
        let mut out = Vec::new();
        frame(&[0; 32], &mut out);
        assert_eq!(out.len(), 32 + OVERHEAD);
        assert_eq!(out[..8], 32u64.to_le_bytes());
        assert_eq!(
            out[44..],
            (0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes()
        );
    }
}
