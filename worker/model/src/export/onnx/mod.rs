//! The segmentation network as an ONNX model.

pub mod messages;

use std::io::Write;

use prost::Message;
use tch::Tensor;

use crate::export::ModelExportError;
use crate::export::archive::numbers;
use crate::export::graph::{GraphNode, GraphOperation, NamedConvolution, NetworkGraph, ValueNumber};
use crate::marks;
use crate::weights::Weights;
use messages::{
    FLOAT, OF_INT, OF_INTS, OF_TEXT, OnnxAttribute, OnnxDimension, OnnxGraph, OnnxModel, OnnxNode,
    OnnxOperatorSet, OnnxProperty, OnnxShape, OnnxTensor, OnnxTensorType, OnnxType, OnnxValue,
};

/// Both as of ONNX 1.12.
const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;

/// A protocol buffer has less than 2 GiB.
const MOST_BYTES: usize = i32::MAX as usize;

/// Writes the network of a segmentation model: input `image` [batch, 3, height, width], float32 and normalised; output
/// `logits` [batch, classes, height, width]. All sizes but the channels are free. Names of classes that are not Cityscapes'
/// are the property `classes`.
///
/// # Errors
/// `weights` are no segmentation model, the model has 2 GiB or more, or `out` refuses.
pub fn write_onnx(weights: &Weights, mut out: impl Write) -> Result<(), ModelExportError> {
    let mut model = model(&NetworkGraph::of(weights)?);
    let classes = weights.text(marks::CLASSES).map(|value| OnnxProperty {
        key: "classes".to_owned(),
        value,
    });
    model.metadata_props.extend(classes);
    let bytes = model.encoded_len();
    if bytes > MOST_BYTES {
        return Err(ModelExportError::TooLarge { bytes });
    }
    out.write_all(&model.encode_to_vec())?;
    out.flush()?;
    Ok(())
}

fn model(network: &NetworkGraph) -> OnnxModel {
    let last = network.nodes.len();
    let name = |value: ValueNumber| match value {
        0 => "image".to_owned(),
        value if value == last => "logits".to_owned(),
        value => format!("value.{value}"),
    };
    let nodes = network.nodes.iter().enumerate();
    let graph = OnnxGraph {
        node: nodes
            .flat_map(|(index, node)| nodes_of(node, index + 1, network, name))
            .collect(),
        name: "segmentation".to_owned(),
        initializer: network.convolutions.iter().flat_map(initializers).collect(),
        doc_string: "DeepLabV3+ on CLIP's ResNet; images are normalised by CLIP's mean and deviation"
            .to_owned(),
        input: vec![image_sized("image", 3)],
        output: vec![image_sized("logits", network.classes)],
    };
    OnnxModel {
        ir_version: IR_VERSION,
        producer_name: "ulda".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OnnxOperatorSet {
            domain: String::new(),
            version: OPERATOR_SET,
        }],
        metadata_props: Vec::new(),
    }
}

/// The ONNX nodes of one operation, whose result is `value`.
fn nodes_of(
    node: &GraphNode,
    value: ValueNumber,
    network: &NetworkGraph,
    name: impl Fn(ValueNumber) -> String,
) -> Vec<OnnxNode> {
    let inputs: Vec<String> = node.inputs.iter().map(|&input| name(input)).collect();
    let one = |op_type: &str, inputs: Vec<String>, attribute| OnnxNode {
        input: inputs,
        output: vec![name(value)],
        name: format!("{op_type}.{value}"),
        op_type: op_type.to_owned(),
        attribute,
    };
    match node.operation {
        GraphOperation::Convolve(index) => {
            let NamedConvolution { name, layer } = &network.convolutions[index];
            let attributes = vec![
                ints("dilations", &[layer.dilation; 2]),
                ints("pads", &[layer.padding; 4]),
                ints("strides", &[layer.stride; 2]),
            ];
            let weights = [format!("{name}.weight"), format!("{name}.bias")];
            vec![one("Conv", [inputs, weights.into()].concat(), attributes)]
        }
        GraphOperation::Relu => vec![one("Relu", inputs, Vec::new())],
        GraphOperation::AveragePool(side) => {
            let attributes = vec![ints("kernel_shape", &[side; 2]), ints("strides", &[side; 2])];
            vec![one("AveragePool", inputs, attributes)]
        }
        GraphOperation::Mean => vec![one("GlobalAveragePool", inputs, Vec::new())],
        GraphOperation::Add => vec![one("Add", inputs, Vec::new())],
        GraphOperation::Concatenate => vec![one("Concat", inputs, vec![int("axis", 1)])],
        GraphOperation::Resize => resize(&inputs[0], &inputs[1], &name(value)),
    }
}

/// `output` is `x` in the height and width of `like`, as PyTorch interpolates without corner alignment.
fn resize(x: &str, like: &str, output: &str) -> Vec<OnnxNode> {
    let [channels, pixels, sizes] = ["channels", "pixels", "sizes"].map(|part| format!("{output}.{part}"));
    let node = |op_type: &str, input: &[&str], output: &str, attribute| OnnxNode {
        input: input.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: format!("{op_type}.{output}"),
        op_type: op_type.to_owned(),
        attribute,
    };
    let attributes = vec![
        text("coordinate_transformation_mode", "pytorch_half_pixel"),
        text("mode", "linear"),
    ];
    vec![
        node("Shape", &[x], &channels, vec![int("end", 2)]),
        node("Shape", &[like], &pixels, vec![int("start", 2)]),
        node("Concat", &[&channels, &pixels], &sizes, vec![int("axis", 0)]),
        // Neither a region of interest nor scales.
        node("Resize", &[x, "", "", &sizes], output, attributes),
    ]
}

fn initializers(convolution: &NamedConvolution) -> [OnnxTensor; 2] {
    let NamedConvolution { name, layer } = convolution;
    [
        tensor(format!("{name}.weight"), &layer.weight),
        tensor(format!("{name}.bias"), &layer.bias),
    ]
}

fn tensor(name: String, tensor: &Tensor) -> OnnxTensor {
    OnnxTensor {
        dims: tensor.size(),
        data_type: FLOAT,
        name,
        raw_data: numbers(tensor),
    }
}

/// [batch, channels, height, width].
fn image_sized(name: &str, channels: i64) -> OnnxValue {
    let free = |name: &str| OnnxDimension {
        dim_value: None,
        dim_param: Some(name.to_owned()),
    };
    let channels = OnnxDimension {
        dim_value: Some(channels),
        dim_param: None,
    };
    let dim = vec![free("batch"), channels, free("height"), free("width")];
    let tensor_type = OnnxTensorType {
        elem_type: FLOAT,
        shape: Some(OnnxShape { dim }),
    };
    OnnxValue {
        name: name.to_owned(),
        r#type: Some(OnnxType {
            tensor_type: Some(tensor_type),
        }),
    }
}

fn int(name: &str, i: i64) -> OnnxAttribute {
    OnnxAttribute {
        name: name.to_owned(),
        i,
        r#type: OF_INT,
        ..OnnxAttribute::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> OnnxAttribute {
    OnnxAttribute {
        name: name.to_owned(),
        ints: ints.to_vec(),
        r#type: OF_INTS,
        ..OnnxAttribute::default()
    }
}

fn text(name: &str, text: &str) -> OnnxAttribute {
    OnnxAttribute {
        name: name.to_owned(),
        s: text.as_bytes().to_vec(),
        r#type: OF_TEXT,
        ..OnnxAttribute::default()
    }
}
