//! A request as an HTTP/1.1 message (RFC 9112), which Envoy would take as well: what it answers with 400 is refused.

use std::io::Read;
use std::path::Path;
use std::{fs, io};

use super::{Request, of_url};
use crate::explain::refused;
use crate::{Error, input};

/// The request in a file, or on standard input.
pub(super) fn read(file: &Path) -> Result<Request, Error> {
    let shown = file.display().to_string();
    let bytes = if shown == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    let bytes = bytes.map_err(|source| input::Error::Io { path: shown.clone(), source })?;
    of(&bytes).map_err(|why| refused(&shown, why))
}

/// Lines that LF alone ends are taken too, as an editor writes them.
fn of(bytes: &[u8]) -> Result<Request, String> {
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut message = httparse::Request::new(&mut headers);
    let length = match message.parse(bytes).map_err(|error| error.to_string())? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => {
            return Err("the head of the message does not end: an empty line is missing".into());
        }
    };
    if message.version == Some(0) {
        return Err(
            "it is HTTP/1.0, which Envoy answers with 426 unless told otherwise: write HTTP/1.1".into()
        );
    }
    let rest = bytes.get(length..).unwrap_or_default();
    let mut headers: Vec<(String, Vec<u8>)> =
        message.headers.iter().map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec())).collect();
    let body = body(&headers, rest)?;
    let mut hosts = headers.iter().filter(|(name, _)| name == "host");
    let host = match (hosts.next(), hosts.next()) {
        (Some((_, host)), None) => String::from_utf8_lossy(host).into_owned(),
        (None, _) => {
            return Err("the header Host is missing, so that the answer is 400 (RFC 9112, 3.2)".into());
        }
        _ => return Err("it has two headers Host, so that the answer is 400 (RFC 9112, 3.2)".into()),
    };
    let target = message.path.unwrap_or("/");
    let (scheme, authority, path) = if target.starts_with('/') || target == "*" {
        ("http".into(), host, target.to_owned())
    } else if target.contains("://") {
        // The absolute form counts more than Host (RFC 9112, 3.2.2).
        of_url(target)?
    } else {
        return Err(format!("the target {target:?} is neither a path nor a URL (RFC 9112, 3.2)"));
    };
    // What belongs to one connection only.
    headers.retain(|(name, _)| {
        !matches!(name.as_str(), "host" | "connection" | "transfer-encoding" | "content-length" | "trailer")
    });
    Ok(Request { method: message.method.unwrap_or("GET").to_owned(), scheme, authority, path, headers, body })
}

/// The body (RFC 9112, 6). Without a length the rest of the file is taken, which helps who writes a message by hand.
fn body(headers: &[(String, Vec<u8>)], rest: &[u8]) -> Result<Vec<u8>, String> {
    let all = |wanted: &str| {
        let found = headers.iter().filter(|(name, _)| name == wanted);
        let values = found.map(|(_, value)| String::from_utf8_lossy(value).trim().to_ascii_lowercase());
        values.collect::<Vec<String>>()
    };
    let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
    let blank = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
    match (codings.as_slice(), lengths.split_first()) {
        ([], None) if blank(rest) => Ok(Vec::new()),
        ([], None) => Ok(rest.to_vec()),
        ([], Some((length, others))) => {
            if others.iter().any(|other| other != length) {
                return Err(format!("it has several lengths, {}: the answer is 400", lengths.join(" and ")));
            }
            let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let number = length.parse::<usize>().ok().filter(|_| digits);
            let number =
                number.ok_or_else(|| format!("Content-Length {length:?} is not a number of bytes"))?;
            match rest.split_at_checked(number) {
                // An editor ends the file with a line end.
                Some((body, more)) if blank(more) => Ok(body.to_vec()),
                Some(_) => {
                    Err(format!("the body has {} bytes, more than Content-Length says: {number}", rest.len()))
                }
                None => Err(format!(
                    "the body has {} bytes, fewer than Content-Length says: {number}",
                    rest.len()
                )),
            }
        }
        (_, Some(_)) => Err(
            "it has both Transfer-Encoding and Content-Length, which Envoy answers with 400: leave one out"
                .into(),
        ),
        ([coding], None) if coding == "chunked" => chunks(rest),
        _ => Err(format!("Transfer-Encoding {} is not understood: chunked is", codings.join(", "))),
    }
}

