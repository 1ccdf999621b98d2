//! Styles as the authors' stage 1 saves them: per image a pickled dictionary of two tensors, `mu_f1` and `std_f1`,
//! each [C₁, 1, 1]; the file's name is the image's with `.pkl` after it, its folder is the domain's.

use super::pickle::{Value, read_pickle, take};
use super::{BankStyle, StyleBankError};

impl BankStyle {
    /// Reads the bytes of one of the authors' files; `origin` names it in messages.
    ///
    /// # Errors
    /// When the file is cut short, is no such pickle, or holds other than float32 tensors of [C₁, 1, 1].
    pub fn from_authors_pickle(bytes: &[u8], origin: &str) -> Result<BankStyle, StyleBankError> {
        let unreadable = |reason: String| StyleBankError::Unreadable {
            origin: origin.to_string(),
            reason,
        };
        let read = || -> Result<BankStyle, String> {
            let dictionary = read_pickle(&mut &*bytes)?;
            let tensor = |key: &str| {
                let value = dictionary
                    .entry(key)
                    .ok_or_else(|| format!("there is no `{key}` in it"))?;
                channels(value).map_err(|reason| format!("`{key}`: {reason}"))
            };
            let (mean, std) = (tensor("mu_f1")?, tensor("std_f1")?);
            if mean.len() != std.len() {
                return Err(format!("{} means for {} deviations", mean.len(), std.len()));
            }
            Ok(BankStyle { mean, std })
        };
        read().map_err(unreadable)
    }
}

/// The values of a pickled tensor [C, 1, 1].
fn channels(value: &Value) -> Result<Vec<f32>, String> {
    let arguments = value
        .call_of("torch._utils", "_rebuild_tensor_v2")
        .ok_or("not a tensor")?;
    let [storage, offset, size, stride, ..] = arguments else {
        return Err("a tensor has too few parts".into());
    };
    let values = storage_values(storage)?;
    let (offset, size, stride) = (offset.index(), size.indices(), stride.indices());
    let (Some(offset), Some(size), Some(stride)) = (offset, size, stride) else {
        return Err("a tensor's size, stride or offset is no number".into());
    };
    let ([count, 1, 1], [step, _, _]) = (size.as_slice(), stride.as_slice()) else {
        return Err(format!("the tensor has size {size:?}, expected [channels, 1, 1]"));
    };
    (0..*count)
        .map(|channel| {
            let at = channel.checked_mul(*step).and_then(|at| at.checked_add(offset));
            at.and_then(|at| values.get(at))
                .copied()
                .ok_or("the tensor reaches past its storage".to_string())
        })
        .collect()
}

/// The numbers of a storage in PyTorch's older format: five pickles (a magic number, a version, the machine, the
/// storage's description, its key), a count, then the values.
fn storage_values(value: &Value) -> Result<Vec<f32>, String> {
    let mut bytes = match value
        .call_of("torch.storage", "_load_from_bytes")
        .and_then(|arguments| arguments.first())
    {
        Some(first) => match first.as_ref() {
            Value::Bytes(bytes) => bytes.as_slice(),
            _ => return Err("a storage is not made of bytes".into()),
        },
        None => return Err("a tensor has no storage".into()),
    };
    let _magic = read_pickle(&mut bytes)?;
    let _version = read_pickle(&mut bytes)?;
    if read_pickle(&mut bytes)?.entry("little_endian") != Some(&Value::Bool(true)) {
        return Err("the numbers are not little-endian".into());
    }
    let described = match read_pickle(&mut bytes)? {
        Value::Persistent(description) => description,
        _ => return Err("a storage is not described".into()),
    };
    let kind = match described.as_ref() {
        Value::Tuple(parts) => parts.get(1).map(|kind| kind.as_ref().clone()),
        _ => None,
    };
    match kind {
        Some(Value::Global { name, .. }) if name == "FloatStorage" => {}
        Some(Value::Global { name, .. }) => return Err(format!("a {name}, expected float32 numbers")),
        _ => return Err("a storage does not say what it holds".into()),
    }
    let _keys = read_pickle(&mut bytes)?;
    let mut count = [0u8; 8];
    count.copy_from_slice(take(&mut bytes, 8)?);
    let length = usize::try_from(u64::from_le_bytes(count))
        .ok()
        .and_then(|count| count.checked_mul(4));
    let values = take(&mut bytes, length.ok_or("a storage is too long")?)?;
    Ok(values
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(bytes: &[u8]) -> String {
        BankStyle::from_authors_pickle(bytes, "a.pkl")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn other_files_are_refused_with_a_reason() {
        assert_eq!(
            reason(b""),
            "style bank `a.pkl` is not readable: the file ends early"
        );
        assert_eq!(
            reason(b"\x80\x04}."),
            "style bank `a.pkl` is not readable: there is no `mu_f1` in it"
        );
        let not_a_tensor = b"\x80\x04}(\x8c\x05mu_f1K\x07\x8c\x06std_f1K\x07u.";
        assert_eq!(
            reason(not_a_tensor),
            "style bank `a.pkl` is not readable: `mu_f1`: not a tensor"
        );
        assert!(reason(b"\x89PNG").contains("pickle operation 0x50"));
    }

    #[test]
    fn a_call_is_never_run() {
        let hostile = b"cos\nsystem\n(X\x02\x00\x00\x00lstR.";
        assert!(reason(hostile).ends_with("there is no `mu_f1` in it"));
    }

    #[test]
    fn an_endless_file_ends() {
        assert!(reason(&vec![b'N'; 100_000]).contains("more than 1000 steps"));
    }
}
