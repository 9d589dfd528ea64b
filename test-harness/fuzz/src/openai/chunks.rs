//! A stream of messages as events, made a second time.

use crate::answer;
use crate::json::Json;
use crate::message::{ModelInferResponse, Tensor};
use crate::run::Setup;
use crate::stream::{ModelStreamInferResponse, taken, wrapped};
use prost::Message as _;
use serde_json::{Value, json};
use testkit::{Got, frame};

/// Streams in their frames, and whether they are Triton's.
pub(super) fn seeds() -> Vec<(bool, Vec<u8>)> {
    let texts = |name: &str, texts: &[&str]| {
        let raw: Vec<u8> = texts
            .iter()
            .flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat())
            .collect();
        (name.to_owned(), "BYTES", texts.len() as i64, raw)
    };
    let number = |name: &str, number: u8| (name.to_owned(), "UINT8", 1, vec![number]);
    let message = |outputs: Vec<(String, &str, i64, Vec<u8>)>| {
        let mut message = ModelInferResponse { model_name: "m".into(), ..Default::default() };
        for (name, datatype, size, raw) in outputs {
            message.outputs.push(Tensor {
                name,
                datatype: datatype.into(),
                shape: vec![size],
                ..Default::default()
            });
            message.raw_output_contents.push(raw);
        }
        message.encode_to_vec()
    };
    let one = vec![
        message(vec![texts("out", &["to"])]),
        message(vec![
            texts("out", &[" be\n"]),
            texts("why", &["None"]),
            number("read", 1),
            number("written", 2),
        ]),
        message(vec![texts("why", &["stop"]), texts("out", &[""]), number("written", 3), number("read", 4)]),
        message(vec![]),
    ];
    let two = vec![
        message(vec![texts("out", &["a", "b"]), texts("why", &["", "length"])]),
        message(vec![texts("out", &["c", ""]), texts("why", &["stop", "length"]), number("read", 1)]),
        message(vec![number("written", 200), number("read", 1)]),
    ];
    let late = vec![one[2].clone(), one[0].clone()];
    let all = [one.clone(), two, late, vec![one[0].clone()], vec![], vec![message(vec![number("out", 1)])]];
    let framed = |messages: &[Vec<u8>], of: fn(&[u8]) -> Vec<u8>| -> Vec<u8> {
        messages.iter().flat_map(|message| frame(&of(message))).collect()
    };
    let mut seeds: Vec<_> = all
        .iter()
        .flat_map(|messages| [(false, framed(messages, <[u8]>::to_vec)), (true, framed(messages, wrapped))])
        .collect();
    let error = [10, 3, b'b', b'a', b'd'];
    seeds.push((true, frame(&error)));
    seeds.push((true, [framed(&one[..1], wrapped), frame(&error)].concat()));
    seeds.push((true, [framed(&one[..3], wrapped), frame(&error)].concat()));
    seeds
}

/// How a stream ends.
#[derive(Debug, PartialEq)]
enum End {
    /// Well.
    Done,
    /// With what is no message, or not one that can follow.
    Wrong,
    /// With the server's own words.
    Told(String),
    /// With an error behind the last message.
    Late,
}

/// What the messages have said.
#[derive(Default)]
struct Told {
    chunks: Vec<Value>,
    ended: Vec<bool>,
    read: Option<u64>,
    written: Option<u64>,
}

/// Compares what a client got natively.
pub(super) fn check(got: &Got, stream: &[u8], setup: Setup, wraps: bool, inputs: usize, usage: bool) {
    if setup == Setup::OpenAiWasm || setup == Setup::OpenAiWasmHold {
        return;
    }
    let mut told = Told { ended: vec![false; inputs], ..Told::default() };
    let Some(end) = read(stream, wraps, &mut told) else { return };
    let end = match end {
        End::Done if !told.ended.iter().all(|ended| *ended) => End::Late,
        End::Done if usage && (told.read.is_none() || told.written.is_none()) => End::Late,
        end => end,
    };
    let text = String::from_utf8_lossy(&got.body);
    let context =
        || format!("{setup:?}: {stream:02x?}: expected {end:?} behind {:?}, got {got:?}", told.chunks);
    // What prost skips, the filter may refuse.
    if text.contains("unknown wire type") || end != End::Wrong && got.reset {
        return;
    }
    if end != End::Done && told.chunks.is_empty() {
        assert!(got.reset || got.status >= 400, "{}", context());
        return;
    }
    if end == End::Wrong {
        // A stream that is cut within a message is an error behind those before it.
        let last = text.split_terminator("\n\n").last().unwrap_or_default();
        assert!(got.reset || last.starts_with("data: {\"error\":"), "{}", context());
        return;
    }
    assert_eq!((got.status, got.reset), (200, false), "{}", context());
    let mut events: Vec<&str> = text.split_terminator("\n\n").map(|event| &event["data: ".len()..]).collect();
    let last = events.pop();
    match &end {
        End::Done => {
            assert_eq!(last, Some("[DONE]"), "{}", context());
            if usage {
                let [prompt, completion] = [told.read, told.written].map(Option::unwrap_or_default);
                let total = prompt.saturating_add(completion);
                let tokens = json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total });
                told.chunks.push(json!({ "choices": [], "usage": tokens }));
            }
        }
        _ => {
            let error: Value = serde_json::from_str(last.unwrap_or_default()).expect("an error is JSON");
            let message = error["error"]["message"].as_str().expect("it has a message");
            if let End::Told(own) = &end {
                assert_eq!(message, own);
            }
        }
    }
    let mut found: Vec<Value> =
        events.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    let stamp = found.first().map(|first| (first["id"].clone(), first["created"].clone()));
    for chunk in &mut found {
        let chunk = chunk.as_object_mut().expect("a chunk is an object");
        let own = (chunk.remove("id").unwrap_or_default(), chunk.remove("created").unwrap_or_default());
        assert_eq!(Some(own), stamp);
        assert_eq!(chunk.remove("model"), Some("told".into()));
        assert_eq!(chunk.remove("object"), Some("text_completion".into()));
        if !usage {
            assert_eq!(chunk.insert("usage".to_owned(), Value::Null), None);
        }
    }
    assert_eq!(found, told.chunks, "{setup:?}: {stream:02x?}");
}

