//! The places and keys of an inference request that mean something.

use super::parameters::Level;
use crate::tensor::datatype::Typed;

/// An array or object whose contents matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Top,
    Inputs,
    Input,
    Shape,
    Contents,
    Outputs,
    Output,
    Parameters(Level),
    /// A parameter's value that is an object, as protobuf's JSON has it.
    Parameter(Level),
    /// Something unknown; ends when no more arrays and objects are open than this.
    Skipped(usize),
}

/// A key whose value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    None,
    Skipped,
    ModelName,
    ModelVersion,
    Id,
    Parameters(Level),
    Inputs,
    Outputs,
    RawInputContents,
    Name,
    Datatype,
    Shape,
    Data,
    Contents,
    Typed(Typed),
    OutputName,
}

impl Key {
    /// The key of a name at a place, and the number of the object in which it may come only once. Fields have the name
    /// of the proto definition or that of protobuf's JSON; each is the other's double.
    pub(super) fn of(place: Place, name: &[u8]) -> (Option<usize>, Self) {
        let (object, key) = match (place, name) {
            (Place::Top, b"model_name" | b"modelName") => (0, Self::ModelName),
            (Place::Top, b"model_version" | b"modelVersion") => (0, Self::ModelVersion),
            (Place::Top, b"id") => (0, Self::Id),
            (Place::Top, b"parameters") => (0, Self::Parameters(Level::Request)),
            (Place::Top, b"inputs") => (0, Self::Inputs),
            (Place::Top, b"outputs") => (0, Self::Outputs),
            (Place::Top, b"raw_input_contents" | b"rawInputContents") => (0, Self::RawInputContents),
            (Place::Input, b"name") => (1, Self::Name),
            (Place::Input, b"datatype") => (1, Self::Datatype),
            (Place::Input, b"shape") => (1, Self::Shape),
            (Place::Input, b"parameters") => (1, Self::Parameters(Level::Input)),
            (Place::Input, b"data") => (1, Self::Data),
            (Place::Input, b"contents") => (1, Self::Contents),
            (Place::Output, b"name") => (2, Self::OutputName),
            (Place::Output, b"parameters") => (2, Self::Parameters(Level::Output)),
            // Of these only one may have elements, which is checked where they are taken.
            (Place::Contents, field) => match Typed::from_name(field) {
                Some(field) => (1, Self::Typed(field)),
                None => return (None, Self::Skipped),
            },
            _ => return (None, Self::Skipped),
        };
        (Some(object), key)
    }

    /// Its name in the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None | Self::Skipped => "",
            Self::ModelName => "model_name",
            Self::ModelVersion => "model_version",
            Self::Id => "id",
            Self::Parameters(_) => "parameters",
            Self::Inputs => "inputs",
            Self::Outputs => "outputs",
            Self::RawInputContents => "raw_input_contents",
            Self::Name | Self::OutputName => "name",
            Self::Datatype => "datatype",
            Self::Shape => "shape",
            Self::Data => "data",
            Self::Contents => "contents",
            Self::Typed(field) => field.name(),
        }
    }

    /// Its bit among the keys of its object; those of an input's contents are among the input's.
    pub(super) fn bit(self) -> u32 {
        match self {
            Self::ModelName | Self::Name | Self::OutputName => 0,
            Self::ModelVersion | Self::Datatype => 1,
            Self::Id | Self::Shape => 2,
            Self::Parameters(_) => 3,
            Self::Inputs | Self::Data => 4,
            Self::Outputs | Self::Contents => 5,
            Self::RawInputContents => 6,
            Self::None | Self::Skipped => 7,
            Self::Typed(field) => 7 + field as u32,
        }
    }

    /// What its value must be.
    pub(super) fn wants(self) -> &'static str {
        match self {
            Self::Parameters(_) | Self::Contents => "an object",
            Self::Inputs | Self::Outputs | Self::RawInputContents | Self::Shape => "an array",
            Self::Data | Self::Typed(_) => "an array",
            _ => "a string",
        }
    }
}
