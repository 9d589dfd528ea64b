//! One input tensor: collected key by key, then checked as a whole.

use super::deferred::{Deferred, replay};
use super::elements::Elements;
use super::encode::{Varint, head, string};
use super::parameters::{Level, Parameters};
use super::source::{ArrayPath, Source};
use super::strings;
use crate::codec::Tensor;
use crate::problem::Problem;
use crate::tensor::datatype::{Datatype, elements};
use filter_api::{Buffer, Charge, OverBudget, Rope};
use std::fmt::Write as _;

/// An input whose object is still open.
#[derive(Debug)]
pub(super) struct OpenInput {
    index: usize,
    charge: Charge,
    pub(super) name: Option<Buffer>,
    datatype: Option<Datatype>,
    /// Sizes of at most [`MAX_RANK`] dimensions.
    pub(super) shape: Option<Vec<u64>>,
    pub(super) parameters: Parameters,
    /// What has been read of the data, and under which key.
    data: Option<(Source, State)>,
    /// There were `contents`, though nothing in them: right for a tensor without elements.
    pub(super) contents_seen: bool,
}

#[derive(Debug)]
enum State {
    /// `data` came before `datatype`: its text.
    Text(Rope),
    Read {
        count: u64,
        raw: Rope,
        /// The elements are the bytes of base64 texts already.
        decoded: bool,
    },
}

/// An input that has been checked.
#[derive(Debug)]
pub(super) struct Input {
    /// The fields of `InferInputTensor` but `contents`.
    pub(super) head: Buffer,
    pub(super) datatype: Datatype,
    pub(super) elements: u64,
    pub(super) contents: Contents,
}

/// Where an input's elements are.
#[derive(Debug)]
pub(super) enum Contents {
    Raw(Rope),
    /// In the binary part of the body, which is this long.
    Tail(u64),
    /// In shared memory, which its parameters name.
    Shared,
    /// Not in its object: `raw_input_contents` should have them.
    Missing,
}

impl Input {
    /// What it is, for those who may not see it.
    pub(super) fn description(&self) -> Tensor {
        let mut shape = String::new();
        for dimension in packed_shape(self.head.as_slice()).unwrap_or_default() {
            let between = if shape.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ok = write!(shape, "{between}{dimension}");
        }
        Tensor { datatype: self.datatype.name(), shape }
    }
}

impl OpenInput {
    pub(super) fn new(index: usize, charge: &Charge) -> Self {
        Self {
            index,
            charge: charge.sibling(),
            name: None,
            datatype: None,
            shape: None,
            parameters: Parameters::new(Level::Input, charge),
            data: None,
            contents_seen: false,
        }
    }

    /// A reader for an array that begins now; `Err` holds one that only keeps the text, because the datatype
    /// is not known.
    pub(super) fn reader(&self, source: Source) -> Result<Elements, Deferred> {
        match self.datatype {
            Some(datatype) if source.fits(datatype) => Ok(self.data(source, datatype)),
            // Also where the field does not fit, for printers of protobuf that write all fields, empty.
            _ => Err(Deferred::new(source, &self.charge)),
        }
    }

    fn data(&self, source: Source, datatype: Datatype) -> Elements {
        let quoted = source != Source::Plain;
        let path = ArrayPath::Of(self.index, source);
        let base64 = quoted || self.parameters.say_base64();
        Elements::new(datatype, path, quoted, base64, &self.charge)
    }

    /// Takes data that has been read.
    pub(super) fn set_data(&mut self, source: Source, data: Elements) -> Result<(), Problem> {
        let decoded = data.are_base64();
        let (count, raw) = data.finish();
        if count == 0 && source != Source::Plain {
            self.contents_seen = true;
            return Ok(());
        }
        self.set(source, State::Read { count, raw, decoded })
    }

    /// Takes the text of data.
    pub(super) fn set_text(&mut self, kept: Deferred) -> Result<(), Problem> {
        let (source, text) = kept.finish();
        if text.is_empty() && source != Source::Plain {
            self.contents_seen = true;
            return Ok(());
        }
        match self.datatype {
            Some(datatype) => Err(self.misfit(source, datatype)),
            None => self.set(source, State::Text(text)),
        }
    }

    fn set(&mut self, source: Source, state: State) -> Result<(), Problem> {
        if self.data.is_some() {
            return Err(self.problem("the tensor's data is given twice"));
        }
        self.data = Some((source, state));
        Ok(())
    }

    /// Takes the datatype's name, and converts data that came before it.
    pub(super) fn set_datatype(&mut self, name: &[u8]) -> Result<(), Problem> {
        let datatype = Datatype::from_name(name).ok_or_else(|| {
            let shown = String::from_utf8_lossy(&name[..name.len().min(40)]);
            self.problem(&format!("datatype {shown} is unknown"))
        })?;
        self.datatype = Some(datatype);
        if let Some((source, State::Text(mut text))) = self.data.take() {
            if !source.fits(datatype) {
                return Err(self.misfit(source, datatype));
            }
            let mut reader = self.data(source, datatype);
            replay(&mut text, &mut reader)?;
            self.set_data(source, reader)?;
        }
        Ok(())
    }

