//! An answer in the form of KServe v1: `predictions` row by row, or `outputs` as whole tensors.
//!
//! A row is the value itself where the model has one output, and an object of values by name where it has several. Values
//! are nested lists, as deep as the output's shape says. BYTES are strings; if the output's name ends in `_bytes`, as
//! TensorFlow Serving has it, or one of them is not UTF-8, all of that output are `{"b64": "<base64>"}`.

use super::model::{Form, Tensor};
use super::print::{Bool, Float, Print, Printer, Signed, Special, Unsigned};
use super::{Response, Wanted, check, malformed};
use crate::codec::{Answer, ResponseCodec};
use crate::problem::Problem;
use crate::tensor::datatype::Datatype;
use crate::tensor::number::float16;
use crate::tensor::text::base64::Encoder;
use crate::tensor::{AnswerForm, NonFinite, Options};
use filter_api::{Charge, OverBudget, Rope, SEGMENT_BYTES, Sink};

/// How many lists an output without elements may have.
const EMPTY_LISTS: u64 = 65_536;

/// What TensorFlow Serving has at the end of the name of an output whose elements are bytes and not text.
const OF_BYTES: &[u8] = b"_bytes";

/// Reads the message of an answer.
#[derive(Debug)]
pub(crate) struct Predictions {
    message: Response,
    /// How many instances there were, if the request had them.
    rows: Option<u64>,
}

/// An answer that has been checked in full.
#[derive(Debug)]
struct PredictionsAnswer {
    tensors: Vec<Tensor>,
    rows: Option<u64>,
    non_finite: NonFinite,
    buffer: Vec<u8>,
    /// What the list of outputs and the buffer cost.
    _charge: Charge,
}

impl Predictions {
    /// A reader of the answer to a request with so many `instances`, or with `inputs`.
    pub(crate) fn new(options: Options, rows: Option<u64>, charge: Charge) -> Self {
        // Protobuf's form of an answer is one of v2.
        let options = Options { answer_form: AnswerForm::Kserve, ..options };
        Self { message: Response::new(options, Wanted::nothing(&charge), charge), rows }
    }
}

impl ResponseCodec for Predictions {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.message.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        let Self { message: Response { wire, message, wanted, options, mut charge, .. }, rows } = *self;
        if !wire.is_whole() {
            return Err(malformed("it is cut"));
        }
        let form = options.answer_form;
        let tensors = check::tensors(message.outputs, message.raw, &wanted, form, &mut charge)?;
        if tensors.is_empty() {
            return Err(Problem::bad_answer("the server's answer has no outputs"));
        }
        for tensor in &tensors {
            fits(tensor, rows)?;
        }
        let size: usize = tensors.iter().map(|tensor| tensor.raw.len()).sum();
        // A tiny answer needs no large buffer.
        let buffer_len = size.saturating_mul(4).clamp(1024, SEGMENT_BYTES);
        charge.grow(buffer_len)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(buffer_len).map_err(|_| OverBudget::allocation_failed(buffer_len))?;
        buffer.resize(buffer_len, 0);
        let non_finite = options.non_finite;
        Ok(Box::new(PredictionsAnswer { tensors, rows, non_finite, buffer, _charge: charge }))
    }
}

/// Checks that an output can be written.
fn fits(tensor: &Tensor, rows: Option<u64>) -> Result<(), Problem> {
    let output = &tensor.output;
    let shape = &*output.shape;
    if tensor.data == Form::Elsewhere {
        return Err(check::wrong(output, "it is in shared memory"));
    }
    if let Some(rows) = rows.filter(|rows| shape.first() != Some(rows)) {
        let what = format!(
            "shape {shape:?} does not begin with the number of instances ({rows}): a request with inputs in place of \
             instances gets whole tensors"
        );
        return Err(check::wrong(output, what));
    }
    let above = shape.iter().take_while(|size| **size > 0);
    let lists = above.fold(1_u64, |lists, size| lists.saturating_mul(*size));
    if shape.contains(&0) && lists > EMPTY_LISTS {
        return Err(check::wrong(
            output,
            format_args!("shape {shape:?} has too many lists without elements"),
        ));
    }
    Ok(())
}

impl Answer for PredictionsAnswer {
    fn render(mut self: Box<Self>, out: &mut dyn Sink) {
        let mut printer = Printer::new(out, &mut self.buffer);
        let mut values: Vec<_> =
            self.tensors.iter().map(|tensor| Values::of(tensor, self.non_finite)).collect();
        match self.rows {
            None => {
                printer.text(b"{\"outputs\":");
                write_row(&mut values, &mut printer);
            }
            Some(rows) => {
                printer.text(b"{\"predictions\":[");
                for value in &mut values {
                    value.shape = value.shape.get(1..).unwrap_or_default();
                }
                for _ in 0..rows {
                    write_row(&mut values, &mut printer);
                }
                printer.drop_comma();
                printer.text(b"]");
            }
        }
        printer.drop_comma();
        printer.text(b"}");
        printer.flush();
    }

    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}

