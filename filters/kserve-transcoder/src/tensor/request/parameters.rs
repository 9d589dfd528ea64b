//! `parameters` objects of a request, as map entries of `InferParameter`.
//!
//! | JSON | `InferParameter` |
//! |---|---|
//! | `true`, `false` | `bool_param` |
//! | a string | `string_param` |
//! | an integer that an INT64 holds | `int64_param` |
//! | a larger one that a UINT64 holds | `uint64_param` (of Triton's fields only `priority` takes it) |
//! | any other number, or NaN or an infinity as a bare word | `double_param` |
//! | `null` | left out: servers refuse or misread an empty `InferParameter` |
//! | `{"int64_param": "7"}` and the like | that field, as protobuf's JSON writes it |
//! | an array, any other object | refused |
//!
//! A name may come only once, also with `null`, and an object of protobuf's JSON may have one value.

use super::encode::{Varint, field_len, head, string};
use super::lexer::Event;
use crate::problem::Problem;
use crate::tensor::charged::ChargedList;
use crate::tensor::number::decimal::{f64_of, integer_of};
use filter_api::{Buffer, Charge, OverBudget};
use std::ops::Range;

/// The three levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Request,
    Input,
    Output,
}

impl Level {
    /// The number of the map's field in the message of the level.
    fn field(self) -> u32 {
        match self {
            Self::Request | Self::Input => 4,
            Self::Output => 2,
        }
    }

    /// The parameter that belongs to the binary tensor data extension and not to the server.
    fn binary(self) -> &'static [u8] {
        match self {
            Self::Request => b"binary_data_output",
            Self::Input => b"binary_data_size",
            Self::Output => b"binary_data",
        }
    }
}

/// A parameter's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Bool(bool),
    Int64(i64),
    String(&'a [u8]),
    Double(f64),
    Uint64(u64),
}

/// The parameters of one object.
#[derive(Debug)]
pub(super) struct Parameters {
    level: Level,
    /// The names, one behind the other; of the last one the value comes next.
    names: Buffer,
    /// Where in `names` each of them is.
    places: ChargedList<Range<usize>>,
    /// The field of a proto-shaped value that comes next.
    field: Option<Field>,
    /// The fields of that value that have come, as bits.
    fields: u8,
    /// One of them has a value.
    has_value: bool,
    encoded: Buffer,
    /// Where in `encoded` an input's `content_type` is that says base64.
    base64: Option<Range<usize>>,
    /// `binary_data_size`.
    pub(super) binary_size: Option<u64>,
    /// `binary_data` or `binary_data_output`.
    pub(super) binary: Option<bool>,
    /// The tensor is in shared memory, so that it has no data here.
    pub(super) shared_memory: bool,
}

/// The fields of `InferParameter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Bool,
    Int64,
    String,
    Double,
    Uint64,
}

impl Parameters {
    pub(super) fn new(level: Level, charge: &Charge) -> Self {
        Self {
            level,
            names: Buffer::new(charge.sibling()),
            places: ChargedList::new(charge.sibling()),
            field: None,
            fields: 0,
            has_value: false,
            encoded: Buffer::new(charge.sibling()),
            base64: None,
            binary_size: None,
            binary: None,
            shared_memory: false,
        }
    }

    /// The map entries, each with its key and length.
    pub(super) fn encoded(&self) -> &[u8] {
        self.encoded.as_slice()
    }

    pub(super) fn name(&self) -> &[u8] {
        self.places.last().map_or(b"", |place| &self.names.as_slice()[place.clone()])
    }

    pub(super) fn set_name(&mut self, name: &[u8]) -> Result<(), OverBudget> {
        let start = self.names.len();
        self.names.push(name)?;
        self.places.push(start..self.names.len())
    }

