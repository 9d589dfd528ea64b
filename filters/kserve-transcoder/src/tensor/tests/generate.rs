//! Stories of bodies and answers of Triton's `generate`.

use super::message::{Choice, ModelInferResponse, Parameter, parameters};
use super::predict::{answer_with, inputs, ints, signature, texts};
use super::*;
use proptest::prelude::*;
use std::sync::Arc;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn read(
    signature: &Arc<Signature>,
    answers: Answers,
    body: &[u8],
    step: usize,
) -> Result<(Vec<u8>, Box<dyn ResponseCodec>), Problem> {
    let mut request = Generate::new(target(), OPTIONS, signature.clone(), answers, charge())?;
    for piece in body.chunks(step) {
        request.write(piece)?;
    }
    let (mut message, response) = request.finish()?;
    let mut bytes = Vec::new();
    message.drain_to(&mut bytes);
    Ok((bytes, response))
}

/// The message of a body, which must be the same however the body is cut.
fn generate(inputs: &[(&str, &str, &[i64])], body: &str) -> Result<ModelInferRequest, String> {
    let signature = signature(inputs);
    let read = |step| read(&signature, Answers::One, body.as_bytes(), step).map(|(message, _)| message);
    let whole = read(usize::MAX);
    for step in [1, 2, 3, 7] {
        assert_eq!(read(step), whole, "in pieces of {step}");
    }
    whole.map(|bytes| ModelInferRequest::decode(&bytes[..]).unwrap()).map_err(|problem| {
        assert_eq!(problem.status, 400, "{problem}");
        problem.message.into_owned()
    })
}

fn refusal(inputs: &[(&str, &str, &[i64])], body: &str) -> String {
    generate(inputs, body).unwrap_err()
}

/// What language models have.
const LLM: &[(&str, &str, &[i64])] = &[
    ("text_input", "BYTES", &[-1, 1]),
    ("max_tokens", "INT32", &[-1, 1]),
    ("stream", "BOOL", &[-1, 1]),
    ("top", "FP32", &[-1, -1]),
];

#[test]
fn what_has_an_inputs_name_is_its_tensor_and_all_else_is_a_parameter() {
    let body = r#"{"text_input": "a\u00e9", "id": "7", "stream": true, "seed": 5, "user": "u",
        "parameters": {"max_tokens": 16, "temperature": 0.5, "id": "p", "echo": false}}"#;
    let message = generate(LLM, body).unwrap();
    assert_eq!((message.model_name.as_str(), message.id.as_str()), ("m", "7"));
    assert_eq!(
        inputs(&message),
        [
            ("text_input", &[1, 1][..], &b"\x03\0\0\0a\xc3\xa9"[..]),
            ("max_tokens", &[1, 1], &[16, 0, 0, 0]),
            ("stream", &[1, 1], &[1]),
        ]
    );
    let expected = parameters([
        ("seed", Choice::Int64(5)),
        ("user", Choice::String("u".into())),
        ("temperature", Choice::Double(0.5)),
        ("id", Choice::String("p".into())),
        ("echo", Choice::Bool(false)),
    ]);
    assert_eq!(message.parameters, expected);
}

