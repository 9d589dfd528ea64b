//! A request's body on its way to its codec: as it is, or decompressed first.

use crate::codec::{Request, Response, Rest};
use crate::problem::Problem;
use filter_api::{Charge, Rope};
use flate2::write::{GzDecoder, ZlibDecoder};
use std::io::{Error, Write};

/// What a decompressor holds, in bytes: its window of 32 KiB, its output buffer of 32 KiB, its tables.
const DECOMPRESSOR_BYTES: usize = 96 * 1024;

/// A body that is being read.
///
/// What is decompressed goes to the codec in pieces as it comes, and the codec's own limit (`max_request_bytes`) ends
/// a body that grows beyond measure: nothing is held but the decompressor's window.
#[derive(Debug)]
pub(crate) enum Body {
    /// No `content-encoding`.
    Plain(Request),
    /// `gzip` (RFC 1952).
    Gzip(Box<Compressed<GzDecoder<Feed>>>),
    /// `deflate`: the zlib format (RFC 1950), as HTTP defines the word (RFC 9110 section 8.4.1.2).
    Deflate(Box<Compressed<ZlibDecoder<Feed>>>),
}

/// A decompressor, with the charge for what it holds.
#[derive(Debug)]
pub(crate) struct Compressed<D> {
    decoder: D,
    _held: Charge,
}

impl Body {
    /// A body for `codec`, encoded as `content-encoding` says.
    pub(crate) fn new(codec: Request, encoding: Option<&[u8]>, mut charge: Charge) -> Result<Self, Problem> {
        let is = |name: &str| encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case(name.as_bytes()));
        if encoding.is_none() || is("identity") {
            return Ok(Self::Plain(codec));
        }
        let feed = Feed { codec, problem: None };
        if is("gzip") || is("x-gzip") {
            charge.grow(DECOMPRESSOR_BYTES)?;
            return Ok(Self::Gzip(Box::new(Compressed { decoder: GzDecoder::new(feed), _held: charge })));
        }
        if is("deflate") {
            charge.grow(DECOMPRESSOR_BYTES)?;
            return Ok(Self::Deflate(Box::new(Compressed {
                decoder: ZlibDecoder::new(feed),
                _held: charge,
            })));
        }
        let encoding = String::from_utf8_lossy(encoding.unwrap_or_default()).into_owned();
        let message = format!("content-encoding {encoding:?} is not supported: use gzip, deflate or none");
        Err(Problem { status: 415, message: message.into(), details: "kserve_content_encoding" })
    }

    /// Takes the next bytes of the body, cut anywhere.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        match self {
            Self::Plain(codec) => codec.write(bytes),
            Self::Gzip(body) => {
                let decoder = &mut body.decoder;
                let written = decoder.write_all(bytes).and_then(|()| decoder.flush());
                written.map_err(|error| decoder.get_mut().problem("gzip", &error))
            }
            Self::Deflate(body) => {
                let decoder = &mut body.decoder;
                let written = decoder.write_all(bytes).and_then(|()| decoder.flush());
                written.map_err(|error| decoder.get_mut().problem("deflate", &error))
            }
        }
    }

    /// Whether the message can be sent although the stream has not ended. Not so for a compressed body: its check
    /// sum comes last.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self, Self::Plain(codec) if codec.is_complete())
    }

    /// What may follow the message that is complete.
    pub(crate) fn rest(&self) -> Rest {
        match self {
            Self::Plain(codec) => codec.rest(),
            Self::Gzip(_) | Self::Deflate(_) => Rest::Nothing,
        }
    }

    /// Ends the body and gives the message, without its gRPC frame, and the codec for the answer.
    pub(crate) fn finish(self) -> Result<(Rope, Response), Problem> {
        let codec = match self {
            Self::Plain(codec) => codec,
            Self::Gzip(body) => {
                let mut decoder = body.decoder;
                let finished = decoder.try_finish();
                finished.map_err(|error| decoder.get_mut().problem("gzip", &error))?;
                decoder.finish().map_err(|error| bad("gzip", &error))?.codec
            }
            Self::Deflate(body) => {
                let mut decoder = body.decoder;
                let finished = decoder.try_finish();
                finished.map_err(|error| decoder.get_mut().problem("deflate", &error))?;
                decoder.finish().map_err(|error| bad("deflate", &error))?.codec
            }
        };
        codec.finish()
    }
}

/// Where decompressed bytes go.
#[derive(Debug)]
pub(crate) struct Feed {
    codec: Request,
    /// Why the codec wants no more.
    problem: Option<Problem>,
}

impl Feed {
    /// What the client is told: the codec's reason if it had one, else the decompressor's.
    fn problem(&mut self, encoding: &str, error: &Error) -> Problem {
        self.problem.take().unwrap_or_else(|| bad(encoding, error))
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.codec.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(problem) => {
                self.problem = Some(problem);
                Err(Error::other("the codec wants no more"))
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn bad(encoding: &str, error: &Error) -> Problem {
    Problem::bad_request(format!("the body is not what its content-encoding says ({encoding}): {error}"))
}
