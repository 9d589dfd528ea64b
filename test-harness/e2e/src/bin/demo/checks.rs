//! Requests that are sent, shown and checked.

use e2e::{Answer, Body, MlServer, Protocol, Request, send};
use serde_json::Value;
use std::net::SocketAddr;

/// How much of a header's value is shown, in characters.
const LONGEST_VALUE: usize = 32;

/// How many checks ended how.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

/// An inference as a model server got it.
pub(crate) struct Got {
    /// The server's index among those that were asked to look.
    pub(crate) server: usize,
    /// What it printed.
    pub(crate) inference: Value,
}

/// What is wrong with an answer and with what the servers got before it, if anything is.
pub(crate) type Check<'a> = &'a dyn Fn(&Answer, &[Got]) -> Result<(), String>;

impl Checks {
    /// Sends a request, prints what went in, what the servers got and what came out, and checks the answer. `name`
    /// says how a server is called.
    pub(crate) fn show(
        &mut self,
        what: &str,
        address: SocketAddr,
        request: &Request,
        servers: &[&MlServer],
        name: impl Fn(usize) -> String,
        check: Check<'_>,
    ) {
        let seen_before: Vec<usize> = servers.iter().map(|server| server.seen().len()).collect();
        let body = match &request.body {
            Body::Length(pieces) => String::from_utf8_lossy(&pieces.concat()).into_owned(),
            _ => String::new(),
        };
        let headers: String = request.headers.iter().map(shown).collect();
        println!("\n{what}\n  in   {} {} {headers}{body}", request.method, request.path);
        let checked = match send(Protocol::Http1, address, request).and_then(Answer::complete) {
            Ok(answer) => {
                let got = got(servers, &seen_before);
                for Got { server, inference } in &got {
                    let model = inference["model"].as_str().unwrap_or_default();
                    println!("  gRPC {}{model}: {}", name(*server), inference["inputs"]);
                }
                println!("  out  {} {}", answer.status(), answer.text());
                check(&answer, &got)
            }
            Err(error) => Err(error.to_string()),
        };
        self.count(checked);
    }

    /// Counts a check, and prints what is wrong if something is.
    pub(crate) fn count(&mut self, checked: Result<(), String>) {
        match checked {
            Ok(()) => self.passed += 1,
            Err(reason) => {
                self.failed += 1;
                println!("  FAILED: {reason}");
            }
        }
    }
}

/// Whether two pieces of JSON are equal, numbers by value: 8 and 8.0 are the same.
pub(crate) fn same(found: &Value, expected: &Value) -> Result<(), String> {
    let equal = match (found, expected) {
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            found.iter().zip(expected).all(|(found, expected)| same(found, expected).is_ok())
        }
        (Value::Number(found), Value::Number(expected)) => found.as_f64() == expected.as_f64(),
        _ => found == expected,
    };
    if equal { Ok(()) } else { Err(format!("expected {expected}, got {found}")) }
}

/// The body of an answer that has this status.
pub(crate) fn json(answer: &Answer, status: u16) -> Result<Value, String> {
    let body = answer.json().map_err(|error| error.to_string())?;
    match answer.status() == status {
        true => Ok(body),
        false => Err(format!("expected status {status}, got {} {body}", answer.status())),
    }
}

/// Whether an answer is an error in the protocol's form, with this status.
pub(crate) fn is_error(answer: &Answer, status: u16) -> Result<(), String> {
    let body = json(answer, status)?;
    if body["error"].is_string() { Ok(()) } else { Err(format!("expected an error, got {body}")) }
}

/// The headers of a forged request, in words: one that is sent twice is named once.
pub(crate) fn forgery(names: &[&str]) -> String {
    match names {
        [first, second] if first == second => format!("{first}, sent twice"),
        _ => names.join(" and "),
    }
}

fn got(servers: &[&MlServer], seen_before: &[usize]) -> Vec<Got> {
    let mut all = Vec::new();
    for (index, (server, &before)) in servers.iter().zip(seen_before).enumerate() {
        let new = server.seen().into_iter().skip(before);
        all.extend(new.map(|inference| Got { server: index, inference }));
    }
    all
}

/// A header, if it is worth a reader's time; of a token only the beginning.
pub(crate) fn shown((name, value): &(String, Vec<u8>)) -> String {
    let text = String::from_utf8_lossy(value);
    match name.as_str() {
        "content-type" => String::new(),
        _ if text.chars().count() > LONGEST_VALUE => {
            let beginning: String = text.chars().take(LONGEST_VALUE).collect();
            format!("{name}: {beginning}...  ")
        }
        _ => format!("{name}: {text}  "),
    }
}

#[cfg(test)]
mod tests {
    use super::forgery;

    #[test]
    fn a_header_that_is_sent_twice_is_named_once() {
        assert_eq!(forgery(&["user_class"]), "user_class");
        assert_eq!(forgery(&["USER_CLASS", "user-class"]), "USER_CLASS and user-class");
        assert_eq!(forgery(&["user_class", "user_class"]), "user_class, sent twice");
    }
}
