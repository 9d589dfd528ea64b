//! The answer to a request without a body that was sent beside the route, where the host cannot give it one.

use super::headers::{self, http_status, is_grpc, is_of_model};
use super::{TEXT_BYTES, check_length, http_problem, not_grpc, without_grpc_status};
use crate::codec::{Answer, ResponseCodec};
use crate::compressed::{Coding, Encoding, MessageCoding, Press, inflated, inflated_whole, write_rest};
use crate::error_form::ErrorForm;
use crate::frame::Reader;
use crate::problem::Problem;
use crate::status::Status;
use filter_api::{Account, CallEnd, CallFailure, CallResponse, Reply};
use std::borrow::Cow;

/// What Envoy's router answers where its load balancer picks no endpoint.
const NO_ENDPOINT: &str = "no healthy upstream";

/// Makes the reply of a call's end; an error is the reply that says why there is no answer.
pub(crate) fn of_call(
    codec: Box<dyn ResponseCodec>,
    end: CallEnd,
    max_bytes: usize,
    encoding: Encoding,
    errors: &ErrorForm,
    account: &Account,
) -> Result<Reply, Reply> {
    let response = match end {
        CallEnd::Answered(response) => response,
        CallEnd::Failed(failure) => return Err(call_problem(failure).reply_as(errors)),
    };
    if let Some(reply) = passed(&response) {
        return Ok(with_headers(reply, &response));
    }
    match answer(codec, &response, max_bytes, account) {
        Ok(answer) => {
            let mut body = Vec::new();
            let mut reply = Reply::new(answer.status(), "kserve_answer");
            let encoding = match answer.content_type() {
                None => encoding,
                Some(_) => Encoding::Fixed,
            };
            headers::add(
                &mut reply,
                b"content-type",
                answer.content_type().unwrap_or("application/json").as_bytes(),
            );
            let press = match encoding {
                Encoding::Compressed(plan) => Some(Press::new(plan, account.charge())),
                Encoding::Fixed | Encoding::Plain => None,
            };
            let coding = write_rest(press, |out| answer.render(out), &mut body);
            let mut reply = with_headers(reply.body(body), &response);
            headers::encoded_reply(encoding, coding, &mut reply);
            Ok(reply)
        }
        Err(problem) => Err(with_headers(problem.reply_as(errors), &response)),
    }
}

/// The message that a call has been answered with, for the filter itself. Where a host does not tell a call's trailers, as
/// natively, the status that stands in them is not known: a message that is complete counts as a good one.
pub(crate) fn message_of_call<'e>(
    end: &'e CallEnd,
    max_bytes: usize,
    account: &Account,
) -> Result<Cow<'e, [u8]>, Problem> {
    match end {
        CallEnd::Answered(response) => {
            let Message { bytes, is_compressed, .. } = message(response, max_bytes)?;
            match is_compressed {
                false => Ok(Cow::Borrowed(bytes)),
                true => inflated_whole(bytes, coding(response)?, max_bytes, account.charge()).map(Cow::Owned),
            }
        }
        CallEnd::Failed(failure) => Err(call_problem(*failure)),
    }
}

/// Adds the headers that are meant for the client, those of trailing metadata included.
fn with_headers(mut reply: Reply, response: &CallResponse) -> Reply {
    let of_headers = |name: &[u8]| response.headers.iter().any(|(found, _)| found == name);
    let of_trailers = response.trailers.iter().filter(|(name, _)| !of_headers(name));
    for (name, value) in response.headers.iter().chain(of_trailers) {
        if is_of_model(name) {
            headers::add(&mut reply, name, value);
        }
    }
    reply
}

/// A redirect, or an error that is JSON already: what goes to the client as it is, as it does on the route.
fn passed(response: &CallResponse) -> Option<Reply> {
    let content_type = header(response, b"content-type");
    let status = http_status(header(response, b":status"));
    let passes = match status {
        300..=399 => !is_grpc(content_type),
        400..=599 => content_type.starts_with(b"application/json") && !response.body.is_empty(),
        _ => false,
    };
    let mut reply = passes.then(|| Reply::new(status, "kserve_passed").body(response.body.clone()))?;
    if !content_type.is_empty() {
        headers::add(&mut reply, b"content-type", content_type);
    }
    Some(reply)
}

