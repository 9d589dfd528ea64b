//! Streams in real Envoy: when each message arrives, and what is left of clients that stop, stall and vanish. The golden
//! cases in `test-harness/cases/streams` have what streams look like and how they end.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

#[path = "streams/completions.rs"]
mod completions;

use e2e::h2c::Event;
use e2e::{Envoy, Installed, Listener, Options, Protocol, Request, Suite, gateway, h1, h2c, send};
use odd_server::{Gate, OddServer, Script, Step, wire};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use testkit::{Column, golden_cases};

const BOUND: Duration = Duration::from_secs(60);
const WATCH: &str = "/v1/watch";
/// The listener on which gRPC passes as it is.
const PASSTHROUGH: &str = "passthrough";
/// The golden case whose method of a user's answers with a stream.
const LINES: &str = "streams/lines";
const BODY: &str = r#"{"name":"a"}"#;

/// How many messages a long stream has.
const LONG: usize = 100_000;

/// How much more Envoy may hold after a long stream than before it, in bytes.
const GROWTH: u64 = 8 << 20;

/// How many streams run at once, and how many of them on each connection.
const STREAMS: usize = 2_000;
const ON_EACH: usize = 100;

fn main() -> ExitCode {
    Suite::new()
        .each_envoy("each_message_leaves_before_the_next_is_sent", one_by_one)
        .each_envoy("the_first_message_is_not_much_later_than_in_grpc", first_message)
        .each_envoy("a_client_that_leaves_ends_the_call", vanished)
        .each_envoy("a_client_that_does_not_read_holds_the_server_back", stalled)
        .each_envoy("a_hundred_thousand_messages_leave_nothing_behind", long)
        .each_envoy("each_chunk_of_a_completion_leaves_before_the_next_is_sent", completions::one_by_one)
        .each_envoy("a_client_that_leaves_ends_the_call_of_its_completion", completions::vanished)
        .each_envoy("two_thousand_streams_run_at_once_and_leave_nothing_behind", many)
        .run()
}

/// Starts an Envoy on one worker with a listener for each column. The windows leave nothing to chance: a stream's is 1 MiB, and
/// that of the connection is not what stops anything.
///
/// It is configured as in the golden case `name`.
fn start(installed: &Installed, server: &OddServer, name: &str) -> Envoy {
    let cases = golden_cases().unwrap();
    let case = cases.iter().find(|case| case.name == name).unwrap();
    let routes = r#"[{ match: { prefix: "/" }, route: { cluster: model-server, timeout: 0s } }]"#;
    let transcoder = |column: Column| {
        Listener::new(column.name()).transcoder(column, &case.config_in(column)).routes(routes)
    };
    let mut listeners = Column::ALL.map(transcoder).to_vec();
    listeners.push(Listener::new(PASSTHROUGH).routes(routes));
    let bootstrap = gateway(&listeners, server.address());
    let windows = "http2_protocol_options: { initial_stream_window_size: 1048576, initial_connection_window_size: 67108864 }";
    let sized = bootstrap.replace("http2_protocol_options: {}", windows);
    assert_ne!(sized, bootstrap);
    // Envoy's own default is 1024 requests.
    let limit = "connect_timeout: 5s\n    circuit_breakers: { thresholds: [{ max_requests: 10000, max_pending_requests: 10000 }] }";
    let sized = sized.replace("connect_timeout: 5s", limit);
    Envoy::start(&installed.path, &sized, &Options::default()).unwrap()
}

/// A message with a number, in its frame.
fn message(number: u8) -> Vec<u8> {
    wire::frame(&wire::Message::new().bytes(1, "n").varint(2, number.into()).into_bytes())
}

fn line(number: u8) -> String {
    format!("{{\"name\":\"n\",\"number\":{number},\"big_number\":0}}\n")
}

fn request(case: &str) -> Request {
    Request::post(WATCH, BODY).header("x-case", case).patience(BOUND)
}

fn begin<'c>(connection: &'c h2c::Connection, case: &str) -> h2c::Stream<'c> {
    let mut stream = connection.begin(&request(case), false).unwrap();
    stream.data(BODY.as_bytes(), true).unwrap();
    stream
}

/// Reads until so many bytes are here.
fn read(stream: &mut h2c::Stream<'_>, bytes: usize) -> String {
    let mut body = Vec::new();
    while body.len() < bytes {
        match stream.event() {
            Event::Data(data) => body.extend(data),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&body)),
        }
    }
    String::from_utf8(body).unwrap()
}

/// Whether nothing follows but the end.
fn ends(stream: &mut h2c::Stream<'_>) -> bool {
    loop {
        match stream.event() {
            Event::Data(data) if data.is_empty() => {}
            event => return matches!(event, Event::End(_)),
        }
    }
}

