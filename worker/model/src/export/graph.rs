//! The segmentation network as a list of operations, which each format writes in its own words.
//!
//! BatchNorm is folded into the convolutions. Sizes are not part of it: every operation works on any height and width.

use tch::Tensor;

use crate::clip::{Backbone, Bottleneck, FrozenConv};
use crate::head::{ASPP_PROJECT, ConvNorm, HIDDEN, HeadConfig, LAST, LOW, PLACES, POOLED};
use crate::weights::{Picker, Weights, WeightsError};

/// Number of a value: 0 is the image, n the result of node n − 1. All have four dimensions, NCHW.
pub type ValueNumber = usize;

/// The input: normalised images [N, 3, H, W].
const IMAGE: ValueNumber = 0;

/// What a node does to its inputs.
pub enum GraphOperation {
    /// A convolution with bias; its weights are those of this name in [`NetworkGraph::convolutions`].
    Convolve(usize),
    Relu,
    /// Average over squares of this side that do not overlap; odd sizes floor.
    AveragePool(i64),
    /// Average over height and width, each of which becomes 1.
    Mean,
    Add,
    /// Channels one after the other.
    Concatenate,
    /// The first input in the height and width of the second: bilinear, without corner alignment.
    Resize,
}

/// One operation; its inputs are results of nodes before it, or the image.
pub struct GraphNode {
    pub operation: GraphOperation,
    pub inputs: Vec<ValueNumber>,
}

/// A convolution under its published name, such as `backbone.layer1.0.conv1`.
pub struct NamedConvolution {
    pub name: String,
    pub layer: FrozenConv,
}

/// Images [N, 3, H, W] to logits [N, classes, H, W], the result of the last node.
#[derive(Default)]
pub struct NetworkGraph {
    pub convolutions: Vec<NamedConvolution>,
    pub nodes: Vec<GraphNode>,
    pub classes: i64,
}

impl NetworkGraph {
    /// The network of a segmentation model, as [`crate::SegmentationModel::logits`] computes it.
    ///
    /// # Errors
    /// As [`Backbone::load`] and [`crate::Head::load`].
    pub fn of(weights: &Weights) -> Result<Self, WeightsError> {
        let backbone = Backbone::load(weights)?;
        let mut graph = Self::default();
        let (low, deep) = graph.add_backbone(backbone);
        let logits = graph.add_head(weights, low, deep)?;
        graph.add(GraphOperation::Resize, &[logits, IMAGE]);
        Ok(graph)
    }

    fn add_backbone(&mut self, backbone: Backbone) -> (ValueNumber, ValueNumber) {
        let mut x = IMAGE;
        for (index, layer) in backbone.stem.into_iter().enumerate() {
            x = self.convolve_relu(format!("backbone.conv{}", index + 1), layer, x);
        }
        x = self.add(GraphOperation::AveragePool(2), &[x]);
        let [first, second, third, _] = backbone.stages;
        let mut low = x;
        for (index, stage) in [first, second, third, backbone.dilated_last]
            .into_iter()
            .enumerate()
        {
            for (block, bottleneck) in stage.into_iter().enumerate() {
                x = self.add_bottleneck(&format!("backbone.layer{}.{block}", index + 1), bottleneck, x);
            }
            if index == 0 {
                low = x;
            }
        }
        (low, x)
    }

    fn add_bottleneck(&mut self, name: &str, block: Bottleneck, x: ValueNumber) -> ValueNumber {
        let stride = block.stride;
        let mut inner = self.convolve_relu(format!("{name}.conv1"), block.conv1, x);
        inner = self.convolve_relu(format!("{name}.conv2"), block.conv2, inner);
        inner = self.pool(stride, inner);
        inner = self.convolve(format!("{name}.conv3"), block.conv3, inner);
        let shortcut = match block.shortcut {
            Some(layer) => {
                let pooled = self.pool(stride, x);
                self.convolve(format!("{name}.downsample.0"), layer, pooled)
            }
            None => x,
        };
        let sum = self.add(GraphOperation::Add, &[inner, shortcut]);
        self.add(GraphOperation::Relu, &[sum])
    }

    fn add_head(
        &mut self,
        weights: &Weights,
        low: ValueNumber,
        deep: ValueNumber,
    ) -> Result<ValueNumber, WeightsError> {
        let config = HeadConfig::read(weights)?;
        let mut picker = weights.pick();
        self.classes = config.classes;
        let mut layer = |graph: &mut Self, index: usize, x| {
            let folded = ConvNorm::folded(&mut picker, index, &config);
            graph.convolve_relu(PLACES[index].conv.to_owned(), folded, x)
        };
        let low = layer(self, LOW, low);
        let mut branches: Vec<_> = (LOW + 1..POOLED).map(|index| layer(self, index, deep)).collect();
        let mean = self.add(GraphOperation::Mean, &[deep]);
        let pooled = layer(self, POOLED, mean);
        branches.push(self.add(GraphOperation::Resize, &[pooled, deep]));
        let joined = self.add(GraphOperation::Concatenate, &branches);
        let aspp = layer(self, ASPP_PROJECT, joined);
        let aspp = self.add(GraphOperation::Resize, &[aspp, low]);
        let joined = self.add(GraphOperation::Concatenate, &[low, aspp]);
        let hidden = layer(self, HIDDEN, joined);
        let last = last_layer(&mut picker, &config);
        let logits = self.convolve(LAST.to_owned(), last, hidden);
        picker.finish(logits)
    }

    fn convolve_relu(&mut self, name: String, layer: FrozenConv, x: ValueNumber) -> ValueNumber {
        let convolved = self.convolve(name, layer, x);
        self.add(GraphOperation::Relu, &[convolved])
    }

    fn convolve(&mut self, name: String, layer: FrozenConv, x: ValueNumber) -> ValueNumber {
        self.convolutions.push(NamedConvolution { name, layer });
        self.add(GraphOperation::Convolve(self.convolutions.len() - 1), &[x])
    }

    fn pool(&mut self, side: i64, x: ValueNumber) -> ValueNumber {
        match side {
            1 => x,
            _ => self.add(GraphOperation::AveragePool(side), &[x]),
        }
    }

    fn add(&mut self, operation: GraphOperation, inputs: &[ValueNumber]) -> ValueNumber {
        self.nodes.push(GraphNode {
            operation,
            inputs: inputs.to_vec(),
        });
        self.nodes.len()
    }
}

fn last_layer(picker: &mut Picker<'_>, config: &HeadConfig) -> FrozenConv {
    let weight: Tensor = picker.take(&format!("{LAST}.weight"), &[config.classes, config.hidden, 1, 1]);
    FrozenConv {
        weight,
        bias: picker.take(&format!("{LAST}.bias"), &[config.classes]),
        stride: 1,
        padding: 0,
        dilation: 1,
    }
}
