//! Bodies and messages cut at every place.

use super::message::{Choice, Contents, Requested, parameters, tensor};
use super::*;
use proptest::prelude::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const BODIES: [&str; 4] = [
    r#"{"inputs":[{"name":"I_FP32","shape":[3],"datatype":"FP32","data":[1.5,-2.0,0.10000000149011612]}],"outputs":[{"name":"OUT","parameters":{"binary_data":false}}]}"#,
    r#" { "id" : "\u00e9\ud83d\ude00" , "inputs" : [ { "data" : [ [ true , 0 ] , [ 1 , false ] ] , "datatype" : "BOOL" , "shape" : [ 2 , 2 ] , "name" : "b" } ] , "x" : { "y" : [ "]}" ] } } "#,
    r#"{"parameters":{"a":1.25,"b":{"string_param":"s"}},"inputs":[{"name":"s","datatype":"BYTES","shape":[2],"data":["a\\u0041\"]","é"]},{"name":"l","shape":[4],"data":[1e3,-0,12.0,9223372036854775807],"datatype":"INT64"}]}"#,
    r#"{"inputs":[{"name":"n","datatype":"FP64","shape":[5],"data":[NaN,-Infinity,1e300,123456789.123456789012345678901234567890,5e-324]},{"name":"p","datatype":"INT8","shape":["2"],"contents":{"int_contents":["-1",2]}}],"raw_input_contents":null}"#,
];

#[test]
fn a_request_split_at_every_byte_gives_the_same_message() {
    for body in BODIES {
        let body = body.as_bytes();
        let (whole, _) = transcode(OPTIONS, None, body, body.len()).unwrap();
        for step in 1..body.len() {
            assert_eq!(transcode(OPTIONS, None, body, step).unwrap().0, whole, "in pieces of {step}");
        }
        for cut in 0..=body.len() {
            let mut request = Request::new(target(), OPTIONS, None, charge());
            request.write(&body[..cut]).unwrap();
            request.write(&body[cut..]).unwrap();
            let mut bytes = Vec::new();
            request.finish().unwrap().0.drain_to(&mut bytes);
            assert_eq!(bytes, whole, "cut at {cut}");
        }
    }
}

#[test]
fn a_request_that_ends_at_any_byte_is_refused_and_nothing_breaks() {
    for body in BODIES {
        for end in 0..body.trim_end().len() {
            let problem = transcode(OPTIONS, None, &body.as_bytes()[..end], 5).unwrap_err();
            assert_eq!(problem.status, 400, "{problem}");
        }
    }
}

#[test]
fn a_request_with_any_byte_changed_is_answered_and_nothing_breaks() {
    for body in BODIES {
        for place in 0..body.len() {
            for byte in [b'"', b'\\', b'{', b']', b',', b'0', b'e', 0xff] {
                let mut body = body.as_bytes().to_vec();
                body[place] = byte;
                let whole = transcode(OPTIONS, None, &body, body.len()).map(|(message, _)| message);
                let bytes = transcode(OPTIONS, None, &body, 1).map(|(message, _)| message);
                assert_eq!(whole, bytes, "{}", String::from_utf8_lossy(&body));
            }
        }
    }
}

#[test]
fn an_answer_with_any_byte_changed_is_answered_and_nothing_breaks() {
    let message = ModelInferResponse {
        model_name: "m".to_owned(),
        parameters: parameters([("k", Choice::String("v".to_owned()))]),
        outputs: vec![
            message::Tensor {
                contents: Some(Contents { int_contents: vec![1, -1], ..Contents::default() }),
                ..tensor("a", "INT8", &[2])
            },
            message::Tensor {
                contents: Some(Contents { bytes_contents: vec![b"x".to_vec()], ..Contents::default() }),
                ..tensor("b", "BYTES", &[1])
            },
        ],
        ..ModelInferResponse::default()
    };
    let good = message.encode_to_vec();
    let run = |message: &[u8], step: usize| {
        answer_in(response_to(""), message, step).map(|answer| {
            let mut body = Vec::new();
            answer.render(&mut body);
            body
        })
    };
    for place in 0..good.len() {
        for byte in (0..=255).step_by(5) {
            let mut message = good.clone();
            message[place] = byte;
            assert_eq!(run(&message, 1), run(&message, message.len()), "{byte} at {place}");
        }
    }
}

