//! A request, from flags, a `curl` command line, or a saved HTTP message.

mod message;

use std::fs;

use super::exchange::Headers;
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
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
}

/// The request that the arguments describe.
pub(super) fn read(options: &Explain) -> Result<Request, Error> {
    match (&options.curl, &options.http, &options.url) {
        (Some(line), None, None) => of_curl(line),
        (None, Some(file), None) => message::read(file),
        (None, None, Some(url)) => {
            let parts = Parts {
                method: options.method.clone(),
                url: Some(url.clone()),
                headers: options.headers.clone(),
                data: options.data.iter().map(|data| (As::Bytes, data.clone())).collect(),
                ..Parts::default()
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
    data: Vec<(As, String)>,
    json: bool,
    /// The line is one of curl's, which has its own way with headers and data.
    curl: bool,
}

/// How curl takes the text of an option for data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    /// As it stands, even where it begins with `@`.
    Text,
    /// `@` names a file, which is sent byte for byte.
    Bytes,
    /// `@` names a file, which loses its line ends and NULs.
    Lines,
}

/// Options of curl without a value that change nothing of a request as the filters see it.
const QUIET: [&str; 29] = [
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
    "--fail-with-body",
    "-N",
    "--no-buffer",
    "-g",
    "--globoff",
    "-4",
    "--ipv4",
    "-6",
    "--ipv6",
    "-#",
    "--progress-bar",
    "--http1.1",
    "--http2",
    "--http2-prior-knowledge",
    "--compressed",
];
/// Options of curl with a value that change nothing of a request.
const WITH_VALUE: [&str; 10] = [
    "-o",
    "--output",
    "-w",
    "--write-out",
    "-m",
    "--max-time",
    "--connect-timeout",
    "--resolve",
    "--retry",
    "--cacert",
];
/// Letters of curl's options that have a value, which may stand right behind them.
const VALUED: &str = "AHXbdmow";

fn of_curl(line: &str) -> Result<Request, Error> {
    let wrong = |reason: String| refused("--curl", reason);
    let words = shell_words::split(&line.replace("\\\n", " ")).map_err(|error| wrong(error.to_string()))?;
    let mut words = words.into_iter();
    if words.next().as_deref() != Some("curl") {
        return Err(wrong("the line does not begin with curl".into()));
    }
    let mut parts = Parts { curl: true, ..Parts::default() };
    while let Some(word) = words.next() {
        for (option, own) in options(&word) {
            let mut value = || {
                own.clone().or_else(|| words.next()).ok_or_else(|| wrong(format!("{option} without a value")))
            };
            match option.as_str() {
                "-X" | "--request" => parts.method = Some(value()?),
                "-H" | "--header" => parts.headers.push(value()?),
                "-d" | "--data" | "--data-ascii" => parts.data.push((As::Lines, value()?)),
                "--data-binary" => parts.data.push((As::Bytes, value()?)),
                "--data-raw" => parts.data.push((As::Text, value()?)),
                "--json" => {
                    parts.json = true;
                    parts.data.push((As::Bytes, value()?));
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
                option if QUIET.contains(&option) => {}
                option if WITH_VALUE.contains(&option) => drop(value()?),
                option if option.starts_with('-') => {
                    return Err(wrong(format!(
                        "the option {option} of curl is not understood: take it out, or use the flags"
                    )));
                }
                _ if parts.url.is_none() => parts.url = Some(option.clone()),
                _ => return Err(wrong(format!("a second URL, {option}"))),
            }
        }
    }
    parts.request("--curl")
}

/// The options of a word, each with the value that stands in it: `-sXPOST` is `-s`, and `-X` with `POST`.
fn options(word: &str) -> Vec<(String, Option<String>)> {
    if word.starts_with("--") {
        return vec![match word.split_once('=') {
            Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        }];
    }
    let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
        return vec![(word.to_owned(), None)];
    };
    let mut found = Vec::new();
    for (at, letter) in letters.char_indices() {
        let value =
            letters.get(at + letter.len_utf8()..).filter(|rest| VALUED.contains(letter) && !rest.is_empty());
        found.push((format!("-{letter}"), value.map(str::to_owned)));
        if value.is_some() {
            break;
        }
    }
    found
}

/// Whether a byte may be in a token (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Parts {
    fn request(self, whose: &str) -> Result<Request, Error> {
        let url = self.url.as_deref().ok_or_else(|| refused(whose, "there is no URL"))?;
        let (scheme, authority, path) = of_url(url).map_err(|why| refused(whose, why))?;
        let (mut headers, unsent) = self.headers(whose)?;
        // What curl adds by itself, unless a header of that name is given, or taken off with `name:`.
        let mut add = |name: &str, value: &str| {
            if !unsent.iter().any(|known| known == name) && !headers.iter().any(|(known, _)| known == name) {
                headers.push((name.to_owned(), value.as_bytes().to_vec()));
            }
        };
        if self.json {
            add("content-type", "application/json");
            add("accept", "application/json");
        } else if self.curl && !self.data.is_empty() {
            add("content-type", "application/x-www-form-urlencoded");
        }
        if unsent.iter().any(|name| name == "host") {
            return Err(refused(
                whose,
                "the header host is taken off: Envoy answers such a request with 400",
            ));
        }
        let host = headers.iter().position(|(name, _)| name == "host").map(|at| headers.remove(at).1);
        let authority = host.map_or(authority, |host| String::from_utf8_lossy(&host).into_owned());
        let body = self.body()?;
        let method = self.method.unwrap_or_else(|| if self.data.is_empty() { "GET" } else { "POST" }.into());
        if !is_name(&method) {
            return Err(refused(
                whose,
                format!("the method {method:?} is not a token, such as GET (RFC 9110, 9.1)"),
            ));
        }
        Ok(Request { method, scheme, authority, path, headers, body })
    }

    /// The headers to send, and the names of those that curl is told not to send.
    fn headers(&self, whose: &str) -> Result<(Headers, Vec<String>), Error> {
        let (mut headers, mut unsent) = (Vec::new(), Vec::new());
        for header in &self.headers {
            let empty = header.trim_end().strip_suffix(';').filter(|_| self.curl && !header.contains(':'));
            let (name, value) = match empty {
                Some(name) => (name, ""),
                None => header
                    .split_once(':')
                    .ok_or_else(|| refused(whose, format!("the header {header:?} is not NAME: VALUE")))?,
            };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            if !is_name(&name) {
                let why = format!("the name of the header {header:?} is not a token (RFC 9110, 5.1)");
                return Err(refused(whose, why));
            }
            if value.contains(['\r', '\n', '\0']) {
                let why =
                    format!("the value of the header {header:?} has a line end or a NUL (RFC 9110, 5.5)");
                return Err(refused(whose, why));
            }
            if self.curl && value.is_empty() && empty.is_none() {
                unsent.push(name);
            } else {
                headers.push((name, value.as_bytes().to_vec()));
            }
        }
        Ok((headers, unsent))
    }

    fn body(&self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        for (index, (how, data)) in self.data.iter().enumerate() {
            // Fields of a form are joined, pieces of JSON are not.
            if index > 0 && !self.json {
                body.push(b'&');
            }
            match data.strip_prefix('@').filter(|_| *how != As::Text) {
                Some(file) => {
                    let read = fs::read(file);
                    let read = read.map_err(|source| input::Error::Io { path: file.to_owned(), source })?;
                    let dropped = |byte: &u8| *how == As::Lines && matches!(byte, b'\r' | b'\n' | 0);
                    body.extend(read.into_iter().filter(|byte| !dropped(byte)));
                }
                None => body.extend_from_slice(data.as_bytes()),
            }
        }
        Ok(body)
    }
}

/// The scheme, the authority and the path with the query of a URL; a scheme left out is `http`, as curl has it.
fn of_url(url: &str) -> Result<(String, String, String), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(format!("the URL {url:?} has the scheme {scheme:?}: http and https are understood"));
    }
    if url.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(format!("the URL {url:?} has a space or a control character: write %20 for a space"));
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(format!(
            "the URL {url:?} has a user in it: give the header that a client makes of it, authorization"
        ));
    }
    // The colons of an IPv6 address are inside brackets.
    let (name, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((name, port)) => (name, Some(port)),
        None => (authority, None),
    };
    if name.is_empty() {
        return Err(format!("the URL {url:?} has no host"));
    }
    if port.is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_err()) {
        return Err(format!("the URL {url:?} has a port that is not a number up to 65535"));
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((scheme, authority.to_owned(), path))
}

