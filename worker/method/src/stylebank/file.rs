//! A style bank as the bytes of a safetensors file, header in its metadata.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{BankHeader, BankStyle, StyleBank, StyleBankError};

/// Name under which the header is kept in the file's metadata.
const HEADER_KEY: &str = "ulda.style_bank";

#[derive(Serialize, Deserialize)]
struct FileHeader {
    bank: BankHeader,
    images: Vec<String>,
}

impl StyleBank {
    /// The bank as a safetensors file: `mean` [M, C₁], `std` [M, C₁], `domain` `[M]`, header and image names in the
    /// metadata. Equal banks give equal bytes.
    ///
    /// # Errors
    /// When the bank cannot be written in the format.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StyleBankError> {
        let unwritable = |reason: String| StyleBankError::Unreadable {
            origin: "bank being written".into(),
            reason,
        };
        let header = FileHeader {
            bank: self.header.clone(),
            images: self.styles.keys().map(|(image, _)| image.clone()).collect(),
        };
        let header = serde_json::to_string(&header).map_err(|error| unwritable(error.to_string()))?;
        let floats = |pick: fn(&BankStyle) -> &[f32]| -> Vec<u8> {
            self.styles
                .values()
                .flat_map(|style| pick(style).iter().flat_map(|value| value.to_le_bytes()))
                .collect()
        };
        let (mean, std) = (floats(|style| &style.mean), floats(|style| &style.std));
        let domains: Vec<u8> = self
            .styles
            .keys()
            .flat_map(|(_, domain)| (*domain as i64).to_le_bytes())
            .collect();
        let (rows, channels) = (self.styles.len(), self.header.channels);
        let view = |kind, shape, bytes| {
            TensorView::new(kind, shape, bytes).map_err(|error| unwritable(error.to_string()))
        };
        let tensors = [
            ("domain", view(Dtype::I64, vec![rows], &domains)?),
            ("mean", view(Dtype::F32, vec![rows, channels], &mean)?),
            ("std", view(Dtype::F32, vec![rows, channels], &std)?),
        ];
        let metadata = HashMap::from([(HEADER_KEY.to_string(), header)]);
        safetensors::serialize(tensors, Some(metadata)).map_err(|error| unwritable(error.to_string()))
    }

    /// Reads what [`StyleBank::to_bytes`] wrote; `origin` names the file in messages.
    ///
    /// # Errors
    /// When the bytes are not a style bank or its parts do not fit together.
    pub fn from_bytes(bytes: &[u8], origin: &str) -> Result<StyleBank, StyleBankError> {
        let unreadable = |reason: String| StyleBankError::Unreadable {
            origin: origin.to_string(),
            reason,
        };
        let (_, metadata) =
            SafeTensors::read_metadata(bytes).map_err(|error| unreadable(error.to_string()))?;
        let header = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get(HEADER_KEY))
            .ok_or_else(|| unreadable(format!("the file has no `{HEADER_KEY}` header")))?;
        let header: FileHeader =
            serde_json::from_str(header).map_err(|error| unreadable(error.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| unreadable(error.to_string()))?;
        let (rows, channels) = (header.images.len(), header.bank.channels);
        let take = |name: &str, kind: Dtype, shape: Vec<usize>| {
            let tensor = file.tensor(name).map_err(|error| unreadable(error.to_string()))?;
            if tensor.dtype() != kind || tensor.shape() != shape {
                return Err(unreadable(format!(
                    "`{name}` is {:?} {:?}, expected {kind:?} {shape:?}",
                    tensor.dtype(),
                    tensor.shape()
                )));
            }
            Ok(tensor.data())
        };
        let mean = le_floats(take("mean", Dtype::F32, vec![rows, channels])?);
        let std = le_floats(take("std", Dtype::F32, vec![rows, channels])?);
        let domains = take("domain", Dtype::I64, vec![rows])?;
        let mut bank = StyleBank::new(header.bank);
        for (row, image) in header.images.iter().enumerate() {
            let mut number = [0u8; 8];
            number.copy_from_slice(&domains[row * 8..row * 8 + 8]);
            let domain = usize::try_from(i64::from_le_bytes(number))
                .map_err(|_| unreadable(format!("row {row} has a negative domain")))?;
            let span = row * channels..(row + 1) * channels;
            bank.insert(
                image,
                domain,
                BankStyle {
                    mean: mean[span.clone()].to_vec(),
                    std: std[span].to_vec(),
                },
            )?;
        }
        Ok(bank)
    }
}

fn le_floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect()
}
