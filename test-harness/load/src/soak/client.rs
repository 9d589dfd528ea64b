//! One client: a connection that is used again and again, and how each request ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::hostile::{Hostile, Random};
use e2e::uploads::{Form, Upload};
use e2e::{Answer, End, Protocol, Request, h1, h2c};
use testkit::Column;

use crate::Result;
use crate::kind::{Ask, KINDS, Kind, Right};

/// How long nothing may come before a request counts as hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The transcoder's `max_request_bytes`.
pub(crate) const MAX_REQUEST_BYTES: usize = 2_500_000;
/// The sizes of uploads, in bytes.
const UPLOADS: [usize; 3] = [25_000, 200_000, 2_000_000];
const INFER: &str = "/v2/models/m/infer";
/// How many requests an HTTP/2 connection carries before a new one takes its place.
const STREAMS: usize = 500;
/// How much of an answer is read before the client leaves, in bytes.
const BEFORE_LEAVING: usize = 10_000;

/// What a request came to.
pub(crate) enum Outcome {
    /// A whole answer.
    Told,
    /// An answer that was cut off.
    Cut,
    /// The client left.
    Left,
    /// It is not one of the right answers.
    Wrong(String),
}

/// What clients send, made once for all of them.
pub(crate) struct Requests {
    uploads: Vec<Vec<(Upload, String)>>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        let uploads = UPLOADS.map(|bytes| {
            let of = |form| {
                let upload = Upload::new(form, INFER, bytes);
                let answer = upload.echo("m");
                (upload, answer)
            };
            Form::ALL.map(of).into()
        });
        Self { uploads: uploads.into() }
    }
}

/// A client.
pub(crate) struct Client<'a> {
    column: Column,
    address: SocketAddr,
    requests: &'a Requests,
    random: Random,
    connection: Connection,
}

enum Connection {
    H1(Option<h1::Connection>),
    H2(Option<(h2c::Connection, usize)>),
}

impl<'a> Client<'a> {
    pub(crate) fn new(
        column: Column,
        protocol: Protocol,
        address: SocketAddr,
        requests: &'a Requests,
        seed: u64,
    ) -> Self {
        let connection = match protocol {
            Protocol::Http1 => Connection::H1(None),
            Protocol::Http2 => Connection::H2(None),
        };
        Self { column, address, requests, random: Random::new(seed), connection }
    }

    /// Sends one request: its kind, what came of it, and how long it took.
    pub(crate) fn turn(&mut self) -> (usize, Outcome, Duration) {
        let kind = self.kind();
        let start = Instant::now();
        let outcome = self.ask(&KINDS[kind]).unwrap_or_else(|error| Outcome::Wrong(error.to_string()));
        (kind, outcome, start.elapsed())
    }

    /// Over HTTP/1.1 Envoy takes a second (`delayed_close_timeout`) to close the connection of an answer that it cuts
    /// off, so these kinds come less often there.
    fn kind(&mut self) -> usize {
        let mut kind = Kind::of(self.random.below(1000));
        let slow = matches!(self.connection, Connection::H1(_)) && KINDS[kind].right(self.column).cut;
        if slow && self.random.below(10) > 0 {
            kind = 0;
        }
        kind
    }

