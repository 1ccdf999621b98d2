//! The zip archives that `torch.load` and `torch.jit.load` read: everything in one folder, stored as it is, each tensor's
//! numbers in an entry of their own.

use std::io::{self, Write};

use rawzip::ZipArchiveWriter;
use tch::{Kind, Tensor};

use crate::pickle::write as pickle;

/// Version of the layout; PyTorch writes it unless a model uses newer operations.
const VERSION: &[u8] = b"3\n";

/// An archive that is being written.
pub struct TorchArchive<W: Write> {
    zip: ZipArchiveWriter<W>,
    storages: usize,
}

impl<W: Write> TorchArchive<W> {
    pub fn new(out: W) -> Self {
        Self {
            zip: ZipArchiveWriter::new(out),
            storages: 0,
        }
    }

    /// Adds an entry of the archive's folder.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = format!("archive/{name}");
        let (mut entry, config) = self
            .zip
            .new_file(path.as_str())
            .start()
            .map_err(io::Error::other)?;
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes)?;
        let (_, descriptor) = writer.finish().map_err(io::Error::other)?;
        entry.finish(descriptor).map_err(io::Error::other)?;
        Ok(())
    }

    /// Adds the numbers of a float32 or int64 tensor, and gives what a pickle says of the tensor.
    pub fn add_tensor(&mut self, tensor: &Tensor) -> io::Result<Vec<u8>> {
        let class = match tensor.kind() {
            Kind::Int64 => "LongStorage",
            _ => "FloatStorage",
        };
        let key = self.storages.to_string();
        self.storages += 1;
        self.add(&format!("data/{key}"), &numbers(tensor))?;
        let size = tensor.size();
        let storage = pickle::storage(class, &key, tensor.numel() as i64);
        Ok(pickle::tensor(storage, 0, &size, &row_major(&size)))
    }

    /// Adds the pickle of `value`, and ends the archive.
    pub fn finish(mut self, value: &[u8]) -> io::Result<W> {
        self.add("data.pkl", &pickle::pickle(value))?;
        self.add("byteorder", b"little")?;
        self.add("version", VERSION)?;
        self.zip.finish().map_err(io::Error::other)
    }
}

/// The numbers of a tensor on the CPU, row-major and little-endian.
pub fn numbers(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.contiguous().copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// Strides of a row-major tensor.
fn row_major(size: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; size.len()];
    for axis in (1..size.len()).rev() {
        strides[axis - 1] = strides[axis] * size[axis];
    }
    strides
}
