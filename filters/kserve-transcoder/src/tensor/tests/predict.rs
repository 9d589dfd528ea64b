//! Stories of KServe v1's bodies and answers.

use super::message::{Contents, tensor};
use super::*;
use proptest::prelude::*;
use std::sync::Arc;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A signature with inputs of these names, datatypes and shapes.
pub(super) fn signature(inputs: &[(&str, &str, &[i64])]) -> Arc<Signature> {
    let declared = |(name, datatype, shape): &(&str, &str, &[i64])| Declared {
        name: (*name).to_owned(),
        datatype: Datatype::from_name(datatype.as_bytes()).unwrap(),
        shape: shape.iter().map(|size| u64::try_from(*size).ok()).collect(),
    };
    Arc::new(Signature::new(inputs.iter().map(declared).collect()).unwrap())
}

fn read(
    signature: &Arc<Signature>,
    options: Options,
    body: &[u8],
    step: usize,
) -> Result<(Vec<u8>, Box<dyn ResponseCodec>), Problem> {
    let mut request = Predict::new(target(), options, signature.clone(), charge())?;
    for piece in body.chunks(step) {
        request.write(piece)?;
    }
    let (mut message, response) = request.finish()?;
    let mut bytes = Vec::new();
    message.drain_to(&mut bytes);
    Ok((bytes, response))
}

/// The message of a body, which must be the same however the body is cut.
fn predict(inputs: &[(&str, &str, &[i64])], body: &str) -> Result<ModelInferRequest, String> {
    let signature = signature(inputs);
    let read = |step| read(&signature, OPTIONS, body.as_bytes(), step).map(|(message, _)| message);
    let whole = read(usize::MAX);
    for step in [1, 2, 3, 7] {
        assert_eq!(read(step), whole, "in pieces of {step}");
    }
    whole.map(|bytes| ModelInferRequest::decode(&bytes[..]).unwrap()).map_err(|problem| {
        assert_eq!(problem.status, 400, "{problem}");
        problem.message.into_owned()
    })
}

/// The inputs of a message: names, shapes and raw contents.
pub(super) fn inputs(message: &ModelInferRequest) -> Vec<(&str, &[i64], &[u8])> {
    assert_eq!(message.inputs.len(), message.raw_input_contents.len());
    let raw = message.raw_input_contents.iter().map(Vec::as_slice);
    message.inputs.iter().zip(raw).map(|(input, raw)| (&*input.name, &*input.shape, raw)).collect()
}

fn refusal(inputs: &[(&str, &str, &[i64])], body: &str) -> String {
    predict(inputs, body).unwrap_err()
}

const ONE: &[(&str, &str, &[i64])] = &[("x", "INT8", &[-1, 2])];
const TWO: &[(&str, &str, &[i64])] = &[("x", "INT8", &[-1]), ("y", "FP32", &[-1, 1])];
const TEXT: &[(&str, &str, &[i64])] = &[("t", "BYTES", &[-1])];

