//! A request, from flags, a `curl` command line, or a saved HTTP message.

use std::fs;
use std::path::Path;

use super::refused;
use crate::arguments::Explain;
use crate::{Error, input};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) scheme: String,
    pub(super) authority: String,
    /// With the query.
    pub(super) path: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

/// The request that the arguments describe.
pub(super) fn read(options: &Explain) -> Result<Request, Error> {
    match (&options.curl, &options.http, &options.url) {
        (Some(line), None, None) => of_curl(line),
        (None, Some(file), None) => of_message(file),
        (None, None, Some(url)) => {
            let parts = Parts {
                method: options.method.clone(),
                url: Some(url.clone()),
                headers: options.headers.clone(),
                data: options.data.clone().into_iter().collect(),
                json: false,
            };
            parts.request("the request")
        }
        _ => Err(refused("the request", "give either a URL, --curl or --http")),
    }
}

/// What a command line says of a request.
#[derive(Default)]
struct Parts {
    method: Option<String>,
    url: Option<String>,
    headers: Vec<String>,
    data: Vec<String>,
    json: bool,
}

/// Options of curl without a value that change nothing of a request.
const QUIET: [&str; 16] = [
    "-s",
    "--silent",
    "-S",
    "--show-error",
    "-i",
    "--include",
    "-v",
    "--verbose",
    "-k",
    "--insecure",
    "-L",
    "--location",
    "-f",
    "--fail",
    "-N",
    "--no-buffer",
];
/// Options of curl for a version of HTTP or for compression, without a value.
const TRANSPORT: [&str; 6] =
    ["--http1.1", "--http2", "--http2-prior-knowledge", "--compressed", "-sS", "-si"];
/// Options of curl with a value that change nothing of a request.
const WITH_VALUE: [&str; 8] =
    ["-o", "--output", "-w", "--write-out", "-m", "--max-time", "--connect-timeout", "--resolve"];

fn of_curl(line: &str) -> Result<Request, Error> {
    let wrong = |reason: String| refused("--curl", reason);
    let words = shell_words::split(&line.replace("\\\n", " ")).map_err(|error| wrong(error.to_string()))?;
    let mut words = words.into_iter();
    if words.next().as_deref() != Some("curl") {
        return Err(wrong("the line does not begin with curl".into()));
    }
    let mut parts = Parts::default();
    while let Some(word) = words.next() {
        let (option, own) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option.to_owned(), Some(value.to_owned())),
            _ => (word.clone(), None),
        };
        // -XPOST and -Hname: value.
        let (option, own) = match word.get(..2) {
            Some(short @ ("-X" | "-H" | "-d")) if word.len() > 2 => {
                (short.to_owned(), word.get(2..).map(str::to_owned))
            }
            _ => (option, own),
        };
        let mut value =
            || own.clone().or_else(|| words.next()).ok_or_else(|| wrong(format!("{option} without a value")));
        match option.as_str() {
            "-X" | "--request" => parts.method = Some(value()?),
            "-H" | "--header" => parts.headers.push(value()?),
            "-d" | "--data" | "--data-binary" | "--data-ascii" => parts.data.push(value()?),
            "--data-raw" => {
                let data = value()?;
                if data.starts_with('@') {
                    return Err(wrong("--data-raw with a text that begins with @: use --http".into()));
                }
                parts.data.push(data);
            }
            "--json" => {
                parts.json = true;
                parts.data.push(value()?);
            }
            "-b" | "--cookie" => {
                let cookie = value()?;
                parts.headers.push(format!("cookie: {cookie}"));
            }
            "-A" | "--user-agent" => {
                let agent = value()?;
                parts.headers.push(format!("user-agent: {agent}"));
            }
            "-I" | "--head" => parts.method = Some("HEAD".into()),
            "--url" => parts.url = Some(value()?),
            option if QUIET.contains(&option) || TRANSPORT.contains(&option) => {}
            option if WITH_VALUE.contains(&option) => drop(value()?),
            option if option.starts_with('-') => {
                return Err(wrong(format!(
                    "the option {option} of curl is not understood: take it out, or use the flags"
                )));
            }
            _ if parts.url.is_none() => parts.url = Some(word),
            _ => return Err(wrong(format!("a second URL, {word}"))),
        }
    }
    parts.request("--curl")
}