fn header<'r>(response: &'r CallResponse, wanted: &[u8]) -> &'r [u8] {
    response.headers.iter().find(|(name, _)| name == wanted).map_or(&b""[..], |(_, value)| value)
}

fn answer(
    mut codec: Box<dyn ResponseCodec>,
    response: &CallResponse,
    max_bytes: usize,
    account: &Account,
) -> Result<Box<dyn Answer>, Problem> {
    let Message { bytes, is_compressed, has_status } = message(response, max_bytes)?;
    if is_compressed {
        codec = inflated(codec, coding(response)?, max_bytes, account.charge())?;
    }
    codec.write(bytes)?;
    let answer = codec.finish()?;
    if has_status { Ok(answer) } else { Err(Status::missing()) }
}

/// The message of an answer that is not an error.
struct Message<'r> {
    bytes: &'r [u8],
    is_compressed: bool,
    /// The answer says that the call has succeeded.
    has_status: bool,
}

/// How the message of an answer is compressed.
fn coding(response: &CallResponse) -> Result<Coding, Problem> {
    MessageCoding::of(header(response, b"grpc-encoding")).known()
}

fn message(response: &CallResponse, max_bytes: usize) -> Result<Message<'_>, Problem> {
    let content_type = header(response, b"content-type");
    let http_status = http_status(header(response, b":status"));
    if !is_grpc(content_type) {
        let is_text = content_type.is_empty() || content_type.starts_with(b"text/plain");
        let text = &response.body[..response.body.len().min(TEXT_BYTES)];
        let text = if is_text { String::from_utf8_lossy(text) } else { "".into() };
        return Err(match (http_status, text.trim()) {
            (503, text) if text.starts_with(NO_ENDPOINT) => no_endpoint(),
            (400..=599, text) => http_problem(http_status, text),
            _ => not_grpc(http_status, content_type),
        });
    }
    let status = Status::find(&response.trailers).or_else(|| Status::find(&response.headers));
    let has_status = status.is_some();
    if let Some(status) = status.filter(|status| !status.is_ok()) {
        return Err(status.problem());
    }
    if http_status != 200 {
        return Err(without_grpc_status(http_status));
    }
    let mut reader = Reader::default();
    let bytes = reader.take(&response.body)?;
    check_length(&reader, max_bytes)?;
    if let Some(problem) = reader.problem_at_end() {
        return Err(problem);
    }
    Ok(Message { bytes, is_compressed: reader.is_compressed(), has_status })
}

/// The response code details of a call that has found no endpoint.
pub(crate) const WITHOUT_SUBSET: &str = "kserve_call_without_subset";

/// The cluster may well have healthy endpoints: a call has none of the route's metadata, so a cluster that picks a
/// subset by it, and falls back to none, finds no endpoint for the call.
fn no_endpoint() -> Problem {
    let message = "no healthy upstream. A request without a body is sent by a call beside its route, and such a call \
                   finds no subset: if the route's cluster picks endpoints by subset, either give these requests a \
                   body in front of this filter, with the Lua filter of envoy/kserve-transcoder.lua-get.yaml, or use \
                   the native module";
    Problem::new(503, message, WITHOUT_SUBSET)
}

fn call_problem(failure: CallFailure) -> Problem {
    let message = match failure {
        CallFailure::NoEndpoint => return no_endpoint(),
        CallFailure::Refused => "the model server's cluster is not known, or does not accept calls",
        CallFailure::Reset => "the model server could not be reached, or did not answer in time",
    };
    Problem::new(503, message, "kserve_call_failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Envoy's router may answer such a call before it has begun, and the host then has nothing but the failure.
    #[test]
    fn a_call_that_finds_no_endpoint_is_explained_also_where_the_routers_answer_is_lost() {
        let problem = call_problem(CallFailure::NoEndpoint);
        assert_eq!((problem.status, problem.details), (503, "kserve_call_without_subset"));
        assert!(problem.message.contains("such a call finds no subset"), "{}", problem.message);
        assert!(call_problem(CallFailure::Refused).message.contains("cluster is not known"));
    }
}
