//! Stories of whole requests and answers, cut anywhere. The golden cases have more of them, on every host.

use super::*;
use crate::codec::{Inputs, Part, RequestCodec, ResponseCodec};
use crate::config::PathMode;
use crate::tensor::{AnswerForm, BodyModelName, NonFinite, Options, TensorEncoding};
use filter_api::{Caps, Memory};
use kserve_proto::wire::Message;
use proptest::prelude::*;
use serde_json::{Value, json};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const OPTIONS: Options = Options {
    encoding: TensorEncoding::Raw,
    // Of no effect here.
    answer_form: AnswerForm::Proto,
    non_finite: NonFinite::Bare,
    body_model_name: BodyModelName::Refuse,
    max_request_bytes: 1 << 20,
    max_response_bytes: 1 << 20,
};

fn read(config: &Value) -> Result<OpenAi, String> {
    let config: OpenAiConfig =
        filter_api::parse_config(config.to_string().as_bytes()).map_err(|e| e.to_string())?;
    OpenAi::read(&config, around(Caps::DYNAMIC_MODULE)).map_err(|error| error.to_string())
}

fn around(caps: Caps) -> Around {
    Around {
        prefixes: PathPrefixes::default(),
        holds_request_headers: false,
        stream_messages: Some(StreamMessages::Mlserver),
        path: PathMode::Rewrite,
        caps,
    }
}

fn openai() -> Arc<OpenAi> {
    let models = json!([
        {
            "id": "embed", "model": "e", "version": "3",
            "embeddings": {
                "text": { "name": "text", "shape": [-1] }, "tokens": { "name": "ids" }, "output": "vector",
                "prompt_tokens": "count",
                "parameters": [{ "parameter": "user", "name": "who", "datatype": "BYTES", "shape": [1] }],
            },
        },
        {
            "id": "write", "model": "w",
            "completions": {
                "text": { "name": "in", "shape": [1] }, "output": "out", "finish_reason": "why",
                "prompt_tokens": "read", "completion_tokens": "written",
                "parameters": [{ "parameter": "max_tokens", "name": "max", "datatype": "UINT8", "shape": [1] }],
            },
        },
        {
            "id": "tokens only", "model": "t",
            "embeddings": { "tokens": { "name": "ids", "datatype": "INT32" }, "output": "vector", "max_inputs": 2 },
        },
    ]);
    Arc::new(read(&json!({ "models": models })).unwrap())
}

type Made = (Vec<u8>, Box<dyn ResponseCodec>, Inputs);

/// What is made of a body that comes in pieces of `step` bytes.
fn made(operation: Operation, body: &[u8], step: usize, memory: &Arc<Memory>) -> Result<Made, Problem> {
    let stamp = Stamp { id: "1".to_owned(), created: 7 };
    let charge = memory.account(usize::MAX).charge();
    let mut request = Request::new(openai(), operation, stamp, OPTIONS, charge);
    for piece in body.chunks(step) {
        request.write(piece)?;
    }
    let mut inputs = Inputs { describe: true, ..Inputs::default() };
    let (mut message, response) = request.finish_described(&mut inputs)?;
    let mut bytes = Vec::new();
    message.drain_to(&mut bytes);
    Ok((bytes, response, inputs))
}

fn memory() -> Arc<Memory> {
    Memory::new(1 << 24)
}

/// What is wrong with a body, which must be the same however it is cut.
fn refusal(operation: Operation, body: &str) -> String {
    let refused = |step| made(operation, body.as_bytes(), step, &memory()).map(|_| ()).expect_err(body);
    let problem = refused(usize::MAX);
    for step in [1, 2, 3, 7] {
        assert_eq!(refused(step), problem, "in pieces of {step}");
    }
    format!("{} {} {}", problem.status, problem.details, problem.message)
}

/// The answer to a body, of a message that comes in pieces of `step` bytes.
fn answer(operation: Operation, body: &str, message: &Message, step: usize) -> Result<String, Problem> {
    let memory = memory();
    let (_, mut response, _) = made(operation, body.as_bytes(), usize::MAX, &memory).unwrap();
    for piece in message.as_bytes().chunks(step) {
        response.write(piece)?;
    }
    let mut text = Vec::new();
    response.finish()?.render(&mut text);
    assert_eq!(memory.used(), 0);
    Ok(String::from_utf8(text).unwrap())
}

