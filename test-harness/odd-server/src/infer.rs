//! KServe v2 `ModelInfer` messages, written in every way the wire format allows.
//!
//! By hand, because generated code writes a message in one way only, and the other ways are what the tests are about.
//! Field numbers are those of the Open Inference Protocol's `grpc_predict_v2.proto`.

use crate::wire::{self, Message, Value, WireError};

/// A request or response parameter's value (`InferParameter`).
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// `bool_param`.
    Bool(bool),
    /// `int64_param`.
    Int64(i64),
    /// `string_param`.
    String(String),
    /// `double_param`.
    Double(f64),
    /// `uint64_param`.
    Uint64(u64),
    /// No alternative set at all.
    Unset,
}

/// A tensor's values in the typed `contents` form.
#[derive(Clone, Debug, PartialEq)]
pub enum Contents {
    /// `bool_contents`.
    Bool(Vec<bool>),
    /// `int_contents`: INT8, INT16, INT32.
    Int(Vec<i32>),
    /// `int64_contents`.
    Int64(Vec<i64>),
    /// `uint_contents`: UINT8, UINT16, UINT32.
    Uint(Vec<u32>),
    /// `uint64_contents`.
    Uint64(Vec<u64>),
    /// `fp32_contents`.
    Fp32(Vec<f32>),
    /// `fp64_contents`.
    Fp64(Vec<f64>),
    /// `bytes_contents`.
    Bytes(Vec<Vec<u8>>),
}

/// Where a tensor's values are.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// In the message's `raw_output_contents`.
    Raw(Vec<u8>),
    /// In the tensor's `contents`.
    Contents(Contents),
    /// Nowhere.
    None,
}

/// An output tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its KServe datatype, such as `FP32`.
    pub datatype: String,
    /// Its dimensions.
    pub shape: Vec<i64>,
    /// Its parameters.
    pub parameters: Vec<(String, Param)>,
    /// Its values.
    pub values: Values,
}

impl Tensor {
    /// A tensor without parameters.
    pub fn new(name: &str, datatype: &str, shape: &[i64], values: Values) -> Self {
        Self {
            name: name.into(),
            datatype: datatype.into(),
            shape: shape.into(),
            parameters: Vec::new(),
            values,
        }
    }

    /// An FP32 tensor in raw form.
    pub fn raw_fp32(name: &str, shape: &[i64], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(name, "FP32", shape, Values::Raw(bytes))
    }

    /// A tensor with typed contents.
    pub fn typed(name: &str, datatype: &str, shape: &[i64], contents: Contents) -> Self {
        Self::new(name, datatype, shape, Values::Contents(contents))
    }
}

/// A `ModelInferResponse`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// `model_name`, left out when empty.
    pub model_name: String,
    /// `model_version`, left out when empty.
    pub model_version: String,
    /// `id`, left out when empty.
    pub id: String,
    /// `parameters`.
    pub parameters: Vec<(String, Param)>,
    /// `outputs`.
    pub outputs: Vec<Tensor>,
}

/// In which order fields are written, at every level of the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By field number, as generated code does.
    #[default]
    Declared,
    /// The other way round: raw contents come before the tensors they belong to, shapes before names.
    /// Repeated values keep their order among themselves.
    Reversed,
}

/// How repeated numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeated {
    /// In one packed field.
    #[default]
    Packed,
    /// Each with a tag of its own, as proto2 did.
    Each,
    /// Half in a packed field, half one by one: a reader has to take both, and join them.
    Mixed,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// The order of fields.
    pub order: Order,
    /// The form of repeated numbers.
    pub repeated: Repeated,
    /// Adds an empty `contents` to tensors that have raw values, as MLServer does.
    pub empty_contents: bool,
    /// Adds fields with undeclared numbers, of every wire type.
    pub unknown_fields: bool,
}

impl Response {
    /// A response without outputs.
    pub fn new(model_name: &str) -> Self {
        Self { model_name: model_name.into(), ..Self::default() }
    }

