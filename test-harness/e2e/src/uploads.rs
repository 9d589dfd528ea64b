//! Large inference requests and answers, made by repeating a short piece: a hundred megabytes cost no more than a copy,
//! and the server can check every value.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Crc, FlushCompress};

use crate::request::{Body, Request};

/// How an upload is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON with shortest FP32 numbers, `datatype` before `data`, as clients send it.
    DatatypeFirst,
    /// The same with `data` before `datatype`, so that its text has to be kept.
    DataFirst,
    /// The binary tensor data extension.
    Binary,
    /// The JSON of [`Form::DatatypeFirst`], compressed.
    Gzip,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::DatatypeFirst, Self::DataFirst, Self::Binary, Self::Gzip];
}

/// An inference request with one large FP32 tensor.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The request.
    pub request: Request,
    /// How many elements its tensor has.
    pub elements: usize,
}

/// The size of the pieces in which a body is written, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// The values that tensors repeat: their text, each with a comma behind it, and their bytes.
static PIECE: LazyLock<(String, Vec<u8>)> = LazyLock::new(|| {
    let mut state = 0x2545_f491_u32;
    let values = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // 24 bits, as many as an FP32 has.
        (state >> 8) as f32 / 16_777_216.0
    });
    // Printers differ in how they write what is smaller.
    let values: Vec<f32> = values.filter(|value| *value >= 0.001).take(PIECE_ELEMENTS).collect();
    (values.iter().map(|v| format!("{v},")).collect(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
});

const PIECE_ELEMENTS: usize = 2000;

/// The last value, because a list ends without a comma.
const LAST: &str = "0.5";
const LAST_RAW: &str = "\0\0\0\x3f";

