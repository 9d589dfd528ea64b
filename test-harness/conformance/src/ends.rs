//! An exchange of a case in a host that plays Envoy, driven from both ends.

use proxy_wasm_emulator::{Delivered, Direction, HeaderMap, HttpResponse};
use testkit::{Case, Chunking, Got, Headers, Outcome, Pairs, Part, Seen};

/// The cluster to which every exchange goes.
pub const CLUSTER: &str = "model-server";

/// The two ends of a stream in a host.
pub trait Ends {
    /// The client (`Request`) or the model server (`Response`) sends a part of its message.
    fn send(&self, from: Direction, part: Part);

    /// What the model server (`Request`) or the client (`Response`) has got so far.
    fn delivered(&self, to: Direction) -> Delivered;

    /// Whether the exchange is over.
    fn is_over(&self) -> bool;

    /// The pairs that the load balancer picks an endpoint by.
    fn subset(&self) -> Pairs;

    /// A call that the filter made and that waits for its answer.
    fn call(&self) -> Option<Asked>;

    /// The call is answered.
    fn answer_call(&self, id: u64, response: HttpResponse);
}

/// Gives a part of a message to a host's stream. The streams of the emulator and of the native player name their methods
/// alike; only the latter has no client that goes away, so what happens then is an argument.
#[macro_export]
macro_rules! send_part {
    ($stream:expr, $from:expr, $part:expr, $client_reset:expr) => {{
        use $crate::ends::map;
        let stream = &$stream;
        match ($from, $part) {
            (Direction::Request, Part::Headers { headers, end }) => {
                stream.request_headers(map(headers), end);
            }
            (Direction::Request, Part::Data { bytes, end }) => stream.request_data(bytes, end),
            (Direction::Request, Part::Trailers(trailers)) => {
                stream.request_trailers(map(trailers));
            }
            (Direction::Request, Part::Reset) => $client_reset,
            (Direction::Response, Part::Headers { headers, end }) => {
                stream.response_headers(map(headers), end);
            }
            (Direction::Response, Part::Data { bytes, end }) => stream.response_data(bytes, end),
            (Direction::Response, Part::Trailers(trailers)) => {
                stream.response_trailers(map(trailers));
            }
            (Direction::Response, Part::Reset) => stream.upstream_reset(),
        }
    }};
}

/// A call that a filter made.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The host's number of it.
    pub id: u64,
    /// Request headers.
    pub headers: HeaderMap,
    /// Request body.
    pub body: Vec<u8>,
}

/// Runs a case on a stream.
///
/// # Errors
/// The notation of a body is wrong.
pub fn exchange(stream: &impl Ends, case: &Case, chunking: Chunking) -> Result<Outcome, String> {
    for part in case.request_parts(chunking)? {
        stream.send(Direction::Request, part);
    }
    if let (Some(first), Some(asked)) = (&case.call, stream.call())
        && first.is(&to_headers(&asked.headers), &asked.body)?
    {
        stream.answer_call(asked.id, in_one_piece(first.parts()?)?);
    }
    let mut seen = None;
    if let Some(Asked { id, headers, body }) = stream.call() {
        seen = Some(Seen { headers: to_headers(&headers), body, ..Seen::default() });
        stream.answer_call(id, response(case)?);
    } else {
        // A server that is asked in full answers; one that is cut off in the middle does not.
        if stream.delivered(Direction::Request).ended {
            for part in case.answer_parts(chunking)? {
                if !stream.is_over() {
                    stream.send(Direction::Response, part);
                }
            }
        }
        let upstream = stream.delivered(Direction::Request);
        if let Some(headers) = &upstream.headers {
            seen = Some(Seen {
                headers: to_headers(headers),
                body: upstream.body(),
                subset: Some(stream.subset()),
                trailers: upstream.trailers.as_ref().map(to_headers).unwrap_or_default(),
            });
        }
    }
    Ok(Outcome { seen, got: got(&stream.delivered(Direction::Response)) })
}

/// The case's answer in one piece, as a call gets it.
fn response(case: &Case) -> Result<HttpResponse, String> {
    in_one_piece(case.answer_parts(Chunking::Whole)?)
}

fn in_one_piece(parts: Vec<Part>) -> Result<HttpResponse, String> {
    let mut response = HttpResponse::new(500, "the case has no answer");
    for part in parts {
        match part {
            Part::Headers { headers, .. } => {
                response = HttpResponse::new(200, "");
                response.headers = map(headers);
            }
            Part::Data { bytes, .. } => response.body = bytes,
            Part::Trailers(trailers) => response.trailers = Some(map(trailers)),
            Part::Reset => return Err("a call whose answer is reset is not modelled".to_owned()),
        }
    }
    Ok(response)
}

fn got(delivered: &Delivered) -> Got {
    Got {
        status: delivered.status().unwrap_or_default(),
        headers: delivered.headers.as_ref().map(to_headers).unwrap_or_default(),
        body: delivered.body(),
        trailers: delivered.trailers.as_ref().map(to_headers).unwrap_or_default(),
        reset: delivered.reset || !delivered.ended,
    }
}

/// Headers in the form of hosts.
#[must_use]
pub fn map(headers: Headers) -> HeaderMap {
    headers.into_iter().collect()
}

fn to_headers(map: &HeaderMap) -> Headers {
    map.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}
