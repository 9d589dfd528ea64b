//! The form of a case: one exchange, in a TOML file. The README describes it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Header names and values, in order.
pub(crate) type Pairs = Vec<(String, String)>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) story: String,
    #[serde(default)]
    pub(crate) filter: Option<String>,
    #[serde(default)]
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) root_id: String,
    #[serde(default)]
    pub(crate) properties: Pairs,
    #[serde(default)]
    columns: Option<Vec<String>>,
    #[serde(default)]
    #[allow(dead_code, reason = "for people")]
    left_out_because: Option<String>,
    pub(crate) request: Request,
    #[serde(default)]
    pub(crate) upstream: Option<Upstream>,
    #[serde(default)]
    pub(crate) asked_or_not: bool,
    #[serde(default)]
    pub(crate) calls: Vec<Answered>,
    #[serde(default)]
    pub(crate) answer: Option<Answer>,
    expect: Expect,
    #[serde(default)]
    expect_wasm: Option<Expect>,
    #[serde(default)]
    expect_wasm_hold: Option<Expect>,
    #[serde(default)]
    #[allow(dead_code, reason = "for hosts that do not run wasm")]
    expect_native: Option<Expect>,
}

/// What the client sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: Pairs,
    #[serde(flatten)]
    pub(crate) body: Body,
    #[serde(default)]
    pub(crate) trailers: Pairs,
}

/// A body: text, then hexadecimal digits.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Body {
    body: Option<String>,
    body_hex: Option<String>,
}

/// What the upstream must see.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    #[serde(default)]
    rpc: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    #[allow(dead_code, reason = "where the load balancer looks depends on the filter")]
    subset: Option<Pairs>,
    #[serde(default)]
    pub(crate) headers: Pairs,
    #[serde(default)]
    pub(crate) absent: Vec<String>,
    #[serde(default)]
    pub(crate) trailers: Pairs,
    #[serde(default)]
    pub(crate) absent_trailers: Vec<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    message_hex: Option<String>,
    #[serde(flatten)]
    body: Body,
}

/// What is answered to a call that the filter makes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answered {
    pub(crate) cluster: String,
    #[serde(default)]
    pub(crate) path: Option<String>,
    #[serde(default = "ok")]
    pub(crate) http_status: u16,
    #[serde(default)]
    pub(crate) headers: Pairs,
    #[serde(flatten)]
    pub(crate) body: Body,
    #[serde(default)]
    pub(crate) trailers: Pairs,
    #[serde(default)]
    pub(crate) fails: bool,
}

/// What the upstream answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    #[serde(default = "ok")]
    pub(crate) http_status: u16,
    #[serde(default = "grpc_headers")]
    pub(crate) headers: Pairs,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    message_hex: Option<String>,
    #[serde(default)]
    messages: Vec<String>,
    #[serde(default)]
    messages_hex: Vec<String>,
    /// Only together with `messages`.
    #[serde(default, rename = "wrapped")]
    _wrapped: bool,
    /// Here they always do.
    #[serde(default, rename = "whole")]
    _whole: bool,
    #[serde(flatten)]
    body: Body,
    #[serde(default = "grpc_trailers")]
    pub(crate) trailers: Pairs,
    #[serde(default)]
    pub(crate) reset: bool,
}

/// What the client must get.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) headers: Pairs,
    #[serde(default)]
    pub(crate) absent: Vec<String>,
    #[serde(flatten)]
    pub(crate) body: Body,
    #[serde(default)]
    pub(crate) reset: bool,
}

fn ok() -> u16 {
    200
}

fn grpc_headers() -> Pairs {
    vec![("content-type".to_owned(), "application/grpc".to_owned())]
}

fn grpc_trailers() -> Pairs {
    vec![("grpc-status".to_owned(), "0".to_owned())]
}

/// Reads every `*.toml` below a folder, in the order of their paths.
pub(crate) fn load(folder: &Path) -> Result<Vec<Case>, String> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    files.iter().map(|file| read(folder, file).map_err(|why| format!("{}: {why}", file.display()))).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(folder: &Path, file: &Path) -> Result<Case, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let mut case: Case = toml::from_str(&text).map_err(|error| error.to_string())?;
    case.name = file.strip_prefix(folder).unwrap_or(file).with_extension("").to_string_lossy().into_owned();
    case.request.body.bytes()?;
    Ok(case)
}

impl Case {
    /// Whether it runs with or without `allow_on_headers_stop_iteration`.
    pub(crate) fn runs(&self, hold: bool) -> bool {
        let column = if hold { "wasm-hold" } else { "wasm" };
        self.columns.as_ref().is_none_or(|columns| columns.iter().any(|named| named == column))
    }

    /// Whether it has a message in protobuf's text format, which cannot be read without descriptors.
    pub(crate) fn needs_descriptors(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| upstream.message.is_some())
            || self
                .answer
                .as_ref()
                .is_some_and(|answer| answer.message.is_some() || !answer.messages.is_empty())
    }

    pub(crate) fn expect(&self, hold: bool) -> &Expect {
        let own = if hold { &self.expect_wasm_hold } else { &self.expect_wasm };
        own.as_ref().unwrap_or(&self.expect)
    }
}

impl Upstream {
    pub(crate) fn path(&self) -> Option<&str> {
        self.path.as_deref().or(self.rpc.as_deref())
    }

    /// The body that must be seen, if the case says.
    pub(crate) fn body(&self) -> Result<Option<Vec<u8>>, String> {
        match &self.message_hex {
            Some(hex) => Ok(Some(frame(&unhex(hex)?))),
            None if self.body.is_given() => self.body.bytes().map(Some),
            None => Ok(None),
        }
    }
}

impl Answer {
    pub(crate) fn data(&self) -> Result<Vec<u8>, String> {
        let mut data = match &self.message_hex {
            Some(hex) => frame(&unhex(hex)?),
            None => Vec::new(),
        };
        for hex in &self.messages_hex {
            data.extend(frame(&unhex(hex)?));
        }
        data.extend(self.body.bytes()?);
        Ok(data)
    }
}

impl Body {
    fn is_given(&self) -> bool {
        self.body.is_some() || self.body_hex.is_some()
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = self.body.clone().unwrap_or_default().into_bytes();
        bytes.extend(unhex(self.body_hex.as_deref().unwrap_or_default())?);
        Ok(bytes)
    }
}

/// A gRPC message with the five bytes in front.
fn frame(message: &[u8]) -> Vec<u8> {
    [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat()
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.chars().filter(|char| !char.is_whitespace());
    let digits =
        digits.map(|char| char.to_digit(16).ok_or_else(|| format!("{char:?} is not a hexadecimal digit")));
    let digits = digits.collect::<Result<Vec<u32>, _>>()?;
    if digits.len() % 2 == 1 {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}
