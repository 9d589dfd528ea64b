//! One output of an answer as JSON.

use super::bytes::BytesPrinter;
use super::model::{Form, Tensor};
use super::print::{Bool, ElementPrinter, Float, Print, Printer, Quoted, Signed, Special, Unsigned};
use crate::tensor::datatype::Datatype;
use crate::tensor::number::float16;
use crate::tensor::text::base64::Encoder;
use crate::tensor::{AnswerForm, NonFinite, Options};
use filter_api::{Rope, Sink};

/// Writes the output, and frees its data as it goes.
pub(super) fn tensor(tensor: &mut Tensor, options: &Options, printer: &mut Printer<'_>) {
    begin(tensor, options, printer);
    elements(tensor, options, printer);
    end(tensor, printer);
}

/// Writes what is in front of the elements.
pub(super) fn begin(tensor: &Tensor, options: &Options, printer: &mut Printer<'_>) {
    printer.text(b"{\"name\":\"");
    printer.escaped(tensor.output.name.as_slice());
    printer.text(b"\",\"datatype\":\"");
    printer.text(tensor.datatype.name().as_bytes());
    printer.text(b"\",\"shape\":[");
    for dimension in tensor.output.shape.iter() {
        let raw = dimension.to_le_bytes();
        match options.answer_form {
            AnswerForm::Kserve => printer.number(|slot| Unsigned.print(raw, slot)),
            AnswerForm::Proto => printer.number(|slot| Quoted(Unsigned).print(raw, slot)),
        }
    }
    printer.drop_comma();
    printer.text(b"]");
    parameters(tensor, printer);
    match tensor.data {
        Form::Json | Form::Base64 => printer.text(b",\"data\":["),
        Form::Contents => {
            if let Some(field) = tensor.datatype.typed() {
                printer.text(b",\"contents\":{\"");
                printer.text(field.name().as_bytes());
                printer.text(b"\":[");
            }
        }
        Form::Binary | Form::Raw | Form::Elsewhere => {}
    }
}

/// Writes the elements that are here, each with a comma behind it, and frees them as it goes.
pub(super) fn elements(tensor: &mut Tensor, options: &Options, printer: &mut Printer<'_>) {
    match tensor.data {
        Form::Json | Form::Base64 => data(tensor, options.non_finite, printer),
        Form::Contents => contents(tensor, printer),
        Form::Binary | Form::Raw | Form::Elsewhere => {}
    }
}

/// Writes what is behind the elements; the last of them, if there are any, has just been written.
pub(super) fn end(tensor: &Tensor, printer: &mut Printer<'_>) {
    match tensor.data {
        Form::Json | Form::Base64 => {
            printer.drop_comma();
            printer.text(b"]");
        }
        Form::Contents if tensor.datatype.typed().is_some() => {
            printer.drop_comma();
            printer.text(b"]}");
        }
        Form::Contents | Form::Binary | Form::Raw | Form::Elsewhere => {}
    }
    printer.text(b"}");
}

fn parameters(tensor: &Tensor, printer: &mut Printer<'_>) {
    let own = tensor.output.parameters.as_slice();
    let content_type = match tensor.data {
        Form::Base64 => b"\"content_type\":\"base64\",",
        _ => tensor.output.content_type.as_slice(),
    };
    if own.is_empty() && content_type.is_empty() && tensor.data != Form::Binary {
        return;
    }
    printer.text(b",\"parameters\":{");
    printer.text(own);
    printer.text(content_type);
    if tensor.data == Form::Binary {
        printer.text(b"\"binary_data_size\":");
        printer.number(|slot| Unsigned.print(tensor.raw_bytes().to_le_bytes(), slot));
    }
    printer.drop_comma();
    printer.text(b"}");
}

