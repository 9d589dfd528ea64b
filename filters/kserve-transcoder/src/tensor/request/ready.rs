//! Messages whose inputs are not read from the protocol's own JSON.

use super::encode::{head, string};
use super::input::{Contents, Input, encode_head};
use super::message::add_tensors;
use crate::problem::Problem;
use crate::tensor::datatype::Datatype;
use crate::tensor::{Target, TensorEncoding};
use filter_api::{Buffer, Charge, OverBudget, Rope};

/// An input whose raw contents are what its datatype and its shape say.
#[derive(Debug)]
pub(crate) struct ReadyInput<'a> {
    pub(crate) name: &'a str,
    pub(crate) datatype: Datatype,
    pub(crate) shape: Vec<u64>,
    /// How many elements the shape has.
    pub(crate) elements: u64,
    pub(crate) raw: Rope,
}

impl ReadyInput<'_> {
    fn into_input(self, charge: &Charge) -> Result<Input, OverBudget> {
        let head = encode_head(charge, self.name.as_bytes(), self.datatype, &self.shape, &[])?;
        Ok(Input {
            head,
            datatype: self.datatype,
            elements: self.elements,
            contents: Contents::Raw(self.raw),
        })
    }
}

/// The `ModelInferRequest` with these inputs, which asks for the outputs of these names.
///
/// # Errors
/// The message is longer than gRPC allows, or the budget has no room for it.
pub(crate) fn message_of<'a>(
    target: &Target,
    inputs: Vec<ReadyInput<'_>>,
    outputs: impl Iterator<Item = &'a str>,
    encoding: TensorEncoding,
    charge: &Charge,
) -> Result<Rope, Problem> {
    let mut message = Rope::new(charge.sibling());
    string(&mut message, 1, target.model.as_bytes())?;
    string(&mut message, 2, target.version.as_deref().unwrap_or_default().as_bytes())?;
    let mut asked = Buffer::new(charge.sibling());
    for name in outputs {
        let mut output = Buffer::new(charge.sibling());
        string(&mut output, 1, name.as_bytes())?;
        head(&mut asked, 6, output.len())?;
        asked.push(output.as_slice())?;
    }
    let inputs = inputs.into_iter().map(|input| input.into_input(charge)).collect::<Result<_, _>>()?;
    add_tensors(&mut message, inputs, asked.as_slice(), encoding, charge)?;
    Ok(message)
}
