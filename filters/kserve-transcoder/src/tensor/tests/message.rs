//! The messages of the protocol, written down a second time for the tests.

use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelInferRequest {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(string, tag = "2")]
    pub(super) model_version: String,
    #[prost(string, tag = "3")]
    pub(super) id: String,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(super) parameters: BTreeMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(super) inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "6")]
    pub(super) outputs: Vec<Requested>,
    #[prost(bytes, repeated, tag = "7")]
    pub(super) raw_input_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelInferResponse {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(string, tag = "2")]
    pub(super) model_version: String,
    #[prost(string, tag = "3")]
    pub(super) id: String,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(super) parameters: BTreeMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<Tensor>,
    #[prost(bytes, repeated, tag = "6")]
    pub(super) raw_output_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Tensor {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(super) shape: Vec<i64>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(super) parameters: BTreeMap<String, Parameter>,
    #[prost(message, optional, tag = "5")]
    pub(super) contents: Option<Contents>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Requested {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) parameters: BTreeMap<String, Parameter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Contents {
    #[prost(bool, repeated, tag = "1")]
    pub(super) bool_contents: Vec<bool>,
    #[prost(int32, repeated, tag = "2")]
    pub(super) int_contents: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    pub(super) int64_contents: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    pub(super) uint_contents: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    pub(super) uint64_contents: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    pub(super) fp32_contents: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    pub(super) fp64_contents: Vec<f64>,
    #[prost(bytes, repeated, tag = "8")]
    pub(super) bytes_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Parameter {
    #[prost(oneof = "Choice", tags = "1, 2, 3, 4, 5")]
    pub(super) choice: Option<Choice>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Choice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int64(i64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(uint64, tag = "5")]
    Uint64(u64),
}

impl From<Choice> for Parameter {
    fn from(choice: Choice) -> Self {
        Self { choice: Some(choice) }
    }
}

/// Parameters by name.
pub(super) fn parameters<const N: usize>(list: [(&str, Choice); N]) -> BTreeMap<String, Parameter> {
    list.into_iter().map(|(name, choice)| (name.to_owned(), choice.into())).collect()
}

/// A tensor without parameters and contents.
pub(super) fn tensor(name: &str, datatype: &str, shape: &[i64]) -> Tensor {
    Tensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..Tensor::default()
    }
}

/// [`Tensor`] with numbers that are not packed, to be written.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UnpackedTensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, packed = "false", tag = "3")]
    shape: Vec<i64>,
    #[prost(btree_map = "string, message", tag = "4")]
    parameters: BTreeMap<String, Parameter>,
    #[prost(message, optional, tag = "5")]
    contents: Option<UnpackedContents>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UnpackedContents {
    #[prost(bool, repeated, packed = "false", tag = "1")]
    bool_contents: Vec<bool>,
    #[prost(int32, repeated, packed = "false", tag = "2")]
    int_contents: Vec<i32>,
    #[prost(int64, repeated, packed = "false", tag = "3")]
    int64_contents: Vec<i64>,
    #[prost(uint32, repeated, packed = "false", tag = "4")]
    uint_contents: Vec<u32>,
    #[prost(uint64, repeated, packed = "false", tag = "5")]
    uint64_contents: Vec<u64>,
    #[prost(float, repeated, packed = "false", tag = "6")]
    fp32_contents: Vec<f32>,
    #[prost(double, repeated, packed = "false", tag = "7")]
    fp64_contents: Vec<f64>,
    #[prost(bytes, repeated, tag = "8")]
    bytes_contents: Vec<Vec<u8>>,
}

impl From<Tensor> for UnpackedTensor {
    fn from(tensor: Tensor) -> Self {
        let Tensor { name, datatype, shape, parameters, contents } = tensor;
        let contents = contents.map(|contents| UnpackedContents {
            bool_contents: contents.bool_contents,
            int_contents: contents.int_contents,
            int64_contents: contents.int64_contents,
            uint_contents: contents.uint_contents,
            uint64_contents: contents.uint64_contents,
            fp32_contents: contents.fp32_contents,
            fp64_contents: contents.fp64_contents,
            bytes_contents: contents.bytes_contents,
        });
        Self { name, datatype, shape, parameters, contents }
    }
}