/// Raw contents of some numbers, and the text of `data` that means them.
fn numbers() -> impl Strategy<Value = (&'static str, Vec<u8>, Vec<String>)> {
    let of = |values: Vec<f32>| {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        ("FP32", raw, values.iter().map(f32::to_string).collect())
    };
    let floats = prop::collection::vec(any::<f32>(), 0..200).prop_map(of);
    let integers = prop::collection::vec(any::<i64>(), 0..200).prop_map(|values: Vec<i64>| {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        ("INT64", raw, values.iter().map(i64::to_string).collect())
    });
    let strings = prop::collection::vec(any::<String>(), 0..20).prop_map(|values: Vec<String>| {
        let mut raw = Vec::new();
        for value in &values {
            raw.extend_from_slice(&(value.len() as u32).to_le_bytes());
            raw.extend_from_slice(value.as_bytes());
        }
        ("BYTES", raw, values.iter().map(|value| serde_json::to_string(value).unwrap()).collect())
    });
    prop_oneof![floats, integers, strings]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_request_means_the_same_however_it_is_written_and_cut(
        (datatype, raw, texts) in numbers(),
        data_first in any::<bool>(),
        separator in prop::sample::select(vec![",", ", ", " ,\n\t"]),
        step in 1_usize..100,
        wanted in any::<bool>(),
    ) {
        let data = format!("\"data\":[{}]", texts.join(separator));
        let rest = format!(r#""datatype":"{datatype}","shape":[{}]"#, texts.len());
        let (first, second) = if data_first { (&data, &rest) } else { (&rest, &data) };
        let body = format!(
            r#"{{"inputs":[{{"name":"x",{first},{second}}}],"outputs":[{{"name":"y","parameters":{{"binary_data":{wanted}}}}}]}}"#
        );
        let (bytes, response) = transcode(OPTIONS, None, body.as_bytes(), step).unwrap();
        let message = ModelInferRequest::decode(&bytes[..]).unwrap();
        prop_assert_eq!(&message, &ModelInferRequest {
            model_name: "m".to_owned(),
            inputs: vec![tensor("x", datatype, &[texts.len() as i64])],
            outputs: vec![Requested { name: "y".to_owned(), ..Requested::default() }],
            raw_input_contents: vec![raw.clone()],
            ..ModelInferRequest::default()
        });
        prop_assert_eq!(response.wants_binary_answer(), wanted);

        // And back: the answer that has the same contents.
        let message = ModelInferResponse {
            model_name: "m".to_owned(),
            outputs: vec![tensor("y", datatype, &[texts.len() as i64])],
            raw_output_contents: vec![raw.clone()],
            ..ModelInferResponse::default()
        };
        let answer = answer_in(response, &message.encode_to_vec(), step).unwrap();
        let length = answer.inference_header_length();
        let mut body = Vec::new();
        answer.render(&mut body);
        if let Some(length) = length {
            prop_assert_eq!(&body[length..], &raw);
        }
        let json: serde_json::Value = serde_json::from_slice(&body[..length.unwrap_or(body.len())]).unwrap();
        if !wanted {
            let data = json["outputs"][0]["data"].as_array().unwrap();
            prop_assert_eq!(data.len(), texts.len());
            for (value, text) in data.iter().zip(&texts) {
                match datatype {
                    "FP32" => prop_assert_eq!(
                        (value.as_f64().unwrap() as f32).to_bits(),
                        text.parse::<f32>().unwrap().to_bits()
                    ),
                    "INT64" => prop_assert_eq!(&value.to_string(), text),
                    _ => prop_assert_eq!(value, &serde_json::from_str::<serde_json::Value>(text).unwrap()),
                }
            }
        }
    }
}