fn input(name: &str, datatype: &str, shape: &[u64]) -> Message {
    Message::new().bytes(1, name).bytes(2, datatype).packed_varints(3, shape.iter().copied())
}

fn bytes(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

const EMBED: Operation = Operation::Embeddings;
const COMPLETE: Operation = Operation::Completions;

#[test]
fn the_model_may_be_named_last_and_its_own_name_goes_upstream_with_its_version() {
    for body in
        [r#"{"input":["a","bc"],"model":"embed"}"#, r#" { "model" : "embed", "input" : ["a","bc"] } "#]
    {
        for step in 1..body.len() {
            let (message, _, inputs) = made(EMBED, body.as_bytes(), step, &memory()).unwrap();
            let expected = Message::new()
                .bytes(1, "e")
                .bytes(2, "3")
                .message(5, &input("text", "BYTES", &[2]))
                .message(6, &Message::new().bytes(1, "vector"))
                .message(6, &Message::new().bytes(1, "count"))
                .bytes(7, bytes(&["a", "bc"]));
            assert_eq!(message, expected.into_bytes(), "in pieces of {step}");
            let target = Target { model: "e".to_owned(), version: Some("3".to_owned()) };
            assert_eq!((inputs.model, inputs.elements), (Some(target), 2));
            assert_eq!(inputs.first.unwrap().shape, "2");
        }
    }
}

#[test]
fn one_list_of_tokens_is_one_input_and_a_parameter_of_its_own_has_its_place() {
    let body = r#"{"model":"embed","input":[1,2.0,30],"user":"me"}"#;
    let (message, ..) = made(EMBED, body.as_bytes(), 5, &memory()).unwrap();
    let tokens: Vec<u8> = [1_i64, 2, 30].iter().flat_map(|token| token.to_le_bytes()).collect();
    let expected = Message::new()
        .bytes(1, "e")
        .bytes(2, "3")
        .message(5, &input("ids", "INT64", &[1, 3]))
        .message(5, &input("who", "BYTES", &[1]))
        .message(6, &Message::new().bytes(1, "vector"))
        .message(6, &Message::new().bytes(1, "count"))
        .bytes(7, tokens)
        .bytes(7, bytes(&["me"]));
    assert_eq!(message, expected.into_bytes());
}

#[test]
fn what_a_model_is_not_asked_for_rightly_is_refused_with_its_place() {
    let input = "400 openai_invalid_input ";
    let must_be = "a string, a list of strings, a list of tokens or a list of such lists";
    for (body, expected) in [
        (r#"{"model":"embed"}"#, format!("{input}input is missing: it must be {must_be}")),
        (r#"{"model":"embed","input":null}"#, format!("{input}input is missing: it must be {must_be}")),
        (r#"{"model":"embed","input":7}"#, format!("{input}input must be {must_be}")),
        (r#"{"model":"embed","input":{"a":1}}"#, format!("{input}input must be {must_be}")),
        (r#"{"model":"embed","input":[]}"#, format!("{input}input must not be an empty list")),
        (r#"{"model":"embed","input":[[]]}"#, format!("{input}input[0] must not be an empty list")),
        (r#"{"model":"embed","input":[[1],[]]}"#, format!("{input}input[1] must not be an empty list")),
        (
            r#"{"model":"embed","input":[true]}"#,
            format!("{input}input[0] must be a string, a token or a list of tokens"),
        ),
        (
            r#"{"model":"embed","input":["a",["b"]]}"#,
            format!("{input}input[1] must be a string, as what stands before it"),
        ),
        (
            r#"{"model":"embed","input":[1,"b"]}"#,
            format!("{input}input[1] must be a token, as what stands before it"),
        ),
        (
            r#"{"model":"embed","input":[[1],2]}"#,
            format!("{input}input[1] must be a list of tokens, as what stands before it"),
        ),
        (
            r#"{"model":"embed","input":[1,-2]}"#,
            format!("{input}input[1] must be a token: a whole number from 0 to 2147483647"),
        ),
        (
            r#"{"model":"embed","input":[[1],[2,1.5]]}"#,
            format!("{input}input[1][1] must be a token: a whole number from 0 to 2147483647"),
        ),
        (
            r#"{"model":"embed","input":[[1,2],[3]]}"#,
            format!(
                "{input}input[1]: its number of tokens is 1, and the longest list's 2; this model takes lists of one length"
            ),
        ),
        (r#"{"model":"embed","input":"a","input":"b"}"#, format!("{input}input is given twice")),
        (
            r#"{"model":"tokens only","input":"a"}"#,
            format!("{input}input: this model takes tokens, and no texts"),
        ),
        (
            r#"{"model":"tokens only","input":[[1],[2],[3]]}"#,
            format!("{input}input has 3 inputs, but this model takes at most 2 at once"),
        ),
        (r#"{"input":"a"}"#, "400 openai_invalid_model model is missing: it must be a string".to_owned()),
        (r#"{"model":["embed"],"input":"a"}"#, "400 openai_invalid_model model must be a string".to_owned()),
        (
            r#"{"model":"write","input":"a"}"#,
            "400 openai_invalid_model the model 'write' is not set up for embeddings".to_owned(),
        ),
        (
            r#"{"model":"e","input":"a"}"#,
            "404 openai_unknown_model the model 'e' does not exist: GET models lists those that do"
                .to_owned(),
        ),
        (
            r#"{"model":"embed","input":"a","encoding_format":"hex"}"#,
            "400 openai_invalid_encoding_format encoding_format must be \"float\" or \"base64\"".to_owned(),
        ),
        (
            r#"{"model":"embed","input":"a","dimensions":2}"#,
            "400 openai_unsupported_dimensions dimensions is not supported: this model is not set up for it"
                .to_owned(),
        ),
        (
            r#"{"model":"embed","input":"a","x":{"y":[1]}}"#,
            "400 openai_unsupported_parameter x is not supported: this model is not set up for it".to_owned(),
        ),
        (
            r#"{"model":"embed","input":"a","user":{"y":[1]}}"#,
            "400 openai_invalid_parameter user must be a number, a string, a boolean or a list of such"
                .to_owned(),
        ),
        (
            r#"{"model":"embed","input":"a","user":7}"#,
            "400 openai_invalid_parameter user: it must be a string".to_owned(),
        ),
        (r#"["embed"]"#, "400 kserve_bad_request the JSON document must be an object".to_owned()),
        (
            r#"{"model":"embed","input":NaN }"#,
            "400 kserve_bad_request invalid JSON: NaN is not a JSON value".to_owned(),
        ),
        ("", "400 kserve_bad_request the body has no JSON document".to_owned()),
    ] {
        assert_eq!(refusal(EMBED, body), expected, "{body}");
    }
    for (member, expected) in [
        (
            r#""prompt":["a","b"]"#,
            "400 openai_invalid_prompt prompt has 2 inputs, but this model takes one at a time",
        ),
        (
            r#""prompt":"a","max_tokens":256"#,
            "400 openai_invalid_max_tokens max_tokens: it is out of range for UINT8",
        ),
        (
            r#""prompt":"a","max_tokens":1.5"#,
            "400 openai_invalid_max_tokens max_tokens: it must be a whole number, as UINT8 needs",
        ),
        (r#""prompt":"a","max_tokens":"1""#, "400 openai_invalid_max_tokens max_tokens: it must be a number"),
        (
            r#""prompt":"a","max_tokens":[1,2]"#,
            "400 openai_invalid_max_tokens max_tokens: so many values do not fit the input that this model has for it",
        ),
        (
            r#""prompt":"a","n":2"#,
            "400 openai_unsupported_n n is not supported: this model is not set up for it",
        ),
        (
            r#""prompt":"a","echo":true"#,
            "400 openai_unsupported_echo echo is not supported: this model is not set up for it",
        ),
        (
            r#""prompt":"a","logprobs":0"#,
            "400 openai_unsupported_logprobs logprobs is not supported: this model is not set up for it",
        ),
        (
            r#""prompt":"a","stop":["x"]"#,
            "400 openai_unsupported_stop stop is not supported: this model is not set up for it",
        ),
        (
            r#""prompt":"a","stream":true"#,
            "400 openai_unsupported_stream stream: this model answers in one piece: leave it out, or set it to false",
        ),
    ] {
        assert_eq!(refusal(COMPLETE, &format!(r#"{{"model":"write",{member}}}"#)), expected, "{member}");
    }
}

#[test]
fn what_asks_for_nothing_is_taken_also_by_a_model_that_has_no_input_for_it() {
    let plain = r#"{"model":"write","prompt":"a"}"#;
    let full = r#"{"model":"write","prompt":"a","n":1,"best_of":1,"echo":false,"stream":false,"stream_options":null,"stop":[],
        "suffix":"","logprobs":null,"temperature":1.0,"top_p":1,"presence_penalty":0,"frequency_penalty":-0.0,"user":"u",
        "logit_bias":null,"seed":null,"max_tokens":null}"#;
    let message = |body: &str| made(COMPLETE, body.as_bytes(), 9, &memory()).unwrap().0;
    assert_eq!(message(full), message(plain));
}

#[test]
fn a_small_body_cannot_become_a_large_tensor() {
    let config = json!({ "models": [{
        "id": "m", "model": "m", "embeddings": { "tokens": { "name": "ids" }, "pad": 0, "output": "y" },
    }] });
    let openai = Arc::new(read(&config).unwrap());
    let long = vec!["1"; 2000].join(",");
    let body = format!(r#"{{"model":"m","input":[[{long}]{}]}}"#, ",[1]".repeat(2000));
    let memory = memory();
    let charge = memory.account(usize::MAX).charge();
    let mut request = Request::new(openai, EMBED, Stamp::default(), OPTIONS, charge);
    request.write(body.as_bytes()).unwrap();
    let problem = request.finish().unwrap_err();
    assert_eq!((problem.status, memory.used()), (413, 0));
    assert_eq!(problem.message, "the request's inputs take more than 1048576 bytes as tensors");
}

/// An answer with these vectors and 5 tokens.
fn vectors(shape: &[u64], values: &[f32]) -> Message {
    Message::new()
        .message(5, &input("count", "INT32", &[2]))
        .message(5, &input("vector", "FP32", shape))
        .bytes(6, [2_i32.to_le_bytes(), 3_i32.to_le_bytes()].concat())
        .bytes(6, floats(values))
}

#[test]
fn vectors_are_written_in_the_form_that_was_asked_for_with_the_tokens_that_the_model_has_counted() {
    let body =
        |format: &str| format!(r#"{{"model":"embed","input":["a","b"],"encoding_format":"{format}"}}"#);
    let message = vectors(&[2, 1, 2], &[0.25, -1.0, 3.4e38, 1e-7]);
    for step in [1, 2, 3, 5, 1000] {
        let text = answer(EMBED, &body("float"), &message, step).unwrap();
        let expected = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.25,-1.0]},{"object":"embedding","index":1,"embedding":[3.4e+38,1e-7]}],"model":"embed","usage":{"prompt_tokens":5,"total_tokens":5}}"#;
        assert_eq!(text, expected);
        let text = answer(EMBED, &body("base64"), &message, step).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["data"][0]["embedding"], "AACAPgAAgL8=");
    }
}

#[test]
fn a_large_answer_has_every_number_once_in_either_form() {
    use base64::Engine as _;
    let values: Vec<f32> = (0..2 * 40_001).map(|at| at as f32 / 8.0).collect();
    let message = vectors(&[2, 40_001], &values);
    for (format, base64) in [("float", false), ("base64", true)] {
        let body = format!(r#"{{"model":"embed","input":["a","b"],"encoding_format":"{format}"}}"#);
        let text = answer(EMBED, &body, &message, 4096).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        for (index, expected) in values.chunks(40_001).enumerate() {
            let found = &value["data"][index]["embedding"];
            if base64 {
                let bytes =
                    base64::engine::general_purpose::STANDARD.decode(found.as_str().unwrap()).unwrap();
                assert!(bytes == floats(expected));
            } else {
                let found = found.as_array().unwrap();
                assert_eq!(found.len(), expected.len());
                assert!(
                    found
                        .iter()
                        .zip(expected)
                        .all(|(found, own)| found.as_f64().map(|it| it as f32) == Some(*own))
                );
            }
        }
    }
}

#[test]
fn an_answer_that_is_not_what_the_configuration_says_is_an_error_that_names_the_output() {
    let error = |shape: &[u64], values: &[f32]| {
        let problem =
            answer(EMBED, r#"{"model":"embed","input":["a","b"]}"#, &vectors(shape, values), 7).unwrap_err();
        assert_eq!(problem.status, 502);
        problem.message.into_owned()
    };
    let shape = |shape: &str| {
        format!(
            "the server's answer is wrong for output vector: shape {shape} is not that of one vector for each of 2 inputs"
        )
    };
    assert_eq!(error(&[3, 1], &[1.0; 3]), shape("[3, 1]"));
    assert_eq!(error(&[2, 2, 2], &[1.0; 8]), shape("[2, 2, 2]"));
    assert_eq!(error(&[2, 0], &[]), shape("[2, 0]"));
    assert_eq!(error(&[], &[1.0]), shape("[]"));
    assert!(error(&[2, 1], &[1.0, f32::NEG_INFINITY]).contains("NaN or an infinity"));
    let none = answer(EMBED, r#"{"model":"embed","input":"a"}"#, &Message::new(), 7).unwrap_err();
    assert_eq!(none.message, "the server's answer has no output count");
}

#[test]
fn a_completion_says_why_it_ended_and_what_it_cost() {
    let message = Message::new()
        .message(5, &input("out", "BYTES", &[1, 1]))
        .message(5, &input("why", "BYTES", &[1]))
        .message(5, &input("read", "UINT8", &[1]))
        .message(5, &input("written", "INT64", &[1]))
        .bytes(6, [&4_u32.to_le_bytes()[..], b" \"\n\xff"].concat())
        .bytes(6, bytes(&["length"]))
        .bytes(6, [200])
        .bytes(6, 3_i64.to_le_bytes());
    for step in [1, 4, 1000] {
        let text = answer(COMPLETE, r#"{"model":"write","prompt":"a"}"#, &message, step).unwrap();
        let expected = concat!(
            r#"{"id":"cmpl-1","object":"text_completion","created":7,"model":"write","choices":[{"text":" \"\n"#,
            "\u{fffd}",
            r#"","index":0,"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":200,"completion_tokens":3,"total_tokens":203}}"#
        );
        assert_eq!(text, expected);
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ -~]{0,20}"]
}

proptest! {
    #[test]
    fn texts_of_any_kind_arrive_as_they_are_however_the_body_is_cut(
        texts in prop::collection::vec(text(), 1..8),
        step in 1_usize..40,
    ) {
        let body = json!({ "input": texts, "model": "embed" }).to_string();
        let memory = memory();
        let (message, response, inputs) = made(EMBED, body.as_bytes(), step, &memory).unwrap();
        prop_assert_eq!(inputs.elements, texts.len() as u64);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let raw = Message::new().bytes(7, bytes(&texts)).into_bytes();
        prop_assert!(message.ends_with(&raw));
        drop(response);
        prop_assert_eq!(memory.used(), 0);
    }

    #[test]
    fn no_body_is_too_odd_to_be_answered_or_keeps_memory(
        body in prop_oneof![
            any::<Vec<u8>>(),
            r#"\{("(model|input|prompt|user|n|stop)":("embed"|"write"|1|-1|null|true|\[1,2\]|\[\[1\],\[2\]\]|\["a"\]|\{\}),?){0,5}\}?"#
                .prop_map(String::into_bytes),
        ],
        step in 1_usize..20,
        complete in any::<bool>(),
    ) {
        let operation = if complete { COMPLETE } else { EMBED };
        let memory = memory();
        let in_pieces = made(operation, &body, step, &memory).map(|(message, ..)| message);
        let whole = made(operation, &body, usize::MAX, &memory).map(|(message, ..)| message);
        prop_assert_eq!(in_pieces, whole);
        prop_assert_eq!(memory.used(), 0);
    }
}

mod streams;

mod configuration {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn operation() -> Value {
        json!({ "text": { "name": "x" }, "output": "y" })
    }

    /// Why a configuration is refused whose one model has this operation.
    fn of_operation(change: impl FnOnce(&mut Value)) -> String {
        let mut own = operation();
        change(&mut own);
        read(&json!({ "models": [{ "id": "a", "model": "b", "embeddings": own }] })).err().unwrap_or_default()
    }

    #[test]
    fn a_value_that_can_never_work_is_named_with_its_path() {
        let path = "configuration key openai.models[0].embeddings";
        let tensor =
            |datatype: &str, shape: Value| json!({ "name": "p", "datatype": datatype, "shape": shape });
        let parameter = |name: &str, datatype: &str, shape: Value| {
            let mut tensor = tensor(datatype, shape);
            tensor["parameter"] = name.into();
            json!([tensor])
        };
        assert_eq!(of_operation(|_| {}), "");
        assert_eq!(
            of_operation(|own| own["text"]["datatype"] = "FP32".into()),
            format!("{path}.text.datatype: FP32 is not possible here: it must be BYTES")
        );
        assert_eq!(
            of_operation(|own| own["tokens"] = tensor("BOOL", json!([-1]))),
            format!(
                "{path}.tokens.datatype: BOOL is not possible here: it must be INT32 or INT64 or UINT32 or UINT64"
            )
        );
        assert_eq!(
            of_operation(|own| own["text"]["shape"] = json!([-1, 0])),
            format!("{path}.text.shape[1]: a dimension is -1, or 1 or more")
        );
        assert_eq!(
            of_operation(|own| own["text"]["shape"] = json!([-1, -1, -1])),
            format!("{path}.text.shape[2]: at most two dimensions can be -1")
        );
        assert_eq!(of_operation(|own| own["pad"] = 0.into()), format!("{path}.pad: needs tokens"));
        assert_eq!(
            of_operation(|own| own["finish_reason"] = "z".into()),
            format!("{path}.finish_reason: only completions have it")
        );
        assert_eq!(
            of_operation(|own| own["stream"] = "required".into()),
            format!("{path}.stream: only completions have it")
        );
        assert_eq!(
            of_operation(|own| own["prompt_tokens"] = "y".into()),
            format!("{path}.prompt_tokens: another key names this output")
        );
        assert_eq!(
            of_operation(|own| own["max_inputs"] = 0.into()),
            format!("{path}.max_inputs: 0 is out of range: it must be from 1 to 2048")
        );
        assert_eq!(
            of_operation(|own| own["parameters"] = parameter("stream", "BOOL", json!([1]))),
            format!("{path}.parameters[0].parameter: this one is not passed on to models")
        );
        assert_eq!(
            of_operation(|own| own["parameters"] = parameter("k", "INT5", json!([1]))),
            format!("{path}.parameters[0].datatype: \"INT5\" is not a datatype of the protocol")
        );
        assert_eq!(
            of_operation(|own| {
                own["parameters"] = parameter("k", "INT8", json!([1]));
                own["parameters"][0]["default"] = 200.into();
            }),
            format!("{path}.parameters[0].default: it is out of range for INT8")
        );
        assert_eq!(
            of_operation(|own| own["constants"] = json!([{ "name": "x", "datatype": "BOOL", "value": true }])),
            format!("{path}.constants[0].name: another input is called \"x\"")
        );
        assert_eq!(
            of_operation(|own| {
                own["constants"] = json!([{ "name": "c", "datatype": "BOOL", "shape": [2], "value": true }]);
            }),
            format!("{path}.constants[0].value: one value does not fit the shape")
        );
        assert_eq!(
            of_operation(|own| own["text"] = Value::Null),
            format!("{path}: it takes neither text nor tokens")
        );
    }

    #[test]
    fn models_and_the_prefix_are_checked_as_well() {
        let error = |config: Value| read(&config).unwrap_err();
        let model = |id: &str| json!({ "id": id, "model": "m", "embeddings": operation() });
        assert_eq!(error(json!({})), "configuration key openai.models: it lists no model");
        assert_eq!(
            error(json!({ "models": [model("a"), model("a")] })),
            "configuration key openai.models[1].id: another model has the id \"a\""
        );
        assert_eq!(
            error(json!({ "models": [{ "id": "a", "model": "m" }] })),
            "configuration key openai.models[0]: it has neither embeddings nor completions"
        );
        for (prefix, why) in [
            ("v1", "it must begin with a slash"),
            ("/v1/", "a segment is empty"),
            ("", "it must begin with a slash"),
            ("/a/../b", "a path cannot have the segments '.' and '..'"),
            ("/a%2fb", "a segment may have letters, digits, '-', '.', '_' and '~'"),
            ("/v2", "what is under /v2 belongs to KServe v2"),
        ] {
            let config = json!({ "prefix": prefix, "models": [model("a")] });
            assert_eq!(error(config), format!("configuration key openai.prefix: {prefix:?}: {why}"));
        }
        assert_eq!(
            error(json!({ "model_header": "x-model", "models": [model("a")] })),
            "configuration key openai.model_header: needs hold_request_headers: true, because the model's name is in the body"
        );
    }

    #[test]
    fn under_v1_openai_has_no_place_beside_kserve_v1() {
        let config = |prefix: &str| OpenAiConfig { prefix: prefix.to_owned(), ..OpenAiConfig::default() };
        assert!(check_beside_kserve_v1(&config("/v1"), false).is_ok());
        assert!(check_beside_kserve_v1(&config("/openai/v1"), true).is_ok());
        let error = check_beside_kserve_v1(&config("/v1"), true).unwrap_err();
        assert!(
            error.to_string().starts_with("configuration key openai.prefix: KServe v1 is served under /v1")
        );
    }
}
