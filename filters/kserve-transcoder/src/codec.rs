//! One message in, one message out: what the exchange's state machine asks of a codec.
//!
//! Two codecs exist: [`tensor`](crate::tensor) for inference, which streams tensor data, and
//! [`generic`](crate::generic) for everything else, which goes by descriptors.

use crate::problem::Problem;
use crate::progress::Progress;
use crate::{generic, tensor};
use filter_api::{Rope, Sink};

/// Reads a request's JSON body and makes the gRPC message of it.
#[derive(Debug)]
pub(crate) enum Request {
    Tensor(Box<tensor::Request>),
    Generic(generic::Request),
}

/// What may follow a body that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// No byte: it has binary tensors at its end.
    Nothing,
    /// White space, as after any JSON document.
    Blanks,
}

/// Whether a byte is white space by RFC 8259 section 2.
pub(crate) fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Reads a gRPC message and makes the answer's body of it.
#[derive(Debug)]
pub(crate) enum Response {
    Tensor(Box<tensor::Response>),
    Generic(generic::Response),
}

/// An answer that has been checked in full and only has to be written.
#[derive(Debug)]
pub(crate) enum Answer {
    Tensor(tensor::Answer),
    Generic(generic::Answer),
}

impl Request {
    /// Takes the next bytes of the body, cut anywhere. After an error the codec may only be dropped.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        match self {
            Self::Tensor(codec) => codec.write(bytes),
            Self::Generic(codec) => codec.write(bytes),
        }
    }

    /// What may follow the body that is complete.
    pub(crate) fn rest(&self) -> Rest {
        match self {
            Self::Tensor(codec) if codec.ends_in_tensors() => Rest::Nothing,
            Self::Tensor(_) | Self::Generic(_) => Rest::Blanks,
        }
    }

    /// Ends the body and gives the message, without its gRPC frame, and the codec for the answer.
    pub(crate) fn finish(self) -> Result<(Rope, Response), Problem> {
        Ok(match self {
            Self::Tensor(codec) => {
                let (message, answer) = codec.finish()?;
                (message, Response::Tensor(Box::new(answer)))
            }
            Self::Generic(codec) => {
                let (message, answer) = codec.finish()?;
                (message, Response::Generic(answer))
            }
        })
    }
}

impl Response {
    /// Whether the client asked for the binary tensor data extension in the answer.
    pub(crate) fn wants_binary_answer(&self) -> bool {
        match self {
            Self::Tensor(codec) => codec.wants_binary_answer(),
            Self::Generic(_) => false,
        }
    }

    /// Takes the next bytes of the message, cut anywhere, without its gRPC frame.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        match self {
            Self::Tensor(codec) => codec.write(bytes),
            Self::Generic(codec) => codec.write(bytes),
        }
    }

    /// Ends the message and checks it in full.
    pub(crate) fn finish(self) -> Result<Answer, Problem> {
        Ok(match self {
            Self::Tensor(codec) => Answer::Tensor(codec.finish()?),
            Self::Generic(codec) => Answer::Generic(codec.finish()?),
        })
    }
}

impl Answer {
    /// The HTTP status: 200, or another where the message itself says "no" (a server that is not ready).
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Tensor(_) => 200,
            Self::Generic(answer) => answer.status(),
        }
    }

    /// The length of the JSON part of a body that has binary tensor data behind it, in bytes; `None` for a body
    /// that is JSON throughout.
    pub(crate) fn inference_header_length(&self) -> Option<usize> {
        match self {
            Self::Tensor(answer) => answer.inference_header_length(),
            Self::Generic(_) => None,
        }
    }

    /// Writes the body in pieces of at most [`filter_api::SEGMENT_BYTES`], and frees what it was made from as
    /// it goes. Cannot fail.
    pub(crate) fn render(self, out: &mut dyn Sink) {
        match self {
            Self::Tensor(answer) => answer.render(out),
            Self::Generic(answer) => answer.render(out),
        }
    }

    /// As [`render`](Self::render), with the JSON part padded with spaces to `json_length` bytes. `false`, and
    /// nothing written, if it is longer than that.
    pub(crate) fn render_padded(self, json_length: usize, out: &mut dyn Sink) -> bool {
        match self {
            Self::Tensor(answer) if answer.fits(json_length) => answer.render_padded(json_length, out),
            Self::Tensor(_) => return false,
            Self::Generic(answer) => answer.render(out),
        }
        true
    }
}
