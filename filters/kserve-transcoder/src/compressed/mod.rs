//! Compression: of requests' bodies ([`request`]), of a model server's messages ([`message`]) and of answers ([`answer`]),
//! all of them piece by piece.

mod accept;
mod answer;
mod message;
mod request;

pub(crate) use accept::Encoding;
pub(crate) use answer::{COMPRESSOR_LEVELS, Plan, Press, write_rest};
pub(crate) use message::{MessageCoding, inflated, inflated_whole};
pub(crate) use request::decoded;

use crate::problem::Problem;
use flate2::write::{GzDecoder, ZlibDecoder};
use std::fmt::Debug;
use std::io::{self, Error, Write};

/// What a decompressor holds, in bytes: its window of 32 KiB, its output buffer of 32 KiB, its tables.
const DECOMPRESSOR_BYTES: usize = 96 * 1024;

/// How many members gzip data may have. Each costs a new decompressor, so that empty members of 20 bytes would be
/// work out of all proportion; bgzip, whose members are the smallest of any tool's, makes 1,600 of 100 MiB.
const MAX_MEMBERS: usize = 4096;

/// A way to compress that HTTP and gRPC both know by the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 1952.
    Gzip,
    /// The zlib format (RFC 1950), as HTTP defines the word (RFC 9110 section 8.4.1.2), and gRPC as well.
    Deflate,
}

impl Coding {
    /// Its name in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The coding that HTTP knows by a name (RFC 9110 section 8.4.1).
    fn by_name(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () => None,
        }
    }
}

/// Takes decompressed bytes in order.
trait Take: Debug + Send + 'static {
    /// Takes the next of them. After an error it is dropped.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem>;
}

/// Decompresses bytes, which may be cut anywhere, for a [`Take`]. Nothing is held but the decompressor's window.
#[derive(Debug)]
struct Inflater<T> {
    decoder: Box<dyn Decoder<T>>,
    members: usize,
}

/// Why decompression ended.
enum Failure {
    /// What takes the bytes does not go on.
    Refused(Problem),
    /// The data are not what they should be.
    Data(Error),
}

impl<T: Take> Inflater<T> {
    fn new(coding: Coding, to: T) -> Self {
        let feed = Feed { to: Some(to), problem: None };
        let decoder: Box<dyn Decoder<T>> = match coding {
            Coding::Gzip => Box::new(GzDecoder::new(feed)),
            Coding::Deflate => Box::new(ZlibDecoder::new(feed)),
        };
        Self { decoder, members: 1 }
    }

    /// What takes the bytes; `None` after an error of its own.
    fn taker(&self) -> Option<&T> {
        self.decoder.feed().to.as_ref()
    }

    /// Takes compressed bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.inflate(bytes).map_err(|error| self.failure(error))
    }

    /// Gives back what takes the bytes, without a check of the data.
    fn abandon(mut self) -> Result<T, Failure> {
        let damaged = || Failure::Data(Error::other("it is damaged"));
        self.decoder.feed_mut().to.take().ok_or_else(damaged)
    }

    /// Checks that the data are whole.
    fn finish(mut self) -> Result<T, Failure> {
        self.decoder.try_finish().map_err(|error| self.failure(error))?;
        self.abandon()
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

    fn failure(&mut self, error: Error) -> Failure {
        match self.decoder.feed_mut().problem.take() {
            Some(problem) => Failure::Refused(problem),
            None => Failure::Data(error),
        }
    }
}

/// A decompressor that writes to a [`Feed`].
trait Decoder<T>: Write + Send + Debug {
    fn feed(&self) -> &Feed<T>;

    fn feed_mut(&mut self) -> &mut Feed<T>;

    /// Checks that the compressed data are whole.
    fn try_finish(&mut self) -> io::Result<()>;

    /// The compressed data have ended, and bytes follow.
    fn begin_member(&mut self) -> io::Result<()>;
}

impl<T: Take> Decoder<T> for GzDecoder<Feed<T>> {
    fn feed(&self) -> &Feed<T> {
        self.get_ref()
    }

    fn feed_mut(&mut self) -> &mut Feed<T> {
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

impl<T: Take> Decoder<T> for ZlibDecoder<Feed<T>> {
    fn feed(&self) -> &Feed<T> {
        self.get_ref()
    }

    fn feed_mut(&mut self) -> &mut Feed<T> {
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
#[derive(Debug)]
struct Feed<T> {
    /// Gone after its first error: a decompressor writes once more what was refused when it is dropped.
    to: Option<T>,
    /// Why it has stopped.
    problem: Option<Problem>,
}

impl<T> Default for Feed<T> {
    fn default() -> Self {
        Self { to: None, problem: None }
    }
}

impl<T: Take> Write for Feed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let refused = match &mut self.to {
            Some(to) => to.take(bytes).err(),
            None => return Err(Error::other("its reader is gone")),
        };
        let Some(problem) = refused else { return Ok(bytes.len()) };
        self.to = None;
        self.problem = Some(problem);
        Err(Error::other("its reader has stopped"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
