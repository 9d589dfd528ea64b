//! Completions in pieces.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// `told` says when its texts have ended, and how many tokens there were; `silent` says nothing of that kind.
fn openai(messages: StreamMessages) -> Arc<OpenAi> {
    let model = |id: &str, stream: &str, more: Value| {
        let mut completions = json!({ "text": { "name": "in" }, "output": "out", "stream": stream });
        completions.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "id": id, "model": "m", "completions": completions })
    };
    let told = json!({ "finish_reason": "why", "prompt_tokens": "read", "completion_tokens": "written" });
    let models = [model("told", "optional", told), model("silent", "required", json!({}))];
    let config = filter_api::parse_config(json!({ "models": models }).to_string().as_bytes()).unwrap();
    let around = Around { stream_messages: Some(messages), ..around(Caps::DYNAMIC_MODULE) };
    Arc::new(OpenAi::read(&config, around).unwrap())
}

/// The stream that a body asks for.
fn asked(
    body: &str,
    messages: StreamMessages,
    memory: &Arc<Memory>,
) -> Result<(bool, Box<dyn ResponseCodec>), Problem> {
    let stamp = Stamp { id: "1".to_owned(), created: 7 };
    let charge = memory.account(usize::MAX).charge();
    let mut request = Request::new(openai(messages), COMPLETE, stamp, OPTIONS, charge);
    for piece in body.as_bytes().chunks(3) {
        request.write(piece)?;
    }
    let mut inputs = Inputs::default();
    let (_, response) = request.finish_described(&mut inputs)?;
    Ok((inputs.stream, response))
}

fn refused(body: &str) -> String {
    let problem = asked(body, StreamMessages::Mlserver, &memory()).map(|_| ()).expect_err(body);
    format!("{} {} {}", problem.status, problem.details, problem.message)
}

/// What a client gets of a message: nothing, a chunk, or an error.
fn told(stream: &dyn ResponseCodec, message: &Message, step: usize) -> Result<Option<String>, Problem> {
    let mut codec = stream.for_message().unwrap();
    for piece in message.as_bytes().chunks(step) {
        codec.write(piece)?;
    }
    let answer = codec.finish()?;
    if let Part::Failure(problem) = answer.part() {
        return Err(problem.clone());
    }
    let is_told = answer.part() == Part::Message;
    let mut text = Vec::new();
    answer.render(&mut text);
    Ok(is_told.then(|| String::from_utf8(text).unwrap()))
}

/// What follows the last message.
fn closed(stream: &dyn ResponseCodec) -> Result<Vec<String>, String> {
    let last = stream.close().map_err(|problem| problem.message.into_owned())?;
    Ok(last.into_iter().map(|message| String::from_utf8(message).unwrap()).collect())
}

/// A message with the next pieces, and why texts have ended.
fn pieces(texts: &[&str], reasons: Option<&[&str]>) -> Message {
    let inputs = [texts.len() as u64];
    let message = Message::new().message(5, &input("out", "BYTES", &inputs));
    match reasons {
        None => message.bytes(6, bytes(texts)),
        Some(reasons) => message
            .message(5, &input("why", "BYTES", &inputs))
            .bytes(6, bytes(texts))
            .bytes(6, bytes(reasons)),
    }
}

/// A message with how many tokens were read and written.
fn tokens(read: u8, written: u8) -> Message {
    Message::new()
        .message(5, &input("read", "UINT8", &[1]))
        .message(5, &input("written", "UINT8", &[1]))
        .bytes(6, [read])
        .bytes(6, [written])
}

fn chunk(model: &str, choices: &str, end: &str) -> String {
    format!(
        r#"{{"id":"cmpl-1","object":"text_completion","created":7,"model":"{model}","choices":[{choices}]{end}}}"#
    )
}

