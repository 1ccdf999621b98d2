//! The three checkpoint formats, and a sentence for everything that can be wrong with one.

#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};
use ulda_model::{Backbone, ClipSizes, Head, ImageConfig, Weights, WeightsKind};

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn sentence(path: &Path) -> String {
    let error = Weights::read(path).unwrap_err();
    println!(
        "{error}{}",
        error
            .source()
            .map_or(String::new(), |source| format!(": {source}"))
    );
    format!("{error}; hint: {}", error.hint().unwrap())
}

#[test]
fn the_format_is_recognised_by_content() {
    let folder = tempfile::tempdir().unwrap();
    for (file, kind) in [
        ("tiny_clip.pt", WeightsKind::TorchScript),
        ("tiny_clip.safetensors", WeightsKind::Safetensors),
        ("tiny_source.pth", WeightsKind::Pickle),
    ] {
        let renamed = folder.path().join("model.bin");
        std::fs::copy(ulda_golden::path(file), &renamed).unwrap();
        let weights = Weights::read(&renamed).unwrap();
        assert_eq!(weights.kind(), kind);
        for name in weights.names() {
            let expected = if name.ends_with("num_batches_tracked") {
                Kind::Int64
            } else {
                Kind::Float
            };
            let kind = weights.get(name).unwrap().kind();
            assert!(
                kind == expected || weights.shape(name).unwrap().len() < 2,
                "{name}: {kind:?}"
            );
        }
    }
}

#[test]
fn formats_of_the_same_weights_have_the_same_digest() {
    let read = |file: &str| Weights::read(&ulda_golden::path(file)).unwrap();
    assert_eq!(
        read("tiny_source.pth").digest(),
        read("tiny_source.safetensors").digest()
    );
    assert_ne!(read("tiny_clip.pt").digest(), read("tiny_source.pth").digest());
    // Of the parameters, buffers and integers that libtorch's own loader gives for this archive.
    assert_eq!(
        read("tiny_clip.pt").digest(),
        "93d6c925bbaa8fdc3226c07ddf7fe4865aabcf32e18aacd70f4a069250165f00"
    );
}

#[test]
fn sizes_are_read_from_the_checkpoint() {
    let config = ClipSizes::read(&Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap()).unwrap();
    assert_eq!((config.image.width, config.image.blocks), (8, [3, 4, 6, 3]));
    assert_eq!(
        (config.image.low_channels(), config.image.deep_channels()),
        (32, 256)
    );
    let pool = config.image.pool.unwrap();
    assert_eq!((pool.embed, pool.resolution, pool.heads), (64, 64, 4));
    let text = config.text;
    assert_eq!(
        (
            text.context,
            text.vocabulary,
            text.width,
            text.heads,
            text.layers,
            text.embed
        ),
        (77, 49408, 64, 1, 2, 64)
    );
}

#[test]
fn a_missing_file_is_named() {
    assert_eq!(
        sentence(Path::new("no/such.pt")),
        "read checkpoint `no/such.pt`; hint: correct the path, or restore the file"
    );
}

#[test]
fn other_files_are_no_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("page.pt", &b"<html>not found</html>"[..]),
        ("empty.pt", b""),
        ("short.pt", b"PK"),
    ] {
        let path = write(folder.path(), name, bytes);
        assert_eq!(
            sentence(&path),
            format!(
                "`{}` is not a checkpoint: neither a TorchScript archive, nor safetensors, nor a zipped PyTorch pickle; \
                 hint: is it a complete download?",
                path.display()
            )
        );
    }
}

#[test]
fn truncated_files_are_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    for (file, keep, text) in [
        (
            "tiny_clip.pt",
            100_000,
            "is cut short: it starts as a zip archive but has no directory at its end",
        ),
        (
            "tiny_source.pth",
            100_000,
            "is cut short: it starts as a zip archive but has no directory at its end",
        ),
        (
            "tiny_source.safetensors",
            1_000,
            "is cut short: the safetensors header ends beyond the file",
        ),
        ("tiny_source.safetensors", 400_000, "as safetensors"),
    ] {
        let bytes = std::fs::read(ulda_golden::path(file)).unwrap();
        let said = sentence(&write(folder.path(), file, &bytes[..keep]));
        assert!(said.contains(text) && said.contains(file), "{said}");
    }
}

