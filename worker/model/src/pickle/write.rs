//! Writes pickles of protocol 2, which every `torch.load` reads, restricted or not. A value is the bytes that push it
//! onto the reader's stack, so a container is made of what it contains.

/// A whole pickle of one value.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

pub fn text(text: &str) -> Vec<u8> {
    [b"X", &length_of(text.as_bytes())[..], text.as_bytes()].concat()
}

/// A byte string, which only readers of protocol 3 know.
pub fn bytes(bytes: &[u8]) -> Vec<u8> {
    [b"B", &length_of(bytes)[..], bytes].concat()
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len())
        .expect("texts and byte strings of checkpoints have less than 4 GiB")
        .to_le_bytes()
}

pub fn int(number: i64) -> Vec<u8> {
    [b"\x8a\x08", &number.to_le_bytes()[..]].concat()
}

pub fn float(number: f64) -> Vec<u8> {
    [b"G", &number.to_be_bytes()[..]].concat()
}

pub fn bool(value: bool) -> Vec<u8> {
    vec![if value { 0x88 } else { 0x89 }]
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

pub fn ints(numbers: &[i64]) -> Vec<u8> {
    tuple(&numbers.iter().map(|number| int(*number)).collect::<Vec<_>>())
}

pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [b"](", &items.concat()[..], b"e"].concat()
}

/// A dictionary whose keys are integers.
pub fn numbered_dict(entries: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> = entries
        .iter()
        .flat_map(|(key, value)| [int(*key), value.clone()].concat())
        .collect();
    [b"}(", &entries[..], b"u"].concat()
}

pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> = entries
        .iter()
        .flat_map(|(key, value)| [text(key), value.clone()].concat())
        .collect();
    [b"}(", &entries[..], b"u"].concat()
}

/// A function or class.
pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn call(module: &str, name: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    [global(module, name), tuple(arguments), b"R".to_vec()].concat()
}

/// An object of the TorchScript class `__torch__.<class>`, built with `state`.
pub fn object(class: &str, state: Vec<u8>) -> Vec<u8> {
    [
        global("__torch__", class),
        b")\x81".to_vec(),
        state,
        b"b".to_vec(),
    ]
    .concat()
}

/// A tensor's storage, kept outside of the pickle under `key`: `class` is PyTorch's, such as `FloatStorage`.
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

/// A tensor that needs no gradient, as a view of a storage.
pub fn tensor(storage: Vec<u8>, offset: i64, size: &[i64], stride: &[i64]) -> Vec<u8> {
    let hooks = call("collections", "OrderedDict", &[]);
    call(
        "torch._utils",
        "_rebuild_tensor_v2",
        &[storage, int(offset), ints(size), ints(stride), bool(false), hooks],
    )
}
