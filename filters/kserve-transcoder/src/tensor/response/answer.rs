//! Writing an answer that has been checked.

use super::model::{Form, Tensor};
use super::print::Printer;
use super::render;
use crate::codec::Answer;
use crate::tensor::Options;
use crate::tensor::text::base64::Encoder;
use filter_api::{Buffer, Charge, OverBudget, Rope, SEGMENT_BYTES, Sink};

/// What a JSON part is padded with.
pub(super) const BLANKS: [u8; 1024] = [b' '; 1024];

/// An answer that has been checked in full and only has to be written.
#[derive(Debug)]
pub(super) struct TensorAnswer {
    document: Document,
    /// The body's JSON part, where its length must be known first.
    written: Option<Rope>,
    /// Whether an output is binary.
    binary: bool,
    buffer: Vec<u8>,
    /// What the list of outputs and the buffer cost.
    _charge: Charge,
}

#[derive(Debug)]
struct Document {
    options: Options,
    /// Everything up to the outputs.
    head: Buffer,
    outputs: Vec<Tensor>,
}

impl TensorAnswer {
    /// Makes ready what it takes to write these outputs behind this head.
    pub(super) fn new(
        options: Options,
        head: Buffer,
        tensors: Vec<Tensor>,
        wants_binary: bool,
        mut charge: Charge,
    ) -> Result<Self, OverBudget> {
        let binary = tensors.iter().any(|tensor| tensor.data == Form::Binary);
        let size: usize = tensors.iter().map(|tensor| tensor.raw.len()).sum();
        // A tiny answer needs no large buffer.
        let buffer_len = size.saturating_mul(4).clamp(1024, SEGMENT_BYTES);
        charge.grow(buffer_len)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(buffer_len).map_err(|_| OverBudget::allocation_failed(buffer_len))?;
        buffer.resize(buffer_len, 0);
        let mut document = Document { options, head, outputs: tensors };
        let written = if wants_binary {
            let mut sink = Collect::new(charge.sibling());
            document.write(&mut sink, &mut buffer);
            Some(sink.finish()?)
        } else {
            None
        };
        Ok(Self { document, written, binary, buffer, _charge: charge })
    }
}

impl Answer for TensorAnswer {
    fn inference_header_length(&self) -> Option<usize> {
        if self.binary { self.written.as_ref().map(Rope::len) } else { None }
    }

    /// Only for an answer to a request that wants binary outputs.
    fn fits(&self, json_length: usize) -> bool {
        self.written.as_ref().is_some_and(|written| written.len() <= json_length)
    }

    fn render(self: Box<Self>, out: &mut dyn Sink) {
        self.render_padded(0, out);
    }

    fn render_padded(mut self: Box<Self>, json_length: usize, out: &mut dyn Sink) {
        let Some(mut written) = self.written.take() else {
            self.document.write(out, &mut self.buffer);
            return;
        };
        let mut blanks = json_length.saturating_sub(written.len());
        written.drain_to(out);
        while blanks > 0 {
            let now = blanks.min(BLANKS.len());
            out.write(&BLANKS[..now]);
            blanks -= now;
        }
        for mut tensor in self.document.outputs {
            if tensor.data == Form::Binary {
                tensor.raw.drain_to(out);
            }
        }
    }
}

impl Document {
    /// Writes the JSON part, and frees the tensors that it has written.
    fn write(&mut self, out: &mut dyn Sink, buffer: &mut [u8]) {
        let mut printer = Printer::new(out, buffer);
        printer.text(self.head.as_slice());
        for (index, tensor) in self.outputs.iter_mut().enumerate() {
            if index > 0 {
                printer.text(b",");
            }
            render::tensor(tensor, &self.options, &mut printer);
        }
        printer.text(b"]");
        if self.outputs.iter().any(|tensor| tensor.data == Form::Raw) {
            printer.text(b",\"raw_output_contents\":[");
            for tensor in self.outputs.iter_mut().filter(|tensor| tensor.data == Form::Raw) {
                let mut encoder = Encoder::default();
                printer.text(b"\"");
                render::base64(&mut tensor.raw, &mut encoder, &mut printer);
                encoder.end(|text| printer.text(text));
                printer.text(b"\",");
            }
            printer.drop_comma();
            printer.text(b"]");
        }
        printer.text(b"}");
        printer.flush();
    }
}

/// Keeps what is written.
pub(super) struct Collect {
    rope: Rope,
    result: Result<(), OverBudget>,
}

impl Collect {
    pub(super) fn new(charge: Charge) -> Self {
        Self { rope: Rope::new(charge), result: Ok(()) }
    }

    /// What has been written, if the budget had room for all of it.
    pub(super) fn finish(self) -> Result<Rope, OverBudget> {
        self.result.map(|()| self.rope)
    }
}

impl Sink for Collect {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.rope.push(bytes);
        }
    }
}
