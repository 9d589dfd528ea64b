//! Streams of inferences' answers, read a second time: frames by hand, each message as [`answer`](crate::answer) reads it.

use crate::json::{Json, NoTree};
use crate::message::ModelInferResponse;
use crate::run::{Setup, assert_same, inference, run};
use crate::{answer, seeds};
use prost::Message as _;
use testkit::{Case, Chunking, Outcome, frame};

/// The most that a message may have by default, in bytes.
const MOST: usize = 100 << 20;

/// What a message's event says.
enum Said {
    Answer(Json),
    Error(String),
}

/// As the first bytes of an input are: the setup, and a seed for the chunks.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // Behind their own two bytes.
    let messages: Vec<Vec<u8>> =
        seeds::answers().into_iter().step_by(12).map(|seed| seed[2..].to_vec()).collect();
    let next = messages.iter().cycle().skip(1);
    let mut seeds = Vec::new();
    for (first, second) in messages.iter().zip(next) {
        for setup in 0..Setup::STREAMS.len() as u8 {
            let wrapped = |message: &Vec<u8>| match is_wrapped(setup) {
                true => self::wrapped(message),
                false => message.clone(),
            };
            seeds.push([&[setup, 1][..], &frame(&wrapped(first)), &frame(&wrapped(second))].concat());
        }
    }
    let error = [10, 3, b'b', b'a', b'd'];
    seeds.push([&[1, 1][..], &frame(&wrapped(&messages[0])), &frame(&error)].concat());
    seeds
}

fn is_wrapped(setup: u8) -> bool {
    Setup::STREAMS[usize::from(setup) % Setup::STREAMS.len()] == Setup::StreamTriton
}

/// A message as field 2 of another one.
pub(crate) fn wrapped(message: &[u8]) -> Vec<u8> {
    let mut out = vec![2 << 3 | 2];
    prost::encoding::encode_varint(message.len() as u64, &mut out);
    [&out, message].concat()
}

/// Checks an input; one that is too short for its fields is skipped.
pub(crate) fn check(input: &[u8]) {
    let Some((&[setup, seed], stream)) = input.split_first_chunk() else { return };
    let wrapped = is_wrapped(setup);
    let setup = Setup::STREAMS[usize::from(setup) % Setup::STREAMS.len()];
    let case = case(stream);
    let whole = run(&case, setup, Chunking::Whole);
    for chunking in [Chunking::Random(seed.into()), Chunking::Bytes] {
        assert_same(&whole, &run(&case, setup, chunking), &(setup, stream));
    }
    if setup == Setup::StreamWasm || setup == Setup::StreamWasmHold {
        return;
    }
    let mut rest = stream;
    let mut expected = Vec::new();
    let mut wrong = false;
    while !rest.is_empty() && !wrong {
        let message = taken(&mut rest);
        wrong = message.is_none();
        let Some(message) = message else { break };
        // Where the two readers differ on purpose, nothing is known.
        let Ok(said) = said(message, wrapped) else { return };
        match said {
            Some(said) => expected.push(said),
            None => wrong = true,
        }
    }
    let text = String::from_utf8_lossy(&whole.got.body).into_owned();
    if wrong {
        let failed = whole.got.reset || whole.got.status >= 400 || text.contains("data: {\"error\":");
        assert!(failed, "{setup:?}: {stream:02x?} is taken: {text}");
        return;
    }
    if failed_for_a_wire_type(stream, setup) {
        return;
    }
    assert_eq!((whole.got.status, whole.got.reset), (200, false), "{setup:?}: {stream:02x?}: {text}");
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(events.len(), expected.len(), "{setup:?}: {stream:02x?}: {text}");
    for (event, expected) in events.into_iter().zip(expected) {
        let json = event.strip_prefix("data: ").expect("each event is data");
        match (expected, Json::read(json.as_bytes())) {
            (Said::Answer(expected), Ok(found)) => {
                assert!(answer::same(&found, &expected), "{found:?}\n{expected:?}");
            }
            (Said::Error(expected), _) => {
                let found: serde_json::Value = serde_json::from_str(json).expect("an error is JSON");
                assert_eq!(found["error"], expected.as_str());
            }
            (Said::Answer(_), Err(NoTree::Unknown)) => {}
            (Said::Answer(_), Err(NoTree::Invalid)) => panic!("no JSON: {json}"),
        }
    }
}

fn case(stream: &[u8]) -> Case {
    let mut case = inference();
    case.request.path.push_str("_stream");
    case.request.body.bytes = br#"{"inputs":[]}"#.to_vec();
    if let Some(answer) = &mut case.answer {
        answer.body.bytes = stream.to_vec();
    }
    case
}

/// The first message, taken off the front; `None` if there is no whole one, or none that is allowed.
pub(crate) fn taken<'s>(stream: &mut &'s [u8]) -> Option<&'s [u8]> {
    let (&[flag, a, b, c, d], rest) = stream.split_first_chunk()?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let (message, rest) = rest.split_at_checked(length).filter(|_| flag == 0 && length <= MOST)?;
    *stream = rest;
    Some(message)
}

/// What the event of a message says; `None` if the message makes no sense, an error if only the filter can say.
fn said(message: &[u8], wrapped: bool) -> Result<Option<Said>, ()> {
    let answer =
        |message: ModelInferResponse| answer::expected(&message, false).map(|(json, _)| Said::Answer(json));
    if !wrapped {
        return ModelInferResponse::decode(message).map(answer).map_err(drop);
    }
    let wrapping = ModelStreamInferResponse::decode(message).map_err(drop)?;
    Ok(match wrapping.error_message.trim_end() {
        "" if !wrapping.error_message.is_empty() => return Err(()),
        "" => answer(wrapping.infer_response.unwrap_or_default()),
        error => Some(Said::Error(error.to_owned())),
    })
}

/// Whether the filter refuses one of the messages for a wire type that `prost` skips.
fn failed_for_a_wire_type(mut stream: &[u8], setup: Setup) -> bool {
    let refused = |outcome: Outcome| String::from_utf8_lossy(&outcome.got.body).contains("unknown wire type");
    std::iter::from_fn(|| taken(&mut stream))
        .any(|message| refused(run(&case(&frame(message)), setup, Chunking::Whole)))
}

/// Triton's message of a stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ModelStreamInferResponse {
    #[prost(string, tag = "1")]
    pub(crate) error_message: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) infer_response: Option<ModelInferResponse>,
}
