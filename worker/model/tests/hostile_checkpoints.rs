//! Checkpoints that are made to run code, to take a host's memory or time, or to end the process: each gets a sentence.

#![allow(clippy::unwrap_used)]

mod forge;

use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, Instant};

use forge::*;
use ulda_model::{Weights, WeightsKind};

/// What is said of a checkpoint, with its causes; it has to be said soon.
fn refusal(path: &Path) -> String {
    use std::error::Error;
    let begin = Instant::now();
    let error = Weights::read(path).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(20), "{error}");
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said += &format!("; hint: {}", error.hint().unwrap());
    assert!(
        said.contains(path.file_name().unwrap().to_str().unwrap()),
        "{said}"
    );
    said
}

/// TorchScript that writes 65 over the file `victim` when a module `Inner` is loaded, as `torch.jit.save` stores it.
fn code(victim: &Path) -> String {
    format!(
        r#"class Outer(Module):
  __parameters__ = ["v", ]
  __buffers__ = []
  v : Tensor
  training : bool
  inner : __torch__.Inner
  def forward(self: __torch__.Outer,
    x: Tensor) -> Tensor:
    return x
class Inner(Module):
  __parameters__ = ["w", ]
  __buffers__ = []
  w : Tensor
  training : bool
  def __getstate__(self: __torch__.Inner) -> Tuple[Tensor, bool]:
    w = self.w
    training = self.training
    return (w, training)
  def __setstate__(self: __torch__.Inner,
    state: Tuple[Tensor, bool]) -> NoneType:
    self.training = (state)[1]
    t = torch.from_file("{}", True, 16, dtype=0)
    _0 = torch.mul((state)[0], torch.sum(torch.fill_(t, 65)))
    self.w = _0
    return None
"#,
        victim.display()
    )
}

/// libtorch, which runs `__setstate__`, overwrites the first 16 bytes of the victim when it loads this archive.
#[test]
fn code_of_a_torchscript_archive_is_never_run() {
    const CONTENT: &str = "the file of somebody who only checked a run";
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    std::fs::write(&victim, CONTENT).unwrap();
    let w_and_training = tuple(&[row("1", 2), b"\x88".to_vec()]);
    let attributes = dict(&[("w", row("1", 2)), ("training", b"\x88".to_vec())]);
    for (name, state, loads) in [("tuple.pt", w_and_training, false), ("dict.pt", attributes, true)] {
        let root = object(
            "Outer",
            dict(&[
                ("v", row("0", 8)),
                ("training", b"\x88".to_vec()),
                ("inner", object("Inner", state)),
            ]),
        );
        let path = archive(
            folder.path(),
            name,
            &[
                ("data/0", &eight()),
                ("data/1", &[0; 8]),
                ("data.pkl", &pickle(&root)),
                ("code/__torch__.py", code(&victim).as_bytes()),
                ("constants.pkl", b"\x80\x02)."),
                ("version", b"3\n"),
                ("byteorder", b"little"),
            ],
        );
        if loads {
            let weights = Weights::read(&path).unwrap();
            assert_eq!(weights.kind(), WeightsKind::TorchScript);
            assert_eq!(weights.names().collect::<Vec<_>>(), ["inner.w", "v"]);
        } else {
            let said = refusal(&path);
            assert!(
                said.contains("module `inner` of class `__torch__.Inner`")
                    && said.contains("code of its own, which is never run; hint:"),
                "{said}"
            );
        }
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), CONTENT);
    }
}

#[test]
fn a_pickled_call_is_never_run() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("made");
    let command = text(&format!("touch {}", victim.display()));
    let state = dict(&[("w", row("0", 8)), ("x", call("os", "system", &[command]))]);
    let weights = Weights::read(&state_archive(folder.path(), "call.pth", &state)).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["w"]);
    assert!(!victim.exists());
}

