//! OpenAI's completions in pieces: when each chunk arrives, and what becomes of the call of a client that leaves.

use super::{BOUND, nothing_left, start};
use e2e::h2c::{self, Event};
use e2e::{Installed, Request};
use odd_server::wire::{Message, frame};
use odd_server::{Gate, OddServer, Script, Step};
use testkit::Column;

/// Its model answers in pieces, and says why its texts end.
const CASE: &str = "openai/stream_of_mlserver";
const BODY: &str = r#"{"model":"writer","prompt":"x","stream":true}"#;

fn begin<'c>(connection: &'c h2c::Connection, case: &str) -> h2c::Stream<'c> {
    let request = Request::post("/openai/v1/completions", BODY).header("x-case", case).patience(BOUND);
    let mut stream = connection.begin(&request, false).unwrap();
    stream.data(BODY.as_bytes(), true).unwrap();
    stream
}

/// A message with a piece of a text and why that has ended, in its frame.
fn piece(text: &str, reason: &str) -> Vec<u8> {
    let texts = [("text_output", text), ("finish_reason", reason)];
    let mut message = Message::new();
    for (name, _) in texts {
        let output = Message::new().bytes(1, name).bytes(2, "BYTES").packed_varints(3, [1]);
        message = message.message(5, &output);
    }
    for (_, text) in texts {
        message = message.bytes(6, [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat());
    }
    frame(&message.into_bytes())
}

/// Reads so many events.
fn events(stream: &mut h2c::Stream<'_>, count: usize) -> Vec<String> {
    let mut body = String::new();
    while body.matches("\n\n").count() < count {
        match stream.event() {
            Event::Data(data) => body += std::str::from_utf8(&data).unwrap(),
            other => panic!("{other:?} after {body:?}"),
        }
    }
    assert!(body.ends_with("\n\n") && body.matches("\n\n").count() == count, "{body:?}");
    body.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect()
}

pub(super) fn one_by_one(installed: &Installed) {
    let server = OddServer::start().unwrap();
    let gate = Gate::new();
    // Each message waits until the client has the one before it.
    let script = ["to", " be", " or"].iter().fold(Script::after_request().grpc_headers(), |script, text| {
        let message = piece(text, "");
        script.data(&message[..9]).data(&message[9..]).wait(&gate)
    });
    server.script("one-by-one", script.data(piece("", "stop")).grpc_trailers(0, ""));
    let envoy = start(installed, &server, CASE);
    for column in Column::ALL {
        let connection = h2c::Connection::open(envoy.address(column.name()).unwrap(), BOUND).unwrap();
        let mut stream = begin(&connection, "one-by-one");
        assert_eq!(stream.head().unwrap().status, 200);
        for text in ["to", " be", " or"] {
            let [chunk] = &events(&mut stream, 1)[..] else { panic!("one event") };
            assert!(chunk.contains(&format!(r#"{{"text":"{text}","index":0"#)), "{}: {chunk}", column.name());
            gate.open();
        }
        let [last, done] = &events(&mut stream, 2)[..] else { panic!("two events") };
        assert!(last.contains(r#""finish_reason":"stop""#), "{}: {last}", column.name());
        assert_eq!(done, "[DONE]", "{}", column.name());
        assert!(super::ends(&mut stream), "{}", column.name());
    }
}

pub(super) fn vanished(installed: &Installed) {
    let server = OddServer::start().unwrap();
    let first = Script::after_request().grpc_headers().data(piece("to", ""));
    server.script("never-ends", first.then(Step::Never));
    // The text has ended, and the call has not: in wasm its last chunk waits for that.
    let gate = Gate::new();
    let last =
        Script::after_request().grpc_headers().data(piece("to", "")).wait(&gate).data(piece("", "stop"));
    server.script("never-closes", last.then(Step::Never));
    let mut envoy = start(installed, &server, CASE);
    let mut asked = 0;
    for column in Column::ALL {
        for case in ["never-ends", "never-closes"] {
            let connection = h2c::Connection::open(envoy.address(column.name()).unwrap(), BOUND).unwrap();
            let mut stream = begin(&connection, case);
            assert!(stream.head().is_ok());
            let mut body = String::new();
            while !body.contains("\n\n") {
                let Event::Data(data) = stream.event() else { panic!("no chunk") };
                body += std::str::from_utf8(&data).unwrap();
            }
            if case == "never-closes" {
                gate.open();
            }
            stream.reset(8);
            asked += 1;
            let gone =
                |all: &[odd_server::Recorded]| all.iter().filter(|r| r.reset.is_some()).count() == asked;
            server.wait_until(BOUND, gone).unwrap_or_else(|error| panic!("{}: {error}", column.name()));
        }
        nothing_left(&mut envoy, column);
    }
}