/// Whether a text is a token (RFC 9110, 5.6.2).
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_of_curl_is_read_as_a_shell_and_curl_do() {
        let line =
            "curl -sSXPUT 'http://h:8008/v2/models/m/infer?a=b#c' \\\n  -H 'X-A: b c' --json '{\"a\": 1}'";
        let request = of_curl(line).unwrap();
        assert_eq!((request.method.as_str(), request.authority.as_str()), ("PUT", "h:8008"));
        assert_eq!(request.path, "/v2/models/m/infer?a=b");
        assert_eq!(request.body, br#"{"a": 1}"#);
        let headers: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(headers, ["x-a", "content-type", "accept"]);
        assert_eq!(of_curl("curl h").unwrap().path, "/");
        assert_eq!(of_curl("curl h -d a -d b").unwrap().body, b"a&b");
        let request = of_curl("curl -sid '{}' -kXPATCH -sH'a: b' -LsS -w '%{http_code}' h/x").unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PATCH", "/x"));
        assert_eq!((request.body.as_slice(), request.headers[0].0.as_str()), (&b"{}"[..], "a"));
        for (line, reason) in [
            ("wget h", "does not begin with curl"),
            ("curl", "there is no URL"),
            ("curl h --proxy x", "the option --proxy of curl is not understood"),
            ("curl h -H", "-H without a value"),
            ("curl -sZ h", "the option -Z of curl is not understood"),
            ("curl h -sX", "-X without a value"),
            ("curl 'h", "missing closing quote"),
        ] {
            let error = of_curl(line).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn curl_takes_headers_off_and_adds_its_own() {
        let headers = |line: &str| {
            let shown =
                |(name, value): (String, Vec<u8>)| format!("{name}: {}", String::from_utf8_lossy(&value));
            of_curl(line).unwrap().headers.into_iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(headers("curl h -H 'x-a:' -H 'x-b;' -H 'x-c: 1'"), ["x-b: ", "x-c: 1"]);
        assert_eq!(headers("curl h -d a"), ["content-type: application/x-www-form-urlencoded"]);
        assert_eq!(headers("curl h -d a -H 'Content-Type: a/b'"), ["content-type: a/b"]);
        assert_eq!(headers("curl h -d a -H 'Content-Type:'"), [""; 0]);
    }

    #[test]
    fn a_file_of_data_loses_its_line_ends_unless_it_is_binary() {
        let file = std::env::temp_dir().join(format!("explain-data-{}", std::process::id()));
        fs::write(&file, "{\r\n}\n").unwrap();
        let body = |option: &str| of_curl(&format!("curl h {option} @{}", file.display())).unwrap().body;
        assert_eq!(body("-d"), b"{}");
        assert_eq!(body("--data-binary"), b"{\r\n}\n");
        assert_eq!(of_curl("curl h --data-raw @a").unwrap().body, b"@a");
        assert_eq!(of_curl("curl h --json '{' --json '}'").unwrap().body, b"{}");
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_request_that_cannot_be_sent_is_refused() {
        for (line, reason) in [
            ("curl ftp://h/", "the scheme \"ftp\""),
            ("curl h:99999/", "a port that is not a number up to 65535"),
            ("curl ''", "has no host"),
            ("curl 'h/a b'", "write %20 for a space"),
            ("curl http://u:p@h/", "has a user in it"),
            ("curl h -H ': x'", "is not a token"),
            ("curl h -H 'a b: x'", "is not a token"),
            ("curl h -H 'host:'", "the header host is taken off"),
        ] {
            let error = of_curl(line).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
        assert_eq!(of_curl("curl http://[::1]/a").unwrap().authority, "[::1]");
    }
}