#[test]
fn impossible_tensors_are_named() {
    let float = |count| storage("FloatStorage", "0", count);
    let named = |what: Vec<u8>| dict(&[("head.weight", what)]);
    let folder = tempfile::tempdir().unwrap();
    for (state, text) in [
        (named(tensor(float(8), 0, &[-1], &[1])), "impossible shape [-1]"),
        (
            named(tensor(float(8), 0, &[2, 2], &[-2, 1])),
            "impossible strides [-2, 1]",
        ),
        (named(tensor(float(8), 0, &[2, 2], &[1])), "impossible strides"),
        (named(tensor(float(8), -1, &[2], &[1])), "offset is negative"),
        (
            named(tensor(float(8), 1, &[8], &[1])),
            "reaches past its storage: it needs 36 bytes of `a/data/0`, which has 32",
        ),
        (
            named(tensor(float(1 << 60), 0, &[3, 3], &[3, 1])),
            "needs 36 bytes",
        ),
        (
            named(tensor(float(8), i64::MAX, &[2], &[1])),
            "impossible strides",
        ),
        (
            named(tensor(float(8), 0, &[2], &[i64::MAX])),
            "impossible strides",
        ),
        (
            named(tensor(float(8), 0, &[1 << 62, 1 << 62], &[1, 1])),
            "impossible shape",
        ),
        (
            named(tensor(float(8), 0, &[1 << 62, 0, 1 << 62], &[0, 0, 0])),
            "impossible shape",
        ),
        (
            named(tensor(float(8), 0, &[1; 9], &[1; 9])),
            "9 dimensions, at most 8",
        ),
        (
            named(tensor(float(8), 0, &[1 << 20, 8], &[0, 1])),
            "take more than 1048576 bytes",
        ),
        (
            named(tensor(storage("ComplexFloatStorage", "0", 4), 0, &[4], &[1])),
            "kind `torch.ComplexFloatStorage`",
        ),
        (named(tensor(text("0"), 0, &[4], &[1])), "no storage in this file"),
        (named(row("1", 8)), "entry `a/data/1` is not there"),
        (
            named(row("../data/0", 8)),
            "entry `a/data/../data/0` is not there",
        ),
        (
            named(call("torch._utils", "_rebuild_tensor_v2", &[])),
            "too few parts",
        ),
        (
            named(call("torch._utils", "_rebuild_parameter", &[])),
            "a parameter has no tensor",
        ),
        (
            named(call("torch._utils", "_rebuild_sparse_tensor", &[])),
            "made by `torch._utils._rebuild_sparse_tensor`",
        ),
        (
            dict(&[("state_dict", dict(&[]))]),
            "holds no tensors at its top or under `model_state`, `state_dict`, but `state_dict`",
        ),
        (
            dict(&[("n".repeat(2_000).as_str(), row("0", 8))]),
            "a tensor whose name begins with `nnn",
        ),
    ] {
        let said = refusal(&state_archive(folder.path(), "bad.pth", &state));
        assert!(said.contains(text) && said.contains("hint: "), "{text}: {said}");
        assert!(said.len() < 600, "{said}");
    }
}

#[test]
fn a_storage_seen_many_times_is_read_once_and_counted_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..9_000).map(|number| format!("t{number}")).collect();
    let state: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), row("0", 64_000)))
        .collect();
    let path = archive(
        folder.path(),
        "views.pth",
        &[
            ("data.pkl", &pickle(&dict(&state))),
            ("data/0", &vec![0; 256_000]),
        ],
    );
    let said = refusal(&path);
    assert!(
        said.contains("tensor `t") && said.contains("which its file is too small for"),
        "{said}"
    );
}

#[test]
fn limits_of_a_pickle_have_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let nested = |count: usize| [b")".to_vec(), b"\x85".repeat(count)].concat();
    let many: Vec<String> = (0..10_001).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), row("0", 1))).collect();
    let chain = [
        b"c__torch__\nA\n)\x81".repeat(70_000),
        b"}".to_vec(),
        b"b".repeat(70_000),
    ]
    .concat();
    for (state, text) in [
        (nested(1_000_000), "more than 1000000 operations"),
        (nested(900_000), "holds no tensors"),
        (chain, "holds no tensors"),
        ([dict(&[]), b"b".to_vec()].concat(), "its stack is empty"),
        (b"c__torch__\nA\n)\x81}b}b".to_vec(), "a value is built twice"),
        (
            b"}q\x00X\x01\x00\x00\x00ah\x00s".to_vec(),
            "holds no tensors at its top or under `model_state`, `state_dict`, but `a`",
        ),
        (b"h\x00".to_vec(), "a back reference leads nowhere"),
        (b"Nr\xff\xff\xff\xff".to_vec(), "a back reference leads nowhere"),
        (b"X\xff\xff\xff\xffabc".to_vec(), "it ends early"),
        (b"X\x02\x00\x00\x00\xff\xfe".to_vec(), "a text is not UTF-8"),
        (
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            "operation 0x8d is none that tensors need",
        ),
        (b"t".to_vec(), "a mark is missing"),
        (b"Nu".to_vec(), "a mark is missing"),
        (
            b"N(u".to_vec(),
            "entries are set in something other than a dictionary",
        ),
        (dict(&many), "more than 10000 tensors"),
    ] {
        let said = refusal(&state_archive(folder.path(), "limit.pth", &state));
        assert!(said.contains(text), "{text}: {said}");
    }
}

