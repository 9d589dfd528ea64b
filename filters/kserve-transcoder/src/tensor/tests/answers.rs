//! Messages and the bodies they become.

use super::message::{Choice, Contents, ModelInferResponse, parameters, tensor};
use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A message with one raw output.
fn raw(datatype: &str, shape: &[i64], raw: &[u8]) -> ModelInferResponse {
    ModelInferResponse {
        model_name: "m".to_owned(),
        outputs: vec![tensor("y", datatype, shape)],
        raw_output_contents: vec![raw.to_vec()],
        ..ModelInferResponse::default()
    }
}

/// A message with one typed output.
fn typed(datatype: &str, shape: &[i64], contents: Contents) -> ModelInferResponse {
    ModelInferResponse {
        model_name: "m".to_owned(),
        outputs: vec![message::Tensor { contents: Some(contents), ..tensor("y", datatype, shape) }],
        ..ModelInferResponse::default()
    }
}

/// The `data` of the body.
fn data(message: &ModelInferResponse) -> String {
    let body = answer(message).unwrap();
    let start = body.find("\"data\":").unwrap() + 7;
    body[start..body.len() - 3].to_owned()
}

#[test]
fn the_body_has_everything_that_the_message_says_in_the_order_of_triton() {
    let message = ModelInferResponse {
        model_version: "1".to_owned(),
        id: "r\"1".to_owned(),
        parameters: parameters([("s", Choice::String("\u{e9}\n".to_owned())), ("t", Choice::Bool(true))]),
        outputs: vec![
            message::Tensor {
                parameters: parameters([
                    ("binary_data_size", Choice::Int64(8)),
                    ("d", Choice::Double(1.5)),
                    ("i", Choice::Int64(-7)),
                    ("u", Choice::Uint64(u64::MAX)),
                ]),
                ..tensor("y", "FP32", &[1, 2])
            },
            tensor("z", "INT8", &[0]),
        ],
        raw_output_contents: vec![[1_f32.to_le_bytes(), 0.1_f32.to_le_bytes()].concat(), Vec::new()],
        ..raw("", &[], &[])
    };
    let expected = concat!(
        r#"{"id":"r\"1","model_name":"m","model_version":"1","parameters":{"s":"é\n","t":true},"outputs":["#,
        r#"{"name":"y","datatype":"FP32","shape":[1,2],"parameters":{"d":1.5,"i":-7,"u":18446744073709551615},"#,
        r#""data":[1.0,0.1]},{"name":"z","datatype":"INT8","shape":[0],"data":[]}]}"#
    );
    assert_eq!(answer(&message).unwrap(), expected);
}

#[test]
fn each_datatype_is_printed_from_its_raw_bytes() {
    assert_eq!(data(&raw("BOOL", &[2], &[1, 0])), "[true,false]");
    assert_eq!(data(&raw("UINT8", &[2], &[0, 255])), "[0,255]");
    assert_eq!(data(&raw("INT8", &[2], &[127, 128])), "[127,-128]");
    assert_eq!(data(&raw("UINT16", &[1], &[255, 255])), "[65535]");
    assert_eq!(data(&raw("INT16", &[1], &[0, 128])), "[-32768]");
    assert_eq!(data(&raw("UINT32", &[1], &[255; 4])), "[4294967295]");
    assert_eq!(data(&raw("INT32", &[1], &[255; 4])), "[-1]");
    assert_eq!(data(&raw("UINT64", &[1], &[255; 8])), "[18446744073709551615]");
    assert_eq!(data(&raw("INT64", &[1], &i64::MIN.to_le_bytes())), "[-9223372036854775808]");
    assert_eq!(data(&raw("FP16", &[3], &[0, 0x3e, 0, 0xc0, 0x66, 0x2e])), "[1.5,-2.0,0.099975586]");
    assert_eq!(data(&raw("BF16", &[2], &[0xc0, 0x3f, 0, 0xc0])), "[1.5,-2.0]");
    assert_eq!(
        data(&raw("FP64", &[2], &[1e300_f64.to_le_bytes(), 0.1_f64.to_le_bytes()].concat())),
        "[1e+300,0.1]"
    );
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(f32::to_le_bytes).concat();
    assert_eq!(data(&raw("FP32", &[3], &special)), "[NaN,Infinity,-Infinity]");
    assert_eq!(
        data(&raw("BYTES", &[3], b"\x03\0\0\0a\"c\0\0\0\0\x02\0\0\0\xc3\xa9")),
        "[\"a\\\"c\",\"\",\"é\"]"
    );
    assert_eq!(data(&raw("BYTES", &[1], b"\x03\0\0\0\n\x01\x1f")), "[\"\\n\\u0001\\u001f\"]");
}