/// Reads a stream; `None` where only the filter can say.
fn read(mut stream: &[u8], wraps: bool, told: &mut Told) -> Option<End> {
    while !stream.is_empty() {
        let Some(message) = taken(&mut stream) else { return Some(End::Wrong) };
        let message = if wraps {
            let wrapping = ModelStreamInferResponse::decode(message).ok()?;
            match wrapping.error_message.trim_end() {
                "" if !wrapping.error_message.is_empty() => return None,
                "" => wrapping.infer_response.unwrap_or_default(),
                error => return Some(End::Told(error.to_owned())),
            }
        } else {
            ModelInferResponse::decode(message).ok()?
        };
        let Some((answer, _)) = answer::expected(&message, false) else { return Some(End::Wrong) };
        if !told.add(&answer)? {
            return Some(End::Wrong);
        }
    }
    Some(End::Done)
}

impl Told {
    /// Adds a message; says whether it is a right one. `None` where only the filter can say.
    fn add(&mut self, answer: &Json) -> Option<bool> {
        let Some(Json::Array(outputs)) = answer.get("outputs") else { return None };
        let name = |output: &Json| match output.get("name") {
            Some(Json::Text(name, _)) => name.clone(),
            _ => String::new(),
        };
        let names: Vec<String> = outputs.iter().map(name).collect();
        if names.iter().any(|own| names.iter().filter(|name| *name == own).count() > 1) {
            return None;
        }
        let output = |wanted: &str| names.iter().position(|name| name == wanted).map(|at| &outputs[at]);
        let datatype = |output: &Json| match output.get("datatype") {
            Some(Json::Text(name, _)) => name.clone(),
            _ => String::new(),
        };
        let data = |output: &Json| match output.get("data") {
            Some(Json::Array(items)) => Some(items.clone()),
            _ => None,
        };
        for (name, is_sum) in [("read", false), ("written", true)] {
            let Some(output) = output(name) else { continue };
            if !datatype(output).trim_start_matches('U').starts_with("INT") {
                return Some(false);
            }
            let mut sum = 0_u64;
            for item in data(output)? {
                let Json::Number(text) = item else { return None };
                let Ok(own) = text.parse::<u64>() else { return Some(false) };
                sum = sum.saturating_add(own);
            }
            match is_sum {
                true => self.written = Some(self.written.unwrap_or_default().saturating_add(sum)),
                false => self.read = Some(sum),
            }
        }
        let mut texts = Vec::new();
        for name in ["out", "why"] {
            let mut own = Vec::new();
            if let Some(output) = output(name) {
                if datatype(output) != "BYTES" {
                    return Some(false);
                }
                // Not UTF-8, so that this reader has it in another form.
                if output.get("parameters").is_some() {
                    return None;
                }
                for item in data(output)? {
                    let Json::Text(text, _) = item else { return None };
                    own.push(text);
                }
                if own.len() != self.ended.len() {
                    return Some(false);
                }
            }
            texts.push(own);
        }
        let text = |of: usize, index: usize| texts[of].get(index).cloned().unwrap_or_default();
        let mut choices = Vec::new();
        for (index, ended) in self.ended.iter_mut().enumerate() {
            let (text, reason) = (text(0, index), text(1, index));
            let ends = !reason.is_empty() && reason != "None";
            if *ended && !text.is_empty() {
                return Some(false);
            }
            if !*ended && (ends || !text.is_empty()) {
                *ended = ends;
                let reason = if ends { Value::from(reason) } else { Value::Null };
                choices
                    .push(json!({ "text": text, "index": index, "logprobs": null, "finish_reason": reason }));
            }
        }
        if !choices.is_empty() {
            self.chunks.push(json!({ "choices": choices, "usage": null }));
        }
        Some(true)
    }
}
