//! JSON bodies and the messages they become.

use super::message::{Choice, Contents, Requested, parameters, tensor};
use super::*;
use crate::codec::Progress;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The raw contents of one input, written as `data` of a datatype.
fn raw(datatype: &str, shape: &str, data: &str) -> Vec<u8> {
    let body =
        format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}"#);
    let mut message = request(&body).unwrap_or_else(|problem| panic!("{body}: {problem}"));
    assert_eq!(message.raw_input_contents.len(), 1);
    message.raw_input_contents.remove(0)
}

fn le<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
}

#[test]
fn each_datatype_becomes_its_raw_bytes() {
    assert_eq!(raw("BOOL", "[4]", "[true,false,1,0]"), [1, 0, 1, 0]);
    assert_eq!(raw("UINT8", "[3]", "[0,127,255]"), [0, 127, 255]);
    assert_eq!(raw("INT8", "[3]", "[-128,127,0]"), [128, 127, 0]);
    assert_eq!(raw("UINT16", "[2]", "[65535,1]"), le(&[u16::MAX, 1], u16::to_le_bytes));
    assert_eq!(raw("INT16", "[2]", "[-32768,1]"), le(&[i16::MIN, 1], i16::to_le_bytes));
    assert_eq!(raw("UINT32", "[2]", "[4294967295,1]"), le(&[u32::MAX, 1], u32::to_le_bytes));
    assert_eq!(raw("INT32", "[2]", "[-2147483648,1]"), le(&[i32::MIN, 1], i32::to_le_bytes));
    assert_eq!(raw("UINT64", "[2]", "[18446744073709551615,1]"), le(&[u64::MAX, 1], u64::to_le_bytes));
    assert_eq!(
        raw("INT64", "[3]", "[9223372036854775807,-9223372036854775808,0]"),
        le(&[i64::MAX, i64::MIN, 0], i64::to_le_bytes)
    );
    assert_eq!(raw("FP16", "[3]", "[1.5,-2.0,0.0999755859375]"), [0, 0x3e, 0, 0xc0, 0x66, 0x2e]);
    assert_eq!(raw("BF16", "[2]", "[1.5,-2]"), [0xc0, 0x3f, 0, 0xc0]);
    assert_eq!(
        raw("FP32", "[4]", "[1.5,-2,0.10000000149011612,1e-7]"),
        le(&[1.5_f32, -2.0, 0.1, 1e-7], f32::to_le_bytes)
    );
    assert_eq!(raw("FP64", "[3]", "[1.5,1e+300,0.1]"), le(&[1.5, 1e300, 0.1], f64::to_le_bytes));
    assert_eq!(raw("BYTES", "[3]", r#"["abc","\u00E9\"",""]"#), b"\x03\0\0\0abc\x03\0\0\0\xc3\xa9\"\0\0\0\0");
}

#[test]
fn not_a_number_and_the_infinities_come_bare_as_python_clients_send_them() {
    let raw = raw("FP32", "[3]", "[NaN,Infinity,-Infinity]");
    let values: Vec<f32> = raw.as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect();
    assert!(values[0].is_nan());
    assert_eq!(values[1..], [f32::INFINITY, f32::NEG_INFINITY]);
}

#[test]
fn data_may_be_nested_in_any_way_that_has_the_right_number_of_elements() {
    let flat = raw("INT32", "[2,3]", "[1,2,3,4,5,6]");
    for data in [
        "[[1,2,3],[4,5,6]]",
        "[[[1],[2]],[3,4,5,6]]",
        "[ [ 1 , 2,\n3 ] ,\t[4,5, 6 ]\r\n]",
        "[1,[],2,3,4,5,6]",
    ] {
        assert_eq!(raw("INT32", "[2,3]", data), flat, "{data}");
    }
    assert_eq!(raw("FP32", "[0,4]", "[]"), [0; 0]);
    assert_eq!(raw("FP32", "[]", "[1]"), 1_f32.to_le_bytes());
}

#[test]
fn the_message_has_everything_that_the_document_says() {
    let body = r#"{"id":"req-1","model_name":"m","parameters":{"s":"x"},
        "inputs":[{"name":"a","shape":[1,2],"datatype":"INT64","parameters":{"i":7},"data":[1,2]},
                  {"name":"b","shape":[1],"datatype":"BYTES","data":["z"],"unknown":{"deep":[{"er":[1,"]"]}]}}],
        "outputs":[{"name":"y","parameters":{"binary_data":false,"classification":2}},{"name":"z"}],
        "more":[[],{}]}"#;
    let expected = ModelInferRequest {
        model_name: "m".to_owned(),
        id: "req-1".to_owned(),
        parameters: parameters([("s", Choice::String("x".to_owned()))]),
        inputs: vec![
            message::Tensor {
                parameters: parameters([("i", Choice::Int64(7))]),
                ..tensor("a", "INT64", &[1, 2])
            },
            tensor("b", "BYTES", &[1]),
        ],
        outputs: vec![
            Requested {
                name: "y".to_owned(),
                parameters: parameters([("classification", Choice::Int64(2))]),
            },
            Requested { name: "z".to_owned(), ..Requested::default() },
        ],
        raw_input_contents: vec![le(&[1_i64, 2], i64::to_le_bytes), b"\x01\0\0\0z".to_vec()],
        ..ModelInferRequest::default()
    };
    assert_eq!(request(body).unwrap(), expected);
}

#[test]
fn keys_come_in_any_order() {
    let keys = [r#""name":"x""#, r#""datatype":"FP32""#, r#""shape":[2]"#, r#""data":[0.5,-1e3]"#];
    let of = |order: [usize; 4]| {
        let object: Vec<&str> = order.iter().map(|index| keys[*index]).collect();
        request(&format!(r#"{{"inputs":[{{{}}}],"model_name":"m"}}"#, object.join(","))).unwrap()
    };
    let first = of([0, 1, 2, 3]);
    for a in 0..4 {
        for b in (0..4).filter(|b| *b != a) {
            for c in (0..4).filter(|c| *c != a && *c != b) {
                assert_eq!(of([a, b, c, 6 - a - b - c]), first);
            }
        }
    }
}

#[test]
fn parameters_keep_their_types() {
    let body = r#"{"inputs":[],"parameters":{"t":true,"f":false,"i":-7,"max":9223372036854775807,
        "over":9223372036854775808,"d":1.5,"e":1e3,"huge":100000000000000000000,"s":"\u00e9","n":null,"":"",
        "p":{"int64_param":"7"},"q":{"bool_param":false},"binary_data_output":true}}"#;
    let expected = parameters([
        ("t", Choice::Bool(true)),
        ("f", Choice::Bool(false)),
        ("i", Choice::Int64(-7)),
        ("max", Choice::Int64(i64::MAX)),
        ("over", Choice::Uint64(1 << 63)),
        ("d", Choice::Double(1.5)),
        ("e", Choice::Double(1000.0)),
        ("huge", Choice::Double(1e20)),
        ("s", Choice::String("\u{e9}".to_owned())),
        ("", Choice::String(String::new())),
        ("p", Choice::Int64(7)),
        ("q", Choice::Bool(false)),
    ]);
    assert_eq!(request(body).unwrap().parameters, expected);
}

#[test]
fn a_parameter_may_be_not_a_number_or_infinite_as_in_answers() {
    for (text, value) in [("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)] {
        for written in [text.to_owned(), format!(r#"{{"double_param":{text}}}"#)] {
            let expected = parameters([("p", Choice::Double(value))]);
            let message = request(&format!(
                r#"{{"inputs":[],"outputs":[{{"name":"y","parameters":{{"p":{written}}}}}]}}"#
            ));
            assert_eq!(message.unwrap().outputs[0].parameters, expected, "{written}");
            let message = request(&format!(r#"{{"parameters":{{"p":{written}}},"inputs":[]}}"#));
            assert_eq!(message.unwrap().parameters, expected, "{written}");
        }
    }
    let message = request(r#"{"parameters":{"p":NaN},"inputs":[]}"#).unwrap();
    assert!(matches!(message.parameters["p"].choice, Some(Choice::Double(value)) if value.is_nan()));
    // Nowhere else but in tensors, and for nothing else.
    for body in [
        r#"{"unknown":NaN,"inputs":[]}"#,
        r#"{"unknown":[{"a":Infinity}],"inputs":[]}"#,
        r#"{"inputs":[NaN]}"#,
        r#"{"inputs":[{"shape":[NaN]}]}"#,
        r#"{"id":-Infinity,"inputs":[]}"#,
    ] {
        let problem = request(body).unwrap_err();
        assert!(problem.message.ends_with(" is not a JSON value"), "{body}: {problem}");
    }
    assert!(request(r#"{"parameters":{"p":{"int64_param":NaN}},"inputs":[]}"#).is_err());
    assert!(request(r#"{"inputs":[{"parameters":{"binary_data_size":Infinity}}]}"#).is_err());
}

#[test]
fn a_number_that_does_not_fit_is_refused_with_its_place_and_its_text() {
    let input = |datatype: &str, data: &str| {
        let shape = data.matches(',').count() + 1;
        format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[{shape}],"data":[{data}]}}]}}"#)
    };
    let cases = [
        ("UINT8", "0,300", "inputs[0].data[1]: 300 is out of range for UINT8"),
        ("INT8", "-129", "inputs[0].data[0]: -129 is out of range for INT8"),
        ("FP32", "1,2,1e39", "inputs[0].data[2]: 1e39 is out of range for FP32"),
        ("FP32", "3.4028236e38", "inputs[0].data[0]: 3.4028236e38 is out of range for FP32"),
        ("INT64", "1.5", "inputs[0].data[0]: 1.5 is not a whole number, as INT64 needs"),
        ("INT32", "true", "inputs[0].data[0]: true is not a value of INT32"),
        ("FP32", "01", "inputs[0].data[0]: 01 is not a value of FP32"),
        ("FP32", "nul", "inputs[0].data[0]: nul is not a value of FP32"),
        ("FP32", "\"1\"", "inputs[0].data[0]: \"1\" is not a value of FP32"),
        ("INT32", "\"1\"", "inputs[0].data[0]: expected a value of INT32, found \""),
        ("BOOL", "2", "inputs[0].data[0]: 2 is out of range for BOOL"),
        ("BYTES", "1", "inputs[0].data[0]: expected a string for BYTES, found 1"),
        ("BYTES", "\"\\ud800\"", "inputs[0].data[0]: a string has half a surrogate pair"),
    ];
    for (datatype, data, message) in cases {
        assert_eq!(refusal(&input(datatype, data)), message);
    }
}

#[test]
fn a_document_that_cannot_be_understood_is_refused_with_the_reason() {
    let x = |rest: &str| format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[2]{rest}}}]}}"#);
    let cases = [
        (String::new(), "the body has no JSON document"),
        ("[]".to_owned(), "the JSON document must be an object"),
        (r#"{"inputs":["#.to_owned(), "the JSON document ends too early"),
        ("{}".to_owned(), "inputs is missing"),
        (r#"{"inputs":{}}"#.to_owned(), "inputs must be an array"),
        (r#"{"inputs":[1]}"#.to_owned(), "inputs[0] must be an object"),
        (r#"{"inputs":[],"id":7}"#.to_owned(), "id must be a string"),
        (r#"{"inputs":[],"id":"a","id":"b"}"#.to_owned(), "id is given twice"),
        (
            r#"{"inputs":[]}x"#.to_owned(),
            "invalid JSON at byte 13: expected nothing after the end of the document, found x",
        ),
        (
            r#"{"inputs":[],"model_name":"secret"}"#.to_owned(),
            "model_name is secret in the body, but m in the URL",
        ),
        (
            r#"{"inputs":[],"parameters":{"a":[1]}}"#.to_owned(),
            "parameters.a: a parameter is a string, a number or a boolean",
        ),
        (
            r#"{"inputs":[],"parameters":{"a":{"b":1}}}"#.to_owned(),
            "parameters.a: a parameter is a string, a number or a boolean, not an object",
        ),
        (r#"{"inputs":[],"outputs":[{}]}"#.to_owned(), "outputs[0]: name is missing"),
        (r#"{"inputs":[{"datatype":"FP32","shape":[]}]}"#.to_owned(), "inputs[0]: name is missing"),
        (r#"{"inputs":[{"name":"x","shape":[]}]}"#.to_owned(), "inputs[0]: datatype is missing"),
        (r#"{"inputs":[{"name":"x","datatype":"FP32"}]}"#.to_owned(), "inputs[0]: shape is missing"),
        (r#"{"inputs":[{"datatype":"fp32"}]}"#.to_owned(), "inputs[0]: datatype fp32 is unknown"),
        (
            r#"{"inputs":[{"shape":[-1]}]}"#.to_owned(),
            "inputs[0].shape: dimension 0 is not a size from 0 to 2^63-1",
        ),
        (x(""), "inputs[0] has no data, no binary_data_size and no shared_memory_region"),
        (x(r#","data":[1]"#), "inputs[0]: shape [2] has 2 elements, but there are 1 in data"),
        (x(r#","data":[1,2,3]"#), "inputs[0]: shape [2] has 2 elements, but there are 3 in data"),
        (x(r#","data":[1,2,]"#), "inputs[0].data[2]: expected a value of FP32, found ]"),
        (x(r#","data":[1 2]"#), "inputs[0].data[1]: expected a comma or ] after an element"),
        (x(r#","data":5"#), "inputs[0].data must be an array"),
        (
            x(r#","data":[1,2],"parameters":{"binary_data_size":8}"#),
            "inputs[0]: has data and binary_data_size",
        ),
        (
            x(r#","parameters":{"binary_data_size":8}"#),
            "inputs[0]: has binary_data_size, but there is no Inference-Header-Content-Length",
        ),
        (
            x(r#","parameters":{"binary_data_size":"8"}"#),
            "inputs[0].parameters.binary_data_size must be a size in bytes",
        ),
        (
            x(r#","parameters":{"binary_data_size":7}"#),
            "inputs[0]: 7 bytes of raw contents are not what 2 elements of FP32 have",
        ),
        (
            x(r#","contents":{"int_contents":[1,2]}"#),
            "inputs[0]: FP32 belongs in fp32_contents, not in int_contents",
        ),
        (
            x(r#","contents":{"fp32_contents":[1,2]},"data":[1,2]"#),
            "inputs[0]: the tensor's data is given twice",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(refusal(&body), message, "{body}");
    }
}

#[test]
fn the_version_in_the_url_wins_and_the_body_may_only_repeat_it() {
    let with = |version: &str, body: &str| {
        let target = Target { model: "m".to_owned(), version: Some(version.to_owned()) };
        let mut request = Request::new(target, OPTIONS, None, charge());
        request.write(body.as_bytes()).unwrap();
        request.finish().map(|(mut message, _)| {
            let mut bytes = Vec::new();
            message.drain_to(&mut bytes);
            ModelInferRequest::decode(&bytes[..]).unwrap().model_version
        })
    };
    assert_eq!(with("2", r#"{"inputs":[]}"#).unwrap(), "2");
    assert_eq!(with("2", r#"{"inputs":[],"model_version":"2"}"#).unwrap(), "2");
    let problem = with("2", r#"{"inputs":[],"model_version":"3"}"#).unwrap_err();
    assert_eq!(problem.message, "model_version is 3 in the body, but 2 in the URL");
    assert_eq!(request(r#"{"inputs":[],"model_version":"3"}"#).unwrap().model_version, "3");
}

#[test]
fn binary_tensors_come_from_behind_the_document_in_order() {
    let json = r#"{"inputs":[{"name":"a","shape":[3],"datatype":"FP32","parameters":{"binary_data_size":12}},{"name":"b","shape":[1],"datatype":"INT64","data":[-1]},{"name":"c","shape":[3],"datatype":"UINT8","parameters":{"binary_data_size":3}}]}  "#;
    let mut body = json.as_bytes().to_vec();
    let floats = le(&[1.5_f32, -2.0, 0.1], f32::to_le_bytes);
    body.extend_from_slice(&floats);
    body.extend_from_slice(&[0, 127, 255]);
    for step in 1..=body.len() {
        let (message, _) = transcode(OPTIONS, Some(json.len()), &body, step).unwrap();
        let message = ModelInferRequest::decode(&message[..]).unwrap();
        assert_eq!(message.raw_input_contents, [&floats[..], &[0xff; 8], &[0, 127, 255]]);
        assert!(message.inputs.iter().all(|input| input.parameters.is_empty()));
    }
    let refused = |body: &[u8], length: usize| {
        transcode(OPTIONS, Some(length), body, 7).unwrap_err().message.into_owned()
    };
    let short = "inputs[2]: the body ends before all of its 3 binary bytes have come";
    assert_eq!(refused(&body[..body.len() - 1], json.len()), short);
    body.push(0);
    assert_eq!(refused(&body, json.len()), "the body goes on after the last binary tensor");
    assert_eq!(refused(&body, json.len() - 5), "the JSON document ends too early");
}

#[test]
fn a_body_is_complete_as_soon_as_nothing_more_can_come() {
    let complete_at = |body: &[u8], json_length: Option<usize>| {
        let mut request = Request::new(target(), OPTIONS, json_length, charge());
        body.iter().position(|byte| request.write(&[*byte]).unwrap() == Progress::Complete)
    };
    assert_eq!(complete_at(br#"{"inputs":[]}  "#, None), Some(12));
    assert_eq!(complete_at(br#"{"inputs":[]}  "#, Some(15)), Some(14));
    let binary =
        br#"{"inputs":[{"name":"a","shape":[2],"datatype":"INT8","parameters":{"binary_data_size":2}}]}xy"#;
    assert_eq!(complete_at(binary, Some(binary.len() - 2)), Some(binary.len() - 1));
}

#[test]
fn an_input_in_shared_memory_has_no_contents() {
    let body = r#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","parameters":{"shared_memory_region":"reg"}}]}"#;
    let message = request(body).unwrap();
    assert!(message.raw_input_contents.is_empty());
    assert_eq!(message.inputs[0].parameters.len(), 1);
}

#[test]
fn the_json_of_protobuf_is_understood_too() {
    let body = r#"{"model_name":"m","inputs":[
        {"name":"a","datatype":"FP32","shape":["1","2"],"contents":{"int_contents":[],"fp32_contents":[1,"NaN"]}},
        {"name":"b","contents":{"int64_contents":["9223372036854775807",-1]},"datatype":"INT64","shape":[2]},
        {"name":"c","datatype":"BYTES","shape":[2],"contents":{"bytes_contents":["aGVsbG8=","_w"]}},
        {"name":"d","datatype":"BOOL","shape":[0],"contents":{}}]}"#;
    let message = request(body).unwrap();
    let raw = &message.raw_input_contents;
    assert_eq!(raw[0][..4], 1_f32.to_le_bytes());
    assert!(f32::from_le_bytes(raw[0][4..].try_into().unwrap()).is_nan());
    assert_eq!(raw[1], le(&[i64::MAX, -1], i64::to_le_bytes));
    assert_eq!(raw[2], b"\x05\0\0\0hello\x01\0\0\0\xff");
    assert_eq!(raw[3], b"");

    let body = r#"{"raw_input_contents":["AAECAw==","/w=="],"inputs":[
        {"name":"a","datatype":"INT32","shape":[1]},{"name":"b","datatype":"INT8","shape":[1]}]}"#;
    assert_eq!(request(body).unwrap().raw_input_contents, [&[0, 1, 2, 3][..], &[0xff]]);
    let message = refusal(&body.replace("[1]", "[2]"));
    assert_eq!(message, "inputs[0]: 4 bytes of raw contents are not what 2 elements of INT32 have");
    assert_eq!(
        refusal(&body.replace("/w==", "/w=")),
        "raw_input_contents[1]: the string is not valid base64"
    );
    assert_eq!(refusal(&body.replace(",\"/w==\"", "")), "raw_input_contents has no entry for inputs[1]");
}

#[test]
fn any_byte_but_zero_is_true_in_typed_contents_of_a_client_s_own_bytes() {
    let json =
        r#"{"inputs":[{"name":"x","datatype":"BOOL","shape":[4],"parameters":{"binary_data_size":4}}]}"#;
    let body = [json.as_bytes(), &[0, 1, 0x80, 0xff]].concat();
    let options = Options { encoding: TensorEncoding::Contents, ..OPTIONS };
    let (bytes, _) = transcode(options, Some(json.len()), &body, 3).unwrap();
    let message = ModelInferRequest::decode(&bytes[..]).unwrap();
    assert_eq!(message.encode_to_vec(), bytes);
    let contents = message.inputs[0].contents.as_ref().unwrap();
    assert_eq!(contents.bool_contents, [false, true, true, true]);
}

#[test]
fn typed_contents_are_sent_to_servers_that_want_them() {
    let options = Options { encoding: TensorEncoding::Contents, ..OPTIONS };
    let message = |body: &str| {
        let (bytes, _) = transcode(options, None, body.as_bytes(), 5).unwrap();
        let message = ModelInferRequest::decode(&bytes[..]).unwrap();
        assert_eq!(message.encode_to_vec(), bytes);
        message
    };
    let input = |datatype: &str, shape: usize, data: &str| {
        format!(r#"{{"name":"x","datatype":"{datatype}","shape":[{shape}],"data":[{data}]}}"#)
    };
    let cases = [
        (
            input("BOOL", 2, "true,false"),
            Contents { bool_contents: vec![true, false], ..Contents::default() },
        ),
        (input("INT8", 2, "-1,127"), Contents { int_contents: vec![-1, 127], ..Contents::default() }),
        (input("INT32", 1, "-2147483648"), Contents { int_contents: vec![i32::MIN], ..Contents::default() }),
        (input("INT64", 2, "-1,300"), Contents { int64_contents: vec![-1, 300], ..Contents::default() }),
        (input("UINT16", 1, "65535"), Contents { uint_contents: vec![65535], ..Contents::default() }),
        (
            input("UINT64", 1, "18446744073709551615"),
            Contents { uint64_contents: vec![u64::MAX], ..Contents::default() },
        ),
        (input("FP32", 2, "0.1,2"), Contents { fp32_contents: vec![0.1, 2.0], ..Contents::default() }),
        (input("FP64", 1, "0.1"), Contents { fp64_contents: vec![0.1], ..Contents::default() }),
        (
            input("BYTES", 2, r#""abc","""#),
            Contents { bytes_contents: vec![b"abc".to_vec(), Vec::new()], ..Contents::default() },
        ),
        (input("FP32", 0, ""), Contents::default()),
    ];
    for (input, contents) in &cases {
        let message = message(&format!(r#"{{"inputs":[{input}]}}"#));
        assert_eq!(message.inputs[0].contents.as_ref(), Some(contents), "{input}");
        assert!(message.raw_input_contents.is_empty());
    }
    let half = message(&format!(r#"{{"inputs":[{},{}]}}"#, cases[6].0, input("FP16", 1, "1")));
    assert!(half.inputs.iter().all(|input| input.contents.is_none()));
    assert_eq!(half.raw_input_contents.len(), 2);
}

#[test]
fn a_body_over_a_limit_is_refused_and_gives_everything_back() {
    let options = Options { max_request_bytes: 20, ..OPTIONS };
    let problem = transcode(options, None, &[b' '; 21], 7).unwrap_err();
    assert_eq!((problem.status, &*problem.message), (413, "the body is larger than 20 bytes"));

    let memory = Memory::new(100_000);
    let mut request = Request::new(target(), OPTIONS, None, memory.account(usize::MAX).charge());
    request.write(br#"{"inputs":[{"name":"x","datatype":"FP64","shape":[100000],"data":[0"#).unwrap();
    let problem = (0..100_000).find_map(|_| request.write(b",1").err()).unwrap();
    assert_eq!(problem.status, 503, "{problem}");
    assert!(memory.used() > 50_000);
    drop(request);
    assert_eq!(memory.used(), 0);
}

#[test]
fn many_tiny_things_are_charged_like_a_few_large_ones() {
    let memory = Memory::new(1 << 20);
    let mut request = Request::new(target(), OPTIONS, None, memory.account(usize::MAX).charge());
    request.write(br#"{"inputs":["#).unwrap();
    let tiny = br#"{"name":"","datatype":"INT8","shape":[0],"data":[]},"#;
    let refused = (0..100_000).find_map(|_| request.write(tiny).err()).unwrap();
    assert_eq!(refused.status, 503);
}