fn one_by_one(installed: &Installed) {
    let server = OddServer::start().unwrap();
    let gate = Gate::new();
    // The headers, each message, and the end wait until the client has what was sent before.
    let script = (1..=5).fold(Script::after_request().grpc_headers(), |script, number| {
        let message = message(number);
        script.data(&message[..7]).data(&message[7..]).wait(&gate)
    });
    server.script("one-by-one", script.grpc_trailers(0, ""));
    let envoy = start(installed, &server, LINES);
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        let connection = h2c::Connection::open(address, BOUND).unwrap();
        let mut stream = begin(&connection, "one-by-one");
        assert_eq!(stream.head().unwrap().status, 200);
        for number in 1..=5 {
            let line = line(number);
            assert_eq!(read(&mut stream, line.len()), line, "{}", column.name());
            gate.open();
        }
        assert!(ends(&mut stream), "{}", column.name());

        let mut connection = h1::Connection::open(address, BOUND).unwrap();
        connection.send_part(&request("one-by-one"), usize::MAX).unwrap();
        let head = connection.read_head().unwrap();
        assert_eq!(head.header("content-type").unwrap(), b"application/x-ndjson");
        for number in 1..=5 {
            let line = line(number);
            let chunk = format!("{:x}\r\n{line}\r\n", line.len());
            let read = connection.read_at_least(chunk.len()).unwrap();
            assert_eq!(String::from_utf8(read).unwrap(), chunk, "{}", column.name());
            gate.open();
        }
        assert_eq!(connection.read_at_least(5).unwrap(), b"0\r\n\r\n", "{}", column.name());
    }
}

/// How often the first message is waited for, and how much later than in gRPC it may be at the median. `cargo xtask bench` is
/// where times are compared; this is for what would be held until more comes, or until a timer is up.
const FIRSTS: usize = 200;
const LATER: Duration = Duration::from_millis(50);

fn first_message(installed: &Installed) {
    let server = OddServer::start_forgetful().unwrap();
    server.script("never-ends", Script::after_request().grpc_headers().data(message(1)).then(Step::Never));
    let envoy = start(installed, &server, LINES);
    let median = |listener: &str, request: &Request, body: &[u8], expected: usize| {
        let connection = h2c::Connection::open(envoy.address(listener).unwrap(), BOUND).unwrap();
        let mut times: Vec<_> = (0..FIRSTS)
            .map(|_| {
                let begin = Instant::now();
                let mut stream = connection.begin(request, false).unwrap();
                stream.data(body, true).unwrap();
                let mut bytes = 0;
                while bytes < expected {
                    let Event::Data(data) = stream.event() else { panic!("{listener}: no message") };
                    bytes += data.len();
                }
                begin.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[FIRSTS / 2]
    };
    let message_of_request = wire::frame(b"\x0a\x01a");
    let grpc = Request::post("/user.S/Watch", message_of_request.clone())
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-case", "never-ends");
    let passthrough = median(PASSTHROUGH, &grpc, &message_of_request, message(1).len());
    for column in Column::ALL {
        let ours = median(column.name(), &request("never-ends"), BODY.as_bytes(), line(1).len());
        println!("{}: the first message after {ours:?}, in gRPC after {passthrough:?}", column.name());
        assert!(ours < passthrough + LATER, "{}: {ours:?}, in gRPC {passthrough:?}", column.name());
    }
}

fn vanished(installed: &Installed) {
    let server = OddServer::start().unwrap();
    server.script("never-ends", Script::after_request().grpc_headers().data(message(1)).then(Step::Never));
    let mut envoy = start(installed, &server, LINES);
    let mut asked = 0;
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        for round in 0..4 {
            if round % 2 == 0 {
                let mut client = h1::Connection::open(address, BOUND).unwrap();
                client.send_part(&request("never-ends"), usize::MAX).unwrap();
                client.read_head().unwrap();
                client.read_at_least(line(1).len()).unwrap();
            } else {
                let connection = h2c::Connection::open(address, BOUND).unwrap();
                let mut stream = begin(&connection, "never-ends");
                read(&mut stream, line(1).len());
                stream.reset(8);
            }
            // The client is gone, and the server hears of it.
            asked += 1;
            let gone =
                |all: &[odd_server::Recorded]| all.iter().filter(|r| r.reset.is_some()).count() == asked;
            server.wait_until(BOUND, gone).unwrap_or_else(|error| panic!("{}: {error}", column.name()));
        }
        nothing_left(&mut envoy, column);
    }
}

/// Waits until neither side has a stream.
fn nothing_left(envoy: &mut Envoy, column: Column) {
    let downstream = format!("http.{}.downstream_rq_active", column.name());
    for gauge in ["cluster.model-server.upstream_rq_active", &downstream] {
        envoy.wait_for_stat(gauge, BOUND, |active| active == 0).unwrap();
    }
}

fn stalled(installed: &Installed) {
    let server = OddServer::start_forgetful().unwrap();
    let endless = Step::Repeat { bytes: message(1).repeat(100), times: 1_000_000 };
    server.script("endless", Script::after_request().grpc_headers().then(endless));
    server.script("short", Script::pieces([message(1)]));
    let mut envoy = start(installed, &server, LINES);
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        let before = envoy.process().memory().unwrap().resident;
        let received = envoy.stat("cluster.model-server.upstream_cx_rx_bytes_total").unwrap();
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let mut client = h1::Connection::open(address, BOUND).unwrap();
                client.send_part(&request("endless"), usize::MAX).unwrap();
                assert_eq!(client.read_head().unwrap().status, 200);
                client
            })
            .collect();
        let sent = settled(&envoy) - received;
        let cost = envoy.process().memory().unwrap().resident.saturating_sub(before);
        println!(
            "{}: 4 clients cost {} KiB, {} KiB came from the server",
            column.name(),
            cost >> 10,
            sent >> 10
        );
        assert!(sent < 64 << 20, "{}: {sent} bytes came", column.name());
        let connection = h2c::Connection::open(address, BOUND).unwrap();
        assert_eq!(read(&mut begin(&connection, "short"), line(1).len()), line(1), "others are served");
        drop(clients);
        nothing_left(&mut envoy, column);
    }
    assert!(envoy.process().exited().is_none());
}

