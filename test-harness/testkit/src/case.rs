//! The form of a case.

use crate::chunking::Chunking;
use crate::headers::{Headers, Pairs, to_headers};
use crate::message::{Side, encode, wrap};
use crate::outcome::Outcome;
use crate::part::Part;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One exchange.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The file it came from, without its ending.
    #[serde(skip)]
    pub name: String,
    /// What happens, in a sentence.
    pub story: String,
    /// The filter that it is about, by its `Plugin::NAME`; the transcoder if absent.
    #[serde(default = "transcoder")]
    pub filter: String,
    /// The filter's configuration as JSON, for every column; the key that tells a filter that
    /// headers are held is added for [`Column::WasmHold`].
    #[serde(default = "empty_object")]
    pub config: String,
    /// The columns it runs in; all if absent.
    #[serde(default = "all_columns")]
    pub columns: Vec<Column>,
    /// Why columns are left out; needed if any is.
    #[serde(default)]
    pub left_out_because: Option<String>,
    /// What the client sends.
    pub request: Request,
    /// What the model server must see; absent if it must not be asked.
    #[serde(default)]
    pub upstream: Option<Upstream>,
    /// Whether the model server is asked depends on how the body is cut.
    #[serde(default)]
    pub asked_or_not: bool,
    /// What the filter may first ask the model server beside the exchange, while the request's headers wait. Once it has
    /// been answered, a host need not ask again.
    #[serde(default)]
    pub call: Option<FirstCall>,
    /// What the model server answers.
    #[serde(default)]
    pub answer: Option<Answer>,
    /// What the client must get.
    pub expect: Expect,
    /// What it must get instead where the flag is not set.
    #[serde(default)]
    pub expect_wasm: Option<Expect>,
    /// What it must get instead where the flag is set.
    #[serde(default)]
    pub expect_wasm_hold: Option<Expect>,
    /// What it must get instead natively.
    #[serde(default)]
    pub expect_native: Option<Expect>,
    /// Judges the outcome where the fields above cannot describe it.
    #[serde(skip)]
    pub(crate) judge: Option<Judge>,
}

/// Compares the outcome in a column with the right one, and says how it differs.
#[derive(Clone)]
pub(crate) struct Judge(pub(crate) Arc<Judgement>);

/// Says how an outcome in a column differs from the right one.
pub(crate) type Judgement = dyn Fn(Column, &Outcome) -> Result<(), String> + Send + Sync;

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Judge")
    }
}

/// A column of the table of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Column {
    /// proxy-wasm as a `WasmPlugin` loads it.
    Wasm,
    /// proxy-wasm with `allow_on_headers_stop_iteration: true`.
    WasmHold,
    /// The dynamic module.
    Native,
}

/// What the client sends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, query included.
    pub path: String,
    /// Headers besides `:method`, `:path`, `:scheme` and `:authority`.
    #[serde(default)]
    pub headers: Pairs,
    /// The body.
    #[serde(flatten)]
    pub body: Body,
    /// Trailers.
    #[serde(default)]
    pub trailers: Pairs,
}

/// A body, in one of several notations; none of them is an empty body.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Body {
    /// As text.
    pub body: Option<String>,
    /// As hexadecimal digits; white space is skipped, and `(00 7f)*3` is `00 7f` three times. Comes after the text if
    /// both are given.
    pub body_hex: Option<String>,
    /// As they are, for cases that a program makes. They come last.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// What the model server must see.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The gRPC path; also says which message `message` is.
    pub rpc: String,
    /// The pairs by which the load balancer must pick an endpoint: natively its metadata, in wasm the property
    /// `dynamic_subset`. Not seen in real Envoy.
    #[serde(default)]
    pub subset: Option<Pairs>,
    /// The path that the server sees, where it is not the gRPC path.
    #[serde(default)]
    pub path: Option<String>,
    /// Headers that must be there, exactly once each.
    #[serde(default)]
    pub headers: Pairs,
    /// Headers that must not be there.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Trailers that must be there, exactly once each.
    #[serde(default)]
    pub trailers: Pairs,
    /// Trailers that must not be there.
    #[serde(default)]
    pub absent_trailers: Vec<String>,
    /// The message in protobuf's text format; compared byte by byte with its canonical encoding.
    #[serde(default)]
    pub message: Option<String>,
    /// The message in hexadecimal digits.
    #[serde(default)]
    pub message_hex: Option<String>,
    /// The body as it is, where the filter did not make it.
    #[serde(default)]
    pub body: Option<String>,
}

