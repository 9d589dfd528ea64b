//! What the odd server sends and records, as an independent HTTP/2 client sees it.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too; clippy only sees that in the tests themselves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use odd_server::fast::{Fast, FastServer};
use odd_server::{Gate, OddServer, Recorded, Script, Step, catalogue, infer, wire};
use tokio::net::TcpStream;

const BOUND: Duration = Duration::from_secs(20);
const PATH: &str = "/inference.GRPCInferenceService/ModelInfer";

/// How a response stream ended.
#[derive(Debug, PartialEq)]
enum End {
    Stream,
    Reset(Reason),
    Connection,
}

struct Answer {
    head: Result<Response<()>, End>,
    frames: Vec<Bytes>,
    trailers: HeaderMap,
    end: End,
}

impl Answer {
    fn body(&self) -> Vec<u8> {
        self.frames.concat()
    }

    fn status_in(map: &HeaderMap) -> Option<&str> {
        map.get("grpc-status").and_then(|v| v.to_str().ok())
    }
}

fn block<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(future)
}

async fn connect(port: u16) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(async move {
        // The client half of the test sees the same error where it matters.
        let _ = connection.await;
    });
    client
}

fn request(port: u16, case: &str) -> Request<()> {
    Request::post(format!("http://127.0.0.1:{port}{PATH}")).header("x-case", case).body(()).unwrap()
}

fn end_of(error: &h2::Error) -> End {
    if error.is_io() || error.is_go_away() || error.reason().is_none() {
        End::Connection
    } else {
        End::Reset(error.reason().unwrap())
    }
}

async fn read(mut body: RecvStream) -> (Vec<Bytes>, HeaderMap, End) {
    let mut frames = Vec::new();
    while let Some(frame) = body.data().await {
        match frame {
            Ok(bytes) => frames.push(bytes),
            Err(e) => return (frames, HeaderMap::new(), end_of(&e)),
        }
    }
    match body.trailers().await {
        Ok(trailers) => (frames, trailers.unwrap_or_default(), End::Stream),
        Err(e) => (frames, HeaderMap::new(), end_of(&e)),
    }
}

async fn send(port: u16, case: &str, body: &[u8]) -> Answer {
    let mut client = connect(port).await.ready().await.unwrap();
    let (response, mut stream) = client.send_request(request(port, case), false).unwrap();
    stream.send_data(Bytes::copy_from_slice(body), true).unwrap();
    match response.await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let (frames, trailers, end) = read(body).await;
            Answer { head: Ok(Response::from_parts(head, ())), frames, trailers, end }
        }
        Err(e) => {
            let (frames, trailers, end) = (Vec::new(), HeaderMap::new(), end_of(&e));
            Answer { head: Err(end_of(&e)), frames, trailers, end }
        }
    }
}

fn serving_the_catalogue() -> OddServer {
    let server = OddServer::start().unwrap();
    for (name, script) in catalogue::all() {
        server.script(name, script);
    }
    server
}

fn ask(case: &str) -> Answer {
    let server = serving_the_catalogue();
    block(send(server.port(), case, &wire::frame(b"hi")))
}

#[test]
fn a_trailers_only_error_is_one_headers_frame() {
    let answer = ask("trailers-only");
    let head = answer.head.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(Answer::status_in(head.headers()), Some("5"));
    assert_eq!(head.headers()["grpc-message"], "no such model");
    assert!(answer.frames.is_empty() && answer.trailers.is_empty());
    assert_eq!(answer.end, End::Stream);
}

#[test]
fn an_error_after_headers_comes_in_trailers_without_data() {
    let answer = ask("error-after-headers");
    assert_eq!(Answer::status_in(answer.head.unwrap().headers()), None);
    assert!(answer.frames.is_empty());
    assert_eq!(Answer::status_in(&answer.trailers), Some("8"));
}

#[test]
fn an_empty_message_is_five_zero_bytes_before_the_error() {
    let answer = ask("error-after-empty-message");
    assert_eq!(answer.body(), [0; 5]);
    assert_eq!(Answer::status_in(&answer.trailers), Some("3"));
}

#[test]
fn pieces_arrive_as_the_frames_they_were_given_as() {
    let answer = ask("byte-by-byte");
    assert!(answer.frames.iter().all(|frame| frame.len() == 1));
    assert_eq!(answer.body(), wire::frame(&catalogue::answer()));
    assert_eq!(Answer::status_in(&answer.trailers), Some("0"));
}

#[test]
fn half_a_message_arrives_before_its_reset() {
    let framed = wire::frame(&catalogue::answer());
    let answer = ask("reset-mid-message");
    assert_eq!(answer.body(), framed[..framed.len() / 2]);
    assert_eq!(answer.end, End::Reset(Reason::INTERNAL_ERROR));
}