/// Waits until nothing more comes from the server; gives what has come.
fn settled(envoy: &Envoy) -> u64 {
    let deadline = Instant::now() + BOUND;
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        assert!(Instant::now() < deadline, "the server is not held back: {last} bytes came");
        let now = envoy.stat("cluster.model-server.upstream_cx_rx_bytes_total").unwrap();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(20));
    }
    last
}

fn long(installed: &Installed) {
    let server = OddServer::start_forgetful().unwrap();
    let messages = Step::Repeat { bytes: message(1), times: LONG };
    server.script("long", Script::after_request().grpc_headers().then(messages).grpc_trailers(0, ""));
    let mut envoy = start(installed, &server, LINES);
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        // What is made once is there after the first.
        read_long(address);
        let before = envoy.process().memory().unwrap().resident;
        read_long(address);
        let growth = envoy.process().memory().unwrap().resident.saturating_sub(before);
        println!("{}: {LONG} messages cost {} KiB", column.name(), growth >> 10);
        assert!(growth < GROWTH, "{}: {growth} bytes more", column.name());
    }
}

/// Over HTTP/1.1: to an HTTP/2 client Envoy sends each message in a frame of its own, and it closes a connection with more
/// than 10,000 frames that the client has not read (`max_outbound_frames`), as it does with gRPC.
fn read_long(address: SocketAddr) {
    let answer = send(Protocol::Http1, address, &request("long")).unwrap().complete().unwrap();
    assert!(answer.body == line(1).repeat(LONG).as_bytes(), "{} bytes", answer.body.len());
}

fn many(installed: &Installed) {
    let server = OddServer::start_forgetful().unwrap();
    let mut envoy = start(installed, &server, LINES);
    for column in Column::ALL {
        let gate = Gate::new();
        let waits = Script::after_request().grpc_headers().data(message(1)).wait(&gate).data(message(2));
        server.script("waits", waits.grpc_trailers(0, ""));
        let address = envoy.address(column.name()).unwrap();
        let connections: Vec<_> =
            (0..STREAMS / ON_EACH).map(|_| h2c::Connection::open(address, BOUND).unwrap()).collect();
        let mut streams: Vec<_> =
            (0..STREAMS).map(|index| begin(&connections[index / ON_EACH], "waits")).collect();
        for stream in &mut streams {
            assert_eq!(read(stream, line(1).len()), line(1), "{}", column.name());
        }
        // Half of them leave, and the others get the rest.
        for stream in streams.drain(..STREAMS / 2) {
            drop(stream);
        }
        envoy
            .wait_for_stat("cluster.model-server.upstream_rq_active", BOUND, |n| n == STREAMS as u64 / 2)
            .unwrap();
        // The server may not have heard yet of those that have left.
        for _ in 0..STREAMS {
            gate.open();
        }
        for stream in &mut streams {
            assert_eq!(read(stream, line(2).len()), line(2), "{}", column.name());
            assert!(ends(stream), "{}", column.name());
        }
        nothing_left(&mut envoy, column);
    }
}
