//! Calls to clusters: starting one, and reading how it ended.

use crate::memory::memory;
use crate::voice::Voice;
use filter_api::{Call, CallEnd, CallFailure, CallResponse, Level};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, Status};
use std::time::Duration;

/// The ABI counts milliseconds in 32 bits, and 0 means no limit at all.
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);
const MOST_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// Starts a call, or says why it cannot be started.
pub(crate) fn dispatch(call: &Call, voice: &Voice) -> Result<u32, CallFailure> {
    let mut headers = Vec::with_capacity(call.headers.len());
    for (name, value) in &call.headers {
        // The SDK takes text only.
        let Ok(value) = std::str::from_utf8(value) else {
            voice.count_dropped();
            voice
                .log(Level::Warn, format_args!("dropped: {name} of a call to {:?}: not UTF-8", call.cluster));
            continue;
        };
        headers.push((name.as_str(), value));
    }
    let body = Some(call.body.as_slice()).filter(|body| !body.is_empty());
    let timeout = call.timeout.clamp(LEAST_TIMEOUT, MOST_TIMEOUT);
    hostcalls::dispatch_http_call(&call.cluster, headers, body, Vec::new(), timeout).map_err(|status| {
        let why = reason(status);
        voice.log(Level::Warn, format_args!("a call to the cluster {:?} was refused: {why}", call.cluster));
        failure(status)
    })
}

/// How a call ended whose callback is running; without headers it failed.
pub(crate) fn ended(voice: &Voice, headers: usize, body: usize, trailers: usize) -> CallEnd {
    let mut charge = memory().account(usize::MAX).charge();
    let fits = charge.grow(body).is_ok();
    match headers {
        0 => CallEnd::Failed(CallFailure::Reset),
        _ if !fits => {
            voice.log(Level::Warn, format_args!("no memory for the {body} bytes of an answer"));
            CallEnd::Failed(CallFailure::Reset)
        }
        _ => CallEnd::Answered(response(body, trailers)),
    }
}

fn response(body: usize, trailers: usize) -> CallResponse {
    let map = |map| {
        let pairs = hostcalls::get_map_bytes(map).unwrap_or_default();
        pairs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect()
    };
    let body = match body {
        0 => None,
        _ => hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body).ok().flatten(),
    };
    CallResponse {
        headers: map(MapType::HttpCallResponseHeaders),
        body: body.unwrap_or_default(),
        trailers: if trailers == 0 { Vec::new() } else { map(MapType::HttpCallResponseTrailers) },
    }
}

fn reason(status: Status) -> &'static str {
    match status {
        Status::BadArgument => "it is unknown, or a header is missing",
        _ => "there is no endpoint that could take the call",
    }
}

/// Envoy says `InternalFailure` of a call that its router has answered before `proxy_http_call` returns, which it does
/// where there is no endpoint to ask; the answer itself is lost.
fn failure(status: Status) -> CallFailure {
    match status {
        Status::InternalFailure => CallFailure::NoEndpoint,
        _ => CallFailure::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_without_an_endpoint_for_a_call_is_told_from_an_unknown_one() {
        assert_eq!(failure(Status::InternalFailure), CallFailure::NoEndpoint);
        assert_eq!(failure(Status::BadArgument), CallFailure::Refused);
    }
}
