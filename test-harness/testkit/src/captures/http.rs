//! A captured HTTP message.

use crate::Pairs;
use serde_json::Value;
use std::io::Read as _;

/// A request or an answer.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    /// The first line.
    start: String,
    /// Names in lower case.
    headers: Pairs,
    /// As it was sent.
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// Reads a message of HTTP/1.1 whose body is all that follows the headers.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no end of headers")?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|why| why.to_string())?;
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("no header: {line}"))?;
            Ok((name.to_ascii_lowercase(), value.to_owned()))
        });
        let headers = headers.collect::<Result<_, String>>()?;
        Ok(Self { start, headers, body: bytes[end + 4..].to_vec() })
    }

    /// The method and target of a request.
    pub(crate) fn method_and_path(&self) -> Result<(&str, &str), String> {
        let mut words = self.start.split(' ');
        words.next().zip(words.next()).ok_or_else(|| format!("no request line: {}", self.start))
    }

    /// The status of an answer; 0 for a request.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    pub(crate) fn headers_without(&self, left_out: &[&str]) -> Pairs {
        self.headers.iter().filter(|(name, _)| !left_out.contains(&name.as_str())).cloned().collect()
    }

    /// The JSON part of the body, and the binary part behind it, decompressed.
    pub(crate) fn parts(&self) -> Result<(Value, Vec<u8>), String> {
        let mut plain = Vec::new();
        let read = match self.header("content-encoding") {
            None => (&self.body[..]).read_to_end(&mut plain),
            Some("gzip") => flate2::read::GzDecoder::new(&self.body[..]).read_to_end(&mut plain),
            Some("deflate") => flate2::read::ZlibDecoder::new(&self.body[..]).read_to_end(&mut plain),
            Some(other) => return Err(format!("content-encoding {other}")),
        };
        read.map_err(|why| why.to_string())?;
        let length = self.header("inference-header-content-length").map(str::parse);
        parts(&plain, length.transpose().map_err(|_| "a length that is not a number")?)
    }
}

/// Takes a body apart into JSON and what follows it.
pub(crate) fn parts(body: &[u8], json_length: Option<usize>) -> Result<(Value, Vec<u8>), String> {
    let length = json_length.unwrap_or(body.len());
    let (text, tail) = body.split_at_checked(length).ok_or("the JSON part is longer than the body")?;
    Ok((json(text)?, tail.to_vec()))
}

/// Reads JSON in which numbers may be `NaN` and infinite, as Python and Triton write them: these become strings.
/// No body at all is `null`.
pub(crate) fn json(text: &[u8]) -> Result<Value, String> {
    if text.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    let mut quoted = Vec::new();
    let (mut rest, mut in_string) = (text, false);
    while let Some(&byte) = rest.first() {
        let word = [&b"-Infinity"[..], b"Infinity", b"NaN"].into_iter().find(|word| rest.starts_with(word));
        let taken = match (in_string, byte, word) {
            (true, b'\\', _) => 2,
            (_, b'"', _) => {
                in_string = !in_string;
                1
            }
            (false, _, Some(word)) => {
                quoted.extend([b"\"", word, b"\""].concat());
                rest = &rest[word.len()..];
                continue;
            }
            _ => 1,
        };
        let (now, after) = rest.split_at_checked(taken).ok_or("the JSON ends within an escape")?;
        quoted.extend(now);
        rest = after;
    }
    serde_json::from_slice(&quoted).map_err(|why| format!("{why}: {}", String::from_utf8_lossy(text)))
}