/// What the model server answers: HTTP status and headers, then data, then trailers, each if given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The HTTP status.
    #[serde(default = "ok")]
    pub http_status: u16,
    /// Headers; `content-type: application/grpc` if absent.
    #[serde(default = "grpc_headers")]
    pub headers: Pairs,
    /// A framed message in protobuf's text format, of the type that `upstream.rpc` answers with.
    #[serde(default)]
    pub message: Option<String>,
    /// A framed message in hexadecimal digits.
    #[serde(default)]
    pub message_hex: Option<String>,
    /// Framed messages of a stream, each as `message` is; for `ModelStreamInfer` as for `ModelInfer`.
    #[serde(default)]
    pub messages: Vec<String>,
    /// Framed messages of a stream, each as `message_hex` is. They come behind the others.
    #[serde(default)]
    pub messages_hex: Vec<String>,
    /// Each of `messages` is the `infer_response` of a Triton's `ModelStreamInferResponse`.
    #[serde(default)]
    pub wrapped: bool,
    /// The data come in one piece, where what they come to may depend on that.
    #[serde(default)]
    pub whole: bool,
    /// Data as they are, without a frame.
    #[serde(flatten)]
    pub body: Body,
    /// Trailers; `grpc-status: 0` if absent. An empty list ends the stream with the data, or with the headers if
    /// there are no data.
    #[serde(default)]
    pub trailers: Option<Pairs>,
    /// The stream is reset once everything else has been sent.
    #[serde(default)]
    pub reset: bool,
}

/// What a filter asks the model server beside the exchange, and what it is answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstCall {
    /// The gRPC path; also says which messages these are.
    pub rpc: String,
    /// The request's message in protobuf's text format.
    pub message: String,
    /// The answer's message in protobuf's text format, with `grpc-status: 0` behind it.
    #[serde(default)]
    pub answer: Option<String>,
    /// Headers of an answer that has nothing else: an error.
    #[serde(default)]
    pub error: Pairs,
    /// Headers that the call must not have.
    #[serde(default)]
    pub absent: Vec<String>,
}

/// What the client must get.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The HTTP status; `None` if the only certain thing is that the stream is cut.
    #[serde(default)]
    pub status: Option<u16>,
    /// Headers that must be there, exactly once each.
    #[serde(default)]
    pub headers: Pairs,
    /// Headers and trailers that must not be there.
    #[serde(default)]
    pub absent: Vec<String>,
    /// How the body is encoded, which the header `content-encoding` must say: `gzip` or `deflate`. The body is compared once
    /// it is decoded.
    #[serde(default)]
    pub encoding: Option<String>,
    /// The body has the id of a completion of OpenAI's and the time when it was asked for, the same wherever they stand. They are
    /// compared as `cmpl-0` and `0`.
    #[serde(default)]
    pub stamped: bool,
    /// The whole body.
    #[serde(flatten)]
    pub body: Body,
    /// The stream is cut, and the client can tell.
    #[serde(default)]
    pub reset: bool,
}

/// A case that cannot be read.
#[derive(Debug)]
pub struct LoadError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl std::error::Error for LoadError {}

/// Reads every `*.toml` below `dir`, in the order of their paths. A case's name is its path below `dir`.
///
/// # Errors
/// A file or folder cannot be read, or a file is not a case.
pub fn load_dir(dir: &Path) -> Result<Vec<Case>, LoadError> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort();
    files.iter().map(|file| load(dir, file)).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    let failed = |error: std::io::Error| LoadError { file: dir.to_owned(), reason: error.to_string() };
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

fn load(dir: &Path, file: &Path) -> Result<Case, LoadError> {
    let error = |reason: String| LoadError { file: file.to_owned(), reason };
    let text = std::fs::read_to_string(file).map_err(|reason| error(reason.to_string()))?;
    let name = file.strip_prefix(dir).unwrap_or(file).with_extension("");
    Case::parse(&name.to_string_lossy(), &text).map_err(error)
}

