//! The segmentation network as a TorchScript archive: weights as attributes of one module, and its `forward` as text,
//! which `torch.jit.load` compiles.

use std::fmt::Write as _;
use std::io::Write;

use crate::export::ModelExportError;
use crate::export::archive::TorchArchive;
use crate::export::graph::{GraphNode, GraphOperation, NetworkGraph, ValueNumber};
use crate::marks;
use crate::pickle::write as pickle;
use crate::weights::Weights;

/// The module's class, in Python's package `__torch__`.
const CLASS: &str = "SegmentationModel";

/// Writes the network of a segmentation model as a module whose `forward` takes normalised images [N, 3, H, W] of any
/// size and gives logits [N, classes, H, W]. Weights are buffers, so that `.to(device)` moves them. Names of classes that are
/// not Cityscapes' are the extra file `classes.json`.
///
/// # Errors
/// `weights` are no segmentation model, or `out` refuses.
pub fn write_torchscript(weights: &Weights, out: impl Write) -> Result<(), ModelExportError> {
    let network = NetworkGraph::of(weights)?;
    let mut archive = TorchArchive::new(out);
    let mut state = vec![("training".to_owned(), pickle::bool(false))];
    for convolution in &network.convolutions {
        let [weight, bias] = attributes(&convolution.name);
        state.push((weight, archive.add_tensor(&convolution.layer.weight)?));
        state.push((bias, archive.add_tensor(&convolution.layer.bias)?));
    }
    archive.add("code/__torch__.py", code(&network).as_bytes())?;
    if let Some(classes) = weights.text(marks::CLASSES) {
        archive.add("extra/classes.json", classes.as_bytes())?;
    }
    archive.add("constants.pkl", &pickle::pickle(&pickle::tuple(&[])))?;
    let state: Vec<_> = state
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let module = pickle::object(CLASS, pickle::dict(&state));
    archive.finish(&module)?.flush()?;
    Ok(())
}

/// Names of a convolution's weight and bias in the module.
fn attributes(convolution: &str) -> [String; 2] {
    let name = convolution.replace('.', "_");
    [format!("{name}_weight"), format!("{name}_bias")]
}

fn code(network: &NetworkGraph) -> String {
    let names = network.convolutions.iter();
    let buffers: Vec<String> = names
        .flat_map(|convolution| attributes(&convolution.name))
        .collect();
    let quoted: String = buffers.iter().map(|name| format!("\"{name}\", ")).collect();
    let mut code = format!("class {CLASS}(Module):\n  __parameters__ = []\n  __buffers__ = [{quoted}]\n");
    code.push_str("  training : bool\n");
    for name in &buffers {
        let _ = writeln!(code, "  {name} : Tensor");
    }
    let _ = writeln!(
        code,
        "  def forward(self: __torch__.{CLASS},\n    image: Tensor) -> Tensor:"
    );
    for (index, node) in network.nodes.iter().enumerate() {
        let _ = writeln!(
            code,
            "    {} = {}",
            variable(index + 1),
            expression(node, network)
        );
    }
    let _ = writeln!(code, "    return {}", variable(network.nodes.len()));
    code
}

fn variable(value: ValueNumber) -> String {
    match value {
        0 => "image".to_owned(),
        value => format!("value_{value}"),
    }
}

fn expression(node: &GraphNode, network: &NetworkGraph) -> String {
    let inputs: Vec<String> = node.inputs.iter().map(|&input| variable(input)).collect();
    let x = &inputs[0];
    match node.operation {
        GraphOperation::Convolve(index) => {
            let convolution = &network.convolutions[index];
            let [weight, bias] = attributes(&convolution.name);
            let [stride, padding, dilation] = [
                convolution.layer.stride,
                convolution.layer.padding,
                convolution.layer.dilation,
            ];
            format!(
                "torch.conv2d({x}, self.{weight}, self.{bias}, [{stride}, {stride}], [{padding}, {padding}], \
                 [{dilation}, {dilation}])"
            )
        }
        GraphOperation::Relu => format!("torch.relu({x})"),
        GraphOperation::AveragePool(side) => {
            format!("torch.avg_pool2d({x}, [{side}, {side}], [{side}, {side}])")
        }
        GraphOperation::Mean => format!("torch.mean({x}, [2, 3], True)"),
        GraphOperation::Add => format!("torch.add({x}, {})", inputs[1]),
        GraphOperation::Concatenate => format!("torch.cat([{}], 1)", inputs.join(", ")),
        GraphOperation::Resize => {
            let like = &inputs[1];
            format!("torch.upsample_bilinear2d({x}, [torch.size({like}, 2), torch.size({like}, 3)], False)")
        }
    }
}
