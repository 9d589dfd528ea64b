//! The program under test of protobuf's conformance runner: it is asked to read a message in one form and to print it in
//! another, and does so by exchanges with a whole `kserve-transcoder`, as a client would.
//!
//! `json-conformance FOLDER`, where FOLDER has `google/protobuf/test_messages_proto3.proto` and `_proto2.proto`. The runner
//! speaks on standard input and output: a length of four bytes, little-endian, and a message of `conformance.proto`.

mod engine;
mod protocol;

use engine::{Engine, Refusal};
use prost::Message;
use protocol::{IGNORE_UNKNOWN, Outcome, Payload, Request, Response, WIRE_JSON, WIRE_PROTOBUF};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("the folder with the test messages is missing")?;
    let engine = Engine::new(Path::new(&folder))?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut length = [0; 4];
        match input.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let mut request = vec![0; u32::from_le_bytes(length) as usize];
        input.read_exact(&mut request)?;
        let outcome = answer(&engine, Request::decode(&*request)?);
        let response = Response { outcome: Some(outcome) }.encode_to_vec();
        output.write_all(&u32::try_from(response.len())?.to_le_bytes())?;
        output.write_all(&response)?;
        output.flush()?;
    }
}

fn answer(engine: &Engine, request: Request) -> Outcome {
    let skipped = |why: &str| Outcome::Skipped(why.to_owned());
    // The first thing that a runner asks for is what it must not try.
    if request.message_type == "conformance.FailureSet" {
        return Outcome::ProtobufPayload(Vec::new());
    }
    if !engine.knows(&request.message_type) {
        return skipped("messages of editions are not compiled");
    }
    let message = match &request.payload {
        Some(Payload::Json(json)) => {
            engine.read(&request.message_type, request.category == IGNORE_UNKNOWN, json.as_bytes())
        }
        Some(Payload::Protobuf(message)) if request.wanted == WIRE_JSON => Ok(message.clone()),
        _ => return skipped("the transcoder reads JSON, and prints it"),
    };
    let message = match message {
        Ok(message) => message,
        Err(Refusal(why)) => return Outcome::ParseError(why),
    };
    match request.wanted {
        WIRE_PROTOBUF => Outcome::ProtobufPayload(message),
        WIRE_JSON => match engine.print(&request.message_type, &message) {
            Ok(json) => Outcome::JsonPayload(json),
            // A message that cannot be read is found when it is to be printed.
            Err(Refusal(why)) if why.contains("failed to decode") => Outcome::ParseError(why),
            Err(Refusal(why)) => Outcome::SerializeError(why),
        },
        _ => skipped("the transcoder prints JSON"),
    }
}
