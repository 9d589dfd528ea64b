//! A request's body on its way to its codec: as it is, or decompressed first.

use crate::codec::{Request, Response, Rest};
use crate::problem::Problem;
use crate::progress::Progress;
use filter_api::{Charge, Rope};
use flate2::write::{GzDecoder, ZlibDecoder};
use std::io::{self, Error, Write};

/// What a decompressor holds, in bytes: its window of 32 KiB, its output buffer of 32 KiB, its tables.
const DECOMPRESSOR_BYTES: usize = 96 * 1024;

/// How many members a gzip body may have. Each costs a new decompressor, so that empty members of 20 bytes would be
/// work out of all proportion; bgzip, whose members are the smallest of any tool's, makes 1,600 of 100 MiB.
const MAX_MEMBERS: usize = 4096;

/// A body that is being read.
#[derive(Debug)]
pub(crate) enum Body {
    /// No `content-encoding`.
    Plain(Request),
    /// `gzip` (RFC 1952) or `deflate`: the zlib format (RFC 1950), as HTTP defines the word (RFC 9110 section 8.4.1.2).
    Compressed(Box<Compressed>),
}

/// A compressed body.
///
/// What is decompressed goes to the codec in pieces as it comes, and the codec's own limit (`max_request_bytes`) ends
/// a body that grows beyond measure: nothing is held but the decompressor's window.
#[derive(Debug)]
pub(crate) struct Compressed {
    encoding: &'static str,
    decoder: Box<dyn Decoder>,
    members: usize,
    /// How many compressed bytes may still come.
    room: usize,
    max_bytes: usize,
    /// For what the decompressor holds.
    _held: Charge,
}

impl Body {
    /// A body for `codec`, encoded as `content-encoding` says, of at most `max_bytes` before and after decompression.
    pub(crate) fn new(
        codec: Request,
        encoding: Option<&[u8]>,
        max_bytes: usize,
        mut charge: Charge,
    ) -> Result<Self, Problem> {
        let Some(encoding) = encoding else { return Ok(Self::Plain(codec)) };
        let is = |name: &str| encoding.eq_ignore_ascii_case(name.as_bytes());
        if is("identity") {
            return Ok(Self::Plain(codec));
        }
        let feed = Feed { codec: Some(codec), problem: None };
        let (encoding, decoder): (_, Box<dyn Decoder>) = if is("gzip") || is("x-gzip") {
            ("gzip", Box::new(GzDecoder::new(feed)))
        } else if is("deflate") {
            ("deflate", Box::new(ZlibDecoder::new(feed)))
        } else {
            let encoding = String::from_utf8_lossy(encoding);
            let message =
                format!("content-encoding {encoding:?} is not supported: use gzip, deflate or none");
            return Err(Problem { status: 415, message: message.into(), details: "kserve_content_encoding" });
        };
        charge.grow(DECOMPRESSOR_BYTES)?;
        let room = max_bytes;
        Ok(Self::Compressed(Box::new(Compressed {
            encoding,
            decoder,
            members: 1,
            room,
            max_bytes,
            _held: charge,
        })))
    }

    /// Takes the next bytes of the body, cut anywhere. A compressed body is never complete before it ends: its check sum
    /// comes last.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        match self {
            Self::Plain(codec) => codec.write(bytes),
            Self::Compressed(body) => body.write(bytes),
        }
    }

    /// What may follow the message that is complete.
    pub(crate) fn rest(&self) -> Rest {
        match self {
            Self::Plain(codec) => codec.rest(),
            Self::Compressed(_) => Rest::Nothing,
        }
    }

    /// Ends the body and gives the message, without its gRPC frame, and the codec for the answer.
    pub(crate) fn finish(self) -> Result<(Rope, Response), Problem> {
        match self {
            Self::Plain(codec) => codec.finish(),
            Self::Compressed(body) => body.finish(),
        }
    }
}

impl Compressed {
    fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        self.room = self.room.checked_sub(bytes.len()).ok_or_else(|| {
            Problem::too_large(format!("the compressed body is larger than {} bytes", self.max_bytes))
        })?;
        self.inflate(bytes).map_err(|error| self.problem(&error))?;
        Ok(Progress::More)
    }

    fn inflate(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.decoder.write(bytes)?;
            bytes = &bytes[taken..];
            if taken == 0 {
                if self.members == MAX_MEMBERS {
                    return Err(Error::other(format!("it has more than {MAX_MEMBERS} members")));
                }
                self.members += 1;
                self.decoder.begin_member()?;
            }
        }
        self.decoder.flush()
    }

    fn finish(mut self) -> Result<(Rope, Response), Problem> {
        self.decoder.try_finish().map_err(|error| self.problem(&error))?;
        match self.decoder.feed().codec.take() {
            Some(codec) => codec.finish(),
            None => Err(self.problem(&Error::other("it is damaged"))),
        }
    }

    /// What the client is told: the codec's reason if it had one, else the decompressor's.
    fn problem(&mut self, error: &Error) -> Problem {
        self.decoder.feed().problem.take().unwrap_or_else(|| {
            let encoding = self.encoding;
            Problem::bad_request(format!(
                "the body is not what its content-encoding says ({encoding}): {error}"
            ))
        })
    }
}

/// A decompressor that writes to a [`Feed`].
trait Decoder: Write + Send + std::fmt::Debug {
    fn feed(&mut self) -> &mut Feed;

    /// Checks that the compressed data are whole.
    fn try_finish(&mut self) -> io::Result<()>;

    /// The compressed data have ended, and bytes follow.
    fn begin_member(&mut self) -> io::Result<()>;
}

impl Decoder for GzDecoder<Feed> {
    fn feed(&mut self) -> &mut Feed {
        self.get_mut()
    }

    fn try_finish(&mut self) -> io::Result<()> {
        Self::try_finish(self)
    }

    /// A gzip file is one member after another (RFC 1952 section 2.2).
    fn begin_member(&mut self) -> io::Result<()> {
        Self::try_finish(self)?;
        let feed = std::mem::take(self.get_mut());
        *self = Self::new(feed);
        Ok(())
    }
}

impl Decoder for ZlibDecoder<Feed> {
    fn feed(&mut self) -> &mut Feed {
        self.get_mut()
    }

    fn try_finish(&mut self) -> io::Result<()> {
        Self::try_finish(self)
    }

    fn begin_member(&mut self) -> io::Result<()> {
        Err(Error::other("bytes follow the end of the compressed data"))
    }
}

/// Where decompressed bytes go.
#[derive(Debug, Default)]
struct Feed {
    /// Gone after its first error: a decompressor writes once more what was refused when it is dropped.
    codec: Option<Request>,
    /// Why the codec wants no more.
    problem: Option<Problem>,
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let refused = match &mut self.codec {
            Some(codec) => codec.write(bytes).err(),
            None => return Err(Error::other("the codec is gone")),
        };
        let Some(problem) = refused else { return Ok(bytes.len()) };
        self.codec = None;
        self.problem = Some(problem);
        Err(Error::other("the codec wants no more"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
