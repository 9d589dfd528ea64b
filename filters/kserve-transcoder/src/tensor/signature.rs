//! What a model's inputs are.

use super::datatype::{Datatype, MAX_RANK};
use kserve_proto::wire::{Field, Fields, Value, WireError, take_varint};
use std::collections::HashMap;
use std::fmt;

/// How much a signature may hold, in bytes: it is remembered, and a server chooses how long it is.
const MOST_BYTES: usize = 64 * 1024;

/// How many names of inputs an error tells.
const TOLD: usize = 16;

/// How much of a name or datatype that a server sent an error tells, in characters.
const SHOWN: usize = 64;

/// The inputs of a model, of which there is at least one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// In the order in which they are sent.
    pub(crate) inputs: Vec<Declared>,
    by_name: HashMap<String, usize>,
}

/// An input, as the model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) datatype: Datatype,
    /// The sizes of its dimensions, the batch included; `None` for any.
    pub(crate) shape: Vec<Option<u64>>,
}

impl Signature {
    /// A signature with these inputs. An error says why it cannot be one.
    pub(crate) fn new(inputs: Vec<Declared>) -> Result<Self, String> {
        if inputs.is_empty() {
            return Err("there are no inputs".to_owned());
        }
        if inputs.iter().map(Declared::bytes).sum::<usize>() > MOST_BYTES {
            return Err(too_long());
        }
        let mut by_name = HashMap::new();
        for (index, input) in inputs.iter().enumerate() {
            if by_name.insert(input.name.clone(), index).is_some() {
                return Err(format!("the input {:?} is there twice", input.name));
            }
        }
        Ok(Self { inputs, by_name })
    }

    /// The signature in a `ModelMetadataResponse`. An error says what is wrong with it.
    pub(crate) fn of_metadata(message: &[u8]) -> Result<Self, String> {
        let malformed = |why: WireError| format!("the answer is not a ModelMetadataResponse: {why}");
        let (mut inputs, mut bytes) = (Vec::new(), 0);
        for field in Fields::of(message) {
            if let Field { number: 4, value: Value::Bytes(input) } = field.map_err(malformed)? {
                let input = declared(input).map_err(malformed)??;
                // Not once all of them are here: a message may be a thousand times as long as what is kept of it.
                bytes += input.bytes();
                if bytes > MOST_BYTES {
                    return Err(too_long());
                }
                inputs.push(input);
            }
        }
        if inputs.is_empty() {
            return Err("the model server does not say what its inputs are".to_owned());
        }
        Self::new(inputs)
    }

    /// The index of the input of a name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The names of the inputs, for an error.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.inputs.iter().take(TOLD).map(|input| input.name.as_str()).collect();
        let more = if self.inputs.len() > TOLD { ", ..." } else { "" };
        format!("{}{more}", names.join(", "))
    }
}

/// More than an input takes in a signature beside its name and shape, in bytes.
const PLACE_BYTES: usize = 64;

impl Declared {
    /// What it holds, with its place in a signature: the same on every host, so that none refuses a model that another serves.
    fn bytes(&self) -> usize {
        PLACE_BYTES + 2 * self.name.len() + 16 * self.shape.len()
    }
}

fn too_long() -> String {
    format!("the names and shapes of its inputs are longer than {MOST_BYTES} bytes")
}

/// What a client is told of a text of the server's, which may be as long as a message.
fn shown(text: &[u8]) -> String {
    let start = &text[..text.len().min(4 * SHOWN)];
    String::from_utf8_lossy(start).chars().take(SHOWN).collect()
}

/// Its shape, as the protocol writes it.
impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, size) in self.shape.iter().enumerate() {
            let between = if index > 0 { ", " } else { "" };
            match size {
                Some(size) => write!(f, "{between}{size}")?,
                None => write!(f, "{between}-1")?,
            }
        }
        f.write_str("]")
    }
}