impl Upload {
    /// A request to `path` whose body, decompressed, has just under `bytes` bytes.
    pub fn new(form: Form, path: &str, bytes: usize) -> Self {
        let (text, raw) = &*PIECE;
        let piece = if form == Form::Binary { raw.len() } else { text.len() };
        let pieces = (bytes - 200) / piece;
        let elements = elements(pieces);
        let shape = format!(r#""name":"x","shape":[{elements}]"#);
        let with_data = |before: &str, after: &str| {
            (format!(r#"{{"inputs":[{{{before}"data":["#), format!("{LAST}]{after}}}]}}"))
        };
        let (before, after) = match form {
            Form::DatatypeFirst | Form::Gzip => with_data(&format!(r#"{shape},"datatype":"FP32","#), ""),
            Form::DataFirst => with_data("", &format!(r#",{shape},"datatype":"FP32""#)),
            Form::Binary => {
                let size = elements * 4;
                let parameters = format!(r#""parameters":{{"binary_data_size":{size}}}"#);
                (format!(r#"{{"inputs":[{{{shape},"datatype":"FP32",{parameters}}}]}}"#), LAST_RAW.to_owned())
            }
        };
        let whole = |piece: &[u8]| [before.as_bytes(), &piece.repeat(pieces), after.as_bytes()].concat();
        let request = Request::new("POST", path);
        let (request, body) = match form {
            Form::DatatypeFirst | Form::DataFirst => (request, whole(text.as_bytes())),
            Form::Binary => {
                (request.header("inference-header-content-length", before.len().to_string()), whole(raw))
            }
            Form::Gzip => {
                let body = gzip(before.as_bytes(), text.as_bytes(), pieces, after.as_bytes());
                (request.header("content-encoding", "gzip"), body)
            }
        };
        let body = Body::Length(body.chunks(WRITE_BYTES).map(<[u8]>::to_vec).collect());
        Self { request: Request { body, ..request }, elements }
    }

    /// The answer's body in JSON, if a server called `model` answers with what it got.
    pub fn echo(&self, model: &str) -> String {
        let elements = self.elements;
        let data = PIECE.0.repeat(elements / PIECE_ELEMENTS);
        let head = format!(
            r#"{{"model_name":"{model}","outputs":[{{"name":"x","datatype":"FP32","shape":[{elements}],"data":["#
        );
        [&head, &data, LAST, "]}]}"].concat()
    }

    /// How many bytes go over the wire.
    pub fn body_bytes(&self) -> usize {
        match &self.request.body {
            Body::None => 0,
            Body::Length(pieces) | Body::Chunked(pieces) => pieces.iter().map(Vec::len).sum(),
        }
    }
}

/// Checks that raw contents are the values of an [`Upload`], every one of them.
pub fn is_upload(raw: &[u8]) -> bool {
    let piece = &PIECE.1;
    let (pieces, last) = raw.split_at(raw.len().saturating_sub(4));
    pieces.len() % piece.len() == 0
        && last == LAST_RAW.as_bytes()
        && pieces.chunks(piece.len()).all(|part| part == piece)
}

/// The raw contents of a tensor whose JSON text has just under `bytes` bytes, and that text without its brackets.
pub fn tensor(bytes: usize) -> (Vec<u8>, String) {
    let (text, raw) = &*PIECE;
    let pieces = bytes / text.len();
    ([&raw.repeat(pieces), LAST_RAW.as_bytes()].concat(), text.repeat(pieces) + LAST)
}

/// How many elements there are in this many pieces and the last one behind them.
fn elements(pieces: usize) -> usize {
    pieces * PIECE_ELEMENTS + 1
}

/// A gzip stream (RFC 1952) of `before`, `pieces` times `piece`, and `after`. The piece is compressed once: flushed
/// deflate blocks that look at nothing before them can be put one behind the other.
pub fn gzip(before: &[u8], piece: &[u8], pieces: usize, after: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    out.extend(deflate(before, FlushCompress::Full));
    out.extend(deflate(piece, FlushCompress::Full).repeat(pieces));
    out.extend(deflate(after, FlushCompress::Finish));
    let (mut sum, mut of_piece, mut of_after) = (Crc::new(), Crc::new(), Crc::new());
    sum.update(before);
    of_piece.update(piece);
    of_after.update(after);
    (0..pieces).for_each(|_| sum.combine(&of_piece));
    sum.combine(&of_after);
    out.extend(sum.sum().to_le_bytes());
    out.extend(sum.amount().to_le_bytes());
    out
}

fn deflate(bytes: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut compress = Compress::new(Compression::fast(), false);
    // More than deflate ever makes of this many bytes, so that one call takes them all.
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 1024);
    // It cannot fail: no dictionary is set.
    let _ = compress.compress_vec(bytes, &mut out, flush);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn body(upload: &Upload) -> Vec<u8> {
        let Body::Length(pieces) = &upload.request.body else { panic!("no body") };
        pieces.concat()
    }

    fn json(upload: &Upload) -> serde_json::Value {
        serde_json::from_slice(&body(upload)).unwrap()
    }

    #[test]
    fn an_upload_has_the_size_and_the_values_that_it_says() {
        for form in [Form::DatatypeFirst, Form::DataFirst] {
            let upload = Upload::new(form, "/", 1 << 20);
            let size = body(&upload).len();
            assert!(size <= 1 << 20 && size > 900_000, "{form:?}: {size}");
            let input = &json(&upload)["inputs"][0];
            assert_eq!(input["shape"][0], upload.elements);
            let values = input["data"].as_array().unwrap();
            assert_eq!(values.len(), upload.elements);
            let raw: Vec<u8> =
                values.iter().flat_map(|v| (v.as_f64().unwrap() as f32).to_le_bytes()).collect();
            assert!(is_upload(&raw));
            assert!(!is_upload(&raw[1..]) && !is_upload(&raw[4..]));
        }
    }

    #[test]
    fn a_binary_upload_has_its_values_behind_the_document() {
        let upload = Upload::new(Form::Binary, "/", 1 << 20);
        let body = body(&upload);
        let (name, length) = &upload.request.headers[0];
        assert_eq!(name, "inference-header-content-length");
        let length: usize = std::str::from_utf8(length).unwrap().parse().unwrap();
        assert_eq!(body.len() - length, upload.elements * 4);
        assert!(is_upload(&body[length..]));
    }

    #[test]
    fn a_compressed_upload_is_the_plain_one() {
        let upload = Upload::new(Form::Gzip, "/", 1 << 20);
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(body(&upload).as_slice()).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, body(&Upload::new(Form::DatatypeFirst, "/", 1 << 20)));
    }
}