#[test]
fn one_flipped_bit_in_an_archive_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["tiny_clip.pt", "tiny_source.pth"] {
        let mut bytes = std::fs::read(ulda_golden::path(file)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let said = sentence(&write(folder.path(), file, &bytes));
        assert!(
            said.contains("is damaged in its entry `") && said.contains(file),
            "{said}"
        );
    }
}

#[test]
fn an_archive_with_other_contents_is_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slides.zip");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    archive
        .start_file("notes/data.txt", zip::write::SimpleFileOptions::default())
        .unwrap();
    archive.finish().unwrap();
    assert!(sentence(&path).contains("is not a checkpoint"));
}

#[test]
fn pickles_of_the_old_format_get_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let said = sentence(&write(
        folder.path(),
        "old.pth",
        &[0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9],
    ));
    assert!(
        said.contains("old format (before 1.6)") && said.contains("hint: load it in Python"),
        "{said}"
    );
}

fn without(file: &str, dropped: &[&str]) -> Weights {
    let weights = Weights::read(&ulda_golden::path(file)).unwrap();
    let named = weights.names().filter(|name| !dropped.contains(name));
    let named = named
        .map(|name| (name.to_owned(), weights.get(name).unwrap()))
        .collect();
    Weights::from_tensors(Path::new("holes.pt"), WeightsKind::TorchScript, named).unwrap()
}

#[test]
fn all_missing_tensors_are_named_at_once() {
    let dropped = [
        "visual.layer2.1.bn1.running_var",
        "visual.bn1.bias",
        "visual.attnpool.q_proj.bias",
    ];
    let error = Backbone::load(&without("tiny_clip.pt", &dropped)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "checkpoint `holes.pt` lacks 3 tensor(s): `visual.attnpool.q_proj.bias`, `visual.bn1.bias`, \
         `visual.layer2.1.bn1.running_var`"
    );
    let error = Head::load(&Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap()).unwrap_err();
    assert!(error.to_string().contains("lacks"), "{error}");
    assert!(
        error.to_string().contains("`classifier.project.0.weight`"),
        "{error}"
    );
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let weights = Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap();
    assert_eq!(
        weights.take("visual.bn1.bias", &[8]).unwrap_err().to_string(),
        format!(
            "checkpoint `{}`: tensor `visual.bn1.bias` has shape [4], expected [8]",
            ulda_golden::path("tiny_clip.pt").display()
        )
    );
    let named = weights.names().map(|name| {
        let tensor = weights.get(name).unwrap();
        let tensor = if name == "visual.layer4.0.conv3.weight" {
            tensor.transpose(0, 1)
        } else {
            tensor
        };
        (name.to_owned(), tensor)
    });
    let odd = Weights::from_tensors(Path::new("odd.pt"), WeightsKind::TorchScript, named.collect()).unwrap();
    assert_eq!(
        Backbone::load(&odd).unwrap_err().to_string(),
        "checkpoint `odd.pt`: tensor `visual.layer4.0.conv3.weight` has shape [64, 256, 1, 1], expected [256, 64, 1, 1]"
    );
}

#[test]
fn a_vision_transformer_is_refused_by_name() {
    for name in [
        "visual.proj",
        "visual.class_embedding",
        "visual.transformer.resblocks.0.ln_1.weight",
    ] {
        let named = vec![(
            name.to_owned(),
            Tensor::zeros([2, 2], (Kind::Float, tch::Device::Cpu)),
        )];
        let weights = Weights::from_tensors(Path::new("vit.pt"), WeightsKind::TorchScript, named).unwrap();
        let refused = ImageConfig::read(&weights).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "checkpoint `vit.pt` is a vision transformer, and the backbones that work are CLIP's ResNets: RN50, RN101, \
             RN50x4, RN50x16 and RN50x64"
        );
        assert!(refused.hint().unwrap().contains("RN50.pt"));
    }
}