/// An input in a `TensorMetadata`; the inner error says why it cannot be one.
fn declared(message: &[u8]) -> Result<Result<Declared, String>, WireError> {
    let (mut name, mut datatype, mut shape) = (&b""[..], &b""[..], Vec::new());
    for field in Fields::of(message) {
        match field? {
            Field { number: 1, value: Value::Bytes(text) } => name = text,
            Field { number: 2, value: Value::Bytes(text) } => datatype = text,
            Field { number: 3, value: Value::Varint(size) } => shape.push(size),
            Field { number: 3, value: Value::Bytes(mut packed) } => {
                while !packed.is_empty() && shape.len() <= MAX_RANK {
                    shape.push(take_varint(&mut packed)?);
                }
            }
            _ => {}
        }
        if shape.len() > MAX_RANK {
            return Ok(Err(format!("its input {} has more than {MAX_RANK} dimensions", shown(name))));
        }
    }
    let Some(known) = Datatype::from_name(datatype) else {
        let (name, datatype) = (shown(name), shown(datatype));
        return Ok(Err(format!("its input {name} has the datatype {datatype:?}, which is unknown")));
    };
    if name.len() > MOST_BYTES {
        return Ok(Err(too_long()));
    }
    // A negative size, of 64 bits, is any size.
    let shape = shape.into_iter().map(|size| (size as i64 >= 0).then_some(size)).collect();
    match String::from_utf8(name.to_vec()) {
        Ok(name) => Ok(Ok(Declared { name, datatype: known, shape })),
        Err(_) => Ok(Err(format!("the name of its input {} is not UTF-8", shown(name)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kserve_proto::wire::Message;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn input(name: &str, datatype: &str, shape: &[i64]) -> Message {
        let shape = shape.iter().map(|size| *size as u64);
        Message::new().bytes(1, name).bytes(2, datatype).packed_varints(3, shape)
    }

    fn metadata(inputs: &[Message]) -> Vec<u8> {
        let message = Message::new().bytes(1, "m").bytes(2, "1").bytes(3, "onnx");
        inputs.iter().fold(message, |message, input| message.message(4, input)).into_bytes()
    }

    #[test]
    fn a_models_metadata_says_the_names_datatypes_and_shapes_of_its_inputs() {
        // Not packed, as some encoders write it.
        let loose = Message::new().varint(3, u64::MAX).varint(3, 2).bytes(2, "BYTES").bytes(1, "y");
        let output = Message::new().message(5, &input("z", "FP32", &[-1])).into_bytes();
        let message = [metadata(&[input("x", "FP32", &[-1, 4]), loose]), output].concat();
        let signature = Signature::of_metadata(&message).unwrap();
        let declared: Vec<String> = signature
            .inputs
            .iter()
            .map(|input| format!("{} {} {input}", input.name, input.datatype.name()))
            .collect();
        assert_eq!(declared, ["x FP32 [-1, 4]", "y BYTES [-1, 2]"]);
        assert_eq!((signature.find("y"), signature.find("z")), (Some(1), None));
        assert_eq!(signature.names(), "x, y");
    }

    #[test]
    fn metadata_that_leaves_something_to_guess_is_refused() {
        let why = |message: &[u8]| Signature::of_metadata(message).unwrap_err();
        assert_eq!(why(&metadata(&[])), "the model server does not say what its inputs are");
        assert_eq!(
            why(&metadata(&[input("x", "TYPE_FP32", &[1])])),
            "its input x has the datatype \"TYPE_FP32\", which is unknown"
        );
        let twice = [input("x", "FP32", &[1]), input("x", "INT8", &[1])];
        assert_eq!(why(&metadata(&twice)), "the input \"x\" is there twice");
        assert!(why(&metadata(&[input("x", "FP32", &[1; 65])])).contains("more than 64 dimensions"));
        assert!(why(b"\x22\x7f").contains("not a ModelMetadataResponse"));
        let long = input(&"x".repeat(40_000), "FP32", &[1]);
        assert!(why(&metadata(&[long])).contains("longer than 65536 bytes"));
    }

    #[test]
    fn metadata_of_any_length_takes_no_more_than_a_signature_and_neither_does_the_error() {
        let why = |message: &[u8]| Signature::of_metadata(message).unwrap_err();
        let longest = |text: String| {
            assert!(text.len() < 500, "{} bytes of error", text.len());
            text
        };
        let endless = "n".repeat(1 << 20);
        let dimensions = why(&metadata(&[input(&endless, "FP32", &[1; 1 << 20])]));
        assert!(longest(dimensions).contains("more than 64 dimensions"));
        assert!(
            longest(why(&metadata(&[input(&endless, "FP32", &[1])]))).contains("longer than 65536 bytes")
        );
        assert!(longest(why(&metadata(&[input(&endless, &endless, &[1])]))).contains("which is unknown"));
        let not_utf8 = [&b"\xff"[..]; 1 << 10].concat();
        let odd = Message::new().bytes(1, not_utf8).bytes(2, "FP32");
        assert!(longest(why(&metadata(&[odd]))).contains("is not UTF-8"));
        // The message is broken behind what is too much, which is not looked at any more.
        let many: Vec<Message> = (0..1000).map(|n| input(&format!("x{n}"), "BOOL", &[1])).collect();
        let many = [metadata(&many), vec![0xff]].concat();
        assert!(why(&many).contains("longer than 65536 bytes"));
    }
}