#[test]
fn the_number_of_instances_is_the_first_dimension() {
    let message = predict(ONE, r#" {"instances" : [ [1, 2], [3,-4] , [5,6] ] } "#).unwrap();
    assert_eq!(inputs(&message), [("x", &[3, 2][..], &[1, 2, 3, 0xfc, 5, 6][..])]);
    assert_eq!((message.model_name.as_str(), message.inputs[0].datatype.as_str()), ("m", "INT8"));
    // By name, or without it, or some so and some so.
    let named = r#"{"instances":[{"x":[1,2]},[3,-4],{"x":[5,6]}]}"#;
    assert_eq!(predict(ONE, named).unwrap(), message);
    // Whole tensors.
    for whole in [r#"{"inputs":[[1,2],[3,-4],[5,6]]}"#, r#"{"inputs":{"x":[[1,2],[3,-4],[5,6]]}}"#] {
        assert_eq!(predict(ONE, whole).unwrap(), message);
    }
}

#[test]
fn instances_may_be_single_elements_and_inputs_a_scalar() {
    let row: &[(&str, &str, &[i64])] = &[("x", "UINT16", &[-1])];
    let message = predict(row, r#"{"instances":[1,65535,2.0]}"#).unwrap();
    assert_eq!(inputs(&message), [("x", &[3][..], &[1, 0, 0xff, 0xff, 2, 0][..])]);
    assert_eq!(predict(row, r#"{"inputs":[1,65535,2.0]}"#).unwrap(), message);
    let scalar: &[(&str, &str, &[i64])] = &[("x", "BOOL", &[])];
    let message = predict(scalar, r#"{"inputs":true}"#).unwrap();
    assert_eq!(inputs(&message), [("x", &[][..], &[1][..])]);
    assert_eq!(
        refusal(scalar, r#"{"instances":[true]}"#),
        "instances[0]: the model's input x has the shape [], without a dimension for instances: use inputs"
    );
}

#[test]
fn inputs_go_in_the_models_order_whatever_the_clients_is_and_one_that_is_nowhere_is_left_out() {
    let message = predict(TWO, r#"{"instances":[{"y":[1.5],"x":1},{"x":2,"y":[-1]}]}"#).unwrap();
    let floats = [1.5_f32.to_le_bytes(), (-1.0_f32).to_le_bytes()].concat();
    assert_eq!(inputs(&message), [("x", &[2][..], &[1, 2][..]), ("y", &[2, 1][..], &floats[..])]);
    let message = predict(TWO, r#"{"instances":[{"x":1},{"x":2}]}"#).unwrap();
    assert_eq!(inputs(&message), [("x", &[2][..], &[1, 2][..])]);
    let message = predict(TWO, r#"{"inputs":{"x":[1,2,3]},"outputs":["z"],"signature_name":"s"}"#).unwrap();
    assert_eq!(inputs(&message), [("x", &[3][..], &[1, 2, 3][..])]);
}

#[test]
fn an_element_of_bytes_is_a_string_or_base64_with_its_key() {
    let body = r#"{"instances":["a\u0000\ud83d\ude00",{"b64":"AP8="},{"t":"c"},{"t":{"b64":""}}]}"#;
    let message = predict(TEXT, body).unwrap();
    let raw = b"\x06\0\0\0a\0\xf0\x9f\x98\x80\x02\0\0\0\0\xff\x01\0\0\0c\0\0\0\0";
    assert_eq!(inputs(&message), [("t", &[4][..], &raw[..])]);
    let scalar: &[(&str, &str, &[i64])] = &[("t", "BYTES", &[])];
    let message = predict(scalar, r#"{"inputs":{"b64":"aGk"}}"#).unwrap();
    assert_eq!(inputs(&message), [("t", &[][..], &b"\x02\0\0\0hi"[..])]);
    // An input of this name has the name.
    let named: &[(&str, &str, &[i64])] = &[("b64", "BYTES", &[-1])];
    let message = predict(named, r#"{"instances":[{"b64":"aGk="}]}"#).unwrap();
    assert_eq!(inputs(&message), [("b64", &[1][..], &b"\x04\0\0\0aGk="[..])]);
    let wrong = "an object that is an element must be {\"b64\": \"<base64>\"}";
    assert_eq!(refusal(TEXT, r#"{"instances":["a",{"t":{"b65":""}}]}"#), format!("instances[1].t: {wrong}"));
    assert_eq!(refusal(TEXT, r#"{"instances":[{"b64":"","x":1}]}"#), format!("instances[0]: {wrong}"));
    assert_eq!(
        refusal(TEXT, r#"{"inputs":[{"b64":"a"}]}"#),
        "inputs[0]: the string of b64 is not valid base64"
    );
    assert_eq!(
        refusal(TEXT, r#"{"instances":[1]}"#),
        "instances[0]: expected a value of BYTES, found a number"
    );
}

#[test]
fn floats_that_json_has_no_form_for_are_read_as_in_v2() {
    let row: &[(&str, &str, &[i64])] = &[("x", "FP32", &[-1])];
    let flat = predict(row, r#"{"inputs":[NaN,-Infinity,"Infinity",null]}"#).unwrap();
    let single = predict(row, r#"{"instances":[NaN,-Infinity,"Infinity",null]}"#).unwrap();
    assert_eq!(flat, single);
    let floats = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, f32::NAN].map(f32::to_le_bytes).concat();
    assert_eq!(inputs(&flat), [("x", &[4][..], &floats[..])]);
}

#[test]
fn what_is_no_element_of_the_datatype_is_refused_in_the_words_of_v2_with_its_place() {
    let rows: &[(&str, &str, &[i64])] = &[("x", "INT8", &[-1, -1, 2])];
    assert_eq!(
        refusal(rows, r#"{"instances":[[[1,2]],[[1,2],[3,128]]]}"#),
        "instances[1][1][1]: 128 is out of range for INT8"
    );
    assert_eq!(
        refusal(ONE, r#"{"inputs":{"x":[[1,2.5]]}}"#),
        "inputs.x[0][1]: 2.5 is not a whole number, as INT8 needs"
    );
    assert_eq!(
        refusal(TWO, r#"{"instances":[{"y":[1],"x":1e3}]}"#),
        "instances[0].x: 1e3 is out of range for INT8"
    );
    assert_eq!(
        refusal(TWO, r#"{"instances":[{"x":null}]}"#),
        "instances[0].x: null is not a value of INT8: only floating-point tensors may have it, as NaN"
    );
    assert_eq!(refusal(TWO, r#"{"instances":[{"x":"1"}]}"#), "instances[0].x: \"1\" is not a value of INT8");
    assert_eq!(
        refusal(ONE, r#"{"instances":[[1,{}]]}"#),
        "instances[0][1]: expected a value of INT8, found {"
    );
    assert_eq!(
        refusal(TWO, r#"{"instances":[{"x":{}}]}"#),
        "instances[0].x: expected a value of INT8, found an object"
    );
}

#[test]
fn shapes_that_contradict_themselves_or_the_model_are_refused_with_their_place() {
    let x = "the model's input x has the shape";
    assert_eq!(
        refusal(ONE, r#"{"instances":[[1,2],[3]]}"#),
        format!("instances[1]: expected 2 items, found 1 ({x} [-1, 2])")
    );
    let any: &[(&str, &str, &[i64])] = &[("x", "INT8", &[-1, -1, -1])];
    assert_eq!(
        refusal(any, r#"{"inputs":[[[1],[2]],[[3]]]}"#),
        format!("inputs[1]: a list of 1 items beside one of 2 ({x} [-1, -1, -1])")
    );
    assert_eq!(
        refusal(any, r#"{"instances":[[[1,2],[3,4,5]]]}"#),
        format!("instances[0][1]: a list of 3 items beside one of 2 ({x} [-1, -1, -1])")
    );
    assert_eq!(
        refusal(any, r#"{"instances":[[[1]],[2]]}"#),
        format!("instances[1][0]: expected a list, found a number: {x} [-1, -1, -1]")
    );
    assert_eq!(
        refusal(ONE, r#"{"instances":[[[1],2]]}"#),
        "instances[0][0]: expected a value of INT8, found ["
    );
    assert_eq!(
        refusal(TEXT, r#"{"instances":["a",["b"]]}"#),
        "instances[1]: expected an element, found a list: the model's input t has the shape [-1]"
    );
    assert_eq!(
        refusal(&[("x", "INT8", &[2, 1])], r#"{"instances":[[1],[2],[3]]}"#),
        format!("instances: expected 2 items, found 3 ({x} [2, 1])")
    );
}

#[test]
fn lists_without_items_are_tensors_without_elements_but_there_is_an_instance() {
    let any: &[(&str, &str, &[i64])] = &[("x", "INT8", &[-1, -1, 3])];
    let message = predict(any, r#"{"instances":[[],[]]}"#).unwrap();
    assert_eq!(inputs(&message), [("x", &[2, 0, 3][..], &[][..])]);
    assert_eq!(inputs(&predict(any, r#"{"inputs":[]}"#).unwrap()), [("x", &[0, 0, 3][..], &[][..])]);
    assert_eq!(refusal(any, r#"{"instances":[]}"#), "instances has no instance");
    assert_eq!(refusal(TWO, r#"{"inputs":{}}"#), "inputs has no input");
    assert_eq!(refusal(TWO, r#"{"instances":[{}]}"#), "instances[0]: the instance has no inputs");
}

#[test]
fn every_instance_has_the_same_inputs_and_each_of_them_once() {
    assert_eq!(
        refusal(TWO, r#"{"instances":[{"x":1,"y":[1]},{"x":1}]}"#),
        "instances[1].y: it is missing, but other instances have it"
    );
    assert_eq!(
        refusal(TWO, r#"{"instances":[{"x":1},{"x":1,"y":[1]}]}"#),
        "instances[1].y: not every instance before this one has this input"
    );
    assert_eq!(refusal(TWO, r#"{"instances":[{"x":1,"x":1}]}"#), "instances[0].x: it is given twice");
    assert_eq!(refusal(TWO, r#"{"inputs":{"x":[1],"x":[1]}}"#), "inputs.x: it is given twice");
    assert_eq!(
        refusal(TWO, r#"{"instances":[{"z":1}]}"#),
        "instances[0]: the model has no input \"z\": its inputs are x, y"
    );
    let several = "the model has several inputs, so their values must be given by name: x, y";
    assert_eq!(refusal(TWO, r#"{"instances":[1]}"#), format!("instances[0]: {several}"));
    assert_eq!(refusal(TWO, r#"{"inputs":[1]}"#), format!("inputs: {several}"));
}

#[test]
fn a_body_is_an_object_with_one_of_the_two_members() {
    for (body, told) in [
        ("", "the body has no JSON document"),
        ("[]", "the JSON document must be an object"),
        ("{}", "instances or inputs is missing"),
        (r#"{"instances":[[1,2]]"#, "the JSON document ends too early"),
        (r#"{"instances":[[1,2]],"inputs":[[1,2]]}"#, "instances and inputs are both given: use one of them"),
        (r#"{"instances":[[1,2]],"instances":[[1,2]]}"#, "instances is given twice"),
        (r#"{"instances":{"x":[1,2]}}"#, "instances must be a list"),
        (r#"{"instances":[[1,2]],"id":NaN}"#, "invalid JSON: NaN is not a JSON value"),
        (
            r#"{"instances":[[1,2]]}x"#,
            "invalid JSON at byte 21: expected nothing after the end of the document, found x",
        ),
    ] {
        assert_eq!(refusal(ONE, body), told, "{body}");
    }
}

#[test]
fn typed_contents_are_sent_where_the_configuration_says_so() {
    let options = Options { encoding: TensorEncoding::Contents, ..OPTIONS };
    let (bytes, _) = read(&signature(ONE), options, br#"{"instances":[[1,-2]]}"#, usize::MAX).unwrap();
    let message = ModelInferRequest::decode(&bytes[..]).unwrap();
    assert_eq!(message.inputs[0].contents.as_ref().unwrap().int_contents, [1, -2]);
    assert!(message.raw_input_contents.is_empty());
}

#[test]
fn a_body_that_ends_or_changes_at_any_byte_is_answered_the_same_however_it_is_cut() {
    let bodies = [
        (TWO, r#"{"s":[{}],"instances":[{"x":-1,"y":[1e2]},{"y":[null],"x":1.0}]}"#),
        (TEXT, r#"{"inputs":["a\n",{"b64":"AP8="},"]"]}"#),
        (ONE, r#" {"instances":[[1,2],{"x":[3,4]}]}"#),
    ];
    for (inputs, body) in bodies {
        let signature = signature(inputs);
        let message = |body: &[u8], step| read(&signature, OPTIONS, body, step).map(|(message, _)| message);
        for end in 0..body.len() {
            assert_eq!(message(&body.as_bytes()[..end], 5).unwrap_err().status, 400);
        }
        for place in 0..body.len() {
            for byte in [b'"', b'\\', b'{', b']', b'[', b',', b'0', b'e', 0xff] {
                let mut body = body.as_bytes().to_vec();
                body[place] = byte;
                let text = String::from_utf8_lossy(&body).into_owned();
                assert_eq!(message(&body, body.len()), message(&body, 1), "{text}");
            }
        }
    }
}

/// A tensor's elements as nested lists, with the text of each by `element`.
fn nested(shape: &[usize], element: &mut dyn FnMut() -> String) -> String {
    match shape.split_first() {
        None => element(),
        Some((size, inner)) => {
            let items: Vec<String> = (0..*size).map(|_| nested(inner, element)).collect();
            format!("[{}]", items.join(if size % 2 == 0 { "," } else { " , " }))
        }
    }
}

proptest! {
    #[test]
    fn any_tensor_in_rows_or_columns_is_the_tensor_that_v2_has(
        shape in prop::collection::vec(1_usize..4, 1..5),
        values in prop::collection::vec(any::<i32>(), 81),
        open in prop::collection::vec(any::<bool>(), 5),
        rows in any::<bool>(),
        named in any::<bool>(),
        datatype in prop::sample::select(vec!["INT32", "INT64", "FP64", "FP32"]),
        step in 1_usize..40,
    ) {
        let mut next = values.iter();
        let text = nested(&shape, &mut || next.next().unwrap().to_string());
        let declared: Vec<i64> =
            shape.iter().zip(&open).map(|(size, open)| if *open { -1 } else { *size as i64 }).collect();
        let inputs: &[(&str, &str, &[i64])] = &[("x", datatype, &declared)];
        let body = match (rows, named) {
            (true, false) => format!(r#"{{"instances":{text}}}"#),
            (true, true) => {
                let mut next = values.iter();
                let rows: Vec<String> = (0..shape[0])
                    .map(|_| nested(&shape[1..], &mut || next.next().unwrap().to_string()))
                    .map(|row| format!(r#"{{"x":{row}}}"#))
                    .collect();
                format!(r#"{{"instances":[{}]}}"#, rows.join(","))
            }
            (false, false) => format!(r#"{{"inputs":{text}}}"#),
            (false, true) => format!(r#"{{"inputs":{{"x":{text}}}}}"#),
        };
        let (message, _) = read(&signature(inputs), OPTIONS, body.as_bytes(), step).unwrap();
        let v2 = format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape:?},"data":{text}}}]}}"#);
        prop_assert_eq!(message, transcode(OPTIONS, None, v2.as_bytes(), usize::MAX).unwrap().0);
    }
}

/// The body of the answer to a request with so many instances, or with inputs, which must be the same however the message
/// is cut.
fn predictions(rows: Option<u64>, options: Options, message: &ModelInferResponse) -> Result<String, Problem> {
    let message = message.encode_to_vec();
    let render = |step| {
        let response: Box<dyn ResponseCodec> = Box::new(response::Predictions::new(options, rows, charge()));
        let mut body = Vec::new();
        answer_in(response, &message, step)?.render(&mut body);
        Ok(String::from_utf8(body).unwrap())
    };
    let whole: Result<String, Problem> = render(usize::MAX);
    for step in [1, 3, 64] {
        assert_eq!(render(step), whole, "in pieces of {step}");
    }
    whole
}

pub(super) fn answer_with(outputs: Vec<message::Tensor>) -> ModelInferResponse {
    ModelInferResponse { model_name: "m".to_owned(), outputs, ..ModelInferResponse::default() }
}

pub(super) fn ints(name: &str, shape: &[i64], values: &[i32]) -> message::Tensor {
    let contents = Contents { int_contents: values.to_vec(), ..Contents::default() };
    message::Tensor { contents: Some(contents), ..tensor(name, "INT32", shape) }
}

pub(super) fn texts(name: &str, shape: &[i64], values: &[&[u8]]) -> message::Tensor {
    let contents = Contents {
        bytes_contents: values.iter().map(|value| value.to_vec()).collect(),
        ..Contents::default()
    };
    message::Tensor { contents: Some(contents), ..tensor(name, "BYTES", shape) }
}

#[test]
fn predictions_are_rows_of_one_output_or_objects_of_several() {
    let y = ints("y", &[2, 2], &[1, 2, 3, 4]);
    let one = answer_with(vec![y.clone()]);
    assert_eq!(predictions(Some(2), OPTIONS, &one).unwrap(), r#"{"predictions":[[1,2],[3,4]]}"#);
    assert_eq!(predictions(None, OPTIONS, &one).unwrap(), r#"{"outputs":[[1,2],[3,4]]}"#);
    let two = answer_with(vec![y, texts("t\"", &[2], &[b"a\n", b""])]);
    assert_eq!(
        predictions(Some(2), OPTIONS, &two).unwrap(),
        r#"{"predictions":[{"y":[1,2],"t\"":"a\n"},{"y":[3,4],"t\"":""}]}"#
    );
    assert_eq!(
        predictions(None, OPTIONS, &two).unwrap(),
        r#"{"outputs":{"y":[[1,2],[3,4]],"t\"":["a\n",""]}}"#
    );
    let scalar = answer_with(vec![ints("y", &[], &[7])]);
    assert_eq!(predictions(None, OPTIONS, &scalar).unwrap(), r#"{"outputs":7}"#);
}

#[test]
fn bytes_that_are_not_text_are_base64_with_its_key_and_so_are_those_of_an_output_whose_name_says_so() {
    let answer = answer_with(vec![texts("a", &[2], &[b"x", b"\xff"]), texts("b_bytes", &[2], &[b"hi", b""])]);
    assert_eq!(
        predictions(Some(2), OPTIONS, &answer).unwrap(),
        r#"{"predictions":[{"a":{"b64":"eA=="},"b_bytes":{"b64":"aGk="}},{"a":{"b64":"/w=="},"b_bytes":{"b64":""}}]}"#
    );
}

#[test]
fn floats_are_written_as_in_v2_also_those_that_json_has_no_form_for() {
    let contents = Contents { fp32_contents: vec![0.1, f32::NAN], ..Contents::default() };
    let y = message::Tensor { contents: Some(contents), ..tensor("y", "FP32", &[2]) };
    let answer = answer_with(vec![y]);
    let form = |non_finite| predictions(Some(2), Options { non_finite, ..OPTIONS }, &answer).unwrap();
    assert_eq!(form(NonFinite::Bare), r#"{"predictions":[0.1,NaN]}"#);
    assert_eq!(form(NonFinite::Null), r#"{"predictions":[0.1,null]}"#);
    let proto = Options { answer_form: AnswerForm::Proto, ..OPTIONS };
    assert_eq!(predictions(Some(2), proto, &answer).unwrap(), r#"{"predictions":[0.1,NaN]}"#);
}

#[test]
fn an_output_without_elements_has_its_lists_and_only_so_many_of_them() {
    let empty = |shape: &[i64]| answer_with(vec![tensor("y", "INT32", shape)]);
    assert_eq!(predictions(Some(2), OPTIONS, &empty(&[2, 0, 9])).unwrap(), r#"{"predictions":[[],[]]}"#);
    assert_eq!(predictions(None, OPTIONS, &empty(&[1, 2, 0])).unwrap(), r#"{"outputs":[[[],[]]]}"#);
    let problem = predictions(None, OPTIONS, &empty(&[1 << 40, 0])).unwrap_err();
    assert!(problem.message.contains("too many lists without elements"), "{problem}");
}

#[test]
fn an_answer_that_cannot_be_rows_is_a_bad_one() {
    let problem = |rows, outputs| predictions(rows, OPTIONS, &answer_with(outputs)).unwrap_err();
    assert_eq!(problem(None, vec![]).message, "the server's answer has no outputs");
    let told = problem(Some(2), vec![ints("y", &[2], &[1, 2]), ints("z", &[3], &[1, 2, 3])]);
    assert_eq!(told.status, 502);
    assert!(told.message.contains("output z: shape [3] does not begin with the number of instances (2)"));
    assert!(problem(Some(1), vec![ints("y", &[], &[1])]).message.contains("shape []"));
}
