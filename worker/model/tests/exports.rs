//! Exported models hold what the model holds, as this project's readers and libtorch see them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use prost::Message;
use tch::{CModule, Device, Kind, Tensor};
use ulda_model::export::onnx::messages::{OnnxModel, OnnxNode, OnnxTensor, OnnxValue};
use ulda_model::export::{write_onnx, write_pth, write_torchscript};
use ulda_model::{Backbone, Head, Seeded, SegmentationModel, Weights, WeightsKind};

fn source() -> Weights {
    Weights::read(&ulda_golden::path("tiny_source.pth")).unwrap()
}

#[test]
fn a_pth_holds_the_same_tensors_bit_for_bit() {
    let (source, folder) = (source(), tempfile::tempdir().unwrap());
    let path = folder.path().join("model.pth");
    write_pth(&source, std::fs::File::create(&path).unwrap()).unwrap();
    let read = Weights::read(&path).unwrap();
    assert_eq!(read.kind(), WeightsKind::Pickle);
    assert_eq!(read.digest(), source.digest());
    assert!(read.names().eq(source.names()));
}

#[test]
fn what_is_no_segmentation_model_is_refused() {
    let clip = Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap();
    let mut written = Vec::new();
    let said = write_pth(&clip, &mut written).unwrap_err().to_string();
    assert!(
        said.contains("tiny_clip.pt` lacks") && said.contains("`classifier."),
        "{said}"
    );
    assert!(written.is_empty());
}

/// Images of two sizes, odd ones among them, and the model's own logits.
fn images_and_logits(weights: &Weights) -> Vec<(Tensor, Tensor)> {
    let model = SegmentationModel {
        backbone: Backbone::load(weights).unwrap(),
        head: Head::load(weights).unwrap(),
    };
    let mut seeded = Seeded::new(4);
    let sizes = [[2, 3, 64, 96], [1, 3, 77, 141]];
    let images = sizes.map(|size| seeded.normal(&size, 1.0));
    let with_logits = images.map(|image| {
        let logits = tch::no_grad(|| model.logits(&image));
        (image, logits)
    });
    with_logits.into()
}

fn assert_close(ours: &Tensor, logits: &Tensor) {
    assert_eq!(ours.size(), logits.size());
    let apart = (ours - logits).abs().max().double_value(&[]);
    assert!(apart < 5e-5, "logits differ by {apart}");
}

#[test]
fn libtorch_runs_the_torchscript_module_as_the_model() {
    let (source, folder) = (source(), tempfile::tempdir().unwrap());
    let path = folder.path().join("model.pt");
    write_torchscript(&source, std::fs::File::create(&path).unwrap()).unwrap();
    let module = CModule::load_on_device(&path, Device::Cpu).unwrap();
    for (image, logits) in images_and_logits(&source) {
        assert_close(&module.forward_ts(&[image]).unwrap(), &logits);
    }
    let read = Weights::read(&path).unwrap();
    assert_eq!(read.kind(), WeightsKind::TorchScript);
}

#[test]
fn the_operators_of_the_onnx_model_compute_what_the_model_does() {
    let source = source();
    let mut bytes = Vec::new();
    write_onnx(&source, &mut bytes).unwrap();
    let model = OnnxModel::decode(&bytes[..]).unwrap();
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
    let graph = model.graph.unwrap();
    assert_eq!(shape(&graph.input[0]), "image 1 [batch, 3, height, width]");
    assert_eq!(shape(&graph.output[0]), "logits 1 [batch, 19, height, width]");
    for (image, logits) in images_and_logits(&source) {
        let mut values: BTreeMap<String, Tensor> = graph.initializer.iter().map(initializer).collect();
        values.insert("image".to_owned(), image);
        for node in &graph.node {
            let inputs: Vec<&Tensor> = node.input.iter().filter_map(|name| values.get(name)).collect();
            let given = node.input.iter().filter(|name| !name.is_empty()).count();
            assert_eq!(
                inputs.len(),
                given,
                "{} uses what was computed before it",
                node.name
            );
            let output = evaluate(node, &inputs);
            let before = values.insert(node.output[0].clone(), output);
            assert!(before.is_none(), "{} is computed once", node.output[0]);
        }
        assert_close(&values["logits"], &logits);
    }
}

fn shape(value: &OnnxValue) -> String {
    let tensor = value.r#type.clone().unwrap().tensor_type.unwrap();
    let dimensions: Vec<String> = tensor
        .shape
        .unwrap()
        .dim
        .into_iter()
        .map(|dim| {
            dim.dim_param
                .unwrap_or_else(|| dim.dim_value.unwrap().to_string())
        })
        .collect();
    format!("{} {} [{}]", value.name, tensor.elem_type, dimensions.join(", "))
}

fn initializer(tensor: &OnnxTensor) -> (String, Tensor) {
    assert_eq!(tensor.data_type, 1, "float32");
    let numbers = Tensor::f_from_data_size(&tensor.raw_data, &tensor.dims, Kind::Float).unwrap();
    (tensor.name.clone(), numbers)
}

/// What ONNX's specification says of the operators used.
fn evaluate(node: &OnnxNode, inputs: &[&Tensor]) -> Tensor {
    let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let int = |name: &str| attribute(name).map(|attribute| attribute.i);
    let ints = |name: &str| attribute(name).map(|attribute| attribute.ints.clone());
    let x = inputs[0];
    match node.op_type.as_str() {
        "Conv" => {
            let pads = ints("pads").unwrap();
            assert_eq!(pads[..2], pads[2..], "as much at the end as at the beginning");
            let (strides, dilations) = (ints("strides").unwrap(), ints("dilations").unwrap());
            x.conv2d(inputs[1], Some(inputs[2]), &strides, &pads[..2], &dilations, 1)
        }
        "Relu" => x.relu(),
        "Add" => x + inputs[1],
        "AveragePool" => {
            let (side, strides) = (ints("kernel_shape").unwrap(), ints("strides").unwrap());
            x.avg_pool2d(&side, &strides, [0, 0], false, true, None)
        }
        "GlobalAveragePool" => x.mean_dim([2_i64, 3].as_slice(), true, Kind::Float),
        "Concat" => Tensor::cat(inputs, int("axis").unwrap()),
        "Shape" => {
            let size = x.size();
            let (start, end) = (int("start").unwrap_or(0), int("end").unwrap_or(size.len() as i64));
            Tensor::from_slice(&size[start as usize..end as usize])
        }
        "Resize" => {
            let text = |name: &str| String::from_utf8(attribute(name).unwrap().s.clone()).unwrap();
            assert_eq!(text("mode"), "linear");
            assert_eq!(text("coordinate_transformation_mode"), "pytorch_half_pixel");
            let sizes = Vec::<i64>::try_from(inputs[1]).unwrap();
            assert_eq!(sizes[..2], x.size()[..2]);
            x.upsample_bilinear2d(&sizes[2..], false, None, None)
        }
        other => panic!("an operator that this test does not know: {other}"),
    }
}
