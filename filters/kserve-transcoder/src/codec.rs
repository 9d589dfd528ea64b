//! One message in, one message out: what an exchange asks of a codec.
//!
//! Two codecs exist: [`tensor`](crate::tensor) for inference, which streams tensor data, and
//! [`generic`](crate::generic) for everything else, which goes by descriptors. [`compressed`](crate::compressed) stands
//! in front of either where a body or a message is compressed.

use crate::problem::Problem;
use crate::tensor::Target;
use filter_api::{Rope, Sink};
use std::fmt::Debug;

/// Reads a request's JSON body and makes the gRPC message of it.
pub(crate) trait RequestCodec: Debug + Send {
    /// Takes the next bytes of the body, cut anywhere. After an error the codec may only be dropped.
    fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem>;

    /// What may follow the body once it is complete.
    fn rest(&self) -> Rest {
        Rest::Blanks
    }

    /// Ends the body and gives the message, without its gRPC frame, and the codec for the answer.
    fn finish(self: Box<Self>) -> Result<(Rope, Box<dyn ResponseCodec>), Problem>;

    /// As [`finish`](Self::finish), and says of what kind the inputs of an inference are.
    fn finish_described(
        self: Box<Self>,
        _inputs: &mut Inputs,
    ) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        self.finish()
    }
}

/// Of what kind the inputs of an inference are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// How many elements they have together.
    pub(crate) elements: u64,
    /// What the first of them is; only if it was asked for.
    pub(crate) first: Option<Tensor>,
    /// Whether it is asked for.
    pub(crate) describe: bool,
    /// The model, where the body names it and not the path.
    pub(crate) model: Option<Target>,
    /// The answer is to be a stream, where the body says so and not the path.
    pub(crate) stream: bool,
}

/// What is known of a tensor beside its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tensor {
    /// By the protocol's name.
    pub(crate) datatype: &'static str,
    /// The sizes of its dimensions, with commas between them.
    pub(crate) shape: String,
}

/// Reads a gRPC message and makes the answer's body of it.
///
/// The answer to a large message may go out while the message comes: [`stream`](Self::stream) allows it,
/// [`begin`](Self::begin) asks whether it can, and from then on [`flow`](Self::flow) writes what there is, and
/// [`finish`](Self::finish) gives what is left.
pub(crate) trait ResponseCodec: Debug + Send {
    /// Whether the client asked for the binary tensor data extension in the answer.
    fn wants_binary_answer(&self) -> bool {
        false
    }

    /// Whether only the message says of which type the answer's body is, so that its headers have to wait for it.
    fn decides_content_type(&self) -> bool {
        false
    }

    /// The type of the body of an answer that has begun, if it is not JSON.
    fn content_type(&self) -> Option<&str> {
        None
    }

    /// Allows the answer to be written while the message comes, which has `message_bytes`. Only before the first of them.
    fn stream(&mut self, _message_bytes: usize) {}

    /// Begins to write the answer, if what has come allows that: the rest of the message is settled in its form, and
    /// everything that can be checked has been. `promised` is the length that the client was promised for a JSON part with
    /// binary tensor data behind it. An error leaves nothing to be written.
    fn begin(&mut self, _promised: Option<usize>) -> Result<Beginning, Problem> {
        Ok(Beginning::NotYet)
    }

    /// Writes what there is of an answer that has begun, in pieces of at most [`filter_api::SEGMENT_BYTES`]. After an
    /// error the answer cannot be completed.
    fn flow(&mut self, _out: &mut dyn Sink) -> Result<(), Problem> {
        Ok(())
    }

    /// How long a compressed message has become so far, in bytes; 0 for one that is not compressed.
    fn inflated_bytes(&self) -> usize {
        0
    }

    /// A codec for the next message of a stream, where the method answers with one; this codec then reads none itself.
    fn for_message(&self) -> Option<Box<dyn ResponseCodec>> {
        None
    }

    /// Whether the messages of a stream say which of them is the last one with something in it. Then something may follow it
    /// in a host, too, that writes nothing in front of trailers.
    fn tells_last(&self) -> bool {
        false
    }

    /// Whether that message has been read.
    fn had_last(&self) -> bool {
        false
    }

    /// What the client is told behind the messages of a stream whose call has succeeded, each item as the message that it would be.
    /// An error says what the messages lack.
    fn close(&self) -> Result<Vec<Vec<u8>>, Problem> {
        Ok(Vec::new())
    }

    /// Takes the next bytes of the message, cut anywhere, without its gRPC frame.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem>;

    /// Ends the message and checks it in full.
    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem>;
}

/// Whether an answer can begin before its message is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// Not with what has come so far.
    NotYet,
    /// It has begun.
    Now {
        /// As [`Answer::inference_header_length`].
        json_bytes: Option<usize>,
    },
    /// It would have, but its JSON part is longer than was promised.
    TooLong,
}

/// An answer, or the rest of one that has begun, that has been checked in full and only has to be written.
pub(crate) trait Answer: Debug + Send {
    /// What it is in a stream.
    fn part(&self) -> Part<'_> {
        Part::Message
    }

    /// The HTTP status: 200, or another where the message itself says "no" (a server that is not ready).
    fn status(&self) -> u16 {
        200
    }

    /// The type of the body, if it is not JSON.
    fn content_type(&self) -> Option<&str> {
        None
    }

    /// The length of the JSON part of a body that has binary tensor data behind it, in bytes; `None` for a body
    /// that is JSON throughout.
    fn inference_header_length(&self) -> Option<usize> {
        None
    }

    /// Whether [`render_padded`](Self::render_padded) can make the JSON part `json_length` bytes long.
    fn fits(&self, _json_length: usize) -> bool {
        true
    }

    /// Writes the body in pieces of at most [`filter_api::SEGMENT_BYTES`], and frees what it was made from as
    /// it goes. Cannot fail.
    fn render(self: Box<Self>, out: &mut dyn Sink);

    /// As [`render`](Self::render), for a client that was promised a JSON part of `json_length` bytes: it is padded
    /// with spaces. Only for a length that [fits](Self::fits).
    fn render_padded(self: Box<Self>, json_length: usize, out: &mut dyn Sink);
}

/// What a message is in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A message for the client.
    Message,
    /// Nothing that the client is told of.
    Nothing,
    /// The server's word that the call has failed, behind which nothing counts.
    Failure(&'a Problem),
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More must come.
    More,
    /// The body is complete as it stands (its JSON document has been closed, its binary tails have come), so that the
    /// message can be sent although the stream has not ended.
    Complete,
}

impl Progress {
    pub(crate) fn complete_if(complete: bool) -> Self {
        if complete { Self::Complete } else { Self::More }
    }
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
