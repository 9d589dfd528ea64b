//! The same thing written in other ways: protobuf's two names for a field, values that are not numbers, base64; and
//! what is written twice.

use super::message::{Choice, Contents, parameters, tensor};
use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A request with these members in its one input, behind name and shape.
fn input(shape: usize, members: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","shape":[{shape}],{members}}}]}}"#)
}

fn raw(body: &str) -> Vec<u8> {
    request(body).unwrap_or_else(|problem| panic!("{body}: {problem}")).raw_input_contents.concat()
}

#[test]
fn every_field_has_protobufs_json_name_as_well_as_its_own() {
    let own = r#"{"model_name":"m","model_version":"3","inputs":[{"name":"x","shape":["1"],"datatype":"BOOL"}],
        "raw_input_contents":["AQ=="],"parameters":{"p":{"int64_param":"7"},"s":{"string_param":"t"}}}"#;
    let json = own
        .replace("model_name", "modelName")
        .replace("model_version", "modelVersion")
        .replace("raw_input_contents", "rawInputContents")
        .replace("int64_param", "int64Param")
        .replace("string_param", "stringParam");
    assert_eq!(request(&json).unwrap(), request(own).unwrap());
    assert_eq!(request(&json).unwrap().model_version, "3");
    let fields = [
        ("BOOL", "bool", "true"),
        ("INT8", "int", "-1"),
        ("INT64", "int64", r#""-1""#),
        ("UINT16", "uint", "1"),
        ("UINT64", "uint64", r#""1""#),
        ("FP32", "fp32", "1.5"),
        ("FP64", "fp64", r#""NaN""#),
        ("BYTES", "bytes", r#""AQ==""#),
    ];
    for (datatype, field, element) in fields {
        let body = |name: String| {
            input(1, &format!(r#""datatype":"{datatype}","contents":{{"{name}":[{element}]}}"#))
        };
        assert_eq!(raw(&body(format!("{field}Contents"))), raw(&body(format!("{field}_contents"))));
    }
}

#[test]
fn both_names_of_a_field_in_one_message_are_one_field_given_twice() {
    let twice = |body: &str| refusal(body);
    assert_eq!(
        twice(r#"{"modelVersion":"1","model_version":"1","inputs":[]}"#),
        "model_version is given twice"
    );
    assert_eq!(twice(r#"{"model_name":"m","modelName":"m","inputs":[]}"#), "model_name is given twice");
    assert_eq!(
        twice(r#"{"inputs":[],"rawInputContents":null,"raw_input_contents":[]}"#),
        "raw_input_contents is given twice"
    );
    for contents in [
        r#""fp32_contents":[1],"fp32Contents":[1]"#,
        r#""fp32Contents":[],"fp32_contents":[1]"#,
        r#""fp32Contents":[1],"fp32Contents":[1]"#,
        r#""fp32Contents":null,"fp32_contents":[1]"#,
    ] {
        assert_eq!(
            twice(&input(1, &format!(r#""datatype":"FP32","contents":{{{contents}}}"#))),
            "inputs[0].contents.fp32_contents is given twice"
        );
    }
    // Of two inputs each has its own.
    let each = r#"{"name":"x","shape":[1],"datatype":"INT8","contents":{"intContents":[7]}}"#;
    assert_eq!(raw(&format!(r#"{{"inputs":[{each},{each}]}}"#)), [7, 7]);
}

#[test]
fn a_parameter_that_is_given_twice_is_refused_at_every_level_whatever_its_values() {
    let levels = [
        ("", r#"{"inputs":[],"parameters":P}"#),
        ("inputs[0].", r#"{"inputs":[{"name":"x","shape":[0],"datatype":"INT8","data":[],"parameters":P}]}"#),
        ("outputs[0].", r#"{"inputs":[],"outputs":[{"name":"y","parameters":P}]}"#),
    ];
    let twice = [
        (r#"{"a":1,"a":2}"#, "a"),
        (r#"{"a":1,"b":2,"c":3,"b":2}"#, "b"),
        (r#"{"a":null,"a":1}"#, "a"),
        (r#"{"a":1,"a":null}"#, "a"),
        (r#"{"a":{"int64_param":1},"a":"x"}"#, "a"),
        (r#"{"":1,"":1}"#, ""),
        (r#"{"\u0061":1,"a":1}"#, "a"),
    ];
    for (place, body) in levels {
        for (parameters, name) in twice {
            let told = refusal(&body.replace('P', parameters));
            assert_eq!(told, format!("{place}parameters.{name} is given twice"));
        }
    }
    for (place, body, name) in [
        ("", levels[0].1, "binary_data_output"),
        ("inputs[0].", levels[1].1, "binary_data_size"),
        ("outputs[0].", levels[2].1, "binary_data"),
    ] {
        let value = if name == "binary_data_size" { "0" } else { "true" };
        let told = refusal(&body.replace('P', &format!(r#"{{"{name}":{value},"{name}":{value}}}"#)));
        assert_eq!(told, format!("{place}parameters.{name} is given twice"));
    }
    // What one object has, another may have too.
    let output = r#"{"name":"y","parameters":{"a":1}}"#;
    assert!(
        request(&format!(r#"{{"inputs":[],"parameters":{{"a":1}},"outputs":[{output},{output}]}}"#)).is_ok()
    );
}

#[test]
fn a_parameter_in_protobufs_json_has_one_value() {
    let body = |value: &str| format!(r#"{{"inputs":[],"parameters":{{"p":{value}}}}}"#);
    for value in [
        r#"{"int64_param":1,"bool_param":true}"#,
        r#"{"int64_param":1,"boolParam":true}"#,
        r#"{"string_param":"","double_param":0}"#,
    ] {
        assert_eq!(refusal(&body(value)), "parameters.p: a parameter has only one value");
    }
    for (value, name) in [
        (r#"{"int64_param":1,"int64_param":1}"#, "int64_param"),
        (r#"{"int64_param":1,"int64Param":1}"#, "int64Param"),
        (r#"{"int64_param":null,"int64_param":1}"#, "int64_param"),
    ] {
        assert_eq!(refusal(&body(value)), format!("parameters.p.{name} is given twice"));
    }
    // A field that is null is not set, and leaves its place to another.
    let message = request(&body(r#"{"bool_param":null,"int64_param":"1"}"#)).unwrap();
    assert_eq!(message.parameters, parameters([("p", Choice::Int64(1))]));
}

#[test]
fn many_parameters_are_compared_in_no_time() {
    let many: Vec<String> = (0..200_000).map(|number| format!(r#""p{number}":1"#)).collect();
    let body = format!(r#"{{"inputs":[],"parameters":{{{}}}}}"#, many.join(","));
    assert_eq!(request(&body).unwrap().parameters.len(), 200_000);
}

#[test]
fn null_is_nan_in_floating_point_data_and_nothing_in_other() {
    let body = |datatype: &str, data: &str| input(2, &format!(r#""datatype":"{datatype}","data":{data}"#));
    assert_eq!(raw(&body("FP64", "[null,1.0]")), [f64::NAN.to_le_bytes(), 1_f64.to_le_bytes()].concat());
    assert_eq!(raw(&body("FP32", "[[null],[null]]")), f32::NAN.to_le_bytes().repeat(2));
    assert_eq!(raw(&body("FP16", "[null , 1]")), [0, 0x7e, 0, 0x3c]);
    assert_eq!(raw(&body("BF16", "[1,null]")), [0x80, 0x3f, 0xc0, 0x7f]);
    let late = input(1, r#""data":[null],"datatype":"FP32""#);
    assert_eq!(raw(&late), f32::NAN.to_le_bytes());
    for datatype in ["BOOL", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64"] {
        assert_eq!(
            refusal(&body(datatype, "[1,null]")),
            format!(
                "inputs[0].data[1]: null is not a value of {datatype}: only floating-point tensors may have it, \
                 as NaN"
            )
        );
    }
    assert_eq!(
        refusal(&body("BYTES", r#"["a",null]"#)),
        "inputs[0].data[1]: expected a string for BYTES, found null"
    );
    assert_eq!(refusal(&body("FP32", r#"["null",1]"#)), "inputs[0].data[0]: \"null\" is not a value of FP32");
}

#[test]
fn nan_and_the_infinities_may_be_strings_and_other_numbers_may_not() {
    let body = |datatype: &str, data: &str| input(3, &format!(r#""datatype":"{datatype}","data":{data}"#));
    let strings = r#"["NaN","Infinity","-Infinity"]"#;
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(f32::to_le_bytes).concat();
    assert_eq!(raw(&body("FP32", strings)), special);
    for datatype in ["FP16", "BF16", "FP64"] {
        assert_eq!(raw(&body(datatype, strings)), raw(&body(datatype, &strings.replace('"', ""))));
    }
    for string in ["1", "1.5", "", "nan", "inf", "+Infinity", " NaN", "Infinity ", "true"] {
        let told = refusal(&body("FP64", &format!(r#"[0,"{string}",0]"#)));
        assert_eq!(told, format!("inputs[0].data[1]: {string:?} is not a value of FP64"));
    }
    assert!(refusal(&body("INT8", strings)).contains("expected a value of INT8"));
}

#[test]
fn an_element_is_the_same_however_near_the_end_of_a_chunk_it_is() {
    let wanted = [1.5_f32, -0.25, 12_345_678.0].map(f32::to_le_bytes).concat();
    for behind in 0..100 {
        let blanks = " ".repeat(behind);
        let body = input(3, &format!(r#""datatype":"FP32","data":[1.5,-0.25,12345678]{blanks}"#));
        assert_eq!(raw(&body), wanted, "{behind} blanks behind the data");
        let body = input(3, &format!(r#""datatype":"FP32","data":[1.5,-0.25,12345678{}]{blanks}"#, '\0'));
        let problem = request(&body).unwrap_err().to_string();
        assert!(problem.contains("12345678\0 is not a value of FP32"), "{behind} blanks: {problem}");
    }
}

#[test]
fn bytes_whose_content_type_is_base64_are_decoded_wherever_that_is_said() {
    let members = [
        r#""parameters":{"content_type":"base64"}"#,
        r#""datatype":"BYTES""#,
        r#""data":["3q2+7w==","","3q2-7w"]"#,
    ];
    let raw_bytes = b"\x04\0\0\0\xde\xad\xbe\xef\0\0\0\0\x04\0\0\0\xde\xad\xbe\xef";
    for [a, b, c] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let body = input(3, &[members[a], members[b], members[c]].join(","));
        for step in [1, 2, 5, usize::MAX] {
            let (message, _) = transcode(OPTIONS, None, body.as_bytes(), step).unwrap();
            let message = ModelInferRequest::decode(&message[..]).unwrap();
            assert_eq!(message.raw_input_contents, [raw_bytes], "{body}");
            // It says how the JSON was written, and nothing of what the server gets.
            assert_eq!(message.inputs, [tensor("x", "BYTES", &[3])]);
        }
    }
    let body = input(
        1,
        r#""parameters":{"a":1,"content_type":{"stringParam":"base64"},"b":2},"datatype":"BYTES","data":["YQ=="]"#,
    );
    let message = request(&body).unwrap();
    assert_eq!(message.inputs[0].parameters, parameters([("a", Choice::Int64(1)), ("b", Choice::Int64(2))]));
    let options = Options { encoding: TensorEncoding::Contents, ..OPTIONS };
    let (message, _) = transcode(options, None, body.as_bytes(), 3).unwrap();
    let contents = Contents { bytes_contents: vec![b"a".to_vec()], ..Contents::default() };
    assert_eq!(ModelInferRequest::decode(&message[..]).unwrap().inputs[0].contents, Some(contents));
}

#[test]
fn a_long_element_is_decoded_from_base64_as_a_short_one_is() {
    let text = "QUJD".repeat(100_000);
    let body = input(
        1,
        &format!(r#""datatype":"BYTES","data":["{text}"],"parameters":{{"content_type":"base64"}}"#),
    );
    let expected = [&300_000_u32.to_le_bytes()[..], &b"ABC".repeat(100_000)].concat();
    assert_eq!(raw(&body), expected);
}

#[test]
fn what_is_not_base64_is_refused_and_other_content_types_stay_what_they_are() {
    let base64 = |data: &str| {
        input(2, &format!(r#""datatype":"BYTES","data":{data},"parameters":{{"content_type":"base64"}}"#))
    };
    for bad in ["a", "YQ=", "Y Q==", "YR==", "\u{e9}"] {
        assert_eq!(
            refusal(&base64(&format!(r#"["YQ==","{bad}"]"#))),
            "inputs[0].data[1]: the string is not valid base64"
        );
    }
    let kept = |members: &str| request(&input(1, members)).unwrap();
    let message = kept(r#""datatype":"BYTES","data":["YQ=="],"parameters":{"content_type":"str"}"#);
    assert_eq!(message.raw_input_contents[0], b"\x04\0\0\0YQ==");
    assert_eq!(message.inputs[0].parameters, parameters([("content_type", Choice::String("str".into()))]));
    // Protobuf's JSON is base64 by itself, and a number is not text.
    let said = parameters([("content_type", Choice::String("base64".into()))]);
    let message = kept(
        r#""datatype":"BYTES","contents":{"bytes_contents":["YQ=="]},"parameters":{"content_type":"base64"}"#,
    );
    assert_eq!(message.raw_input_contents[0], b"\x01\0\0\0a");
    assert_eq!(message.inputs[0].parameters, said);
    let message = kept(r#""datatype":"INT8","data":[1],"parameters":{"content_type":"base64"}"#);
    assert_eq!(message.inputs[0].parameters, said);
}

#[test]
fn another_models_name_in_the_body_is_refused_or_not_heard() {
    let body = r#"{"model_name":"other","inputs":[]}"#;
    assert_eq!(refusal(body), "model_name is other in the body, but m in the URL");
    let options = Options { body_model_name: BodyModelName::Ignore, ..OPTIONS };
    let (message, _) = transcode(options, None, body.as_bytes(), 4).unwrap();
    assert_eq!(ModelInferRequest::decode(&message[..]).unwrap().model_name, "m");
}

#[test]
fn no_member_may_be_nested_too_deep() {
    for depth in [65, 105, 128, 1000, 100_000] {
        let nested = "[".repeat(depth) + &"]".repeat(depth);
        let object = r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth);
        for body in [
            nested.clone(),
            object.clone(),
            format!(r#"{{"unknown":{nested},"inputs":[]}}"#),
            format!(r#"{{"unknown":{object},"inputs":[]}}"#),
            format!(r#"{{"inputs":{nested}}}"#),
            format!(r#"{{"inputs":[],"parameters":{object}}}"#),
            format!(r#"{{"inputs":[],"parameters":{{"a":{nested}}}}}"#),
            format!(r#"{{"inputs":[],"outputs":{nested}}}"#),
            format!(r#"{{"inputs":[],"raw_input_contents":{nested}}}"#),
            input(0, &format!(r#""datatype":"FP32","data":{nested}"#)),
            input(0, &format!(r#""data":{nested},"datatype":"FP32""#)),
            input(0, &format!(r#""datatype":"BYTES","data":{nested}"#)),
            input(0, &format!(r#""datatype":"FP32","contents":{{"fp32Contents":{nested}}}"#)),
            input(0, &format!(r#""datatype":"FP32","data":[],"unknown":{object}"#)),
        ] {
            let problem = transcode(OPTIONS, None, body.as_bytes(), usize::MAX).unwrap_err();
            assert_eq!(problem.status, 400, "{problem}");
        }
    }
}