    fn ask(&mut self, kind: &Kind) -> Result<Outcome> {
        let right = kind.right(self.column);
        Ok(match kind.ask {
            Ask::Small => {
                // A pair that no other request has, so that an answer that went astray shows.
                let value = self.random.below(1 << 22);
                let body = format!(
                    r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"FP32","data":[{value}.5,1.5]}}]}}"#
                );
                let answer = self.send(&Request::post(INFER, body))?;
                let text = format!(
                    r#"{{"model_name":"m","outputs":[{{"name":"x","datatype":"FP32","shape":[2],"data":[{value}.5,1.5]}}]}}"#
                );
                judge(answer, right, Some(&text))
            }
            Ask::Upload(size) => {
                let uploads = &self.requests.uploads[size];
                let (upload, text) = &uploads[self.random.below(uploads.len())];
                let answer = self.send(&upload.request)?;
                judge(answer, right, Some(text))
            }
            Ask::Get(path, text) => judge(self.send(&Request::get(path))?, right, Some(text)),
            Ask::Case(case) => judge(self.send(&small().header("x-case", case))?, right, None),
            Ask::Hostile => {
                let hostile = Hostile::new(self.random.number(), MAX_REQUEST_BYTES);
                match hostile.cut {
                    None => named(judge(self.send(&hostile.request)?, right, None), hostile.kind),
                    Some(_) => {
                        hostile.send(self.protocol(), self.address)?;
                        Outcome::Left
                    }
                }
            }
            Ask::LeaveRequest => {
                let uploads = &self.requests.uploads[1];
                let (upload, _) = &uploads[self.random.below(uploads.len())];
                let cut = self.random.below(upload.body_bytes());
                let request = upload.request.clone().patience(PATIENCE);
                Hostile { kind: "", request, cut: Some(cut) }.send(self.protocol(), self.address)?;
                Outcome::Left
            }
            Ask::LeaveAnswer => {
                self.leave_answer(&small().header("x-case", "large"))?;
                Outcome::Left
            }
        })
    }

    fn protocol(&self) -> Protocol {
        match self.connection {
            Connection::H1(_) => Protocol::Http1,
            Connection::H2(_) => Protocol::Http2,
        }
    }

    /// Sends a request on the connection, or on a new one if there is none. A connection that the answer ended is
    /// not used again.
    fn send(&mut self, request: &Request) -> Result<Answer> {
        match &mut self.connection {
            Connection::H1(kept) => {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => h1::Connection::open(self.address, PATIENCE)?,
                };
                let answer = connection.send(request)?;
                let closes = answer.header("connection").is_some_and(|value| value == b"close");
                if answer.end == End::Complete && !closes {
                    *kept = Some(connection);
                }
                Ok(answer)
            }
            Connection::H2(kept) => {
                let (connection, streams) = match kept.take() {
                    Some(kept) => kept,
                    None => (h2c::Connection::open(self.address, PATIENCE)?, 0),
                };
                let answer = connection.send(request)?;
                if matches!(answer.end, End::Complete | End::Reset(Some(_))) && streams < STREAMS {
                    *kept = Some((connection, streams + 1));
                }
                Ok(answer)
            }
        }
    }

    /// Reads the first part of an answer on a connection of its own, and leaves.
    fn leave_answer(&mut self, request: &Request) -> Result<()> {
        match self.protocol() {
            Protocol::Http1 => {
                let mut connection = h1::Connection::open(self.address, PATIENCE)?;
                connection.send_part(request, usize::MAX)?;
                connection.read_head().map_err(|end| format!("no head: {end:?}"))?;
                connection.read_at_least(BEFORE_LEAVING).map_err(|end| format!("no body: {end:?}"))?;
            }
            Protocol::Http2 => {
                let connection = h2c::Connection::open(self.address, PATIENCE)?;
                let mut stream = connection.begin(request, false)?;
                let e2e::Body::Length(body) = &request.body else { return Err("no body".into()) };
                stream.data(&body.concat(), true)?;
                stream.head().map_err(|end| format!("no head: {end:?}"))?;
                match stream.event() {
                    h2c::Event::Data(_) => {}
                    other => return Err(format!("no body: {other:?}").into()),
                }
                // CANCEL (RFC 9113 section 7).
                stream.reset(8);
            }
        }
        Ok(())
    }
}

fn small() -> Request {
    Request::post(INFER, r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[0.5,1.5]}]}"#)
        .patience(PATIENCE)
}

/// Compares an answer with what is right.
fn judge(answer: Answer, right: Right, text: Option<&str>) -> Outcome {
    let status = answer.status();
    let error =
        || answer.json().is_ok_and(|body| body["error"].as_str().is_some_and(|text| !text.is_empty()));
    match answer.end {
        End::Closed | End::Reset(_) if right.cut => Outcome::Cut,
        End::Complete if !right.statuses.contains(&status) => wrong(&answer, "a status that is not right"),
        End::Complete if status >= 400 && !right.plain && !error() => wrong(&answer, "no error body"),
        End::Complete if text.is_some_and(|text| text.as_bytes() != answer.body) => {
            wrong(&answer, "another text")
        }
        End::Complete => Outcome::Told,
        End::TimedOut => wrong(&answer, "it hangs"),
        End::Closed | End::Reset(_) => wrong(&answer, "cut off"),
    }
}

fn wrong(answer: &Answer, what: &str) -> Outcome {
    let text = answer.text();
    let shown: String = text.chars().take(200).collect();
    Outcome::Wrong(format!("{what}: {:?} {} {shown}", answer.end, answer.status()))
}

fn named(outcome: Outcome, kind: &str) -> Outcome {
    match outcome {
        Outcome::Wrong(why) => Outcome::Wrong(format!("{kind}: {why}")),
        right => right,
    }
}