/// The cases of `test-harness/cases`, as [`load_dir`] reads them, but compiled into this crate: for tests
/// that also run where there are no files, in a browser or in Node.
///
/// # Errors
/// A file is not a case.
pub fn golden_cases() -> Result<Vec<Case>, LoadError> {
    const GOLDEN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/golden_cases.rs"));
    let parse = |&(name, text): &(&str, &str)| {
        Case::parse(name, text)
            .map_err(|reason| LoadError { file: Path::new(name).with_extension("toml"), reason })
    };
    GOLDEN.iter().map(parse).collect()
}

impl Case {
    /// Reads a case from TOML.
    ///
    /// # Errors
    /// The text is not a case.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut case: Self = toml::from_str(text).map_err(|reason| reason.to_string())?;
        case.name = name.to_owned();
        if case.columns.len() < Column::ALL.len() && case.left_out_because.is_none() {
            return Err("columns are left out, but left_out_because does not say why".to_owned());
        }
        case.upstream_message()?;
        case.answer_data()?;
        if let Some(call) = &case.call {
            call.parts()?;
        }
        Ok(case)
    }

    /// The filter's configuration in a column, as JSON.
    #[must_use]
    pub fn config_in(&self, column: Column) -> String {
        let config = self.config.trim();
        let key = match self.filter.as_str() {
            "kserve_transcoder" => "hold_response_headers",
            "dynamic_subset" => "hold_request_headers",
            _ => return config.to_owned(),
        };
        match (column, config.strip_prefix('{')) {
            (Column::WasmHold, Some(rest)) if rest.trim_start().starts_with('}') => {
                format!(r#"{{"{key}": true}}"#)
            }
            (Column::WasmHold, Some(rest)) => format!(r#"{{"{key}": true, {rest}"#),
            _ => config.to_owned(),
        }
    }

    /// What the client must get in a column.
    #[must_use]
    pub fn expect_in(&self, column: Column) -> &Expect {
        let own = match column {
            Column::Wasm => &self.expect_wasm,
            Column::WasmHold => &self.expect_wasm_hold,
            Column::Native => &self.expect_native,
        };
        own.as_ref().unwrap_or(&self.expect)
    }

    /// The message that the server must see, without its frame, if the case says.
    ///
    /// # Errors
    /// The notation is wrong.
    pub fn upstream_message(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(upstream) = &self.upstream else { return Ok(None) };
        match (&upstream.message, &upstream.message_hex) {
            (Some(text), _) => encode(&upstream.rpc, Side::Input, text).map(Some),
            (None, Some(hex)) => unhex(hex).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The data that the server answers with.
    ///
    /// # Errors
    /// The notation is wrong.
    pub fn answer_data(&self) -> Result<Vec<u8>, String> {
        let Some(answer) = &self.answer else { return Ok(Vec::new()) };
        let rpc = self.upstream.as_ref().map_or("", |upstream| &upstream.rpc);
        let mut data = match (&answer.message, &answer.message_hex) {
            (Some(text), _) => crate::frame(&encode(rpc, Side::Output, text)?),
            (None, Some(hex)) => crate::frame(&unhex(hex)?),
            (None, None) => Vec::new(),
        };
        for text in &answer.messages {
            let message = encode(rpc, Side::Output, text)?;
            data.extend(crate::frame(&if answer.wrapped { wrap(&message) } else { message }));
        }
        for hex in &answer.messages_hex {
            data.extend(crate::frame(&unhex(hex)?));
        }
        data.extend(answer.body.bytes()?);
        Ok(data)
    }
}

impl FirstCall {
    /// The answer.
    ///
    /// # Errors
    /// The notation of its message is wrong.
    pub fn parts(&self) -> Result<Vec<Part>, String> {
        let mut headers = to_headers(&grpc_headers());
        headers.insert(0, (b":status".to_vec(), b"200".to_vec()));
        let Some(message) = &self.answer else {
            headers.extend(to_headers(&self.error));
            return Ok(vec![Part::Headers { headers, end: true }]);
        };
        let bytes = crate::frame(&encode(&self.rpc, Side::Output, message)?);
        let trailers = to_headers(&vec![("grpc-status".to_owned(), "0".to_owned())]);
        Ok(vec![
            Part::Headers { headers, end: false },
            Part::Data { bytes, end: false },
            Part::Trailers(trailers),
        ])
    }

    /// Whether a request is this call. An error says what is wrong with it.
    ///
    /// # Errors
    /// It is, but has other headers or another message.
    pub fn is(&self, headers: &Headers, body: &[u8]) -> Result<bool, String> {
        let is_path = |(name, value): &(Vec<u8>, Vec<u8>)| name == b":path" && value == self.rpc.as_bytes();
        if !headers.iter().any(is_path) {
            return Ok(false);
        }
        let has = |wanted: &String| headers.iter().any(|(name, _)| name == wanted.as_bytes());
        if let Some(name) = self.absent.iter().find(|name| has(name)) {
            return Err(format!("the call must not have the header {name}"));
        }
        let expected = crate::frame(&encode(&self.rpc, Side::Input, &self.message)?);
        match body == expected {
            true => Ok(true),
            false => Err(format!("the call must have the body {expected:02x?}, not {body:02x?}")),
        }
    }
}

impl Answer {
    /// How its data are cut.
    pub(crate) fn chunking(&self, chunking: Chunking) -> Chunking {
        if self.whole { Chunking::Whole } else { chunking }
    }

    /// The trailers; `None` if the stream ends without them.
    #[must_use]
    pub fn trailers(&self) -> Option<Pairs> {
        match &self.trailers {
            None => Some(vec![("grpc-status".to_owned(), "0".to_owned())]),
            Some(trailers) if trailers.is_empty() => None,
            Some(trailers) => Some(trailers.clone()),
        }
    }
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wasm, Self::WasmHold, Self::Native];

    /// Its name in a case's `columns` and in test names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::WasmHold => "wasm-hold",
            Self::Native => "native",
        }
    }
}

