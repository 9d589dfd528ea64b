//! The key that a tensor's data came under.

use crate::tensor::datatype::{Datatype, Typed};
use std::fmt::{Display, Formatter, Result};

/// The key that the data came under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `data`, as the protocol's REST interface has it.
    Plain,
    /// `contents.…`, as protobuf's JSON has it.
    Proto(Typed),
}

impl Source {
    /// Whether data of this datatype may come under the key.
    pub(super) fn fits(self, datatype: Datatype) -> bool {
        match self {
            Self::Plain => true,
            Self::Proto(field) => datatype.typed() == Some(field),
        }
    }
}

/// Where an array is in the document. It is made into text only for an error.
#[derive(Clone, Copy, Debug)]
pub(super) enum ArrayPath {
    /// In the input of this index.
    Of(usize, Source),
    RawInputContents,
    /// In an array whose place its reader does not know, and the caller adds.
    Row,
}

impl Display for ArrayPath {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Of(input, Source::Plain) => write!(f, "inputs[{input}].data"),
            Self::Of(input, Source::Proto(field)) => write!(f, "inputs[{input}].contents.{}", field.name()),
            Self::RawInputContents => f.write_str("raw_input_contents"),
            Self::Row => Ok(()),
        }
    }
}
