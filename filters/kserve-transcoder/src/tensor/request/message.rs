//! The `ModelInferRequest`, its fields in the order of their numbers.

use super::document::Document;
use super::encode::{field_len, head, string};
use super::input::{Contents, Input, check_size};
use super::typed_contents;
use crate::problem::Problem;
use crate::tensor::charged::ChargedList;
use crate::tensor::datatype::Datatype;
use crate::tensor::{Target, TensorEncoding};
use filter_api::{Charge, Rope};

const INPUTS: u32 = 5;
const CONTENTS: u32 = 5;
const RAW_INPUT_CONTENTS: u32 = 7;

/// Makes the message of a document that has been read to its end.
pub(super) fn assemble(
    mut document: Document,
    target: &Target,
    encoding: TensorEncoding,
    charge: &Charge,
) -> Result<Rope, Problem> {
    place_raw(&mut document)?;
    let mut message = Rope::new(charge.sibling());
    string(&mut message, 1, target.model.as_bytes())?;
    match (&target.version, &document.model_version) {
        (Some(version), _) => string(&mut message, 2, version.as_bytes())?,
        (None, Some(version)) => string(&mut message, 2, version.as_slice())?,
        (None, None) => {}
    }
    if let Some(id) = &document.id {
        string(&mut message, 3, id.as_slice())?;
    }
    message.push(document.parameters.encoded())?;
    let (inputs, inputs_held) = document.inputs.into_items();
    add_tensors(&mut message, inputs, document.outputs.as_slice(), encoding, charge)?;
    drop(inputs_held);
    Ok(message)
}

/// Adds the inputs, whose contents are all here or in shared memory, and the encoded `outputs` to a message that has every
/// field in front of them.
pub(super) fn add_tensors(
    message: &mut Rope,
    inputs: Vec<Input>,
    outputs: &[u8],
    encoding: TensorEncoding,
    charge: &Charge,
) -> Result<(), Problem> {
    let half = |input: &Input| matches!(input.datatype, Datatype::Fp16 | Datatype::Bf16);
    let raw = encoding == TensorEncoding::Raw || inputs.iter().any(half);
    if raw {
        for input in &inputs {
            head(message, INPUTS, input.head.len())?;
            message.push(input.head.as_slice())?;
        }
        message.push(outputs)?;
        for input in inputs {
            if let Contents::Raw(raw) = input.contents {
                head(message, RAW_INPUT_CONTENTS, raw.len())?;
                message.append(raw);
            }
        }
    } else {
        for (index, input) in inputs.into_iter().enumerate() {
            let contents = match input.contents {
                Contents::Raw(raw) => Some(
                    typed_contents::contents(input.datatype, input.elements, raw, charge)
                        .map_err(|problem| problem.in_input(index))?,
                ),
                _ => None,
            };
            let contents_len = contents.as_ref().map_or(0, |contents| field_len(CONTENTS, contents.len()));
            head(message, INPUTS, input.head.len() + contents_len)?;
            message.push(input.head.as_slice())?;
            if let Some(contents) = contents {
                head(message, CONTENTS, contents.len())?;
                message.append(contents);
            }
        }
        message.push(outputs)?;
    }
    if u32::try_from(message.len()).is_err() {
        return Err(Problem::too_large("the message is longer than gRPC allows, 4 GiB"));
    }
    Ok(())
}

/// Gives each input the entry of `raw_input_contents` that is its own.
fn place_raw(document: &mut Document) -> Result<(), Problem> {
    let (parts, parts_held) = document.raw.take().map(ChargedList::into_items).unzip();
    let mut parts = parts.map(Vec::into_iter);
    for (index, input) in document.inputs.iter_mut().enumerate() {
        match (&input.contents, &mut parts) {
            (Contents::Missing, Some(parts)) => {
                let Some(part) = parts.next() else {
                    return Err(Problem::bad_request(format!(
                        "raw_input_contents has no entry for inputs[{index}]"
                    )));
                };
                check_size(input.datatype, input.elements, part.len() as u64)
                    .map_err(|what| Problem::bad_request(format!("inputs[{index}]: {what}")))?;
                input.contents = Contents::Raw(part);
            }
            (Contents::Missing, None) => {
                return Err(Problem::bad_request(format!(
                    "inputs[{index}] has no data, no binary_data_size and no shared_memory_region"
                )));
            }
            (Contents::Raw(_) | Contents::Tail(_), Some(_)) => {
                return Err(Problem::bad_request(format!(
                    "inputs[{index}] has data of its own, which cannot be mixed with raw_input_contents"
                )));
            }
            _ => {}
        }
    }
    let more = parts.is_some_and(|mut parts| parts.next().is_some());
    drop(parts_held);
    if more {
        return Err(Problem::bad_request("raw_input_contents has more entries than there are inputs"));
    }
    Ok(())
}