/// The elements as the protocol has them in `data`.
fn data(tensor: &mut Tensor, non_finite: NonFinite, printer: &mut Printer<'_>) {
    let (raw, part) = (&mut tensor.raw, &mut tensor.part);
    match tensor.datatype {
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64
            if non_finite != NonFinite::Bare =>
        {
            floats(tensor, non_finite, printer);
        }
        Datatype::Bool => raw.drain_to(&mut ElementPrinter::new(printer, part, Bool)),
        Datatype::Int8 => raw.drain_to(&mut ElementPrinter::<_, 1>::new(printer, part, Signed)),
        Datatype::Int16 => raw.drain_to(&mut ElementPrinter::<_, 2>::new(printer, part, Signed)),
        Datatype::Int32 => raw.drain_to(&mut ElementPrinter::<_, 4>::new(printer, part, Signed)),
        Datatype::Int64 => raw.drain_to(&mut ElementPrinter::<_, 8>::new(printer, part, Signed)),
        Datatype::Uint8 => raw.drain_to(&mut ElementPrinter::<_, 1>::new(printer, part, Unsigned)),
        Datatype::Uint16 => raw.drain_to(&mut ElementPrinter::<_, 2>::new(printer, part, Unsigned)),
        Datatype::Uint32 => raw.drain_to(&mut ElementPrinter::<_, 4>::new(printer, part, Unsigned)),
        Datatype::Uint64 => raw.drain_to(&mut ElementPrinter::<_, 8>::new(printer, part, Unsigned)),
        Datatype::Fp16 => raw.drain_to(&mut ElementPrinter::new(printer, part, float16::FP16)),
        Datatype::Bf16 => raw.drain_to(&mut ElementPrinter::new(printer, part, float16::BF16)),
        Datatype::Fp32 => raw.drain_to(&mut ElementPrinter::<_, 4>::new(printer, part, Float)),
        Datatype::Fp64 => raw.drain_to(&mut ElementPrinter::<_, 8>::new(printer, part, Float)),
        Datatype::Bytes => raw.drain_to(&mut BytesPrinter::new(printer, tensor.data == Form::Base64)),
    }
}

/// Floats whose NaN and infinities are not bare words: functions of their own, so that the usual ones stay as quick as
/// they are.
fn floats(tensor: &mut Tensor, form: NonFinite, printer: &mut Printer<'_>) {
    let (raw, part) = (&mut tensor.raw, &mut tensor.part);
    match tensor.datatype {
        Datatype::Fp16 => {
            raw.drain_to(&mut ElementPrinter::<_, 2>::new(printer, part, Special::new(float16::FP16, form)));
        }
        Datatype::Bf16 => {
            raw.drain_to(&mut ElementPrinter::<_, 2>::new(printer, part, Special::new(float16::BF16, form)));
        }
        Datatype::Fp32 => {
            raw.drain_to(&mut ElementPrinter::<_, 4>::new(printer, part, Special::new(Float, form)));
        }
        _ => raw.drain_to(&mut ElementPrinter::<_, 8>::new(printer, part, Special::new(Float, form))),
    }
}

/// The elements as protobuf's JSON has them: 64-bit integers and floats that are not numbers are quoted, bytes
/// are base64.
fn contents(tensor: &mut Tensor, printer: &mut Printer<'_>) {
    let (raw, part) = (&mut tensor.raw, &mut tensor.part);
    match tensor.datatype {
        Datatype::Int64 => raw.drain_to(&mut ElementPrinter::<_, 8>::new(printer, part, Quoted(Signed))),
        Datatype::Uint64 => raw.drain_to(&mut ElementPrinter::<_, 8>::new(printer, part, Quoted(Unsigned))),
        Datatype::Fp32 | Datatype::Fp64 => floats(tensor, NonFinite::String, printer),
        Datatype::Bytes => raw.drain_to(&mut BytesPrinter::new(printer, true)),
        _ => data(tensor, NonFinite::String, printer),
    }
}

/// Raw contents as base64; the encoder keeps what does not fill four characters.
pub(super) fn base64(raw: &mut Rope, encoder: &mut Encoder, printer: &mut Printer<'_>) {
    struct Base64<'a, 'b>(&'a mut Printer<'b>, &'a mut Encoder);
    impl Sink for Base64<'_, '_> {
        fn write(&mut self, bytes: &[u8]) {
            self.1.push(bytes, |text| self.0.text(text));
        }
    }
    raw.drain_to(&mut Base64(printer, encoder));
}