    fn misfit(&self, source: Source, datatype: Datatype) -> Problem {
        let found = match source {
            Source::Plain => "data",
            Source::Proto(field) => field.name(),
        };
        self.problem(&match datatype.typed() {
            Some(field) => format!("{} belongs in {}, not in {found}", datatype.name(), field.name()),
            None => format!("{} has no typed contents", datatype.name()),
        })
    }

    /// The object has been closed: checks it, and gives the input.
    pub(super) fn close(mut self) -> Result<Input, Problem> {
        self.decode_base64()?;
        let name = self.name.as_ref().ok_or_else(|| self.problem("name is missing"))?;
        let datatype = self.datatype.ok_or_else(|| self.problem("datatype is missing"))?;
        let shape = self.shape.as_ref().ok_or_else(|| self.problem("shape is missing"))?;
        let expected =
            elements(shape).ok_or_else(|| self.problem("shape has more elements than can be counted"))?;
        let head = encode_head(&self.charge, name.as_slice(), datatype, shape, self.parameters.encoded())?;
        let contents = match (self.data, self.parameters.binary_size) {
            (Some(_), Some(_)) => return Err(problem(self.index, "has data and binary_data_size")),
            (Some((_, State::Read { count, raw, .. })), None) if count == expected => Contents::Raw(raw),
            (Some((_, State::Read { count, .. })), None) => {
                let what = format!("shape {shape:?} has {expected} elements, but there are {count} in data");
                return Err(problem(self.index, &what));
            }
            (_, Some(size)) => {
                check_size(datatype, expected, size).map_err(|what| problem(self.index, &what))?;
                Contents::Tail(size)
            }
            _ if self.parameters.shared_memory => Contents::Shared,
            _ if self.contents_seen && expected == 0 => Contents::Raw(Rope::new(self.charge)),
            _ => Contents::Missing,
        };
        Ok(Input { head, datatype, elements: expected, contents })
    }

    /// Elements of BYTES whose `content_type` says base64 stand for the bytes in it, as in answers. Where that was said
    /// before they came, they have been decoded already.
    fn decode_base64(&mut self) -> Result<(), Problem> {
        let (Some(Datatype::Bytes), Some((Source::Plain, State::Read { raw, decoded, .. }))) =
            (self.datatype, &mut self.data)
        else {
            return Ok(());
        };
        if self.parameters.take_base64() && !*decoded {
            let text = std::mem::replace(raw, Rope::new(self.charge.sibling()));
            *raw = strings::from_base64(text, &self.charge)?.map_err(|element| {
                Problem::bad_request(format!(
                    "inputs[{}].data[{element}]: {}",
                    self.index,
                    strings::NOT_BASE64
                ))
            })?;
        }
        Ok(())
    }

    fn problem(&self, what: &str) -> Problem {
        problem(self.index, what)
    }
}

#[cold]
fn problem(index: usize, what: &str) -> Problem {
    Problem::bad_request(format!("inputs[{index}]: {what}"))
}

/// Checks the size of raw contents against the number of elements.
pub(super) fn check_size(datatype: Datatype, elements: u64, size: u64) -> Result<(), String> {
    let right = match datatype.size() {
        Some(each) => elements.checked_mul(each as u64) == Some(size),
        // Each element has at least its length.
        None => elements.checked_mul(4).is_some_and(|least| least <= size) && (elements > 0 || size == 0),
    };
    if right {
        return Ok(());
    }
    let name = datatype.name();
    Err(format!("{size} bytes of raw contents are not what {elements} elements of {name} have"))
}

/// The shape in what [`encode_head`] has made; `None` if it has none, as a scalar.
fn packed_shape(mut head: &[u8]) -> Option<Vec<u64>> {
    // The fields are in order, and the name, the datatype and the shape all have their length in front.
    while let Some((tag, rest)) = head.split_first() {
        let (length, rest) = varint(rest)?;
        let (field, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        if tag >> 3 == 3 {
            let mut dimensions = Vec::new();
            let mut field = field;
            while !field.is_empty() {
                let (dimension, rest) = varint(field)?;
                dimensions.push(dimension);
                field = rest;
            }
            return Some(dimensions);
        }
        head = if tag >> 3 < 3 { after } else { return None };
    }
    None
}

/// A number of seven bits in each byte, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at(end + 1);
    let value = number
        .iter()
        .rev()
        .try_fold(0_u64, |sum, byte| sum.checked_mul(1 << 7).map(|sum| sum | u64::from(byte & 0x7f)));
    Some((value?, rest))
}

/// The fields of an `InferInputTensor` but `contents`; `parameters` has been encoded.
pub(super) fn encode_head(
    charge: &Charge,
    name: &[u8],
    datatype: Datatype,
    shape: &[u64],
    parameters: &[u8],
) -> Result<Buffer, OverBudget> {
    let mut out = Buffer::new(charge.sibling());
    string(&mut out, 1, name)?;
    string(&mut out, 2, datatype.name().as_bytes())?;
    if !shape.is_empty() {
        let len = shape.iter().map(|dimension| Varint::new(*dimension).len()).sum();
        head(&mut out, 3, len)?;
        for dimension in shape {
            out.push(Varint::new(*dimension).as_slice())?;
        }
    }
    out.push(parameters)?;
    Ok(out)
}
