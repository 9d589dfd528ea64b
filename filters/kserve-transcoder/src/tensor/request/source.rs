//! The key that a tensor's data came under.

use crate::tensor::datatype::{Datatype, Typed};

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
