//! Answers of 100 MB on their way to clients that do not read them, stop, or vanish.

use super::{BOUND, INFER, SMALL};
use e2e::h2c::Event;
use e2e::{End, Envoy, Installed, Listener, Options, Protocol, Request, gateway, h1, h2c, send};
use odd_server::{Gate, OddServer, Script, Step, wire};
use std::thread;
use std::time::{Duration, Instant};
use testkit::Column;

const RPC: &str = "/inference.GRPCInferenceService/ModelInfer";
const CLIENTS: usize = 12;
/// How much more than a passthrough they may cost together, in bytes.
const ALLOWED: u64 = 40_000_000;
/// The elements of an answer of 100 MB.
const ELEMENTS: usize = 25_000_000;
/// The elements of an answer that a client reads to its end.
const READ_ELEMENTS: usize = 100_000;
/// The elements of a piece that the server repeats.
const PIECE: usize = 5_000;

/// The frame of an answer of so many FP32 elements, and what is in front of them.
fn beginning(elements: usize) -> Vec<u8> {
    let tensor = wire::Message::new().bytes(1, "y").bytes(2, "FP32").packed_varints(3, [elements as u64]);
    let mut message = wire::Message::new().bytes(1, "m").message(5, &tensor).into_bytes();
    message.push(6 << 3 | 2);
    let mut length = 4 * elements;
    while length > 0x7f {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    let length = u32::try_from(message.len() + 4 * elements).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

fn piece() -> Vec<u8> {
    1.5_f32.to_le_bytes().repeat(PIECE)
}

/// An answer that is made while it is sent.
fn answer(elements: usize) -> Script {
    Script::after_request()
        .grpc_headers()
        .data(beginning(elements))
        .then(Step::Repeat { bytes: piece(), times: elements / PIECE })
        .grpc_trailers(0, "")
}

fn text(elements: usize) -> String {
    let data = vec!["1.5"; elements].join(",");
    format!(
        r#"{{"model_name":"m","outputs":[{{"name":"y","datatype":"FP32","shape":[{elements}],"data":[{data}]}}]}}"#
    )
}

/// An Envoy in front of the server with one listener, and windows that leave nothing to chance: one stream's is 1 MiB, and
/// that of the connection is not what stops anything.
fn start(installed: &Installed, server: &OddServer, columns: &[Option<Column>], keys: &str) -> Envoy {
    let listener = |column: &Option<Column>| match column {
        Some(column) => super::listener(column.name(), *column, keys),
        None => Listener::new("passthrough"),
    };
    let listeners: Vec<_> = columns.iter().map(listener).collect();
    let bootstrap = gateway(&listeners, server.address());
    let windows = "http2_protocol_options: { initial_stream_window_size: 1048576, initial_connection_window_size: 67108864 }";
    let sized = bootstrap.replace("http2_protocol_options: {}", windows);
    assert_ne!(sized, bootstrap);
    Envoy::start(&installed.path, &sized, &Options::default()).unwrap()
}

pub(super) fn unread(installed: &Installed) {
    let mut costs = Vec::new();
    for column in [None, Some(Column::Wasm), Some(Column::Native)] {
        let name = column.map_or("passthrough", Column::name);
        let server = OddServer::start_forgetful().unwrap();
        server.script("unread", answer(ELEMENTS));
        server.script("read", answer(READ_ELEMENTS));
        // Twelve answers that are held, or three, would not fit.
        let mut envoy = start(installed, &server, &[column], r#""memory_budget_bytes": 8000000,"#);
        let address = envoy.address(name).unwrap();
        let request = |case: &str| match column {
            Some(_) => Request::post(INFER, SMALL).header("x-case", case).patience(BOUND),
            None => Request::post(RPC, wire::frame(b"\x0a\x01m"))
                .header("x-case", case)
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .patience(BOUND),
        };
        let expected = match column {
            Some(_) => text(READ_ELEMENTS).into_bytes(),
            None => [beginning(READ_ELEMENTS), piece().repeat(READ_ELEMENTS / PIECE)].concat(),
        };
        let assert_read = || {
            let answer = send(Protocol::Http1, address, &request("read")).unwrap().complete().unwrap();
            assert!(answer.status() == 200 && answer.body == expected, "{name}: {}", answer.body.len());
        };
        // Whatever is made once is there now.
        assert_read();
        for _ in 0..2 {
            let before = envoy.process().memory().unwrap().resident;
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let mut client = h1::Connection::open(address, BOUND).unwrap();
                    client.send_part(&request("unread"), usize::MAX).unwrap();
                    assert_eq!(client.read_head().unwrap().status, 200, "{name}");
                    client
                })
                .collect();
            let sent = settled(&envoy);
            let cost = envoy.process().memory().unwrap().resident.saturating_sub(before);
            println!(
                "{name}: {CLIENTS} clients cost {} KiB, {} KiB came from the server",
                cost >> 10,
                sent >> 10
            );
            costs.push((name, cost));
            // The server is held back, and nobody else is.
            assert!(sent < (CLIENTS * 4 * ELEMENTS / 2) as u64, "{name}: {sent} bytes came");
            assert_read();
            drop(clients);
            for gauge in
                ["cluster.model-server.upstream_rq_active", &format!("http.{name}.downstream_rq_active")]
            {
                envoy.wait_for_stat(gauge, BOUND, |active| active == 0).unwrap();
            }
            // Their memory is free for the next.
            assert_read();
        }
        assert!(envoy.process().exited().is_none(), "{name}");
    }
    let first = |wanted: &str| costs.iter().find(|(name, _)| *name == wanted).unwrap().1;
    for column in [Column::Wasm, Column::Native] {
        let (cost, passthrough) = (first(column.name()), first("passthrough"));
        assert!(cost < passthrough + ALLOWED, "{}: {cost} bytes, a passthrough {passthrough}", column.name());
    }
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

pub(super) fn first_byte(installed: &Installed) {
    let server = OddServer::start_forgetful().unwrap();
    let gate = Gate::new();
    let begun =
        || Script::after_request().grpc_headers().data(beginning(READ_ELEMENTS)).data(piece()).wait(&gate);
    let rest = Step::Repeat { bytes: piece(), times: READ_ELEMENTS / PIECE - 1 };
    server.script("whole", begun().then(rest.clone()).grpc_trailers(0, ""));
    server.script("late-error", begun().then(rest).grpc_trailers(13, "lost it"));
    server.script("error-within", begun().grpc_trailers(13, "lost it"));
    server.script("too-short", begun().grpc_trailers(0, ""));
    server.script("reset", begun().then(Step::Reset(2)));
    server.script("unread", answer(ELEMENTS));
    let columns = Column::ALL.map(Some);
    let mut envoy = start(installed, &server, &columns, r#""memory_budget_bytes": 2000000,"#);
    let expected = text(READ_ELEMENTS);
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        for case in ["whole", "late-error", "error-within", "too-short", "reset"] {
            let what = format!("{} {case}", column.name());
            let connection = h2c::Connection::open(address, BOUND).unwrap();
            let request = Request::post(INFER, SMALL).header("x-case", case);
            let mut stream = connection.begin(&request, false).unwrap();
            stream.data(SMALL.as_bytes(), true).unwrap();
            assert_eq!(stream.head().unwrap().status, 200, "{what}");
            // The server waits, and the client has the beginning.
            let mut body = Vec::new();
            while body.len() < 1000 {
                let Event::Data(bytes) = stream.event() else { panic!("{what}: after {} bytes", body.len()) };
                body.extend(bytes);
            }
            assert!(expected.as_bytes().starts_with(&body), "{what}");
            gate.open();
            let end = loop {
                match stream.event() {
                    Event::Data(bytes) => body.extend(bytes),
                    Event::End(_) => break End::Complete,
                    Event::Broken(end) => break end,
                }
            };
            match case {
                "whole" => assert!(end == End::Complete && body == expected.as_bytes(), "{what}: {end:?}"),
                _ => assert!(
                    matches!(end, End::Reset(_)) && expected.as_bytes().starts_with(&body),
                    "{what}: {end:?}"
                ),
            }
        }
        // Clients that read a part and go, by turns, one after the other and more than the budget has room for.
        for round in 0..16 {
            let request = Request::post(INFER, SMALL).header("x-case", "unread");
            if round % 2 == 0 {
                let mut client = h1::Connection::open(address, BOUND).unwrap();
                client.send_part(&request, usize::MAX).unwrap();
                client.read_head().unwrap();
                client.read_at_least(100_000).unwrap();
            } else {
                let connection = h2c::Connection::open(address, BOUND).unwrap();
                let mut stream = connection.begin(&request, false).unwrap();
                stream.data(SMALL.as_bytes(), true).unwrap();
                assert!(matches!(stream.event(), Event::Data(_)), "{}", column.name());
                stream.reset(8);
            }
        }
        envoy.wait_for_stat("cluster.model-server.upstream_rq_active", BOUND, |active| active == 0).unwrap();
        gate.open();
        let request = Request::post(INFER, SMALL).header("x-case", "whole").patience(BOUND);
        let answer = send(Protocol::Http1, address, &request).unwrap().complete().unwrap();
        assert!(answer.body == expected.as_bytes(), "{}", column.name());
    }
    assert!(envoy.process().exited().is_none());
}