#[test]
fn a_list_is_a_batch_or_what_the_innermost_open_size_takes() {
    let shapes = |body: &str| -> Vec<(String, Vec<i64>)> {
        generate(LLM, body).unwrap().inputs.into_iter().map(|input| (input.name, input.shape)).collect()
    };
    let of = |name: &str, shape: &[i64]| (name.to_owned(), shape.to_owned());
    assert_eq!(shapes(r#"{"text_input":["a"]}"#), [of("text_input", &[1, 1])]);
    assert_eq!(
        shapes(r#"{"text_input":["a",["b","c"]],"top":[[1],[2,3.5]]}"#),
        [of("text_input", &[3, 1]), of("top", &[1, 3])]
    );
    assert_eq!(shapes(r#"{"text_input":[],"top":[[]]}"#), [of("text_input", &[0, 1]), of("top", &[1, 0])]);
}

#[test]
fn a_model_is_asked_without_what_the_body_does_not_have() {
    let nothing = generate(LLM, " { } ").unwrap();
    assert_eq!((nothing.inputs.len(), nothing.parameters.len()), (0, 0));
    // What has no value, and what asks for a message that an answer of this form has no place for.
    let body = r#"{"parameters":{"a":null,"triton_enable_empty_final_response":true}}"#;
    assert_eq!(generate(LLM, body).unwrap(), nothing);
}

#[test]
fn an_input_may_be_named_as_a_member_that_means_something_elsewhere() {
    let named = &[("id", "INT8", &[1][..]), ("model_name", "BYTES", &[1])];
    let message = generate(named, r#"{"model_name":"x","id":3}"#).unwrap();
    assert_eq!(inputs(&message), [("id", &[1][..], &[3][..]), ("model_name", &[1], b"\x01\0\0\0x")]);
    assert_eq!((message.id.as_str(), message.model_name.as_str()), ("", "m"));
    let told = refusal(&[("parameters", "INT8", &[1])], r#"{"parameters":3}"#);
    assert!(told.starts_with("the model has an input of the name parameters"), "{told}");
}

#[test]
fn what_does_not_fit_is_named_with_its_place() {
    for (body, expected) in [
        (r#"{"text_input":1}"#, "text_input: expected a value of BYTES or a list of them, found a number"),
        (r#"{"text_input":null}"#, "text_input: expected a value of BYTES or a list of them, found null"),
        (
            r#"{"text_input":true}"#,
            "text_input: expected a value of BYTES or a list of them, found a boolean",
        ),
        (
            r#"{"text_input":{"a":1}}"#,
            "text_input: expected a value of BYTES or a list of them, found an object",
        ),
        (r#"{"text_input":["a",[2]]}"#, "text_input[1]: expected a string for BYTES, found 2"),
        (r#"{"text_input":["a",{}]}"#, "text_input[1]: expected a value of BYTES, found {"),
        (r#"{"max_tokens":"5"}"#, "max_tokens: \"5\" is not a value of INT32"),
        (r#"{"max_tokens":3000000000}"#, "max_tokens: 3000000000 is out of range for INT32"),
        (r#"{"max_tokens":[1,2.5]}"#, "max_tokens[1]: 2.5 is not a whole number, as INT32 needs"),
        (r#"{"stream":"true"}"#, "stream: \"true\" is not a value of BOOL"),
        (r#"{"parameters":{"stream":2}}"#, "stream: 2 is out of range for BOOL"),
        (r#"{"parameters":[]}"#, "parameters must be an object"),
        (r#"{"parameters":null}"#, "parameters must be an object"),
        (r#"{"id":7}"#, "id must be a string"),
        (r#"{"text_input":"a","text_input":"b"}"#, "text_input is given twice"),
        (r#"{"stream":true,"parameters":{"stream":true}}"#, "stream is given twice"),
        (r#"{"id":"a","id":"b"}"#, "id is given twice"),
        (r#"{"parameters":{},"parameters":{}}"#, "parameters is given twice"),
        (r#"{"a":1,"parameters":{"a":null}}"#, "parameters.a is given twice"),
        (r#"{"a":1e999}"#, "a: 1e999 is out of range"),
        (
            r#"{"parameters":{"stop":["\n"]}}"#,
            "parameters.stop: a parameter is a string, a number or a boolean, and the model has no input of this name: its \
             inputs are text_input, max_tokens, stream, top",
        ),
        (r#"["a"]"#, "the JSON document must be an object"),
        (r#" "#, "the body has no JSON document"),
        (r#"{"text_input":["a""#, "the JSON document ends too early"),
    ] {
        assert_eq!(refusal(LLM, body), expected, "{body}");
    }
    let fixed = &[("x", "INT8", &[-1, 2][..]), ("one", "INT8", &[1])];
    assert_eq!(
        refusal(fixed, r#"{"x":[1,2,3]}"#),
        "x: 3 elements do not fit the shape [-1, 2] of the model's input"
    );
    assert_eq!(
        refusal(fixed, r#"{"one":[]}"#),
        "one: 0 elements do not fit the shape [1] of the model's input"
    );
}

#[test]
fn a_body_that_is_too_large_or_more_than_the_budget_is_refused_and_gives_back_what_it_held() {
    let memory = Memory::new(16 << 10);
    let read = |options: Options, body: &str| -> Result<(), Problem> {
        let charge = memory.account(usize::MAX).charge();
        let mut request = Generate::new(target(), options, signature(LLM), Answers::All, charge)?;
        request.write(body.as_bytes())?;
        request.finish().map(|_| ())
    };
    let small = Options { max_request_bytes: 20, ..OPTIONS };
    assert_eq!(read(small, r#"{"text_input":"0123456789"}"#).unwrap_err().status, 413);
    let text = "x".repeat(64 << 10);
    for body in [
        format!(r#"{{"text_input":"{text}"}}"#),
        format!(r#"{{"text_input":["{text}"]}}"#),
        format!(r#"{{"user":"{text}"}}"#),
        format!(r#"{{"id":"{text}"}}"#),
        format!(r#"{{"{text}":1}}"#),
    ] {
        assert_eq!(read(OPTIONS, &body).unwrap_err().status, 503);
    }
    assert_eq!(memory.used(), 0);
}

proptest! {
    #[test]
    fn any_list_is_the_tensor_that_v2_has_of_the_same_text(
        values in prop::collection::vec(any::<i32>(), 0..60),
        datatype in prop::sample::select(vec!["INT32", "INT64", "FP64", "FP32"]),
        batched in any::<bool>(),
        step in 1_usize..40,
    ) {
        let list = format!("{values:?}");
        let declared: &[i64] = if batched { &[-1, 1] } else { &[-1] };
        let count = values.len() as i64;
        let shape = if batched { vec![count, 1] } else { vec![count] };
        let body = format!(r#"{{"x":{list}}}"#);
        let signature = signature(&[("x", datatype, declared)]);
        let (message, _) = read(&signature, Answers::All, body.as_bytes(), step).unwrap();
        let v2 = format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape:?},"data":{list}}}]}}"#);
        prop_assert_eq!(message, transcode(OPTIONS, None, v2.as_bytes(), usize::MAX).unwrap().0);
    }
}

/// What is made of a `ModelStreamInferResponse`, which must be the same however it is cut.
fn told(answers: Answers, message: &[u8]) -> Result<String, Problem> {
    let (_, stream) = read(&signature(LLM), answers, b"{}", usize::MAX).unwrap();
    let render = |step| {
        let reader = stream.for_message().unwrap();
        let reader = match answers {
            Answers::All => reader,
            Answers::One => read(&signature(LLM), answers, b"{}", usize::MAX)?.1,
        };
        let mut body = Vec::new();
        answer_in(reader, message, step)?.render(&mut body);
        Ok(String::from_utf8(body).unwrap())
    };
    let whole: Result<String, Problem> = render(usize::MAX);
    for step in [1, 2, 3, 64] {
        assert_eq!(render(step), whole, "in pieces of {step}");
    }
    whole
}

/// The answer to a message, which is the same for one that is alone and for one of a stream.
fn answer(message: &ModelInferResponse) -> Result<String, Problem> {
    let wrapped = kserve_proto::wire::Message::new().bytes(2, message.encode_to_vec()).into_bytes();
    let one = told(Answers::One, &wrapped);
    assert_eq!(told(Answers::All, &wrapped), one);
    one
}

#[test]
fn outputs_stand_under_their_names_as_an_element_or_a_flat_list_and_parameters_beside_them() {
    let outputs = vec![
        texts("text_output", &[1, 1], &[b"a\"\n"]),
        ints("tokens", &[2, 2], &[1, 2, 3, 4]),
        ints("none", &[1, 0], &[]),
        ints("scalar", &[], &[7]),
    ];
    let mut message = ModelInferResponse { model_version: "1".to_owned(), ..answer_with(outputs) };
    message.parameters = parameters([("triton_final_response", Choice::Bool(false))]);
    assert_eq!(
        answer(&message).unwrap(),
        r#"{"model_name":"m","model_version":"1","text_output":"a\"\n","tokens":[1,2,3,4],"none":[],"scalar":7}"#
    );
    message.id = "7".to_owned();
    message.outputs.clear();
    message.parameters = parameters([("cost", Choice::Double(0.5)), ("user", Choice::String("u".into()))]);
    assert_eq!(
        answer(&message).unwrap(),
        r#"{"id":"7","model_name":"m","model_version":"1","cost":0.5,"user":"u"}"#
    );
}

#[test]
fn each_member_is_there_once() {
    let mut message =
        answer_with(vec![ints("model_name", &[1], &[1]), ints("id", &[1], &[2]), ints("y", &[1], &[3])]);
    message.parameters = ["y", "id", "model_version", "z"]
        .map(|name| (name.to_owned(), Parameter { choice: Some(Choice::Int64(9)) }))
        .into();
    assert_eq!(answer(&message).unwrap(), r#"{"model_name":"m","z":9,"id":2,"y":3}"#);
    message.id = "7".to_owned();
    assert_eq!(answer(&message).unwrap(), r#"{"id":"7","model_name":"m","z":9,"y":3}"#);
    let twice = answer_with(vec![ints("y", &[1], &[3]), ints("z", &[1], &[3]), ints("y", &[1], &[4])]);
    let problem = answer(&twice).unwrap_err();
    assert_eq!(problem.status, 502);
    assert_eq!(problem.message, "the server's answer is wrong for output y: it is there twice");
}

#[test]
fn bytes_that_are_not_text_are_base64_with_its_key() {
    let message = answer_with(vec![texts("a", &[2], &[b"x", b"\xff"]), texts("b_bytes", &[1], &[b"hi"])]);
    assert_eq!(
        answer(&message).unwrap(),
        r#"{"model_name":"m","a":[{"b64":"eA=="},{"b64":"/w=="}],"b_bytes":"hi"}"#
    );
}

#[test]
fn an_error_in_a_message_is_an_event_of_a_stream_and_no_answer_where_there_is_one() {
    let error = kserve_proto::wire::Message::new().bytes(1, "no room ").into_bytes();
    assert_eq!(told(Answers::All, &error).unwrap(), r#"{"error":"no room"}"#);
    let problem = told(Answers::One, &error).unwrap_err();
    assert_eq!((problem.status, &*problem.message), (400, "no room"));
}
