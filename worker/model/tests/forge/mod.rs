//! Pickles and archives put together by hand, as no honest program writes them.

#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};

use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// A whole pickle of one value.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

pub fn text(text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_le_bytes();
    [b"X", &length[..], text.as_bytes()].concat()
}

pub fn int(number: i64) -> Vec<u8> {
    [b"\x8a\x08", &number.to_le_bytes()[..]].concat()
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

pub fn ints(numbers: &[i64]) -> Vec<u8> {
    tuple(&numbers.iter().map(|number| int(*number)).collect::<Vec<_>>())
}

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn call(module: &str, name: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    [global(module, name), tuple(arguments), b"R".to_vec()].concat()
}

pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> = entries
        .iter()
        .flat_map(|(key, value)| [text(key), value.clone()].concat())
        .collect();
    [b"}(", &entries[..], b"u"].concat()
}

/// An object of a TorchScript class, built with `state`.
pub fn object(class: &str, state: Vec<u8>) -> Vec<u8> {
    [
        global("__torch__", class),
        b")\x81".to_vec(),
        state,
        b"b".to_vec(),
    ]
    .concat()
}

pub fn storage(class: &str, key: &str, count: i64) -> Vec<u8> {
    let parts = [
        text("storage"),
        global("torch", class),
        text(key),
        text("cpu"),
        int(count),
    ];
    [tuple(&parts), b"Q".to_vec()].concat()
}

pub fn tensor(storage: Vec<u8>, offset: i64, size: &[i64], stride: &[i64]) -> Vec<u8> {
    let hooks = call("collections", "OrderedDict", &[]);
    call(
        "torch._utils",
        "_rebuild_tensor_v2",
        &[
            storage,
            int(offset),
            ints(size),
            ints(stride),
            b"\x89".to_vec(),
            hooks,
        ],
    )
}

/// A float32 tensor of one dimension.
pub fn row(key: &str, count: i64) -> Vec<u8> {
    tensor(storage("FloatStorage", key, count), 0, &[count], &[1])
}

/// A zip archive; entries are stored as they are.
pub fn archive(folder: &Path, name: &str, entries: &[(&str, &[u8])]) -> PathBuf {
    let all: Vec<_> = entries
        .iter()
        .map(|(name, bytes)| (*name, *bytes, CompressionMethod::Stored))
        .collect();
    archive_with(folder, name, &all)
}

pub fn archive_with(folder: &Path, name: &str, entries: &[(&str, &[u8], CompressionMethod)]) -> PathBuf {
    let path = folder.join(name);
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, bytes, method) in entries {
        let options = SimpleFileOptions::default().compression_method(*method);
        zip.start_file(format!("a/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path
}

/// An archive of a state dictionary whose storage `0` holds eight float32 numbers, 0 to 7.
pub fn state_archive(folder: &Path, name: &str, state: &[u8]) -> PathBuf {
    archive(
        folder,
        name,
        &[("data.pkl", &pickle(state)), ("data/0", &eight())],
    )
}

pub fn eight() -> Vec<u8> {
    (0..8).flat_map(|number| (number as f32).to_le_bytes()).collect()
}