fn choice(text: &str, index: usize, reason: Option<&str>) -> String {
    let reason = reason.map_or("null".to_owned(), |reason| format!("\"{reason}\""));
    format!(r#"{{"text":"{text}","index":{index},"logprobs":null,"finish_reason":{reason}}}"#)
}

const TOLD: &str = r#"{"model":"told","prompt":"a","stream":true}"#;
const SILENT: &str = r#"{"model":"silent","prompt":["a","b"],"stream":true}"#;

#[test]
fn each_message_is_a_chunk_of_what_is_new_in_it_and_the_last_one_says_why_it_ended() {
    for (messages, wrap) in [(StreamMessages::Mlserver, false), (StreamMessages::Triton, true)] {
        let memory = memory();
        let (is_stream, stream) = asked(TOLD, messages, &memory).unwrap();
        assert!(is_stream && stream.tells_last());
        let wrapped = |message: Message| if wrap { Message::new().message(2, &message) } else { message };
        for step in [1, 5, 1000] {
            let told = |message: Message| told(&*stream, &wrapped(message), step).unwrap();
            assert_eq!(
                told(pieces(&[" \"x\n"], Some(&[""]))),
                Some(chunk("told", &choice(r#" \"x\n"#, 0, None), ""))
            );
            assert_eq!(told(pieces(&["y"], Some(&["None"]))), Some(chunk("told", &choice("y", 0, None), "")));
            assert_eq!(told(pieces(&["z"], None)), Some(chunk("told", &choice("z", 0, None), "")));
            assert_eq!(told(pieces(&[""], Some(&[""]))), None);
            assert_eq!(told(Message::new()), None);
        }
        assert!(!stream.had_last());
        let unsaid = "the server's stream has ended, but its output why has not said why";
        assert_eq!(closed(&*stream).unwrap_err(), unsaid);
        let last = told(&*stream, &wrapped(pieces(&[""], Some(&["length"]))), 7).unwrap();
        assert_eq!(last, Some(chunk("told", &choice("", 0, Some("length")), "")));
        assert!(stream.had_last());
        // As Triton ends a stream.
        assert_eq!(told(&*stream, &wrapped(Message::new()), 7).unwrap(), None);
        assert_eq!(closed(&*stream).unwrap(), ["[DONE]"]);
        drop(stream);
        assert_eq!(memory.used(), 0);
    }
}

#[test]
fn texts_of_several_prompts_end_each_for_itself() {
    let memory = memory();
    let (_, stream) =
        asked(r#"{"model":"told","prompt":["a","b"],"stream":true}"#, StreamMessages::Mlserver, &memory)
            .unwrap();
    let told = |texts: [&str; 2], reasons: [&str; 2]| told(&*stream, &pieces(&texts, Some(&reasons)), 9);
    let both = format!("{},{}", choice("a", 0, None), choice("b", 1, None));
    assert_eq!(told(["a", "b"], ["", ""]).unwrap(), Some(chunk("told", &both, "")));
    assert_eq!(told(["", "c"], ["stop", ""]).unwrap(), {
        Some(chunk("told", &format!("{},{}", choice("", 0, Some("stop")), choice("c", 1, None)), ""))
    });
    assert!(!stream.had_last());
    assert_eq!(
        told(["", "d"], ["stop", "length"]).unwrap(),
        Some(chunk("told", &choice("d", 1, Some("length")), ""))
    );
    assert!(stream.had_last());
    let problem = told(["", "e"], ["", ""]).unwrap_err();
    assert_eq!(problem.status, 502);
    assert_eq!(problem.message, "the server's answer goes on with text 1 of output out, which has ended");
}

#[test]
fn a_model_that_does_not_say_when_it_has_ended_has_ended_with_its_stream() {
    let (_, stream) = asked(SILENT, StreamMessages::Mlserver, &memory()).unwrap();
    assert!(!stream.tells_last());
    told(&*stream, &pieces(&["a", ""], None), 9).unwrap();
    assert!(!stream.had_last());
    let stop = |index| choice("", index, Some("stop"));
    assert_eq!(
        closed(&*stream).unwrap(),
        [chunk("silent", &format!("{},{}", stop(0), stop(1)), ""), "[DONE]".to_owned()]
    );
}

#[test]
fn tokens_are_told_at_the_end_to_who_asks_for_them() {
    let body = TOLD.replace('}', r#","stream_options":{"include_usage":true,"include_obfuscation":null}}"#);
    let (_, stream) = asked(&body, StreamMessages::Mlserver, &memory()).unwrap();
    let null = r#","usage":null"#;
    let last = told(&*stream, &pieces(&["x"], Some(&["stop"])), 9).unwrap();
    assert_eq!(last, Some(chunk("told", &choice("x", 0, Some("stop")), null)));
    assert_eq!(closed(&*stream).unwrap_err(), "the server's stream has no output read");
    for (read, written) in [(1, 2), (4, 3)] {
        assert_eq!(told(&*stream, &tokens(read, written), 9).unwrap(), None);
    }
    let usage = r#","usage":{"prompt_tokens":4,"completion_tokens":5,"total_tokens":9}"#;
    assert_eq!(closed(&*stream).unwrap(), [chunk("told", "", usage), "[DONE]".to_owned()]);
    // A model that gets lists of tokens has been told how many there are.
    let unknown = SILENT.replace('}', r#","stream_options":{"include_usage":true}}"#);
    assert_eq!(
        refused(&unknown),
        "400 openai_unsupported_stream_options stream_options.include_usage: this model does not say how many tokens there are"
    );
}

#[test]
fn what_the_server_says_in_its_stream_of_an_error_is_one() {
    let (_, stream) = asked(TOLD, StreamMessages::Triton, &memory()).unwrap();
    let problem = told(&*stream, &Message::new().bytes(1, "no room\n"), 4).unwrap_err();
    assert_eq!((problem.status, &*problem.message, problem.details), (500, "no room", "kserve_grpc_error"));
    // MLServer's message, where Triton's is expected.
    let problem = told(&*stream, &Message::new().bytes(1, "m").bytes(2, "not a message"), 4).unwrap_err();
    assert_eq!(problem.status, 502);
}

#[test]
fn a_message_that_is_not_what_the_configuration_says_is_an_error_that_names_the_output() {
    let (_, stream) = asked(TOLD, StreamMessages::Mlserver, &memory()).unwrap();
    let error = |message: &Message| told(&*stream, message, 4).unwrap_err().message.into_owned();
    assert_eq!(
        error(&pieces(&["x", "y"], None)),
        "the server's answer is wrong for output out: it has 2 texts for 1 inputs"
    );
    let number = Message::new().message(5, &input("out", "UINT8", &[1])).bytes(6, [7]);
    assert_eq!(
        error(&number),
        "the server's answer is wrong for output out: its datatype is UINT8, not BYTES"
    );
}

#[test]
fn what_a_client_says_of_streams_must_be_possible() {
    let told = |members: &str| format!(r#"{{"model":"told","prompt":"a",{members}}}"#);
    let invalid = "400 openai_invalid_stream_options ";
    for (body, expected) in [
        (told(r#""stream":"yes""#), "400 openai_invalid_stream stream must be true or false".to_owned()),
        (told(r#""stream":{"a":1}"#), "400 openai_invalid_stream stream must be true or false".to_owned()),
        (
            r#"{"model":"silent","prompt":"a"}"#.to_owned(),
            "400 openai_invalid_stream stream: this model answers in pieces only: set it to true".to_owned(),
        ),
        (
            told(r#""stream_options":{"include_usage":true}"#),
            format!("{invalid}stream_options is for streams: it needs stream: true"),
        ),
        (
            told(r#""stream":true,"stream_options":true"#),
            format!("{invalid}stream_options must be an object with include_usage"),
        ),
        (
            told(r#""stream":true,"stream_options":{"include_usage":[true]}"#),
            format!("{invalid}stream_options must be an object with include_usage"),
        ),
        (
            told(r#""stream":true,"stream_options":{"include_usage":1}"#),
            format!("{invalid}stream_options.include_usage must be true or false"),
        ),
        (
            told(r#""stream":true,"stream_options":{"include_usage":true,"include_usage":true}"#),
            format!("{invalid}stream_options.include_usage is given twice"),
        ),
        (
            told(r#""stream":true,"stream_options":{"include_obfuscation":true}"#),
            "400 openai_unsupported_stream_options stream_options.include_obfuscation is not supported"
                .to_owned(),
        ),
        (
            told(r#""stream":true,"stream_options":{"x":"include_usage"}"#),
            "400 openai_unsupported_stream_options stream_options.x is not supported".to_owned(),
        ),
    ] {
        assert_eq!(refused(&body), expected, "{body}");
    }
    for (members, is_stream) in [
        (r#""n":1"#, false),
        (r#""stream":null,"stream_options":null"#, false),
        (r#""stream":false"#, false),
        (r#""stream":true,"stream_options":{}"#, true),
        (r#""stream_options":{"include_usage":null,"include_obfuscation":false},"stream":true"#, true),
    ] {
        let (found, response) = asked(&told(members), StreamMessages::Mlserver, &memory()).unwrap();
        assert_eq!((found, response.for_message().is_some()), (is_stream, is_stream), "{members}");
    }
}

/// Why a configuration with these models is refused.
fn configured(around: Around, streams: &[(&str, Option<&str>)]) -> String {
    let model = |(index, (stream, finish_reason)): (usize, &(&str, Option<&str>))| {
        let mut completions = json!({ "text": { "name": "in" }, "output": "out" });
        if !stream.is_empty() {
            completions["stream"] = (*stream).into();
        }
        completions["finish_reason"] = (*finish_reason).into();
        json!({ "id": index.to_string(), "model": "m", "completions": completions })
    };
    let models: Vec<Value> = streams.iter().enumerate().map(model).collect();
    let config = filter_api::parse_config(json!({ "models": models }).to_string().as_bytes()).unwrap();
    OpenAi::read(&config, around).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_method_that_nothing_could_choose_in_time_is_refused_at_load() {
    const WHY: Option<&str> = Some("why");
    let at =
        |index: usize, what: &str| format!("configuration key openai.models[{index}].completions.{what}");
    let hold = "needs hold_request_headers: true: otherwise the request goes to one of ModelInfer and ModelStreamInfer before its \
                body is read";
    let native = || around(Caps::DYNAMIC_MODULE);
    let wasm = || around(Caps::PROXY_WASM);
    let held = || Around { holds_request_headers: true, ..wasm() };
    let by_route = || Around { path: PathMode::Route, ..native() };
    let optional = [("optional", WHY)];
    let mixed = [("", None), ("required", WHY)];
    let required = [("required", WHY), ("required", WHY)];
    for around in [native(), held()] {
        for streams in [&optional[..], &mixed, &required] {
            assert_eq!(configured(around.clone(), streams), "");
        }
    }
    assert_eq!(configured(wasm(), &required), "");
    assert_eq!(configured(wasm(), &[("", None), ("", None)]), "");
    assert_eq!(configured(wasm(), &optional), at(0, &format!("stream: optional {hold}")));
    assert_eq!(
        configured(wasm(), &mixed),
        at(1, &format!("stream: openai.models[0] has another value, which {hold}"))
    );
    assert_eq!(
        configured(by_route(), &optional),
        at(
            0,
            "stream: optional needs path: rewrite: a route sends all completions to one of ModelInfer and ModelStreamInfer"
        )
    );
    assert_eq!(configured(by_route(), &required), "");
    assert_eq!(
        configured(Around { stream_messages: None, ..native() }, &required),
        at(0, "stream: needs stream_messages, which says what the server's messages are")
    );
    assert_eq!(configured(native(), &[("required", None)]), "");
    assert_eq!(
        configured(held(), &[("required", None)]),
        at(
            0,
            "finish_reason: stream needs it here: a proxy-wasm filter can write what ends the client's stream only if the last \
             message says that it is the last"
        )
    );
}