/// A chunked body (RFC 9112, 7.1), without its extensions and trailers.
fn chunks(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let chunk = line(&mut rest).ok_or("the chunked body is cut off: the length of a chunk is missing")?;
        let size = String::from_utf8_lossy(chunk);
        let size = size.split(';').next().unwrap_or_default().trim();
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = usize::from_str_radix(size, 16).ok().filter(|_| digits);
        let number = number.ok_or_else(|| format!("the length of a chunk, {size:?}, is not hexadecimal"))?;
        if number == 0 {
            break;
        }
        let (data, after) = rest.split_at_checked(number).ok_or_else(|| {
            format!("the chunked body is cut off: a chunk of {number} bytes has {}", rest.len())
        })?;
        body.extend_from_slice(data);
        rest = after;
        match line(&mut rest) {
            Some([]) => {}
            Some(_) => return Err(format!("a chunk has more than the {number} bytes that its length says")),
            None => return Err("the chunked body is cut off: the last chunk, of length 0, is missing".into()),
        }
    }
    loop {
        match line(&mut rest) {
            Some([]) => break,
            Some(_) => {}
            None => return Err("the chunked body is cut off: the empty line at its end is missing".into()),
        }
    }
    if rest.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
        return Err("there is more after the end of the chunked body: one message is read".into());
    }
    Ok(body)
}

/// The next line without its end; `None` if it does not end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = (rest.get(..end)?, rest.get(end + 1..)?);
    *rest = after;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn a_chunked_body_is_put_together() {
        for chunks in [
            "6\r\n{\"inpu\r\n7\r\nts\":[]}\r\n0\r\n\r\n",
            "6;a=b\r\n{\"inpu\r\n7\r\nts\":[]}\r\n0\r\nx: y\r\n\r\n",
            "6\n{\"inpu\n7\nts\":[]}\n0\n\n",
            "D\r\n{\"inputs\":[]}\r\n000\r\n\r\n",
        ] {
            let request = of(format!("{CHUNKED}{chunks}").as_bytes()).unwrap();
            assert_eq!(request.body, b"{\"inputs\":[]}", "{chunks}");
            assert!(request.headers.is_empty());
        }
    }

    #[test]
    fn a_chunked_body_that_is_cut_or_wrong_is_refused() {
        for (chunks, reason) in [
            ("6\r\n{\"inpu\r\n7\r\nts\":", "a chunk of 7 bytes has 4"),
            ("zz\r\n{\"inpu\r\n", "\"zz\", is not hexadecimal"),
            ("1\r\nab\r\n0\r\n\r\n", "more than the 1 bytes"),
            ("1\r\na\r\n", "the length of a chunk is missing"),
            ("1\r\na", "the last chunk, of length 0, is missing"),
            ("0\r\n", "the empty line at its end is missing"),
            ("0\r\n\r\nGET", "there is more after the end"),
        ] {
            let error = of(format!("{CHUNKED}{chunks}").as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{chunks}: {error}");
        }
    }

    #[test]
    fn a_message_that_envoy_answers_with_an_error_is_refused() {
        for (message, reason) in [
            ("POST /p HTTP/1.1\r\n\r\n", "Host is missing"),
            ("POST /p HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "two headers Host"),
            ("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n{}", "is not a number of bytes"),
            ("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}", "is not a number of bytes"),
            (
                "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
                "several lengths, 2 and 3",
            ),
            ("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{}", "fewer than Content-Length"),
            ("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{}", "more than Content-Length"),
            ("POST /p HTTP/1.0\r\nHost: a\r\n\r\n", "HTTP/1.0"),
            (
                "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "both Transfer-Encoding and Content-Length",
            ),
            ("POST p HTTP/1.1\r\nHost: a\r\n\r\n", "neither a path nor a URL"),
        ] {
            let error = of(message.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{message}: {error}");
        }
    }

    #[test]
    fn the_absolute_form_has_the_host_and_the_path() {
        let request =
            of(b"POST http://other:8008/v2/x?a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}\n")
                .unwrap();
        assert_eq!((request.authority.as_str(), request.path.as_str()), ("other:8008", "/v2/x?a"));
        assert_eq!(request.body, b"{}");
    }
}