#[test]
fn typed_contents_give_the_same_as_raw_ones() {
    let none = Contents::default;
    let cases = [
        ("BOOL", Contents { bool_contents: vec![true, false], ..none() }, "[true,false]"),
        ("INT8", Contents { int_contents: vec![-128, 127], ..none() }, "[-128,127]"),
        ("INT32", Contents { int_contents: vec![i32::MIN, 1], ..none() }, "[-2147483648,1]"),
        ("INT64", Contents { int64_contents: vec![i64::MAX, -1], ..none() }, "[9223372036854775807,-1]"),
        ("UINT16", Contents { uint_contents: vec![65535, 0], ..none() }, "[65535,0]"),
        ("UINT32", Contents { uint_contents: vec![u32::MAX, 0], ..none() }, "[4294967295,0]"),
        ("UINT64", Contents { uint64_contents: vec![u64::MAX, 0], ..none() }, "[18446744073709551615,0]"),
        ("FP32", Contents { fp32_contents: vec![0.5, 1e-10], ..none() }, "[0.5,1e-10]"),
        ("FP64", Contents { fp64_contents: vec![0.1, -0.0], ..none() }, "[0.1,-0.0]"),
        ("BYTES", Contents { bytes_contents: vec![b"ab".to_vec(), Vec::new()], ..none() }, "[\"ab\",\"\"]"),
    ];
    for (datatype, contents, expected) in cases {
        assert_eq!(data(&typed(datatype, &[2], contents)), expected);
    }
    assert_eq!(data(&typed("FP32", &[0], none())), "[]");
}

#[test]
fn fields_come_in_any_order_packed_or_not_and_unknown_ones_are_skipped() {
    let mut contents = Vec::new();
    contents.extend_from_slice(&[0x35]);
    contents.extend_from_slice(&1.5_f32.to_le_bytes());
    contents.extend_from_slice(&[0x32, 4]);
    contents.extend_from_slice(&2.5_f32.to_le_bytes());
    let mut output = vec![0x2a, contents.len() as u8];
    output.extend_from_slice(&contents);
    output.extend_from_slice(&[0x18, 1, 0x1a, 1, 2]);
    output.extend_from_slice(b"\x12\x04FP32\x0a\x01y\xf2\x3f\x03any\xf8\x3f\x05");
    let mut message = vec![0x2a, output.len() as u8];
    message.extend_from_slice(&output);
    message.extend_from_slice(b"\x1a\x01i\x0a\x05wrong\x0a\x01m\x9a\x06\x02\xff\xff");
    let expected = r#"{"id":"i","model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1.5,2.5]}]}"#;
    assert_eq!(answer_of_bytes(&message).unwrap(), expected);
}

#[test]
fn an_empty_contents_message_beside_raw_contents_is_nothing() {
    let mut message = raw("INT8", &[1], &[5]);
    message.outputs[0].contents = Some(Contents::default());
    assert_eq!(data(&message), "[5]");
}

