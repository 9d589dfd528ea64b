//! A model server's compressed message (gRPC's `doc/compression.md`), decompressed on its way to its codec.

use super::{Coding, DECOMPRESSOR_BYTES, Failure, Inflater, Take};
use crate::codec::{Answer, ResponseCodec};
use crate::problem::Problem;
use filter_api::{Charge, OverBudget};

/// How the messages of an answer are compressed, if they are: its `grpc-encoding`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum MessageCoding {
    /// Not at all: the header is missing, or says `identity`.
    #[default]
    None,
    /// In a way that is known here.
    Known(Coding),
    /// In another one, which has this name.
    Unknown(Vec<u8>),
}

impl MessageCoding {
    /// Reads the value of `grpc-encoding`. The names are gRPC's, which has no `x-gzip`.
    pub(crate) fn of(value: &[u8]) -> Self {
        match value.trim_ascii() {
            b"" | b"identity" => Self::None,
            b"gzip" => Self::Known(Coding::Gzip),
            b"deflate" => Self::Known(Coding::Deflate),
            other => Self::Unknown(other.to_vec()),
        }
    }

    /// How a message is compressed whose flag says that it is.
    ///
    /// # Errors
    /// The headers do not say how, or name a way that is not known here. To a gRPC client both are INTERNAL.
    pub(crate) fn known(&self) -> Result<Coding, Problem> {
        match self {
            Self::Known(coding) => Ok(*coding),
            Self::None => {
                let message =
                    "the model server's gRPC message is marked as compressed, but no grpc-encoding says how";
                Err(Problem::bad_answer(message))
            }
            Self::Unknown(name) => {
                let name = String::from_utf8_lossy(&name[..name.len().min(QUOTED_BYTES)]);
                Err(Problem::bad_answer(format!(
                    "the model server compressed its gRPC message with {name:?}, which is not supported: it should use \
                     gzip, deflate or none"
                )))
            }
        }
    }
}

/// A reader of a compressed message of at most `max_bytes` after decompression: one that decompresses it for `codec`.
///
/// # Errors
/// The budget has no room for a decompressor.
pub(crate) fn inflated(
    codec: Box<dyn ResponseCodec>,
    coding: Coding,
    max_bytes: usize,
    mut charge: Charge,
) -> Result<Box<dyn ResponseCodec>, OverBudget> {
    charge.grow(DECOMPRESSOR_BYTES)?;
    let inflater = Inflater::new(coding, Bounded { codec, taken: 0, max_bytes });
    Ok(Box::new(Inflated { coding, inflater, begun: false, _held: charge }))
}

/// Decompresses a message that is here as a whole, of at most `max_bytes` after that.
///
/// # Errors
/// It is not what its coding says, or too large, or the budget has no room for it.
pub(crate) fn inflated_whole(
    bytes: &[u8],
    coding: Coding,
    max_bytes: usize,
    mut charge: Charge,
) -> Result<Vec<u8>, Problem> {
    charge.grow(DECOMPRESSOR_BYTES)?;
    let mut inflater = Inflater::new(coding, Whole { message: Vec::new(), max_bytes, charge });
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    inflater.write(bytes).map_err(|failure| problem(coding, failure))?;
    Ok(inflater.finish().map_err(|failure| problem(coding, failure))?.message)
}

/// A message that is kept.
#[derive(Debug)]
struct Whole {
    message: Vec<u8>,
    max_bytes: usize,
    charge: Charge,
}

impl Take for Whole {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        if self.message.len() + bytes.len() > self.max_bytes {
            return Err(too_large(self.max_bytes));
        }
        self.charge.grow(bytes.len())?;
        self.message.extend_from_slice(bytes);
        Ok(())
    }
}

fn too_large(limit: usize) -> Problem {
    let message = format!(
        "the model server's answer is larger than max_response_bytes ({limit}) once it is decompressed"
    );
    Problem::new(503, message, "kserve_answer_too_large")
}

/// So much of a server's text comes back in an error, in bytes.
const QUOTED_BYTES: usize = 100;

/// A compressed message. Its answer never begins before it is complete, because its length is not known before.
#[derive(Debug)]
struct Inflated {
    coding: Coding,
    inflater: Inflater<Bounded>,
    begun: bool,
    /// For what the decompressor holds.
    _held: Charge,
}

/// A codec, and a limit on what it is given.
#[derive(Debug)]
struct Bounded {
    codec: Box<dyn ResponseCodec>,
    taken: usize,
    max_bytes: usize,
}

impl Take for Bounded {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > self.max_bytes {
            return Err(too_large(self.max_bytes));
        }
        self.codec.write(bytes)
    }
}

fn problem(coding: Coding, failure: Failure) -> Problem {
    match failure {
        Failure::Refused(problem) => problem,
        Failure::Data(error) => {
            let name = coding.name();
            Problem::bad_answer(format!(
                "the model server's gRPC message is not what its grpc-encoding says ({name}): {error}"
            ))
        }
    }
}

impl ResponseCodec for Inflated {
    fn wants_binary_answer(&self) -> bool {
        self.inflater.taker().is_some_and(|taker| taker.codec.wants_binary_answer())
    }

    fn decides_content_type(&self) -> bool {
        self.inflater.taker().is_some_and(|taker| taker.codec.decides_content_type())
    }

