//! The server's answer, as the last filter sees it.

use super::exchange::{Answer, Way};
use super::{Step, refused};
use crate::Error;

/// A gRPC message without a field: its five bytes of prefix.
const EMPTY: [u8; 5] = [0; 5];

/// An answer with a status: a gRPC one if the request has become gRPC.
pub(super) fn of_the_server(status: u16, headers: &[String], way: &mut Way) -> Result<Step, Error> {
    let grpc = way.text("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
    let mut answer = Answer::default();
    let pair = |name: &str, value: String| (name.to_owned(), value.into_bytes());
    if grpc {
        answer.headers = vec![pair(":status", "200".into()), pair("content-type", "application/grpc".into())];
        answer.trailers = vec![pair("grpc-status", status.to_string())];
        if status == 0 {
            answer.body = EMPTY.to_vec();
        }
    } else {
        if !(100..=599).contains(&status) {
            return Err(refused(
                "--answer",
                format!("{status} is not an HTTP status, and the request is not gRPC"),
            ));
        }
        answer.headers = vec![pair(":status", status.to_string())];
    }
    for header in headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| refused("--answer-header", format!("{header:?} is not NAME: VALUE")))?;
        answer.headers.push(pair(&name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let shown = |(name, value): &(String, Vec<u8>)| format!("{name}: {}", String::from_utf8_lossy(value));
    let mut lines: Vec<String> = answer.headers.iter().map(shown).collect();
    lines.extend(answer.trailers.iter().map(|trailer| format!("{} (trailer)", shown(trailer))));
    way.answer = answer;
    Ok(Step { title: "the server's answer".into(), lines })
}