#[test]
fn a_typed_field_of_no_elements_beside_a_filled_one_is_nothing() {
    // Fields 6 and 7, packed, of no bytes, before and behind field 2 with 1 and 2.
    let contents = [0x32, 0, 0x3a, 0, 0x12, 2, 1, 2, 0x32, 0];
    let output = [&[0x12, 5][..], b"INT32", &[0x1a, 1, 2, 0x2a, 10], &contents].concat();
    let message = [&[0x2a, output.len() as u8][..], &output].concat();
    let body = answer_of_bytes(&message).unwrap();
    assert!(body.contains(r#""data":[1,2]"#), "{body}");
}

#[test]
fn an_answer_that_contradicts_itself_is_a_bad_gateway() {
    let int = |values: &[i32]| Contents { int_contents: values.to_vec(), ..Contents::default() };
    let wrong = "the server's answer is wrong for output y: ";
    let cases = [
        (raw("FP32", &[2], &[0; 7]), "7 bytes are not FP32 elements of shape [2]"),
        (raw("FP8", &[2], &[0; 2]), "datatype FP8 is unknown"),
        (raw("BYTES", &[1], b"\x05\0\0\0abc"), "its BYTES are not elements of shape [1]"),
        (raw("BYTES", &[2], b"\x01\0\0\0a"), "its BYTES are not elements of shape [2]"),
        (typed("INT32", &[2], int(&[1])), "shape [2] has 2 elements, but 1 came"),
        (typed("INT8", &[1], int(&[-129])), "an element is out of range for INT8"),
        (typed("FP32", &[1], int(&[1])), "FP32 in int_contents"),
    ];
    for (message, what) in cases {
        let problem = answer(&message).unwrap_err();
        assert_eq!((problem.status, &*problem.message), (502, &*format!("{wrong}{what}")));
    }
    let mut two = raw("INT8", &[1], &[5]);
    two.raw_output_contents.push(vec![1]);
    let problem = answer(&two).unwrap_err();
    assert_eq!(problem.message, "the server's answer has 1 outputs but 2 raw_output_contents");
    let bytes = raw("INT8", &[1], &[5]).encode_to_vec();
    let problem = answer_of_bytes(&bytes[..bytes.len() - 1]).unwrap_err();
    assert_eq!(problem.message, "the server's answer is not a ModelInferResponse: it is cut");
    let problem = answer_of_bytes(&[0x0a, 1, 0xff]).unwrap_err();
    assert!(problem.message.ends_with("it has a string that is not UTF-8"), "{problem}");
}

#[test]
fn bytes_that_are_no_text_are_base64_and_say_so() {
    let mut message = raw("BYTES", &[3], b"\x02\0\0\0\0\xff\0\0\0\0\x01\0\0\0a");
    message.outputs[0].parameters = parameters([("content_type", Choice::String("str".to_owned()))]);
    let expected = concat!(
        r#"{"model_name":"m","outputs":[{"name":"y","datatype":"BYTES","shape":[3],"#,
        r#""parameters":{"content_type":"base64"},"data":["AP8=","","YQ=="]}]}"#
    );
    assert_eq!(answer(&message).unwrap(), expected);
}

#[test]
fn outputs_are_binary_where_the_request_asked_for_it() {
    let mut message = raw("FP32", &[1], &1.5_f32.to_le_bytes());
    message.outputs.push(tensor("z", "INT8", &[2]));
    message.raw_output_contents.push(vec![1, 255]);
    message.outputs.push(tensor("b", "BYTES", &[1]));
    message.raw_output_contents.push(b"\x01\0\0\0\xff".to_vec());
    let bytes = message.encode_to_vec();
    let y = |binary: bool| {
        if binary { r#""parameters":{"binary_data_size":4}"# } else { r#""data":[1.5]"# }
    };
    let cases = [
        (r#","parameters":{"binary_data_output":true}"#, true, true),
        (r#","outputs":[{"name":"y","parameters":{"binary_data":true}}]"#, true, false),
        (
            r#","parameters":{"binary_data_output":true},"outputs":[{"name":"y","parameters":{"binary_data":false}}]"#,
            false,
            true,
        ),
    ];
    for (request, y_is_binary, others_are) in cases {
        let response = response_to(request);
        assert!(response.wants_binary_answer());
        let answer = answer_in(response, &bytes, 3).unwrap();
        let length = answer.inference_header_length().unwrap();
        let mut body = Vec::new();
        answer.render(&mut body);
        let json = std::str::from_utf8(&body[..length]).unwrap();
        assert!(json.contains(y(y_is_binary)) && json.ends_with("}]}"), "{json}");
        let mut tail = Vec::new();
        if y_is_binary {
            tail.extend_from_slice(&1.5_f32.to_le_bytes());
        }
        if others_are {
            tail.extend_from_slice(b"\x01\xff\x01\0\0\0\xff");
        } else {
            assert!(json.contains(r#""data":[1,-1]"#), "{json}");
        }
        assert_eq!(&body[length..], tail);
    }
    assert!(!response_to("").wants_binary_answer());
}

#[test]
fn a_binary_answer_can_be_padded_to_a_length_that_was_promised() {
    let bytes = raw("INT8", &[2], &[1, 2]).encode_to_vec();
    let answer =
        || answer_in(response_to(r#","parameters":{"binary_data_output":true}"#), &bytes, 9).unwrap();
    let length = answer().inference_header_length().unwrap();
    assert!(answer().fits(length) && answer().fits(4096) && !answer().fits(length - 1));
    let mut body = Vec::new();
    answer().render_padded(4096, &mut body);
    assert_eq!(body.len(), 4096 + 2);
    assert!(body[length..4096].iter().all(|byte| *byte == b' '));
    assert_eq!(body[4096..], [1, 2]);
}

#[test]
fn the_json_of_protobuf_has_contents_as_the_server_sent_them() {
    let options = Options { answer_form: AnswerForm::Proto, ..OPTIONS };
    let body = |message: &ModelInferResponse| {
        let request = br#"{"inputs":[],"parameters":{"binary_data_output":true}}"#;
        let (_, response) = transcode(options, None, request, 9).unwrap();
        assert!(!response.wants_binary_answer());
        let mut body = Vec::new();
        answer_in(response, &message.encode_to_vec(), 3).unwrap().render(&mut body);
        String::from_utf8(body).unwrap()
    };
    let mut message = typed(
        "FP32",
        &[1, 3],
        Contents { fp32_contents: vec![1.5, f32::NAN, f32::NEG_INFINITY], ..Contents::default() },
    );
    message.id = "i".to_owned();
    message.parameters = parameters([("a", Choice::Int64(7)), ("b", Choice::Bool(true))]);
    message.outputs.push(message::Tensor {
        contents: Some(Contents { int64_contents: vec![-1], ..Contents::default() }),
        ..tensor("z", "INT64", &[1])
    });
    message.outputs.push(message::Tensor {
        contents: Some(Contents { bytes_contents: vec![b"abc".to_vec()], ..Contents::default() }),
        ..tensor("b", "BYTES", &[1])
    });
    let expected = concat!(
        r#"{"model_name":"m","id":"i","parameters":{"a":{"int64_param":"7"},"b":{"bool_param":true}},"outputs":["#,
        r#"{"name":"y","datatype":"FP32","shape":["1","3"],"contents":{"fp32_contents":[1.5,"NaN","-Infinity"]}},"#,
        r#"{"name":"z","datatype":"INT64","shape":["1"],"contents":{"int64_contents":["-1"]}},"#,
        r#"{"name":"b","datatype":"BYTES","shape":["1"],"contents":{"bytes_contents":["YWJj"]}}]}"#
    );
    assert_eq!(body(&message), expected);

    let mut message = raw("UINT8", &[4], &[0, 1, 2, 3]);
    message.outputs.push(tensor("z", "INT8", &[1]));
    message.raw_output_contents.push(vec![255]);
    let expected = concat!(
        r#"{"model_name":"m","outputs":[{"name":"y","datatype":"UINT8","shape":["4"]},"#,
        r#"{"name":"z","datatype":"INT8","shape":["1"]}],"raw_output_contents":["AAECAw==","/w=="]}"#
    );
    assert_eq!(body(&message), expected);
}

#[test]
fn an_output_in_shared_memory_has_no_data() {
    let mut message = raw("INT8", &[1], &[5]);
    let region = parameters([("shared_memory_region", Choice::String("r".to_owned()))]);
    message.outputs.insert(0, message::Tensor { parameters: region, ..tensor("s", "FP32", &[4]) });
    let expected = concat!(
        r#"{"model_name":"m","outputs":[{"name":"s","datatype":"FP32","shape":[4],"#,
        r#""parameters":{"shared_memory_region":"r"}},{"name":"y","datatype":"INT8","shape":[1],"data":[5]}]}"#
    );
    assert_eq!(answer(&message).unwrap(), expected);
}

#[test]
fn a_large_answer_is_written_in_bounded_pieces() {
    struct Pieces(Vec<u8>, usize);
    impl filter_api::Sink for Pieces {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
            self.1 = self.1.max(bytes.len());
        }
    }
    let values: Vec<f32> = (0..100_000).map(|i| i as f32 / 7.0).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let message = raw("FP32", &[100_000], &bytes).encode_to_vec();
    let mut pieces = Pieces(Vec::new(), 0);
    answer_in(response_to(""), &message, 9999).unwrap().render(&mut pieces);
    assert!(pieces.1 <= filter_api::SEGMENT_BYTES);
    let body: serde_json::Value = serde_json::from_slice(&pieces.0).unwrap();
    let read: Vec<f32> =
        body["outputs"][0]["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    assert_eq!(read, values);
}

#[test]
fn an_answer_over_a_limit_is_refused() {
    let message = raw("INT8", &[100], &[0; 100]).encode_to_vec();
    let options = Options { max_response_bytes: 50, ..OPTIONS };
    let (_, response) = transcode(options, None, br#"{"inputs":[]}"#, 99).unwrap();
    let problem = answer_in(response, &message, 7).unwrap_err();
    assert_eq!((problem.status, &*problem.message), (502, "the server's answer is larger than 50 bytes"));
}

/// The answer in JSON with NaN and the infinities in a form.
fn answer_with(message: &ModelInferResponse, non_finite: NonFinite, answer_form: AnswerForm) -> String {
    let options = Options { non_finite, answer_form, ..OPTIONS };
    let (_, response) = transcode(options, None, br#"{"inputs":[]}"#, usize::MAX).unwrap();
    let mut body = Vec::new();
    answer_in(response, &message.encode_to_vec(), 7).unwrap().render(&mut body);
    String::from_utf8(body).unwrap()
}

#[test]
fn nan_and_the_infinities_are_written_as_the_operator_says_and_other_numbers_as_always() {
    let numbers = [f64::NAN, 1.5, f64::INFINITY, 1e300, f64::NEG_INFINITY, -0.0];
    let raw_of = |datatype: &str| match datatype {
        "FP64" => numbers.map(f64::to_le_bytes).concat(),
        "FP32" => numbers.map(|number| (number as f32).to_le_bytes()).concat(),
        "FP16" => [0x7e00_u16, 0x3e00, 0x7c00, 0x7c00, 0xfc00, 0x8000].map(u16::to_le_bytes).concat(),
        _ => [0x7fc0_u16, 0x3fc0, 0x7f80, 0x7f80, 0xff80, 0x8000].map(u16::to_le_bytes).concat(),
    };
    for datatype in ["FP16", "BF16", "FP32", "FP64"] {
        let large = if datatype == "FP64" { "1e+300" } else { "Infinity" };
        let bare = format!("[NaN,1.5,Infinity,{large},-Infinity,-0.0]");
        let message = raw(datatype, &[6], &raw_of(datatype));
        let written = |non_finite| answer_with(&message, non_finite, AnswerForm::Kserve);
        assert!(written(NonFinite::Bare).ends_with(&format!(r#""data":{bare}}}]}}"#)));
        let null = bare.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
        assert!(written(NonFinite::Null).ends_with(&format!(r#""data":{null}}}]}}"#)));
        let string = bare.replace("-Infinity", "\"-I\"").replace("Infinity", "\"Infinity\"");
        let string = string.replace("\"-I\"", "\"-Infinity\"").replace("NaN", "\"NaN\"");
        assert!(written(NonFinite::String).ends_with(&format!(r#""data":{string}}}]}}"#)), "{string}");
    }
}

#[test]
fn a_parameter_that_is_not_finite_is_written_in_the_same_way() {
    let mut message = raw("INT8", &[1], &[5]);
    message.parameters = parameters([("p", Choice::Double(f64::NEG_INFINITY))]);
    for (non_finite, form, expected) in [
        (NonFinite::Bare, AnswerForm::Kserve, r#""parameters":{"p":-Infinity}"#),
        (NonFinite::Null, AnswerForm::Kserve, r#""parameters":{"p":null}"#),
        (NonFinite::String, AnswerForm::Kserve, r#""parameters":{"p":"-Infinity"}"#),
        // Protobuf's JSON has one form for it.
        (NonFinite::Null, AnswerForm::Proto, r#""parameters":{"p":{"double_param":"-Infinity"}}"#),
    ] {
        let answer = answer_with(&message, non_finite, form);
        assert!(answer.contains(expected), "{answer}");
    }
}

#[test]
fn of_parameters_of_one_name_the_last_one_counts() {
    // Entries of a map as `key`, with an INT64 or without a value.
    let entry = |key: &str, value: Option<u8>| {
        let value = value.map_or_else(Vec::new, |value| vec![0x10, value]);
        let entry = [&[0x0a, key.len() as u8], key.as_bytes(), &[0x12, value.len() as u8], &value].concat();
        [&[0x22, entry.len() as u8], &entry[..]].concat()
    };
    let answer = |entries: &[Vec<u8>]| answer_of_bytes(&entries.concat()).unwrap();
    let parameters = |list: &str| format!(r#"{{"model_name":"","parameters":{{{list}}},"outputs":[]}}"#);
    let (a, b) = (|value| entry("a", Some(value)), |value| entry("b\"", Some(value)));
    assert_eq!(answer(&[a(1), b(2), a(3)]), parameters(r#""b\"":2,"a":3"#));
    assert_eq!(answer(&[a(1), a(1), a(1)]), parameters(r#""a":1"#));
    assert_eq!(answer(&[b(1), a(2), b(3), entry("", Some(4)), a(5)]), parameters(r#""b\"":3,"":4,"a":5"#));
    // The last one has no value, and so there is none.
    assert_eq!(answer(&[a(1), b(2), entry("a", None)]), parameters(r#""b\"":2"#));
    assert_eq!(answer(&[a(1), entry("a", None)]), r#"{"model_name":"","outputs":[]}"#);
    assert_eq!(answer(&[entry("a", None), a(1)]), parameters(r#""a":1"#));

    let output = |entries: &[Vec<u8>]| {
        let output = [&b"\x0a\x01y\x12\x04INT8\x1a\x01\0"[..], &entries.concat()].concat();
        let message = [&[0x2a, output.len() as u8], &output[..]].concat();
        answer_of_bytes(&message).unwrap()
    };
    assert!(output(&[a(1), a(2)]).contains(r#""parameters":{"a":2},"#));
    let content_type = |value| entry("content_type", value);
    assert!(
        output(&[content_type(Some(1)), content_type(Some(2))])
            .contains(r#""parameters":{"content_type":2},"#)
    );
    assert!(!output(&[content_type(Some(1)), content_type(None)]).contains("parameters"));
}