#[test]
fn half_a_message_arrives_before_the_connection_is_closed() {
    let framed = wire::frame(&catalogue::answer());
    let answer = ask("hang-up");
    assert_eq!(answer.body(), framed[..framed.len() / 2]);
    assert_eq!(answer.end, End::Connection);
}

#[test]
fn a_reset_may_come_before_or_right_after_the_headers() {
    assert_eq!(ask("reset-at-once").head.unwrap_err(), End::Reset(Reason::INTERNAL_ERROR));
    let after_headers = ask("reset-after-headers");
    assert!(after_headers.head.is_ok());
    assert_eq!(after_headers.end, End::Reset(Reason::INTERNAL_ERROR));
}

#[test]
fn a_stream_may_end_without_trailers() {
    let answer = ask("missing-trailers");
    assert_eq!(answer.body(), wire::frame(&catalogue::answer()));
    assert!(answer.trailers.is_empty());
    assert_eq!(answer.end, End::Stream);
}

#[test]
fn an_answer_need_not_be_grpc() {
    let answer = ask("plain-503");
    let head = answer.head.as_ref().unwrap();
    assert_eq!(head.status(), 503);
    assert_eq!(head.headers()["content-type"], "text/plain");
    assert_eq!(answer.body(), b"upstream connect error");
}

#[test]
fn a_gzip_flag_and_a_wrong_length_are_sent_as_asked() {
    let message = catalogue::answer();
    let gzip = ask("gzip-flagged");
    assert_eq!(gzip.head.as_ref().unwrap().headers()["grpc-encoding"], "gzip");
    assert_eq!(gzip.body(), wire::frame_with(1, message.len() as u32, &message));
    let long = ask("too-long-prefix");
    assert_eq!(long.body(), wire::frame_with(0, message.len() as u32 + 1, &message));
}

#[test]
fn every_script_of_the_catalogue_can_be_played() {
    let server = serving_the_catalogue();
    for (name, _) in catalogue::all().into_iter().filter(|(name, _)| *name != "never") {
        block(send(server.port(), name, b""));
    }
    for request in server.requests() {
        assert_eq!(request.fault, None, "{:?}", request.header("x-case"));
    }
}

