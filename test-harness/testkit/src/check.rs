//! Whether what happened is what the case says.

use crate::case::{Case, Column};
use crate::headers::{Headers, Pairs, values};
use crate::message;
use crate::outcome::{Got, Outcome, Seen};
use std::borrow::Cow;
use std::io::Read as _;

impl Case {
    /// Compares an outcome with what the case says for `column`.
    ///
    /// # Errors
    /// What is different, for a person to read.
    pub fn check(&self, column: Column, outcome: &Outcome) -> Result<(), String> {
        if let Some(judge) = &self.judge {
            return judge.0(column, outcome);
        }
        self.check_seen(outcome.seen.as_ref())?;
        self.check_got(column, &outcome.got)
    }

    fn check_seen(&self, seen: Option<&Seen>) -> Result<(), String> {
        let (upstream, seen) = match (&self.upstream, seen) {
            _ if self.asked_or_not => return Ok(()),
            (None, None) => return Ok(()),
            (None, Some(seen)) if seen.body.is_empty() => return Ok(()),
            (None, Some(seen)) => {
                return Err(format!("the model server must not be asked, but saw {seen:?}"));
            }
            (Some(_), None) => return Err("the model server was not asked".to_owned()),
            (Some(upstream), Some(seen)) => (upstream, seen),
        };
        let path = upstream.path.as_ref().unwrap_or(&upstream.rpc);
        check_headers(&[(":path".to_owned(), path.clone())], &seen.headers)?;
        check_headers(&upstream.headers, &seen.headers)?;
        check_absent(&upstream.absent, &seen.headers)?;
        check_headers(&upstream.trailers, &seen.trailers)?;
        check_absent(&upstream.absent_trailers, &seen.trailers)?;
        check_subset(upstream.subset.as_ref(), seen.subset.as_ref())?;
        if let Some(body) = &upstream.body {
            return match seen.body == body.as_bytes() {
                true => Ok(()),
                false => Err(format!(
                    "the server must see {body:?}, not {:?}",
                    String::from_utf8_lossy(&seen.body)
                )),
            };
        }
        let Some(expected) = self.upstream_message()? else { return Ok(()) };
        let found =
            message::unframe(&seen.body).ok_or_else(|| format!("not one gRPC message: {:?}", seen.body))?;
        if found != expected {
            let show = |bytes: &[u8]| message::describe(&upstream.rpc, bytes);
            return Err(format!(
                "the server must see {}\n not {}\n in bytes {expected:02x?}\n not {found:02x?}",
                show(&expected),
                show(found)
            ));
        }
        Ok(())
    }

    fn check_got(&self, column: Column, got: &Got) -> Result<(), String> {
        let expect = self.expect_in(column);
        let body = || String::from_utf8_lossy(&got.body).into_owned();
        if got.reset != expect.reset {
            let word = if expect.reset { "be cut" } else { "end" };
            return Err(format!("the answer must {word}: status {}, body {:?}", got.status, body()));
        }
        if let Some(status) = expect.status.filter(|status| *status != got.status) {
            return Err(format!("the status must be {status}, not {}; body {:?}", got.status, body()));
        }
        check_headers(&expect.headers, &got.headers)?;
        check_absent(&expect.absent, &got.headers)?;
        check_absent(&expect.absent, &got.trailers)?;
        if expect.reset {
            return Ok(());
        }
        let found = match &expect.encoding {
            None => Cow::Borrowed(&got.body),
            Some(encoding) => {
                check_headers(&[("content-encoding".to_owned(), encoding.clone())], &got.headers)?;
                Cow::Owned(decoded(encoding, &got.body)?)
            }
        };
        let found = if expect.stamped { Cow::Owned(unstamped(&found)?) } else { found };
        let expected = expect.body.bytes()?;
        if *found != expected {
            return Err(format!(
                "the body must be {:?}, not {:?}",
                String::from_utf8_lossy(&expected),
                String::from_utf8_lossy(&found)
            ));
        }
        Ok(())
    }
}

/// A body with what is different in each answer taken out, which must be the same wherever it stands.
fn unstamped(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = String::from_utf8(body.to_vec()).map_err(|error| error.to_string())?;
    for (before, own) in [
        ("\"id\":\"cmpl-", char::is_alphanumeric as fn(char) -> bool),
        ("\"created\":", |c| c.is_ascii_digit()),
    ] {
        let mut parts = text.split(before);
        let mut plain = parts.next().unwrap_or_default().to_owned();
        let mut first = None;
        for part in parts {
            let end = part.find(|c| c != '-' && !own(c)).unwrap_or(part.len());
            let (stamp, rest) = part.split_at(end);
            if stamp.is_empty() || *first.get_or_insert(stamp) != stamp {
                return Err(format!("{before}{stamp} is not the same in all of the body: {text:?}"));
            }
            plain = plain + before + "0" + rest;
        }
        text = plain;
    }
    Ok(text.into_bytes())
}

/// Decodes a body, all of which must be of its encoding.
fn decoded(encoding: &str, mut bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let read = match encoding {
        "gzip" => flate2::bufread::GzDecoder::new(&mut bytes).read_to_end(&mut body),
        "deflate" => flate2::bufread::ZlibDecoder::new(&mut bytes).read_to_end(&mut body),
        other => return Err(format!("a case cannot decode {other:?}")),
    };
    match (read, bytes.len()) {
        (Ok(_), 0) => Ok(body),
        (Ok(_), left) => Err(format!("{left} bytes follow the {encoding} data")),
        (Err(error), _) => Err(format!("the body is not {encoding}: {error}")),
    }
}

fn check_headers(expected: &[(String, String)], found: &Headers) -> Result<(), String> {
    for (name, value) in expected {
        let values: Vec<_> = values(name, found).collect();
        if values != [value.as_bytes()] {
            let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value)).collect();
            return Err(format!("header {name} must be {value:?} once, not {values:?}"));
        }
    }
    Ok(())
}

fn check_absent(names: &[String], found: &Headers) -> Result<(), String> {
    match names.iter().find(|name| values(name, found).next().is_some()) {
        Some(name) => Err(format!("header {name} must be absent")),
        None => Ok(()),
    }
}

/// The order of pairs means nothing to a load balancer.
fn check_subset(expected: Option<&Pairs>, found: Option<&Pairs>) -> Result<(), String> {
    let (Some(mut expected), Some(mut found)) = (expected.cloned(), found.cloned()) else { return Ok(()) };
    expected.sort();
    found.sort();
    if expected == found { Ok(()) } else { Err(format!("the subset must be {expected:?}, not {found:?}")) }
}
