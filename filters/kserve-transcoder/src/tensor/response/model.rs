//! What a server's answer says, and what is made of it.

use super::entries::Entries;
use super::print::Part;
use crate::tensor::charged::ChargedList;
use crate::tensor::datatype::{Datatype, Typed, elements};
use filter_api::{Buffer, Charge, Rope};

/// What the message says.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) model_name: Buffer,
    pub(super) model_version: Buffer,
    pub(super) id: Buffer,
    pub(super) parameters: Entries,
    pub(super) outputs: ChargedList<Output>,
    pub(super) raw: ChargedList<Rope>,
}

/// An output as it came.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: Buffer,
    pub(super) datatype: Buffer,
    pub(super) shape: ChargedList<u64>,
    pub(super) parameters: Entries,
    /// The parameter `content_type`, by itself.
    pub(super) content_type: Entries,
    pub(super) shared_memory: bool,
    /// The field that was filled, its elements, and their number. Integers of up to 32 bits take four bytes
    /// here, BYTES have their lengths in front.
    pub(super) typed: Option<(Typed, Rope, u64)>,
    /// The length of its contents is one that its datatype and shape can have, and they are the last of it.
    pub(super) fits: bool,
}

/// An output that has been checked.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) output: Output,
    pub(super) datatype: Datatype,
    pub(super) data: Form,
    /// The elements, as far as they are here and not yet printed.
    pub(super) raw: Rope,
    /// The first bytes of an element of which the rest is still to come.
    pub(super) part: Part,
}

impl Tensor {
    /// How long its raw contents are, those included that are still to come or have been printed, in bytes. Of BYTES all
    /// are here until they are printed.
    pub(super) fn raw_bytes(&self) -> u64 {
        match (elements(&self.output.shape), self.datatype.size()) {
            (Some(elements), Some(size)) => elements.saturating_mul(size as u64),
            _ => self.raw.len() as u64,
        }
    }
}

/// How an output's elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// JSON strings of BYTES that are not UTF-8.
    Base64,
    /// Behind the document.
    Binary,
    /// In protobuf's JSON, as the typed contents that they came in.
    Contents,
    /// In protobuf's JSON, as `raw_output_contents`.
    Raw,
    /// Not at all: the output is in shared memory, or protobuf's JSON has nothing to say of it.
    Elsewhere,
}

impl Message {
    pub(super) fn new(charge: &Charge) -> Self {
        let text = || Buffer::new(charge.sibling());
        Self {
            model_name: text(),
            model_version: text(),
            id: text(),
            parameters: Entries::new(charge),
            outputs: ChargedList::new(charge.sibling()),
            raw: ChargedList::new(charge.sibling()),
        }
    }
}

impl Output {
    pub(super) fn new(charge: &Charge) -> Self {
        Self {
            name: Buffer::new(charge.sibling()),
            datatype: Buffer::new(charge.sibling()),
            shape: ChargedList::new(charge.sibling()),
            parameters: Entries::new(charge),
            content_type: Entries::new(charge),
            shared_memory: false,
            typed: None,
            fits: false,
        }
    }
}