impl Body {
    /// Its bytes.
    ///
    /// # Errors
    /// Something is not a hexadecimal digit, or their number is odd.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = self.body.clone().unwrap_or_default().into_bytes();
        bytes.extend(unhex(self.body_hex.as_deref().unwrap_or_default())?);
        bytes.extend(&self.bytes);
        Ok(bytes)
    }
}

/// Reads pairs of hexadecimal digits; white space between them is skipped. `(00 7f)*3` stands for what is in the
/// parentheses, three times.
fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let Some((before, rest)) = text.split_once('(') else { return unhex_pairs(text) };
    let (repeated, rest) = rest.split_once(")*").ok_or("a parenthesis without )* behind it")?;
    let digits = rest.len() - rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    let (times, rest) = rest.split_at(digits);
    let times = times.parse().map_err(|_| format!("{times:?} is not a number of times"))?;
    Ok([unhex_pairs(before)?, unhex_pairs(repeated)?.repeat(times), unhex(rest)?].concat())
}

fn unhex_pairs(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|char| !char.is_whitespace())
        .map(|char| char.to_digit(16).ok_or_else(|| format!("{char:?} is not a hexadecimal digit")))
        .collect::<Result<_, _>>()?;
    if digits.len() % 2 == 1 {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

fn transcoder() -> String {
    "kserve_transcoder".to_owned()
}

fn empty_object() -> String {
    "{}".to_owned()
}

fn all_columns() -> Vec<Column> {
    Column::ALL.to_vec()
}

fn ok() -> u16 {
    200
}

fn grpc_headers() -> Pairs {
    vec![("content-type".to_owned(), "application/grpc".to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn hexadecimal_digits_are_read_in_pairs_with_space_anywhere() {
        assert_eq!(unhex("0a 0B\n7f").unwrap(), [10, 11, 127]);
        assert!(unhex("0").unwrap_err().contains("odd number"));
        assert!(unhex("zz").unwrap_err().contains("'z'"));
    }

    #[test]
    fn what_is_in_parentheses_is_read_as_often_as_is_written_behind_them() {
        assert_eq!(unhex("01 (0a 0B)*2 7f (00)*3").unwrap(), [1, 10, 11, 10, 11, 127, 0, 0, 0]);
        assert!(unhex("(00").unwrap_err().contains("parenthesis"));
        assert!(unhex("(00)*x").unwrap_err().contains("number of times"));
    }
}
