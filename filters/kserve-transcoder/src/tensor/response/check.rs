//! Checking the message of an answer in full, before the first byte of the body is written.

use super::answer::TensorAnswer;
use super::bytes::BytesCheck;
use super::model::{Form, Message, Output, Tensor};
use super::narrow::narrow;
use super::print::{Part, escape};
use super::wanted::Wanted;
use crate::problem::Problem;
use crate::tensor::charged::ChargedList;
use crate::tensor::datatype::{Datatype, elements};
use crate::tensor::{AnswerForm, Options};
use filter_api::{Buffer, Charge, OverBudget, Rope};
use std::fmt::Display;

/// Checks the message, and makes ready what it takes to write it.
pub(super) fn check(
    mut message: Message,
    wanted: &Wanted,
    options: Options,
    mut charge: Charge,
) -> Result<TensorAnswer, Problem> {
    let form = options.answer_form;
    message.parameters.settle()?;
    let head = head(&message, form, &charge)?;
    let tensors = tensors(message.outputs, message.raw, wanted, form, &mut charge)?;
    Ok(TensorAnswer::new(options, head, tensors, wanted.any(), charge)?)
}

/// The outputs of a message that is complete, each with its raw contents if there are any, checked in full. What their
/// list takes is charged to `charge`.
pub(super) fn tensors(
    outputs: ChargedList<Output>,
    raws: ChargedList<Rope>,
    wanted: &Wanted,
    form: AnswerForm,
    charge: &mut Charge,
) -> Result<Vec<Tensor>, Problem> {
    let (outputs, outputs_held) = outputs.into_items();
    let shared = outputs.iter().filter(|output| output.shared_memory).count();
    let (raws, raws_held) = raws.into_items();
    if !raws.is_empty() && raws.len() != outputs.len() && raws.len() + shared != outputs.len() {
        return Err(Problem::bad_answer(format!(
            "the server's answer has {} outputs but {} raw_output_contents",
            outputs.len(),
            raws.len()
        )));
    }
    // Servers leave out the entry of an output in shared memory, or leave it empty.
    let skips_shared = raws.len() != outputs.len();
    let mut raws = raws.into_iter();
    let tensors_len = outputs.len() * size_of::<Tensor>();
    charge.grow(tensors_len)?;
    let mut tensors = Vec::new();
    tensors.try_reserve_exact(outputs.len()).map_err(|_| OverBudget::allocation_failed(tensors_len))?;
    for output in outputs {
        let raw = if output.shared_memory && skips_shared { None } else { raws.next() };
        tensors.push(tensor(output, raw, wanted, form, charge)?);
    }
    drop((raws, raws_held, outputs_held));
    Ok(tensors)
}

/// The document up to its outputs. The order of the keys is Triton's, or that of the fields.
pub(super) fn head(message: &Message, form: AnswerForm, charge: &Charge) -> Result<Buffer, Problem> {
    let mut head = names(message, form, charge)?;
    if !message.parameters.as_slice().is_empty() {
        head.push(b",\"parameters\":{")?;
        head.push(without_comma(message.parameters.as_slice()))?;
        head.push(b"}")?;
    }
    head.push(b",\"outputs\":[")?;
    Ok(head)
}

/// The beginning of the document: what the request and the model are called.
pub(super) fn names(message: &Message, form: AnswerForm, charge: &Charge) -> Result<Buffer, Problem> {
    let mut head = Buffer::new(charge.sibling());
    head.push(b"{")?;
    let mut texts =
        [("id", &message.id), ("model_name", &message.model_name), ("model_version", &message.model_version)];
    if form == AnswerForm::Proto {
        texts.rotate_left(1);
    }
    for (key, text) in texts {
        if text.is_empty() && key != "model_name" {
            continue;
        }
        if head.len() > 1 {
            head.push(b",")?;
        }
        head.push(b"\"")?;
        head.push(key.as_bytes())?;
        head.push(b"\":\"")?;
        let mut result = Ok(());
        escape(text.as_slice(), |piece| {
            if result.is_ok() {
                result = head.push(piece);
            }
        });
        result?;
        head.push(b"\"")?;
    }
    Ok(head)
}

