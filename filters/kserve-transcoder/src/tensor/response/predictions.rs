//! An answer in the form of KServe v1: `predictions` row by row, or `outputs` as whole tensors.
//!
//! A row is the value itself where the model has one output, and an object of values by name where it has several. Values
//! are nested lists, as deep as the output's shape says. BYTES are strings; if the output's name ends in `_bytes`, as
//! TensorFlow Serving has it, or one of them is not UTF-8, all of that output are `{"b64": "<base64>"}`.

use super::model::{Form, Tensor};
use super::print::Printer;
use super::values::Values;
use super::{Response, Wanted, check, malformed};
use crate::codec::{Answer, ResponseCodec};
use crate::problem::Problem;
use crate::tensor::{AnswerForm, NonFinite, Options};
use filter_api::{Charge, OverBudget, SEGMENT_BYTES, Sink};

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
        let mut values: Vec<_> = self
            .tensors
            .iter()
            .map(|tensor| Values::of(tensor, is_binary(tensor), self.non_finite))
            .collect();
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

/// Whether the elements of an output are bytes and not text.
fn is_binary(tensor: &Tensor) -> bool {
    tensor.data == Form::Base64 || tensor.output.name.as_slice().ends_with(OF_BYTES)
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