/// Every module of a level is the same two modules of the next: 2^40 paths in a few bytes, or a module in itself.
#[test]
fn modules_that_share_modules_end() {
    let folder = tempfile::tempdir().unwrap();
    let doubled = |depth: u8| {
        let mut value = object("Leaf", dict(&[("n", int(1))]));
        for level in 0..depth {
            let twice = [value, vec![b'q', level]].concat();
            value = object("Node", dict(&[("a", twice), ("b", vec![b'h', level])]));
        }
        value
    };
    let itself = b"c__torch__\nA\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb".to_vec();
    for (root, text) in [
        (doubled(40), "more than 10000 tensors"),
        (doubled(70), "modules nested more than 64 deep"),
        (itself, "modules nested more than 64 deep"),
        (b"c__torch__\nA\n)\x81".to_vec(), "is not stored as attributes"),
        (b"N".to_vec(), "is not stored as attributes"),
    ] {
        let entries = [("data.pkl", &pickle(&root)[..]), ("constants.pkl", b"\x80\x02).")];
        let said = refusal(&archive(folder.path(), "graph.pt", &entries));
        assert!(said.contains(text) && said.contains("hint: "), "{text}: {said}");
    }
}

/// Where a sequence of bytes first is in a file.
fn position(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
        .unwrap()
}

#[test]
fn archives_that_lie_about_their_entries_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = pickle(&dict(&[("w", row("0", 8)), ("v", row("1", 8))]));
    let honest = archive(
        folder.path(),
        "honest.pth",
        &[("data.pkl", &state), ("data/0", &eight()), ("data/1", &[1; 32])],
    );
    assert_eq!(Weights::read(&honest).unwrap().names().count(), 2);
    let bytes = std::fs::read(honest).unwrap();
    let directory = position(&bytes, b"PK\x01\x02");
    let record = |name: &[u8]| directory + position(&bytes[directory..], name) - 46;
    let (first, second, end) = (record(b"a/data/0"), record(b"a/data/1"), bytes.len() - 22);
    let place_of_first = bytes[first + 42..first + 46].to_vec();
    for (what, changes, text) in [
        (
            "same place",
            vec![(second + 42, place_of_first)],
            "entries that lie in each other",
        ),
        (
            "same name",
            vec![(second + 46, b"a/data/0".to_vec())],
            "entry `a/data/0` is there twice",
        ),
        (
            "past the end",
            vec![(first + 42, vec![0xf0, 0xff, 0xff, 0x0f])],
            "entry `a/data/0` is malformed",
        ),
        (
            "huge",
            vec![(first + 20, vec![0xf0, 0xff, 0xff, 0x0f, 0xf0, 0xff, 0xff, 0x0f])],
            "lies outside of the file",
        ),
        ("grown", vec![(first + 24, vec![0xff])], "is compressed"),
        (
            "many",
            vec![(end + 8, vec![9, 0, 9, 0])],
            "says that it has 9 entries and has 3",
        ),
        (
            "few",
            vec![(end + 8, vec![1, 0, 1, 0])],
            "says that it has 1 entries and has 3",
        ),
        (
            "no name",
            vec![(first + 46, vec![0xff])],
            "has a name that is not UTF-8",
        ),
        (
            "checksum",
            vec![(first + 16, vec![0; 4])],
            "is damaged in its entry `a/data/0`",
        ),
        ("no directory", vec![(end, vec![0])], "is cut short"),
    ] {
        let mut changed = bytes.clone();
        for (at, new) in changes {
            changed[at..at + new.len()].copy_from_slice(&new);
        }
        let path = folder.path().join("lies.pth");
        std::fs::write(&path, changed).unwrap();
        let said = refusal(&path);
        assert!(said.contains(text), "{what}: {said}");
    }
}