    /// Sets the request's id.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.id = id.into();
        self
    }

    /// Adds a tensor.
    #[must_use]
    pub fn output(mut self, tensor: Tensor) -> Self {
        self.outputs.push(tensor);
        self
    }

    /// Adds a parameter.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: Param) -> Self {
        self.parameters.push((name.into(), value));
        self
    }

    /// The encoded message, without gRPC framing.
    pub fn encode(&self, style: Style) -> Vec<u8> {
        let mut parts = vec![
            text(1, &self.model_name),
            text(2, &self.model_version),
            text(3, &self.id),
            parameters(4, &self.parameters, style),
            self.outputs.iter().map(|t| tensor(t, style)).fold(Message::new(), |m, t| m.message(5, &t)),
        ];
        let raw = self.outputs.iter().filter_map(|t| match &t.values {
            Values::Raw(bytes) => Some(bytes),
            _ => None,
        });
        parts.push(raw.fold(Message::new(), |m, bytes| m.bytes(6, bytes)));
        join(parts, style).into_bytes()
    }
}

/// Answers a `ModelInferRequest` with the `ModelInferResponse` that has its inputs as outputs, in the form
/// (raw or typed contents) they came in. `outputs` of the request are ignored.
///
/// # Errors
/// If the request is not a well-formed message.
pub fn echo(request: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut out = Message::new();
    for field in wire::fields(request)? {
        if let Value::Bytes(bytes) = field.value {
            // 1 to 5 are the same in both: names, id, parameters, tensors. Raw contents are 7 there, 6 here.
            match field.number {
                n @ 1..=5 => out = out.bytes(n, bytes),
                7 => out = out.bytes(6, bytes),
                _ => {}
            }
        }
    }
    Ok(out.into_bytes())
}

