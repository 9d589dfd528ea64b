//! The outputs of an answer, for those that write them in another form than the protocol's.

use super::check;
use super::model::Tensor;
use super::{Response, malformed};
use crate::problem::Problem;
use crate::tensor::{AnswerForm, ChargedList, Datatype};
use filter_api::{Buffer, Charge, Rope};

/// What a message has as outputs, checked in full.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) tensors: Vec<OutputTensor>,
    /// Holds what their list takes.
    pub(crate) charge: Charge,
}

/// An output, of which the raw contents are what its datatype and its shape say. One in shared memory has none.
#[derive(Debug)]
pub(crate) struct OutputTensor {
    pub(crate) name: Buffer,
    pub(crate) datatype: Datatype,
    pub(crate) shape: ChargedList<u64>,
    pub(crate) raw: Rope,
}

impl Response {
    /// Ends the message, and gives its outputs.
    ///
    /// # Errors
    /// As [`finish`](crate::codec::ResponseCodec::finish).
    pub(crate) fn into_outputs(self) -> Result<Outputs, Problem> {
        if !self.wire.is_whole() {
            return Err(malformed("it is cut"));
        }
        let mut charge = self.charge;
        let tensors = check::tensors(
            self.message.outputs,
            self.message.raw,
            &self.wanted,
            AnswerForm::Kserve,
            &mut charge,
        )?;
        let output = |Tensor { output, datatype, raw, .. }| OutputTensor {
            name: output.name,
            datatype,
            shape: output.shape,
            raw,
        };
        charge.grow(tensors.len() * size_of::<OutputTensor>())?;
        Ok(Outputs { tensors: tensors.into_iter().map(output).collect(), charge })
    }
}