/// Whether a byte may be in a token (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Parts {
    fn request(self, whose: &str) -> Result<Request, Error> {
        let url = self.url.ok_or_else(|| refused(whose, "there is no URL"))?;
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let mut body = Vec::new();
        for (index, data) in self.data.iter().enumerate() {
            if index > 0 {
                body.push(b'&');
            }
            match data.strip_prefix('@') {
                Some(file) => {
                    let read = fs::read(file);
                    body.extend(read.map_err(|source| input::Error::Io { path: file.to_owned(), source })?);
                }
                None => body.extend_from_slice(data.as_bytes()),
            }
        }
        let mut headers = Vec::new();
        for header in &self.headers {
            let (name, value) = header
                .split_once(':')
                .ok_or_else(|| refused(whose, format!("the header {header:?} is not NAME: VALUE")))?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().as_bytes().to_vec()));
        }
        let has = |name: &str, headers: &[(String, Vec<u8>)]| headers.iter().any(|(known, _)| known == name);
        if self.json && !has("content-type", &headers) {
            headers.push(("content-type".into(), b"application/json".to_vec()));
        }
        let host = headers.iter().position(|(name, _)| name == "host").map(|at| headers.remove(at).1);
        let authority =
            host.map_or_else(|| authority.to_owned(), |host| String::from_utf8_lossy(&host).into_owned());
        let method = self.method.unwrap_or_else(|| if self.data.is_empty() { "GET" } else { "POST" }.into());
        if method.is_empty() || !method.bytes().all(is_token) {
            return Err(refused(
                whose,
                format!("the method {method:?} is not a token, such as GET (RFC 9110, 9.1)"),
            ));
        }
        Ok(Request { method, scheme: scheme.to_owned(), authority, path, headers, body })
    }
}

/// An HTTP/1.1 request as it is on the wire, lines ended by LF taken too.
fn of_message(file: &Path) -> Result<Request, Error> {
    let shown = file.display().to_string();
    let bytes = fs::read(file).map_err(|source| input::Error::Io { path: shown.clone(), source })?;
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut message = httparse::Request::new(&mut headers);
    let length = match message.parse(&bytes).map_err(|error| refused(&shown, error))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => {
            return Err(refused(&shown, "the head of the message does not end: an empty line is missing"));
        }
    };
    let mut found: Vec<(String, Vec<u8>)> =
        message.headers.iter().map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec())).collect();
    let host = found.iter().position(|(name, _)| name == "host").map(|at| found.remove(at).1);
    // What belongs to one connection only.
    found.retain(|(name, _)| !matches!(name.as_str(), "connection" | "transfer-encoding" | "content-length"));
    Ok(Request {
        method: message.method.unwrap_or("GET").to_owned(),
        scheme: "http".into(),
        authority: host.map(|host| String::from_utf8_lossy(&host).into_owned()).unwrap_or_default(),
        path: message.path.unwrap_or("/").to_owned(),
        headers: found,
        body: bytes.get(length..).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_of_curl_is_read_as_a_shell_and_curl_do() {
        let line =
            "curl -sS -XPUT 'http://h:8008/v2/models/m/infer?a=b#c' \\\n  -H 'X-A: b c' --json '{\"a\": 1}'";
        let request = of_curl(line).unwrap();
        assert_eq!((request.method.as_str(), request.authority.as_str()), ("PUT", "h:8008"));
        assert_eq!(request.path, "/v2/models/m/infer?a=b");
        assert_eq!(request.body, br#"{"a": 1}"#);
        let headers: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(headers, ["x-a", "content-type"]);
        assert_eq!(of_curl("curl h").unwrap().path, "/");
        assert_eq!(of_curl("curl h -d a -d b").unwrap().body, b"a&b");
        for (line, reason) in [
            ("wget h", "does not begin with curl"),
            ("curl", "there is no URL"),
            ("curl h --proxy x", "the option --proxy of curl is not understood"),
            ("curl h -H", "-H without a value"),
            ("curl 'h", "missing closing quote"),
        ] {
            let error = of_curl(line).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