    fn inflated_bytes(&self) -> usize {
        self.inflater.taker().map_or(0, |taker| taker.taken)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.begun |= !bytes.is_empty();
        self.inflater.write(bytes).map_err(|failure| problem(self.coding, failure))
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        // Nothing at all is an empty message, which some servers mark as compressed as well.
        let taker = if self.begun { self.inflater.finish() } else { self.inflater.abandon() };
        taker.map_err(|failure| problem(self.coding, failure))?.codec.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::RequestCodec;
    use crate::tensor;
    use filter_api::{Memory, Sink};
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write as _;
    use std::sync::Arc;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// An output of two elements, and its raw contents.
    const MESSAGE: &[u8] = b"\x0a\x01m\x2a\x0c\x0a\x01y\x12\x04INT8\x1a\x01\x02\x32\x02\x07\x08";
    const JSON: &str =
        r#"{"model_name":"m","outputs":[{"name":"y","datatype":"INT8","shape":[2],"data":[7,8]}]}"#;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What an inference is answered from.
    fn codec(memory: &Arc<Memory>) -> Box<dyn ResponseCodec> {
        let target = tensor::Target { model: "m".to_owned(), version: None };
        let options = crate::settings::codec(&crate::Config::default());
        let charge = memory.account(usize::MAX).charge();
        let mut request = tensor::Request::new(target, options, None, charge);
        request.write(br#"{"inputs":[{"name":"x","shape":[1],"datatype":"BOOL","data":[true]}]}"#).unwrap();
        let (_, codec) = (request as Box<dyn RequestCodec>).finish().unwrap();
        codec
    }

    fn read(coding: &str, bytes: &[u8], step: usize, max_bytes: usize) -> Result<String, Problem> {
        let memory = Memory::new(1 << 24);
        let charge = memory.account(usize::MAX).charge();
        let coding = MessageCoding::of(coding.as_bytes()).known()?;
        let mut codec = inflated(codec(&memory), coding, max_bytes, charge)?;
        for piece in bytes.chunks(step) {
            codec.write(piece)?;
        }
        let mut body = Vec::new();
        codec.finish()?.render(&mut body as &mut dyn Sink);
        Ok(String::from_utf8(body).unwrap())
    }

    #[test]
    fn a_compressed_message_is_the_message_in_it_however_it_is_cut() {
        for (coding, bytes) in [("gzip", gzip(MESSAGE)), ("deflate", zlib(MESSAGE))] {
            for step in 1..=bytes.len() {
                assert_eq!(
                    read(coding, &bytes, step, 1 << 20).unwrap(),
                    JSON,
                    "{coding} in pieces of {step}"
                );
            }
        }
    }

    #[test]
    fn nothing_that_is_marked_as_compressed_is_an_empty_message() {
        for coding in ["gzip", "deflate"] {
            assert_eq!(read(coding, b"", 1, 1 << 20).unwrap(), r#"{"model_name":"","outputs":[]}"#);
        }
    }

    #[test]
    fn what_is_damaged_cut_or_followed_by_something_is_the_servers_fault() {
        let (gz, z) = (gzip(MESSAGE), zlib(MESSAGE));
        let mut damaged = gz.clone();
        let crc = damaged.len() - 8;
        damaged[crc] ^= 1;
        for (coding, bytes) in [
            ("gzip", damaged),
            ("gzip", gz[..gz.len() - 1].to_vec()),
            ("gzip", [&gz[..], b"x"].concat()),
            ("gzip", z.clone()),
            ("gzip", MESSAGE.to_vec()),
            ("deflate", z[..z.len() - 1].to_vec()),
            ("deflate", [&z[..], b"x"].concat()),
            ("deflate", gz),
        ] {
            for step in [1, 2, 7, usize::MAX] {
                let problem = read(coding, &bytes, step, 1 << 20).unwrap_err();
                assert_eq!(problem.status, 502, "{coding} in pieces of {step}: {problem}");
                let told = format!(
                    "the model server's gRPC message is not what its grpc-encoding says ({coding}): "
                );
                assert!(problem.message.starts_with(&told), "{problem}");
            }
        }
    }

    #[test]
    fn a_bomb_is_defused_at_the_limit() {
        // An unknown field of 10 MB.
        let bomb = [&b"\x7a\x80\xad\xe2\x04"[..], &vec![0; 10_000_000]].concat();
        let bomb = gzip(&bomb);
        assert!(bomb.len() < 20_000);
        for step in [1000, usize::MAX] {
            let problem = read("gzip", &bomb, step, 1_000_000).unwrap_err();
            assert_eq!((problem.status, problem.details), (503, "kserve_answer_too_large"));
            assert!(problem.message.contains("larger than max_response_bytes (1000000) once"), "{problem}");
        }
        assert!(read("gzip", &bomb, 1000, 11_000_000).is_ok());
    }

    #[test]
    fn a_coding_that_is_missing_or_unknown_is_named() {
        for (coding, told) in [
            ("", "no grpc-encoding says how"),
            ("identity", "no grpc-encoding says how"),
            ("snappy", "with \"snappy\", which is not supported"),
            ("gzip, gzip", "with \"gzip, gzip\""),
            ("x-gzip", "with \"x-gzip\""),
        ] {
            let problem = read(coding, &gzip(MESSAGE), 9, 1 << 20).unwrap_err();
            assert!(problem.status == 502 && problem.message.contains(told), "{coding}: {problem}");
        }
    }

    #[test]
    fn a_decompressor_that_does_not_fit_the_budget_is_not_made() {
        let memory = Memory::new(DECOMPRESSOR_BYTES + 2000);
        let codec = codec(&memory);
        let mut others = memory.account(usize::MAX).charge();
        others.grow(2001).unwrap();
        assert!(inflated(codec, Coding::Gzip, 1 << 20, others.sibling()).is_err());
        drop(others);
        assert_eq!(memory.used(), 0);
    }
}
