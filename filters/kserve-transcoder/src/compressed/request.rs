//! A compressed request's body, decompressed on its way to its codec.

use super::{Coding, DECOMPRESSOR_BYTES, Failure, Inflater, Take};
use crate::codec::{Inputs, Progress, RequestCodec, ResponseCodec, Rest};
use crate::problem::Problem;
use filter_api::{Charge, Rope};

/// A reader of a body that is encoded as `content-encoding` says, of at most `max_bytes` before and after
/// decompression: `codec` itself, or one that decompresses the body for it.
pub(crate) fn decoded(
    codec: Box<dyn RequestCodec>,
    encoding: Option<&[u8]>,
    max_bytes: usize,
    mut charge: Charge,
) -> Result<Box<dyn RequestCodec>, Problem> {
    let Some(encoding) = encoding.and_then(one_encoding) else { return Ok(codec) };
    let Some(coding) = Coding::by_name(encoding) else {
        let encoding = String::from_utf8_lossy(encoding);
        let message = format!("content-encoding {encoding:?} is not supported: use gzip, deflate or none");
        return Err(Problem::new(415, message, "kserve_content_encoding"));
    };
    charge.grow(DECOMPRESSOR_BYTES)?;
    let inflater = Inflater::new(coding, codec);
    Ok(Box::new(Compressed { coding, inflater, room: max_bytes, max_bytes, _held: charge }))
}

/// A compressed body.
///
/// What is decompressed goes to the codec in pieces as it comes, and the codec's own limit (`max_request_bytes`) ends
/// a body that grows beyond measure.
#[derive(Debug)]
struct Compressed {
    coding: Coding,
    inflater: Inflater<Box<dyn RequestCodec>>,
    /// How many compressed bytes may still come.
    room: usize,
    max_bytes: usize,
    /// For what the decompressor holds.
    _held: Charge,
}

impl Take for Box<dyn RequestCodec> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.write(bytes).map(drop)
    }
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

/// What the client is told: the codec's reason if it had one, else the decompressor's.
fn problem(coding: Coding, failure: Failure) -> Problem {
    match failure {
        Failure::Refused(problem) => problem,
        Failure::Data(error) => {
            let encoding = coding.name();
            Problem::bad_request(format!(
                "the body is not what its content-encoding says ({encoding}): {error}"
            ))
        }
    }
}

impl RequestCodec for Compressed {
    /// A compressed body is never complete before it ends: its check sum comes last.
    fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        self.room = self.room.checked_sub(bytes.len()).ok_or_else(|| {
            Problem::too_large(format!("the compressed body is larger than {} bytes", self.max_bytes))
        })?;
        self.inflater.write(bytes).map_err(|failure| problem(self.coding, failure))?;
        Ok(Progress::More)
    }

    fn rest(&self) -> Rest {
        Rest::Nothing
    }

    fn finish(self: Box<Self>) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        self.finish_described(&mut Inputs::default())
    }

    fn finish_described(
        self: Box<Self>,
        inputs: &mut Inputs,
    ) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        // No body at all, which a request that says that it is compressed may have, too.
        let is_empty = self.room == self.max_bytes;
        let codec = if is_empty { self.inflater.abandon() } else { self.inflater.finish() };
        codec.map_err(|failure| problem(self.coding, failure))?.finish_described(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compressed::MAX_MEMBERS;
    use crate::tensor;
    use filter_api::Memory;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write as _;
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