/// Writes the next row of each output, and a comma.
fn write_row(values: &mut [Values<'_>], printer: &mut Printer<'_>) {
    if let [value] = values {
        return value.write(printer);
    }
    printer.text(b"{");
    for value in values {
        printer.text(b"\"");
        printer.escaped(value.name);
        printer.text(b"\":");
        value.write(printer);
    }
    printer.drop_comma();
    printer.text(b"},");
}

/// The values of an output that are still to be written.
struct Values<'a> {
    name: &'a [u8],
    /// The shape of one of them.
    shape: &'a [u64],
    datatype: Datatype,
    non_finite: NonFinite,
    /// BYTES are base64.
    binary: bool,
    segments: Box<dyn Iterator<Item = &'a [u8]> + 'a>,
    /// What is left of the segment that was begun.
    here: &'a [u8],
}

impl<'a> Values<'a> {
    fn of(tensor: &'a Tensor, non_finite: NonFinite) -> Self {
        let name = tensor.output.name.as_slice();
        let raw: &Rope = &tensor.raw;
        Self {
            name,
            shape: &tensor.output.shape,
            datatype: tensor.datatype,
            non_finite,
            binary: tensor.data == Form::Base64 || name.ends_with(OF_BYTES),
            segments: Box::new(raw.segments()),
            here: &[],
        }
    }

    /// Writes the next value, and a comma.
    fn write(&mut self, printer: &mut Printer<'_>) {
        self.write_lists(self.shape, printer);
    }

    fn write_lists(&mut self, shape: &[u64], printer: &mut Printer<'_>) {
        let Some((size, inner)) = shape.split_first() else { return self.write_element(printer) };
        printer.text(b"[");
        for _ in 0..*size {
            self.write_lists(inner, printer);
        }
        // None is there to take back in a list without items, which ends in its bracket.
        printer.drop_comma();
        printer.text(b"],");
    }

    fn write_element(&mut self, printer: &mut Printer<'_>) {
        match self.datatype {
            Datatype::Bool => self.write_number(Bool, printer),
            Datatype::Int8 => self.write_number::<1>(Signed, printer),
            Datatype::Int16 => self.write_number::<2>(Signed, printer),
            Datatype::Int32 => self.write_number::<4>(Signed, printer),
            Datatype::Int64 => self.write_number::<8>(Signed, printer),
            Datatype::Uint8 => self.write_number::<1>(Unsigned, printer),
            Datatype::Uint16 => self.write_number::<2>(Unsigned, printer),
            Datatype::Uint32 => self.write_number::<4>(Unsigned, printer),
            Datatype::Uint64 => self.write_number::<8>(Unsigned, printer),
            Datatype::Fp16 => self.write_number::<2>(Special::new(float16::FP16, self.non_finite), printer),
            Datatype::Bf16 => self.write_number::<2>(Special::new(float16::BF16, self.non_finite), printer),
            Datatype::Fp32 => self.write_number::<4>(Special::new(Float, self.non_finite), printer),
            Datatype::Fp64 => self.write_number::<8>(Special::new(Float, self.non_finite), printer),
            Datatype::Bytes => self.write_bytes(printer),
        }
    }

    fn write_number<const SIZE: usize>(&mut self, print: impl Print<SIZE>, printer: &mut Printer<'_>) {
        let raw = self.take();
        printer.number(|slot| print.print(raw, slot));
    }

    fn write_bytes(&mut self, printer: &mut Printer<'_>) {
        let mut left = u32::from_le_bytes(self.take()) as usize;
        let mut encoder = self.binary.then(Encoder::default);
        printer.text(if self.binary { b"{\"b64\":\"" } else { b"\"" });
        while left > 0 {
            let piece = self.piece(left);
            // The check has seen all of them.
            if piece.is_empty() {
                break;
            }
            left -= piece.len();
            match &mut encoder {
                None => printer.escaped(piece),
                Some(encoder) => encoder.push(piece, |text| printer.text(text)),
            }
        }
        if let Some(mut encoder) = encoder {
            encoder.end(|text| printer.text(text));
        }
        printer.text(if self.binary { b"\"}," } else { b"\"," });
    }

    /// The next bytes of the raw contents, whose number has been checked.
    fn take<const SIZE: usize>(&mut self) -> [u8; SIZE] {
        if let Some((raw, rest)) = self.here.split_first_chunk() {
            self.here = rest;
            return *raw;
        }
        let (mut raw, mut have) = ([0; SIZE], 0);
        while have < SIZE {
            let piece = self.piece(SIZE - have);
            if piece.is_empty() {
                break;
            }
            raw[have..have + piece.len()].copy_from_slice(piece);
            have += piece.len();
        }
        raw
    }

    /// The next bytes, at most so many; none at the end.
    fn piece(&mut self, most: usize) -> &'a [u8] {
        while self.here.is_empty() {
            match self.segments.next() {
                Some(segment) => self.here = segment,
                None => return &[],
            }
        }
        let (piece, rest) = self.here.split_at(most.min(self.here.len()));
        self.here = rest;
        piece
    }
}
