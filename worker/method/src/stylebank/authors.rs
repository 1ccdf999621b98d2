//! Styles as the authors' stage 1 saves them and their stage 2 loads them: per image a pickled dictionary of two tensors,
//! `mu_f1` and `std_f1`, each [C₁, 1, 1]; the file's name is the image's with `.pkl` after it, its folder is the domain's.

use super::{BankStyle, StyleBankError};
use ulda_model::pickle::{Pickle, PickleValue, write};

/// First number of a file in PyTorch's older format.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Version of that format.
const VERSION: i64 = 1001;

/// The authors' name for the file of an image's style. Images of a bank are named without `.png`, or by their place
/// below a folder.
#[must_use]
pub fn authors_file_name(image: &str) -> String {
    let name = image.strip_suffix(".png").unwrap_or(image);
    format!("{}.png.pkl", name.replace('/', "_"))
}

/// The image of a file that [`authors_file_name`] names, as a bank has it; `None` for other files.
#[must_use]
pub fn image_of_authors_file(file: &str) -> Option<&str> {
    let image = file.strip_suffix(".pkl")?;
    Some(image.strip_suffix(".png").unwrap_or(image))
}

impl BankStyle {
    /// Reads the bytes of one of the authors' files; `origin` names it in messages.
    ///
    /// # Errors
    /// When the file is cut short, is no such pickle, or holds other than float32 tensors of [C₁, 1, 1].
    pub fn from_authors_pickle(bytes: &[u8], origin: &str) -> Result<BankStyle, StyleBankError> {
        let unreadable = |reason: String| StyleBankError::UnreadableStyle {
            origin: origin.to_string(),
            reason,
        };
        let read = || -> Result<BankStyle, String> {
            let dictionary = pickle(&mut &*bytes)?;
            let tensor = |key: &str| {
                let value = dictionary
                    .root()
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

    /// The bytes of one of the authors' files.
    #[must_use]
    pub fn to_authors_pickle(&self) -> Vec<u8> {
        let tensor = |values: &[f32]| {
            let size = [values.len() as i64, 1, 1];
            write::tensor(storage_of(values), 0, &size, &[1, 1, 1])
        };
        write::pickle(&write::dict(&[
            ("mu_f1", tensor(&self.mean)),
            ("std_f1", tensor(&self.std)),
        ]))
    }
}

/// A storage in PyTorch's older format, as [`storage_values`] describes it.
fn storage_of(values: &[f32]) -> Vec<u8> {
    let key = "0";
    let size = |name, bytes| (name, write::int(bytes));
    let machine = write::dict(&[
        ("protocol_version", write::int(VERSION)),
        ("little_endian", write::bool(true)),
        (
            "type_sizes",
            write::dict(&[size("short", 2), size("int", 4), size("long", 4)]),
        ),
    ]);
    let described = write::tuple(&[
        write::text("storage"),
        write::global("torch", "FloatStorage"),
        write::text(key),
        write::text("cpu"),
        write::int(values.len() as i64),
        // It is no view of another one.
        b"N".to_vec(),
    ]);
    let parts = [
        [b"\x8a\x0a", &MAGIC[..]].concat(),
        write::int(VERSION),
        machine,
        [&described[..], b"Q"].concat(),
        [b"]", &write::text(key)[..], b"a"].concat(),
    ];
    let mut bytes = parts.map(|part| write::pickle(&part)).concat();
    bytes.extend((values.len() as u64).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    write::call("torch.storage", "_load_from_bytes", &[write::bytes(&bytes)])
}

/// The next of several pickles.
fn pickle<'a>(bytes: &mut &'a [u8]) -> Result<Pickle<'a>, String> {
    Pickle::read(bytes).map_err(|error| error.to_string())
}

/// The values of a pickled tensor [C, 1, 1].
fn channels(value: PickleValue<'_>) -> Result<Vec<f32>, String> {
    let arguments = value
        .call_of("torch._utils", "_rebuild_tensor_v2")
        .ok_or("not a tensor")?;
    let [storage, offset, size, stride, ..] = arguments[..] else {
        return Err("a tensor has too few parts".into());
    };
    let values = storage_values(storage)?;
    let (Some(offset), Some(size), Some(stride)) = (offset.int(), size.ints(), stride.ints()) else {
        return Err("a tensor's size, stride or offset is no number".into());
    };
    let ([count, 1, 1], [step, _, _]) = (size.as_slice(), stride.as_slice()) else {
        return Err(format!("the tensor has size {size:?}, expected [channels, 1, 1]"));
    };
    if usize::try_from(*count).map_or(true, |count| count > values.len()) {
        return Err(format!(
            "the tensor has size {size:?}, its storage {} numbers",
            values.len()
        ));
    }
    (0..*count)
        .map(|channel| {
            let at = channel.checked_mul(*step).and_then(|at| at.checked_add(offset));
            at.and_then(|at| values.get(usize::try_from(at).ok()?))
                .copied()
                .ok_or("the tensor reaches past its storage".to_string())
        })
        .collect()
}

/// The numbers of a storage in PyTorch's older format: five pickles (a magic number, a version, the machine, the
/// storage's description, its key), a count, then the values.
fn storage_values(value: PickleValue<'_>) -> Result<Vec<f32>, String> {
    let arguments = value
        .call_of("torch.storage", "_load_from_bytes")
        .ok_or("a tensor has no storage")?;
    let mut bytes = arguments
        .first()
        .and_then(|first| first.bytes())
        .ok_or("a storage is not made of bytes")?;
    let _magic = pickle(&mut bytes)?;
    let _version = pickle(&mut bytes)?;
    let machine = pickle(&mut bytes)?;
    if machine.root().entry("little_endian").and_then(PickleValue::bool) != Some(true) {
        return Err("the numbers are not little-endian".into());
    }
    let described = pickle(&mut bytes)?;
    let parts = described.root().persistent_id().and_then(PickleValue::items);
    let kind = parts
        .ok_or("a storage is not described")?
        .get(1)
        .and_then(|kind| kind.global());
    match kind {
        Some((_, "FloatStorage")) => {}
        Some((_, name)) => return Err(format!("a {name}, expected float32 numbers")),
        None => return Err("a storage does not say what it holds".into()),
    }
    let _keys = pickle(&mut bytes)?;
    let (count, rest) = bytes.split_first_chunk().ok_or("it ends early")?;
    let values = usize::try_from(u64::from_le_bytes(*count))
        .ok()
        .and_then(|count| rest.get(..count.checked_mul(4)?))
        .ok_or("it ends early")?;
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
        assert_eq!(reason(b""), "style `a.pkl` is not readable: it ends early");
        assert_eq!(
            reason(b"\x80\x04}."),
            "style `a.pkl` is not readable: there is no `mu_f1` in it"
        );
        let not_a_tensor = b"\x80\x04}(\x8c\x05mu_f1K\x07\x8c\x06std_f1K\x07u.";
        assert_eq!(
            reason(not_a_tensor),
            "style `a.pkl` is not readable: `mu_f1`: not a tensor"
        );
        assert!(reason(b"\x89PNG").contains("operation 0x50"));
    }

    #[test]
    fn a_call_is_never_run() {
        let hostile = b"cos\nsystem\n(X\x02\x00\x00\x00lstR.";
        assert!(reason(hostile).ends_with("there is no `mu_f1` in it"));
    }

    /// A tensor of two numbers, of this size and stride, in a file of the authors'.
    fn file(size: i64, stride: i64) -> Vec<u8> {
        let tensor = write::tensor(storage_of(&[0.0; 2]), 0, &[size, 1, 1], &[stride, 1, 1]);
        write::pickle(&write::dict(&[("mu_f1", tensor.clone()), ("std_f1", tensor)]))
    }

    #[test]
    fn a_style_is_read_as_it_was_written() {
        let style = BankStyle {
            mean: vec![1.5, -0.25, f32::MIN_POSITIVE],
            std: vec![-3.0, 0.0, 1e30],
        };
        let bytes = style.to_authors_pickle();
        assert_eq!(BankStyle::from_authors_pickle(&bytes, "a.pkl").unwrap(), style);
        assert_eq!(
            authors_file_name("aachen_0_leftImg8bit"),
            "aachen_0_leftImg8bit.png.pkl"
        );
        assert_eq!(authors_file_name("0/dusk/a.png"), "0_dusk_a.png.pkl");
        for (file, image) in [
            ("aachen_0_leftImg8bit.png.pkl", Some("aachen_0_leftImg8bit")),
            ("a.pkl", Some("a")),
            ("a.png", None),
        ] {
            assert_eq!(image_of_authors_file(file), image);
        }
    }

    #[test]
    fn impossible_sizes_are_refused_at_once() {
        let style = BankStyle::from_authors_pickle(&file(2, 1), "a.pkl").unwrap();
        assert_eq!(style.mean, [0.0, 0.0]);
        for (size, stride) in [(1 << 60, 0), (-1, 1), (3, 0)] {
            let said = reason(&file(size, stride));
            assert!(said.ends_with("its storage 2 numbers"), "{said}");
        }
        for stride in [2, -1, i64::MAX] {
            assert!(reason(&file(2, stride)).ends_with("the tensor reaches past its storage"));
        }
    }

    #[test]
    fn an_endless_file_ends() {
        assert!(reason(&vec![b'N'; 2_000_000]).contains("more than 1000000 operations"));
    }
}