#[test]
fn a_request_is_recorded_whole() {
    let server = OddServer::start().unwrap();
    server.script("ok", Script::message(b"fine"));
    block(async {
        let mut client = connect(server.port()).await.ready().await.unwrap();
        let mut head = request(server.port(), "ok");
        head.headers_mut().append("x-odd", http::HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        head.headers_mut().append("x-odd", http::HeaderValue::from_static("second"));
        let (response, mut stream) = client.send_request(head, false).unwrap();
        stream.send_data(wire::frame(b"one").into(), false).unwrap();
        stream.send_data(wire::frame(b"two").into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", http::HeaderValue::from_static("yes"));
        stream.send_trailers(trailers).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    let requests = server.wait_for(1, BOUND).unwrap();
    let recorded = &requests[0];
    assert_eq!((recorded.method.as_str(), recorded.path.as_str()), ("POST", PATH));
    assert_eq!(recorded.header_values("x-odd").collect::<Vec<_>>(), [&b"\xff\xfe"[..], b"second"]);
    let messages = recorded.messages().unwrap();
    assert_eq!(messages.iter().map(|m| m.bytes.as_slice()).collect::<Vec<_>>(), [b"one", b"two"]);
    assert_eq!(recorded.trailers, Some(vec![("x-end".into(), b"yes".to_vec())]));
    assert!(recorded.ended && recorded.reset.is_none());
}

#[test]
fn a_gate_holds_the_rest_of_an_answer_back() {
    let server = OddServer::start().unwrap();
    let gate = Gate::new();
    server.script("gated", Script::gated_pieces([b"first".to_vec(), b"second".to_vec()], &gate));
    block(async {
        let mut client = connect(server.port()).await.ready().await.unwrap();
        let (response, mut stream) = client.send_request(request(server.port(), "gated"), false).unwrap();
        stream.send_data(Bytes::new(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "first");
        assert!(!server.requests()[0].answered);
        gate.open();
        assert_eq!(body.data().await.unwrap().unwrap(), "second");
        gate.open();
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn a_client_that_gives_up_is_recorded_as_a_reset() {
    let server = Arc::new(serving_the_catalogue());
    let waited = block(async {
        let mut client = connect(server.port()).await.ready().await.unwrap();
        let (response, mut stream) = client.send_request(request(server.port(), "never"), false).unwrap();
        stream.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        let wait = |enough: fn(&Recorded) -> bool| {
            let server = server.clone();
            tokio::task::spawn_blocking(move || server.wait_until(BOUND, |all| all.iter().any(enough)))
        };
        wait(|r| r.ended).await.unwrap().unwrap();
        stream.send_reset(Reason::CANCEL);
        drop(response);
        wait(|r| r.reset.is_some()).await.unwrap()
    });
    assert_eq!(waited.unwrap()[0].reset, Some(Reason::CANCEL.into()));
}

#[test]
fn no_more_is_sent_than_was_read_and_one_window() {
    const WINDOW: usize = 16 << 20;
    const TOTAL: usize = 40 << 20;
    let server = OddServer::start().unwrap();
    let gate = Gate::new();
    let script = Script::new().then(Step::ReadAtLeast(1)).wait(&gate).then(Step::ReadRequest);
    server.script("slow", script.grpc_headers().grpc_trailers(0, ""));
    block(async {
        let mut client = connect(server.port()).await.ready().await.unwrap();
        let (response, mut stream) = client.send_request(request(server.port(), "slow"), false).unwrap();
        let mut sent = 0;
        while sent < TOTAL {
            stream.reserve_capacity(1 << 20);
            let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
            let len = capacity.min(TOTAL - sent);
            stream.send_data(vec![7; len].into(), false).unwrap();
            sent += len;
            let mut read = 0;
            server
                .wait_until(BOUND, |all| {
                    read = all.first().map_or(0, |r| r.body.len());
                    true
                })
                .unwrap();
            assert!(sent <= read + WINDOW, "{sent} sent, {read} read");
            if sent > WINDOW / 2 {
                gate.open();
            }
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    assert_eq!(server.requests()[0].body.len(), TOTAL);
}

#[test]
fn a_path_or_the_default_decides_where_no_case_does() {
    let server = OddServer::start().unwrap();
    server.script_for_path(PATH, Script::trailers_only(7, ""));
    server.default_script(Script::trailers_only(8, ""));
    let by_path = block(send(server.port(), "unknown", b""));
    assert_eq!(Answer::status_in(by_path.head.unwrap().headers()), Some("7"));
    server.script("unknown", Script::trailers_only(9, ""));
    let by_case = block(send(server.port(), "unknown", b""));
    assert_eq!(Answer::status_in(by_case.head.unwrap().headers()), Some("9"));
}

#[test]
fn a_script_that_http2_forbids_is_reported_as_a_fault() {
    let server = OddServer::start().unwrap();
    server.script("bad", Script::new().then(Step::Trailers(vec![("Upper".into(), vec![])])));
    let answer = block(send(server.port(), "bad", b""));
    assert!(answer.head.is_err());
    let requests = server.wait_until(BOUND, |all| all[0].fault.is_some()).unwrap();
    assert!(requests[0].fault.as_deref().unwrap().contains("\"Upper\""));
}

#[test]
fn the_fast_server_echoes_and_repeats() {
    let tensor = wire::Message::new().bytes(1, "x").bytes(2, "FP32").packed_varints(3, [1]);
    let message =
        wire::Message::new().bytes(1, "m").message(5, &tensor).bytes(7, [0, 0, 128, 63]).into_bytes();
    let echo = FastServer::start(Fast::Echo).unwrap();
    let answer = block(send(echo.port(), "", &wire::frame(&message)));
    assert_eq!(answer.body(), wire::frame(&infer::echo(&message).unwrap()));
    let refused = block(send(echo.port(), "", b"\0\0\0\0\x09short"));
    assert_eq!(Answer::status_in(refused.head.unwrap().headers()), Some("3"));

    let constant = FastServer::start(Fast::Constant(Script::message(b"same"))).unwrap();
    for _ in 0..3 {
        assert_eq!(block(send(constant.port(), "", b"x")).body(), wire::frame(b"same"));
    }
}

#[test]
fn a_forgetful_server_computes_its_answers_and_keeps_no_request() {
    let server = OddServer::start_forgetful().unwrap();
    server.compute_default(|request| Script::message(&request.messages().unwrap()[0].bytes));
    for round in 0..5_u8 {
        let answer = block(send(server.port(), "", &wire::frame(&[round])));
        assert_eq!(answer.body(), wire::frame(&[round]));
    }
    // One place, used again and again; it is empty once the last answer is out.
    let places = server.wait_until(BOUND, |all| all.iter().all(|r| r.path.is_empty())).unwrap();
    assert_eq!(places.len(), 1, "{places:?}");
}

#[test]
fn a_large_message_passes_whole_in_both_directions() {
    let payload: Vec<u8> = (0..10_000_000u32).map(|i| (i % 251) as u8).collect();
    let server = OddServer::start().unwrap();
    server.compute_default(|request| Script::message(&request.messages().unwrap()[0].bytes));
    let answer = block(async {
        let mut client = connect(server.port()).await.ready().await.unwrap();
        let (response, mut stream) = client.send_request(request(server.port(), "big"), false).unwrap();
        stream.send_data(wire::frame(&payload).into(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut got = Vec::new();
        while let Some(bytes) = body.data().await {
            let bytes = bytes.unwrap();
            body.flow_control().release_capacity(bytes.len()).unwrap();
            got.extend_from_slice(&bytes);
        }
        got
    });
    assert!(answer == wire::frame(&payload), "{} bytes came back", answer.len());
}
