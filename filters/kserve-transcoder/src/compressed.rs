//! A compressed request's body, decompressed on its way to its codec.

use crate::codec::{Inputs, Progress, RequestCodec, ResponseCodec, Rest};
use crate::problem::Problem;
use filter_api::{Charge, Rope};
use flate2::write::{GzDecoder, ZlibDecoder};
use std::io::{self, Error, Write};

/// What a decompressor holds, in bytes: its window of 32 KiB, its output buffer of 32 KiB, its tables.
const DECOMPRESSOR_BYTES: usize = 96 * 1024;

/// How many members a gzip body may have. Each costs a new decompressor, so that empty members of 20 bytes would be
/// work out of all proportion; bgzip, whose members are the smallest of any tool's, makes 1,600 of 100 MiB.
const MAX_MEMBERS: usize = 4096;

/// A reader of a body that is encoded as `content-encoding` says, of at most `max_bytes` before and after
/// decompression: `codec` itself, or one that decompresses the body for it.
pub(crate) fn decoded(
    codec: Box<dyn RequestCodec>,
    encoding: Option<&[u8]>,
    max_bytes: usize,
    mut charge: Charge,
) -> Result<Box<dyn RequestCodec>, Problem> {
    let Some(encoding) = encoding.and_then(one_encoding) else { return Ok(codec) };
    let is = |name: &str| encoding.eq_ignore_ascii_case(name.as_bytes());
    let feed = Feed { codec: Some(codec), problem: None };
    let (encoding, decoder): (_, Box<dyn Decoder>) = if is("gzip") || is("x-gzip") {
        ("gzip", Box::new(GzDecoder::new(feed)))
    } else if is("deflate") {
        ("deflate", Box::new(ZlibDecoder::new(feed)))
    } else {
        let encoding = String::from_utf8_lossy(encoding);
        let message = format!("content-encoding {encoding:?} is not supported: use gzip, deflate or none");
        return Err(Problem { status: 415, message: message.into(), details: "kserve_content_encoding" });
    };
    charge.grow(DECOMPRESSOR_BYTES)?;
    Ok(Box::new(Compressed { encoding, decoder, members: 1, room: max_bytes, max_bytes, _held: charge }))
}

/// A compressed body: `gzip` (RFC 1952) or `deflate`, the zlib format (RFC 1950), as HTTP defines the word (RFC 9110
/// section 8.4.1.2).
///
/// What is decompressed goes to the codec in pieces as it comes, and the codec's own limit (`max_request_bytes`) ends
/// a body that grows beyond measure: nothing is held but the decompressor's window.
#[derive(Debug)]
struct Compressed {
    encoding: &'static str,
    decoder: Box<dyn Decoder>,
    members: usize,
    /// How many compressed bytes may still come.
    room: usize,
    max_bytes: usize,
    /// For what the decompressor holds.
    _held: Charge,
}

/// The encoding of a body by a `content-encoding`, which is a list (RFC 9110 sections 5.6.1 and 8.4): `None` if it
/// names nothing but `identity`, and the list as it is if it names more than one.
fn one_encoding(list: &[u8]) -> Option<&[u8]> {
    let mut named = list
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
    let first = named.next()?;
    Some(if named.next().is_none() { first } else { list })
}

impl Compressed {
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

impl RequestCodec for Compressed {
    /// A compressed body is never complete before it ends: its check sum comes last.
    fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        self.room = self.room.checked_sub(bytes.len()).ok_or_else(|| {
            Problem::too_large(format!("the compressed body is larger than {} bytes", self.max_bytes))
        })?;
        self.inflate(bytes).map_err(|error| self.problem(&error))?;
        Ok(Progress::More)
    }

    fn rest(&self) -> Rest {
        Rest::Nothing
    }