    /// The object has been closed: checks that no name came twice. `path` is the object's.
    pub(super) fn close(&mut self, path: impl FnOnce() -> String) -> Result<(), Problem> {
        let names = self.names.as_slice();
        let name = |place: &Range<usize>| &names[place.clone()];
        self.places.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        if let Some(twice) = self.places.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            let name = String::from_utf8_lossy(name(&twice[0]));
            return Err(Problem::bad_request(format!("{}.{name} is given twice", path())));
        }
        self.names.clear();
        self.places.clear();
        Ok(())
    }

    /// The name's value is an object, as protobuf's JSON has it.
    pub(super) fn begin_object(&mut self) {
        (self.field, self.fields, self.has_value) = (None, 0, false);
    }

    /// Sets the field of a proto-shaped value. `path` is for errors.
    pub(super) fn set_field(&mut self, name: &[u8], path: &str) -> Result<(), Problem> {
        let field = Field::from_name(name).ok_or_else(|| {
            Problem::bad_request(format!(
                "{path}: a parameter is a string, a number or a boolean, not an object"
            ))
        })?;
        let bit = 1 << field as u8;
        if self.fields & bit != 0 {
            let name = String::from_utf8_lossy(name);
            return Err(Problem::bad_request(format!("{path}.{name} is given twice")));
        }
        self.fields |= bit;
        self.field = Some(field);
        Ok(())
    }

    /// Whether an input's `content_type` says base64, as far as it has come.
    pub(super) fn say_base64(&self) -> bool {
        self.base64.is_some()
    }

    /// Takes off an input's `content_type` that says base64, if there is one: what it says is true no more once its
    /// elements have been decoded.
    pub(super) fn take_base64(&mut self) -> bool {
        let Some(entry) = self.base64.take() else { return false };
        self.encoded.cut(entry);
        true
    }

    /// Takes the value of the name, as plain JSON. `path` is for errors.
    pub(super) fn plain(&mut self, event: Event, text: &[u8], path: &str) -> Result<(), Problem> {
        let value = match event {
            Event::Bool(value) => Value::Bool(value),
            Event::String => Value::String(text),
            Event::Number | Event::NotFinite => number(text).ok_or_else(|| no_number(path, text))?,
            Event::Null => return Ok(()),
            _ => {
                return Err(Problem::bad_request(format!(
                    "{path}: a parameter is a string, a number or a boolean"
                )));
            }
        };
        self.take(value, path)
    }

    /// Takes the value of a proto-shaped parameter's field: 64-bit integers may be quoted there.
    pub(super) fn proto(&mut self, event: Event, text: &[u8], path: &str) -> Result<(), Problem> {
        let value = match (self.field, event) {
            (_, Event::Null) => return Ok(()),
            (Some(Field::Bool), Event::Bool(value)) => Some(Value::Bool(value)),
            (Some(Field::String), Event::String) => Some(Value::String(text)),
            (Some(Field::Int64), Event::String | Event::Number) => {
                integer_of(text, i64::MIN.into(), i64::MAX.into())
                    .ok()
                    .map(|value| Value::Int64(value as i64))
            }
            (Some(Field::Uint64), Event::String | Event::Number) => {
                integer_of(text, 0, u64::MAX.into()).ok().map(|value| Value::Uint64(value as u64))
            }
            (Some(Field::Double), Event::String | Event::Number | Event::NotFinite) => {
                f64_of(text).ok().map(Value::Double)
            }
            _ => None,
        };
        let value = value.ok_or_else(|| {
            Problem::bad_request(format!("{path}: the value does not fit the parameter's field"))
        })?;
        if std::mem::replace(&mut self.has_value, true) {
            return Err(Problem::bad_request(format!("{path}: a parameter has only one value")));
        }
        self.take(value, path)
    }

    fn take(&mut self, value: Value<'_>, path: &str) -> Result<(), Problem> {
        if self.name() == self.level.binary() {
            let size = match value {
                Value::Int64(size) => u64::try_from(size).ok(),
                _ => None,
            };
            match (self.level, value, size) {
                (Level::Input, _, Some(size)) => self.binary_size = Some(size),
                (Level::Request | Level::Output, Value::Bool(binary), _) => self.binary = Some(binary),
                (Level::Input, ..) => {
                    return Err(Problem::bad_request(format!("{path} must be a size in bytes")));
                }
                _ => return Err(Problem::bad_request(format!("{path} must be true or false"))),
            }
            return Ok(());
        }
        self.shared_memory |= self.name() == b"shared_memory_region";
        let start = self.encoded.len();
        self.encode(value)?;
        if self.level == Level::Input && self.name() == b"content_type" && value == Value::String(b"base64") {
            self.base64 = Some(start..self.encoded.len());
        }
        Ok(())
    }

    fn encode(&mut self, value: Value<'_>) -> Result<(), OverBudget> {
        let (key, number) = match value {
            Value::Bool(value) => (0x08, Varint::new(value.into())),
            Value::Int64(value) => (0x10, Varint::new(value as u64)),
            Value::String(text) => (0x1a, Varint::new(text.len() as u64)),
            Value::Double(_) => (0x21, Varint::new(0)),
            Value::Uint64(value) => (0x28, Varint::new(value)),
        };
        let double;
        let (number, tail) = match value {
            Value::String(text) => (number.as_slice(), text),
            Value::Double(value) => {
                double = value.to_le_bytes();
                (&double[..], &[][..])
            }
            _ => (number.as_slice(), &[][..]),
        };
        let value_len = 1 + number.len() + tail.len();
        let name = self.places.last().map_or(&b""[..], |place| &self.names.as_slice()[place.clone()]);
        let name_len = if name.is_empty() { 0 } else { field_len(1, name.len()) };
        head(&mut self.encoded, self.level.field(), name_len + field_len(2, value_len))?;
        string(&mut self.encoded, 1, name)?;
        head(&mut self.encoded, 2, value_len)?;
        self.encoded.push(&[key])?;
        self.encoded.push(number)?;
        self.encoded.push(tail)
    }
}

impl Field {
    /// The field of a name, in either of protobuf's spellings.
    fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"bool_param" | b"boolParam" => Self::Bool,
            b"int64_param" | b"int64Param" => Self::Int64,
            b"string_param" | b"stringParam" => Self::String,
            b"double_param" | b"doubleParam" => Self::Double,
            b"uint64_param" | b"uint64Param" => Self::Uint64,
            _ => return None,
        })
    }
}

fn number(text: &[u8]) -> Option<Value<'static>> {
    if !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        if let Ok(value) = integer_of(text, i64::MIN.into(), i64::MAX.into()) {
            return Some(Value::Int64(value as i64));
        }
        if let Ok(value) = integer_of(text, 0, u64::MAX.into()) {
            return Some(Value::Uint64(value as u64));
        }
    }
    f64_of(text).ok().map(Value::Double)
}

#[cold]
fn no_number(path: &str, text: &[u8]) -> Problem {
    Problem::bad_request(format!("{path}: {} is out of range", String::from_utf8_lossy(text)))
}