fn without_comma(list: &[u8]) -> &[u8] {
    list.strip_suffix(b",").unwrap_or(list)
}

/// What an output says of its contents: its datatype, and how many elements its shape has.
pub(super) fn described(output: &Output) -> Result<(Datatype, u64), Problem> {
    let datatype = Datatype::from_name(output.datatype.as_slice()).ok_or_else(|| {
        let name = String::from_utf8_lossy(output.datatype.as_slice());
        wrong(output, format_args!("datatype {name} is unknown"))
    })?;
    let shape = &*output.shape;
    let expected = elements(shape)
        .ok_or_else(|| wrong(output, format_args!("shape {shape:?} has too many elements")))?;
    Ok((datatype, expected))
}

#[cold]
pub(super) fn wrong(output: &Output, what: impl Display) -> Problem {
    let name = String::from_utf8_lossy(output.name.as_slice());
    Problem::bad_answer(format!("the server's answer is wrong for output {name}: {what}"))
}

/// An output that is complete, with its raw contents if there are any, once it has been checked in full.
pub(super) fn tensor(
    mut output: Output,
    raw: Option<Rope>,
    wanted: &Wanted,
    form: AnswerForm,
    charge: &Charge,
) -> Result<Tensor, Problem> {
    output.parameters.settle()?;
    output.content_type.settle()?;
    let (datatype, expected) = described(&output)?;
    let typed = output.typed.take();
    let shape = &*output.shape;
    let problem = |what: String| wrong(&output, what);
    let proto = match (&raw, &typed) {
        (Some(_), _) => Form::Raw,
        (None, Some(_)) => Form::Contents,
        (None, None) => Form::Elsewhere,
    };
    let raw = match (raw, typed) {
        // Servers that mirror raw inputs leave an empty `contents`; where both are filled, raw wins.
        (Some(raw), _) => raw,
        (None, Some((field, rope, count))) => {
            if datatype.typed() != Some(field) {
                return Err(problem(format!("{} in {}", datatype.name(), field.name())));
            }
            if count != expected {
                return Err(problem(format!("shape {shape:?} has {expected} elements, but {count} came")));
            }
            narrow(datatype, rope, charge)?
                .ok_or_else(|| problem(format!("an element is out of range for {}", datatype.name())))?
        }
        (None, None) if output.shared_memory => {
            let raw = Rope::new(charge.sibling());
            return Ok(Tensor { output, datatype, data: Form::Elsewhere, raw, part: Part::default() });
        }
        (None, None) => Rope::new(charge.sibling()),
    };
    let mut data = match form {
        AnswerForm::Proto => proto,
        AnswerForm::Kserve => kserve_form(&output, wanted),
    };
    match datatype.size() {
        Some(size) if expected.checked_mul(size as u64) != Some(raw.len() as u64) => {
            let len = raw.len();
            let name = datatype.name();
            return Err(problem(format!("{len} bytes are not {name} elements of shape {shape:?}")));
        }
        Some(_) => {}
        None => {
            let check = BytesCheck::of(&raw);
            if !check.is_whole() || check.elements() != expected {
                return Err(problem(format!("its BYTES are not elements of shape {shape:?}")));
            }
            if data == Form::Json && !check.is_text() {
                data = Form::Base64;
            }
        }
    }
    Ok(Tensor { output, datatype, data, raw, part: Part::default() })
}

/// How an output is written in the protocol's own form, if its elements can be JSON.
pub(super) fn kserve_form(output: &Output, wanted: &Wanted) -> Form {
    if wanted.of(output.name.as_slice()) { Form::Binary } else { Form::Json }
}