#[test]
fn compressed_entries_are_not_inflated() {
    let folder = tempfile::tempdir().unwrap();
    let state = pickle(&dict(&[("w", row("0", 8))]));
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut deflated, &vec![0; 64 << 20]).unwrap();
    let bomb = deflated.finish().unwrap();
    // The writer stores what is deflated already; both headers then say so.
    let path = archive(
        folder.path(),
        "bomb.pth",
        &[("data.pkl", &state), ("data/0", &bomb)],
    );
    let mut bytes = std::fs::read(&path).unwrap();
    let directory = position(&bytes, b"PK\x01\x02");
    let local = position(&bytes, b"a/data/0") - 30;
    let central = directory + position(&bytes[directory..], b"a/data/0") - 46;
    bytes[local + 8] = 8;
    bytes[central + 10] = 8;
    bytes[central + 24..central + 28].copy_from_slice(&(64_u32 << 20).to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let said = refusal(&path);
    assert!(
        said.contains("entry `a/data/0` is compressed") && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn other_byte_orders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = pickle(&dict(&[("w", row("0", 8))]));
    let entries = [
        ("data.pkl", &state[..]),
        ("byteorder", b"big"),
        ("data/0", &eight()),
    ];
    let said = refusal(&archive(folder.path(), "big.pth", &entries));
    assert!(
        said.contains("entry `a/byteorder` does not say `little`"),
        "{said}"
    );
}

#[test]
fn hostile_safetensors_headers_have_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let one = |dtype: &str, shape: &str, end: u64| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let file = |header: &str, data: usize| {
        [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            &vec![0; data],
        ]
        .concat()
    };
    for (bytes, text) in [
        (file("{", 0), "as safetensors"),
        (
            file(&format!("{{\"a\":{}", "[".repeat(100_000)), 0),
            "as safetensors",
        ),
        (file(&one("F32", "[2]", 8), 4), "as safetensors"),
        (
            file(&one("F32", "[4294967296,4294967296,4294967296]", 8), 8),
            "as safetensors",
        ),
        (file(&one("F32", "[-1]", 8), 8), "as safetensors"),
        (file(&one("F32", "[2]", u64::MAX), 8), "as safetensors"),
        (
            file(&one("F32", "[18446744073709551615,0]", 0), 0),
            "impossible shape",
        ),
        (file(&one("F32", "[1,1,1,1,1,1,1,1,1]", 4), 4), "9 dimensions"),
        (file(&one("C64", "[1]", 8), 8), "kind `C64`"),
        (
            file(&one("U8", "[1000000]", 1_000_000), 1_000_000),
            "which its file is too small for",
        ),
        (
            [&90_000_000_u64.to_le_bytes()[..], b"{", &vec![b' '; 90_000_000]].concat(),
            "a safetensors header of 90000000 bytes",
        ),
    ] {
        let path = folder.path().join("bad.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let said = refusal(&path);
        assert!(said.contains(text), "{text}: {said}");
    }
}

#[test]
fn special_and_endless_files_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.pt");
    let name = CString::new(pipe.to_str().unwrap()).unwrap();
    // SAFETY: the name is NUL-terminated.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    assert!(refusal(&pipe).contains("is a pipe, not a file; hint: "));
    assert!(refusal(folder.path()).contains("is a folder, not a file; hint: "));
    assert!(refusal(Path::new("/dev/zero")).contains("is a device, not a file; hint: "));
    for (name, begin, bytes, text) in [
        ("zeros.pt", &b""[..], 8_u64 << 30, "is not a checkpoint"),
        ("zip.pt", b"PK\x03\x04", 8 << 30, "no directory at its end"),
        (
            "larger.pt",
            b"PK\x03\x04",
            (8 << 30) + 1,
            "at most 8589934592 are read; hint: ",
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, begin).unwrap();
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        let said = refusal(&path);
        assert!(said.contains(text), "{said}");
    }
}
