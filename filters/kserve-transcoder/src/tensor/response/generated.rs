//! An answer in the form of Triton's `generate` (Triton's "Generate Extension"): one object, with each output under its name.
//!
//! An output with one element is that element, any other is the flat list of its elements. Parameters of the answer stand
//! beside the outputs. BYTES are strings; if one of an output's is not UTF-8, all of that output are `{"b64": "<base64>"}`.
//!
//! Of what has the same name the request's and the model's comes first, as in Triton, then the outputs.

use super::entries::Value;
use super::in_stream::InStream;
use super::model::{Form, Message, Tensor};
use super::print::Printer;
use super::values::Values;
use super::{Response, Wanted, check, malformed};
use crate::codec::{Answer, ResponseCodec};
use crate::problem::Problem;
use crate::tensor::datatype::elements;
use crate::tensor::{AnswerForm, NonFinite, Options};
use filter_api::{Buffer, Charge, OverBudget, SEGMENT_BYTES, Sink};

/// What Triton's gRPC says of each message of a stream, and its HTTP does not.
const FINAL_RESPONSE: &[u8] = b"triton_final_response";

/// Reads the message of an answer.
#[derive(Debug)]
pub(crate) struct Generated {
    message: Response,
}

/// An answer that has been checked in full.
#[derive(Debug)]
struct GeneratedAnswer {
    /// Everything up to the outputs, with a comma behind it.
    head: Buffer,
    tensors: Vec<Tensor>,
    non_finite: NonFinite,
    buffer: Vec<u8>,
    /// What the list of outputs and the buffer cost.
    _charge: Charge,
}

impl Generated {
    /// A reader of an answer.
    pub(crate) fn new(options: Options, charge: Charge) -> Self {
        // Protobuf's form of an answer is one of v2.
        let options = Options { answer_form: AnswerForm::Kserve, ..options };
        Self { message: Response::new(options, Wanted::nothing(&charge), charge) }
    }
}

impl InStream for Generated {
    fn sibling(&self) -> Self {
        Self { message: self.message.sibling() }
    }

    fn buffer(&self) -> Buffer {
        self.message.buffer()
    }
}

impl ResponseCodec for Generated {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.message.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        let Response { wire, mut message, wanted, options, mut charge, .. } = self.message;
        if !wire.is_whole() {
            return Err(malformed("it is cut"));
        }
        let head = head(&mut message, &options, &charge)?;
        let has_id = !message.id.is_empty();
        let mut tensors =
            check::tensors(message.outputs, message.raw, &wanted, options.answer_form, &mut charge)?;
        tensors.retain(|tensor| match tensor.output.name.as_slice() {
            b"model_name" | b"model_version" => false,
            name => name != b"id" || !has_id,
        });
        if let Some(tensor) = tensors.iter().find(|tensor| tensor.data == Form::Elsewhere) {
            return Err(check::wrong(&tensor.output, "it is in shared memory"));
        }
        no_name_twice(&tensors, &mut charge)?;
        let size: usize = tensors.iter().map(|tensor| tensor.raw.len()).sum();
        // A tiny answer needs no large buffer.
        let buffer_len = size.saturating_mul(4).clamp(1024, SEGMENT_BYTES);
        charge.grow(buffer_len)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(buffer_len).map_err(|_| OverBudget::allocation_failed(buffer_len))?;
        buffer.resize(buffer_len, 0);
        let non_finite = options.non_finite;
        Ok(Box::new(GeneratedAnswer { head, tensors, non_finite, buffer, _charge: charge }))
    }
}

/// The beginning of the document, with the parameters, as far as nothing else has their names.
fn head(message: &mut Message, options: &Options, charge: &Charge) -> Result<Buffer, Problem> {
    let outputs = message.outputs.iter().map(|output| output.name.as_slice());
    for name in [FINAL_RESPONSE, b"id", b"model_name", b"model_version"].into_iter().chain(outputs) {
        // An entry without a value undoes those of the same name.
        message.parameters.push(name, Value::None, b"", options)?;
    }
    message.parameters.settle()?;
    let mut head = check::names(message, options.answer_form, charge)?;
    head.push(b",")?;
    head.push(message.parameters.as_slice())?;
    Ok(head)
}

/// Checks that each output has a name of its own, since all are members of one object.
fn no_name_twice(tensors: &[Tensor], charge: &mut Charge) -> Result<(), Problem> {
    let bytes = tensors.len() * size_of::<&Tensor>();
    charge.grow(bytes)?;
    let mut by_name: Vec<&Tensor> = Vec::new();
    by_name.try_reserve_exact(tensors.len()).map_err(|_| OverBudget::allocation_failed(bytes))?;
    by_name.extend(tensors);
    by_name.sort_unstable_by(|a, b| a.output.name.as_slice().cmp(b.output.name.as_slice()));
    let is_twice = |pair: &&[&Tensor]| pair[0].output.name.as_slice() == pair[1].output.name.as_slice();
    if let Some(pair) = by_name.windows(2).find(is_twice) {
        return Err(check::wrong(&pair[0].output, "it is there twice"));
    }
    charge.shrink(bytes);
    Ok(())
}

impl Answer for GeneratedAnswer {
    fn render(mut self: Box<Self>, out: &mut dyn Sink) {
        let mut printer = Printer::new(out, &mut self.buffer);
        printer.text(self.head.as_slice());
        for tensor in &self.tensors {
            // The check has counted them.
            let list = [elements(&tensor.output.shape).unwrap_or_default()];
            let mut values = Values::of(tensor, tensor.data == Form::Base64, self.non_finite);
            values.shape = if list == [1] { &[] } else { &list };
            printer.text(b"\"");
            printer.escaped(values.name);
            printer.text(b"\":");
            values.write(&mut printer);
        }
        printer.drop_comma();
        printer.text(b"}");
        printer.flush();
    }

    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}