/// BYTES elements in raw form: each with a four-byte little-endian length before it.
pub fn raw_bytes<B: AsRef<[u8]>>(elements: &[B]) -> Vec<u8> {
    let mut out = Vec::new();
    for element in elements.iter().map(AsRef::as_ref) {
        out.extend_from_slice(&u32::try_from(element.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(element);
    }
    out
}

fn tensor(tensor: &Tensor, style: Style) -> Message {
    let contents = match &tensor.values {
        Values::Contents(contents) => Message::new().message(5, &typed(contents, style)),
        Values::Raw(_) if style.empty_contents => Message::new().message(5, &Message::new()),
        Values::Raw(_) | Values::None => Message::new(),
    };
    let parts = vec![
        text(1, &tensor.name),
        text(2, &tensor.datatype),
        varints(3, tensor.shape.iter().map(|&d| d as u64), style),
        parameters(4, &tensor.parameters, style),
        contents,
    ];
    join(parts, style)
}

fn typed(contents: &Contents, style: Style) -> Message {
    match contents {
        Contents::Bool(v) => varints(1, v.iter().map(|&x| u64::from(x)), style),
        Contents::Int(v) => varints(2, v.iter().map(|&x| i64::from(x) as u64), style),
        Contents::Int64(v) => varints(3, v.iter().map(|&x| x as u64), style),
        Contents::Uint(v) => varints(4, v.iter().map(|&x| u64::from(x)), style),
        Contents::Uint64(v) => varints(5, v.iter().copied(), style),
        Contents::Fp32(v) => repeated(
            v,
            style,
            |m, values| m.bytes(6, values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()),
            |m, x| m.fixed32(6, x.to_bits()),
        ),
        Contents::Fp64(v) => repeated(
            v,
            style,
            |m, values| m.bytes(7, values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()),
            |m, x| m.fixed64(7, x.to_bits()),
        ),
        Contents::Bytes(v) => v.iter().fold(Message::new(), |m, x| m.bytes(8, x)),
    }
}

fn varints(field: u32, values: impl Iterator<Item = u64>, style: Style) -> Message {
    let values: Vec<u64> = values.collect();
    repeated(
        &values,
        style,
        |m, values| m.packed_varints(field, values.iter().copied()),
        |m, &x| m.varint(field, x),
    )
}

/// Writes `values` in the style's form, given how a packed run and how a single value is written.
fn repeated<T>(
    values: &[T],
    style: Style,
    packed: impl Fn(Message, &[T]) -> Message,
    each: impl Fn(Message, &T) -> Message,
) -> Message {
    let packed_count = match style.repeated {
        Repeated::Packed => values.len(),
        Repeated::Each => 0,
        Repeated::Mixed => values.len() / 2,
    };
    let (run, rest) = values.split_at(packed_count);
    let out = if run.is_empty() { Message::new() } else { packed(Message::new(), run) };
    rest.iter().fold(out, each)
}

fn parameters(field: u32, parameters: &[(String, Param)], style: Style) -> Message {
    parameters.iter().fold(Message::new(), |out, (name, value)| {
        let value = match value {
            Param::Bool(v) => Message::new().varint(1, u64::from(*v)),
            Param::Int64(v) => Message::new().varint(2, *v as u64),
            Param::String(v) => Message::new().bytes(3, v),
            Param::Double(v) => Message::new().fixed64(4, v.to_bits()),
            Param::Uint64(v) => Message::new().varint(5, *v),
            Param::Unset => Message::new(),
        };
        let entry = vec![Message::new().bytes(1, name), Message::new().message(2, &value)];
        out.message(field, &join(entry, Style { unknown_fields: false, ..style }))
    })
}

fn text(field: u32, value: &str) -> Message {
    if value.is_empty() { Message::new() } else { Message::new().bytes(field, value) }
}

fn join(mut parts: Vec<Message>, style: Style) -> Message {
    if style.unknown_fields {
        let unknown = Message::new().varint(900, 1).fixed64(901, 2).bytes(902, "three").fixed32(903, 4);
        parts.insert(parts.len() / 2, unknown);
    }
    if style.order == Order::Reversed {
        parts.reverse();
    }
    parts.iter().fold(Message::new(), |out, part| out.append(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> Response {
        let typed = Tensor::typed("y", "FP32", &[1, 2], Contents::Fp32(vec![1.0, -2.0]));
        Response::new("m").output(typed)
    }

    #[test]
    fn the_declared_style_is_what_generated_code_writes() {
        let tensor = b"\x0a\x01y\x12\x04FP32\x1a\x02\x01\x02\x2a\x0a\x32\x08\x00\x00\x80\x3f\x00\x00\x00\xc0";
        let mut expected = b"\x0a\x01m\x2a".to_vec();
        expected.push(tensor.len() as u8);
        expected.extend_from_slice(tensor);
        assert_eq!(response().encode(Style::default()), expected);
    }

    #[test]
    fn one_by_one_and_reversed_the_same_values_come_in_other_bytes() {
        let style = Style { order: Order::Reversed, repeated: Repeated::Each, ..Style::default() };
        let tensor = b"\x2a\x0a\x35\x00\x00\x80\x3f\x35\x00\x00\x00\xc0\x18\x01\x18\x02\x12\x04FP32\x0a\x01y";
        let mut expected = vec![0x2a, tensor.len() as u8];
        expected.extend_from_slice(tensor);
        expected.extend_from_slice(b"\x0a\x01m");
        assert_eq!(response().encode(style), expected);
    }

    #[test]
    fn a_mixed_field_is_half_packed() {
        let style = Style { repeated: Repeated::Mixed, ..Style::default() };
        let shape = varints(3, [1, 2, 3].into_iter(), style).into_bytes();
        assert_eq!(shape, [0x1a, 1, 1, 0x18, 2, 0x18, 3]);
    }

    #[test]
    fn raw_contents_come_after_the_tensors_or_before_them() {
        let response = Response::new("m").output(Tensor::raw_fp32("y", &[1], &[1.0]));
        let numbers = |style| {
            let bytes = response.encode(style);
            wire::fields(&bytes).unwrap().iter().map(|f| f.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(Style::default()), [1, 5, 6]);
        assert_eq!(numbers(Style { order: Order::Reversed, ..Style::default() }), [6, 5, 1]);
    }

    #[test]
    fn an_echo_moves_the_inputs_to_the_outputs() {
        let tensor = Message::new().bytes(1, "x").bytes(2, "FP32").packed_varints(3, [1]);
        let request = Message::new()
            .bytes(1, "m")
            .bytes(3, "id-1")
            .message(5, &tensor)
            .message(6, &Message::new().bytes(1, "y"))
            .bytes(7, 1.5f32.to_le_bytes())
            .into_bytes();
        let expected = Message::new()
            .bytes(1, "m")
            .bytes(3, "id-1")
            .message(5, &tensor)
            .bytes(6, 1.5f32.to_le_bytes())
            .into_bytes();
        assert_eq!(echo(&request), Ok(expected));
        assert_eq!(echo(&request[..request.len() - 1]), Err(WireError::Truncated));
    }

    #[test]
    fn raw_bytes_elements_carry_their_lengths() {
        assert_eq!(raw_bytes(&["ab", ""]), b"\x02\0\0\0ab\0\0\0\0");
    }
}