    fn finish(self: Box<Self>) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        self.finish_described(&mut Inputs::default())
    }

    fn finish_described(
        mut self: Box<Self>,
        inputs: &mut Inputs,
    ) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        // No body at all, which a request that says that it is compressed may have, too.
        if self.room == self.max_bytes
            && let Some(codec) = self.decoder.feed().codec.take()
        {
            return codec.finish_described(inputs);
        }
        self.decoder.try_finish().map_err(|error| self.problem(&error))?;
        match self.decoder.feed().codec.take() {
            Some(codec) => codec.finish_described(inputs),
            None => Err(self.problem(&Error::other("it is damaged"))),
        }
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
    codec: Option<Box<dyn RequestCodec>>,
    /// Why the codec has stopped reading.
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
        Err(Error::other("the codec has stopped reading"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor;
    use filter_api::Memory;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::sync::Arc;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const DOCUMENT: &[u8] = br#"{"inputs":[{"name":"x","shape":[2],"datatype":"INT8","data":[7,8]}]}"#;

    fn body(
        encoding: &str,
        max_bytes: usize,
        memory: &Arc<Memory>,
    ) -> Result<Box<dyn RequestCodec>, Problem> {
        let charge = memory.account(usize::MAX).charge();
        let target = tensor::Target { model: "m".to_owned(), version: None };
        let options = tensor::Options {
            max_request_bytes: max_bytes,
            ..crate::settings::codec(&crate::Config::default())
        };
        let codec = tensor::Request::new(target, options, None, charge.sibling());
        decoded(codec, Some(encoding.as_bytes()), max_bytes, charge)
    }

    /// The message of a body in pieces of `step` bytes.
    fn read(encoding: &str, bytes: &[u8], step: usize, max_bytes: usize) -> Result<Vec<u8>, Problem> {
        let mut body = body(encoding, max_bytes, &Memory::new(1 << 24))?;
        for piece in bytes.chunks(step) {
            assert_eq!(body.write(piece)?, Progress::More);
        }
        let mut message = Vec::new();
        body.finish()?.0.drain_to(&mut message);
        Ok(message)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_gzip_body_of_several_members_is_one_body_however_it_is_cut() {
        let expected = read("gzip", &gzip(DOCUMENT), usize::MAX, 1 << 20).unwrap();
        let (first, rest) = DOCUMENT.split_at(20);
        for members in [
            [gzip(first), gzip(rest), Vec::new()],
            [gzip(DOCUMENT), gzip(b""), Vec::new()],
            [gzip(b""), gzip(b""), gzip(DOCUMENT)],
            [gzip(first), gzip(b""), gzip(rest)],
            [gzip(DOCUMENT), gzip(b" \n"), gzip(b"")],
        ] {
            let bytes = members.concat();
            for step in 1..=bytes.len() {
                assert_eq!(read("gzip", &bytes, step, 1 << 20).unwrap(), expected, "in pieces of {step}");
            }
        }
    }

    #[test]
    fn what_follows_compressed_data_and_is_none_is_refused_however_it_is_cut() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(DOCUMENT).unwrap();
        let zlib = zlib.finish().unwrap();
        let whole = gzip(DOCUMENT);
        let mut damaged = whole.clone();
        let crc = damaged.len() - 8;
        damaged[crc] ^= 1;
        for (encoding, bytes) in [
            ("gzip", [&whole[..], b"x"].concat()),
            ("gzip", [&whole[..], b"trailing garbage"].concat()),
            ("gzip", [&whole[..], b"\0\0\0\0\0\0\0\0\0\0\0\0"].concat()),
            ("gzip", [&whole[..], b"\x1f\x8b"].concat()),
            ("gzip", [&whole[..], &whole[..8]].concat()),
            ("gzip", [&whole[..], &gzip(b"")[..19]].concat()),
            ("gzip", [&whole[..], &gzip(b"{}")].concat()),
            ("gzip", [&damaged[..], &gzip(b"")].concat()),
            ("gzip", damaged),
            ("gzip", whole[..whole.len() - 1].to_vec()),
            ("deflate", [&zlib[..], b"x"].concat()),
            ("deflate", [&zlib[..], &zlib[..]].concat()),
            ("deflate", zlib[..zlib.len() - 1].to_vec()),
        ] {
            for step in 1..=bytes.len() {
                let problem = read(encoding, &bytes, step, 1 << 20).unwrap_err();
                assert_eq!(problem.status, 400, "{problem} in pieces of {step}");
            }
        }
    }

    #[test]
    fn an_encoding_is_a_list_in_which_identity_and_nothing_do_not_count() {
        let expected = read("gzip", &gzip(DOCUMENT), usize::MAX, 1 << 20).unwrap();
        for encoding in ["", " ", "identity", "identity, IDENTITY", ","] {
            let mut body = body(encoding, 1 << 20, &Memory::new(1 << 24)).unwrap();
            assert_eq!(body.write(DOCUMENT), Ok(Progress::Complete), "{encoding:?}");
            let mut message = Vec::new();
            body.finish().unwrap().0.drain_to(&mut message);
            assert_eq!(message, expected, "{encoding:?}");
        }
        for encoding in ["gzip, identity", "identity,gzip", "gzip,", " X-GZIP "] {
            assert_eq!(read(encoding, &gzip(DOCUMENT), 7, 1 << 20).unwrap(), expected, "{encoding:?}");
        }
        for encoding in ["gzip, gzip", "gzip, br", "identity, zstd", "gzip;q=1", "gzip gzip"] {
            let problem = read(encoding, &gzip(DOCUMENT), 7, 1 << 20).unwrap_err();
            assert_eq!(problem.status, 415, "{encoding:?}");
        }
    }

    #[test]
    fn what_is_said_to_be_compressed_and_has_no_body_is_told_that_it_has_none() {
        for encoding in ["gzip", "deflate"] {
            let problem = read(encoding, b"", 1, 1 << 20).unwrap_err();
            assert_eq!(&*problem.message, "the body has no JSON document", "{encoding}");
        }
    }

    #[test]
    fn limits_hold_across_members_before_and_after_decompression() {
        // Blanks in front of the document, which compress well: 100 kB in each member.
        let blanks = gzip(&[b' '; 100_000]);
        let body = [blanks.repeat(10), gzip(DOCUMENT)].concat();
        assert!(read("gzip", &body, 500, 1_000_100).is_ok());
        for step in [1, 500, usize::MAX] {
            let problem = read("gzip", &body, step, 1_000_000).unwrap_err();
            assert_eq!((problem.status, &*problem.message), (413, "the body is larger than 1000000 bytes"));
        }
        // Members of nothing: nothing comes out, but they are bytes and work all the same.
        let empty = gzip(b"").repeat(MAX_MEMBERS);
        let problem = read("gzip", &empty, 1000, 10_000).unwrap_err();
        assert_eq!(
            (problem.status, &*problem.message),
            (413, "the compressed body is larger than 10000 bytes")
        );
        assert!(read("gzip", &[&empty[20..], &gzip(DOCUMENT)].concat(), 1000, 1 << 20).is_ok());
        let problem = read("gzip", &[empty, gzip(DOCUMENT)].concat(), 1000, 1 << 20).unwrap_err();
        assert!(problem.message.ends_with("it has more than 4096 members"), "{problem}");
    }

    #[test]
    fn a_codec_reads_nothing_after_its_first_error() {
        // The budget runs out at the closing bracket of text that is kept, and the decompressor is dropped with that
        // bracket still to be written: it would close an array that is closed.
        let mut refused = 0;
        for filler in 0..1200 {
            let text = [br#"{"inputs":[{"data":["#, &b" ".repeat(filler)[..], b"1"].concat();
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&text).unwrap();
            encoder.flush().unwrap();
            let cut = encoder.get_ref().len();
            encoder.write_all(br#"]}]}"#).unwrap();
            let bytes = encoder.finish().unwrap();
            for budget in [300, 600, 1200, 2400] {
                let Ok(mut body) = body("gzip", 1 << 20, &Memory::new(DECOMPRESSOR_BYTES + budget)) else {
                    continue;
                };
                if body.write(&bytes[..cut]).is_ok() {
                    let result = body.write(&bytes[cut..]);
                    refused += usize::from(result.is_err_and(|problem| problem.status == 503));
                }
            }
        }
        assert!(refused > 0, "the budget never ran out at the bracket");
    }
}
