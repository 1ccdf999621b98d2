//! The messages of ONNX that a network needs, as protocol buffers; field numbers are those of `onnx.proto`, IR version 8.

use prost::Message;

/// Types of a tensor's numbers.
pub const FLOAT: i32 = 1;

/// Kinds of an attribute.
pub const OF_INT: i32 = 2;
pub const OF_TEXT: i32 = 3;
pub const OF_INTS: i32 = 7;

#[derive(Clone, PartialEq, Message)]
pub struct OnnxModel {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<OnnxGraph>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OnnxOperatorSet>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<OnnxProperty>,
}

/// What a file says of itself.
#[derive(Clone, PartialEq, Message)]
pub struct OnnxProperty {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Version of the operators; an empty domain is ONNX's own.
#[derive(Clone, PartialEq, Message)]
pub struct OnnxOperatorSet {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct OnnxGraph {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<OnnxNode>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<OnnxTensor>,
    #[prost(string, tag = "10")]
    pub doc_string: String,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<OnnxValue>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<OnnxValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OnnxNode {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<OnnxAttribute>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OnnxAttribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct OnnxTensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    /// Row-major, little-endian.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OnnxValue {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<OnnxType>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OnnxType {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<OnnxTensorType>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OnnxTensorType {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<OnnxShape>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OnnxShape {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<OnnxDimension>,
}

/// One of both is set: a size, or the name of one that is free.
#[derive(Clone, PartialEq, Message)]
pub struct OnnxDimension {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}
