//! Messages whose JSON is not protobuf's own: Triton's extensions.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn triton_message(name: &str, json: &str) -> Vec<u8> {
    let pool = prost_reflect::DescriptorPool::decode(kserve_proto::TRITON_DESCRIPTOR_SET).unwrap();
    let message = pool.get_message_by_name(&format!("inference.{name}")).unwrap();
    parse(&message, &[], plain(), json.as_bytes()).unwrap().encode_to_vec()
}

/// The message that the server gets, in protobuf's own JSON.
fn posted(path: &str, body: &str) -> serde_json::Value {
    let message = sent(&OURS, "POST", path, body).unwrap();
    let options = SerializeOptions::new().stringify_64_bit_integers(false).use_proto_field_name(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_plain_value_is_set_in_the_field_that_can_hold_it() {
    let found = posted(
        "/v2/repository/models/m/load",
        r#"{"parameters":{"config":"{}","file:1/model.bin":"AP8=","n":-7,"on":true,"none":null}}"#,
    );
    let expected = json(
        r#"{"model_name":"m","parameters":{
            "config":{"string_param":"{}"},"file:1/model.bin":{"bytes_param":"AP8="},
            "n":{"int64_param":-7},"on":{"bool_param":true},"none":{}}}"#,
    );
    assert_eq!(found, expected);
    assert_eq!(
        posted("/v2/logging", r#"{"log_verbose_level":4294967295,"log_info":false,"log_file":""}"#),
        json(
            r#"{"settings":{"log_verbose_level":{"uint32_param":4294967295},"log_info":{"bool_param":false},"log_file":{"string_param":""}}}"#
        )
    );
    // Anything but a file is text, whether it looks like base64 or not.
    assert_eq!(
        posted("/v2/repository/models/m/unload", r#"{"parameters":{"file:x":"AP8="}}"#),
        json(r#"{"model_name":"m","parameters":{"file:x":{"string_param":"AP8="}}}"#)
    );
}

#[test]
fn a_value_in_protobufs_form_is_understood_too() {
    let expected = json(
        r#"{"model_name":"m","parameters":{"config":{"string_param":"{}"},"file:1/model.bin":{"bytes_param":"AP8="}}}"#,
    );
    for body in [
        r#"{"modelName":"m","parameters":{"config":{"stringParam":"{}"},"file:1/model.bin":{"bytesParam":"AP8="}}}"#,
        r#"{"parameters":{"config":{"string_param":"{}"},"file:1/model.bin":"AP8="}}"#,
    ] {
        assert_eq!(posted("/v2/repository/models/m/load", body), expected, "{body}");
    }
    assert_eq!(
        posted("/v2/trace/setting", r#"{"trace_level":{"value":["TIMESTAMPS"]}}"#),
        json(r#"{"settings":{"trace_level":{"value":["TIMESTAMPS"]}}}"#)
    );
    let load = "/v2/repository/models/m/load";
    for (body, told) in [
        (r#"{"parameters":{"n":{"string_param":"a","bool_param":true}}}"#, "multiple fields"),
        (r#"{"parameters":{"n":{"string_param":"a","stringParam":"b"}}}"#, "string_param is given twice"),
        (r#"{"parameters":{"n":{"int64_param":"seven"}}}"#, "invalid digit"),
        (r#"{"parameters":{"n":{"text":"a"}}}"#, "'n' cannot be an object"),
    ] {
        let found = refused(&OURS, load, body);
        assert!(found.contains(told), "{body}: {found}");
    }
}

#[test]
fn one_value_is_a_list_of_one_and_null_an_empty_one() {
    assert_eq!(
        posted(
            "/v2/models/m/trace/setting",
            r#"{"trace_level":["TIMESTAMPS","TENSORS"],"trace_rate":"9","trace_file":null,"trace_count":[]}"#
        ),
        json(
            r#"{"model_name":"m","settings":{"trace_level":{"value":["TIMESTAMPS","TENSORS"]},"trace_rate":{"value":["9"]},"trace_file":{},"trace_count":{}}}"#
        )
    );
    assert_eq!(posted("/v2/trace/setting", ""), json("{}"));
    assert_eq!(posted("/v2/trace/setting", "null"), json("{}"));
}

#[test]
fn bytes_stand_in_an_object() {
    assert_eq!(
        posted(
            "/v2/cudasharedmemory/region/r/register",
            r#"{"raw_handle":{"b64":"AAEC"},"device_id":0,"byte_size":64}"#
        ),
        json(r#"{"name":"r","raw_handle":"AAEC","byte_size":64}"#)
    );
}

#[test]
fn a_value_that_no_field_can_hold_is_refused_with_its_name() {
    let load = "/v2/repository/models/m/load";
    for (path, body, expected) in [
        (load, r#"{"parameters":{"n":1.5}}"#, "parameters: 'n' cannot be a number"),
        (load, r#"{"parameters":{"n":[1]}}"#, "parameters: 'n' cannot be such a list"),
        (load, r#"{"parameters":{"n":{}}}"#, "parameters: 'n' cannot be an object"),
        (load, r#"{"parameters":{"file:x":"%"}}"#, "parameters: invalid base64"),
        (load, r#"{"parameters":[]}"#, "parameters: invalid type: sequence, expected a map"),
        (load, r#"{"parameters":{"n":1"#, "parameters: EOF while parsing an object"),
        (load, r#"{"nope":1}"#, "unrecognized field name 'nope'"),
        (load, "[]", "invalid type: sequence, expected a map"),
        (load, r#"{"model_name":5}"#, "model_name: invalid type: integer"),
        ("/v2/logging", r#"{"log_verbose_level":-1}"#, "settings: out of range"),
        ("/v2/logging", r#"{"log_info":["x"]}"#, "settings: 'log_info' cannot be such a list"),
        ("/v2/trace/setting", r#"{"trace_rate":1000}"#, "settings: 'trace_rate' cannot be a number"),
        ("/v2/trace/setting", r#"{"trace_level":[1]}"#, "settings: 'trace_level' cannot be such a list"),
        (
            "/v2/cudasharedmemory/region/r/register",
            r#"{"raw_handle":"AAEC"}"#,
            "raw_handle: expected an object with the member b64",
        ),
    ] {
        let found = refused(&OURS, path, body);
        assert!(found.starts_with(&format!("body: {expected}")), "{body}: {found}");
    }
}

#[test]
fn settings_are_answered_as_plain_values() {
    let settings = r#"{"settings":{"trace_rate":{"value":["1000"]},"trace_level":{"value":["OFF"]},"trace_file":{"value":[""]},"odd":{"value":["a","b"]},"none":{}}}"#;
    assert_eq!(
        answered(&OURS, "/v2/trace/setting", &triton_message("TraceSettingResponse", settings)).unwrap().1,
        r#"{"none":[],"odd":["a","b"],"trace_file":"","trace_level":["OFF"],"trace_rate":"1000"}"#
    );
    let settings = r#"{"settings":{"log_info":{"bool_param":false},"log_verbose_level":{"uint32_param":0},"log_file":{"string_param":""},"none":{}}}"#;
    assert_eq!(
        answered(&OURS, "/v2/logging", &triton_message("LogSettingsResponse", settings)).unwrap().1,
        r#"{"log_file":"","log_info":false,"log_verbose_level":0,"none":null}"#
    );
}

#[test]
fn regions_are_answered_as_a_list_in_the_order_of_their_names() {
    let regions = r#"{"regions":{"b":{"name":"b","key":"/b","byte_size":64},"a":{"name":"a","key":"/a","offset":8,"byte_size":1}}}"#;
    let message = triton_message("SystemSharedMemoryStatusResponse", regions);
    assert_eq!(
        answered(&OURS, "/v2/systemsharedmemory/status", &message).unwrap().1,
        r#"[{"name":"a","key":"/a","offset":8,"byte_size":1},{"name":"b","key":"/b","offset":0,"byte_size":64}]"#
    );
    assert_eq!(answered(&OURS, "/v2/cudasharedmemory/region/r/status", b"").unwrap().1, "[]");
}

#[test]
fn what_triton_leaves_out_of_its_index_is_left_out_and_the_rest_of_its_answers_is_full() {
    let (_, mut response) = open(&OURS, "POST", "/v2/repository/index").finish().unwrap();
    let index = r#"{"models":[{"name":"a","version":"1","state":"READY"},{"name":"b","reason":"gone"}]}"#;
    response.write(&triton_message("RepositoryIndexResponse", index)).unwrap();
    let mut body = Vec::new();
    response.finish().unwrap().render(&mut body);
    assert_eq!(body, br#"[{"name":"a","version":"1","state":"READY"},{"name":"b","reason":"gone"}]"#);

    let config =
        r#"{"config":{"name":"m","versionPolicy":{"all":{}},"parameters":{"k":{"stringValue":"v"}}}}"#;
    let found = answered(&OURS, "/v2/models/m/config", &triton_message("ModelConfigResponse", config));
    let found = json(&found.unwrap().1);
    assert_eq!(found["version_policy"], json(r#"{"all":{}}"#));
    assert_eq!(found["parameters"], json(r#"{"k":{"string_value":"v"}}"#));
    assert_eq!((&found["max_batch_size"], &found["input"]), (&json("0"), &json("[]")));
    assert!(found.get("dynamic_batching").is_none());
}

#[test]
fn what_has_nothing_to_say_is_answered_with_an_empty_body() {
    for path in [
        "/v2/repository/models/m/load",
        "/v2/repository/models/m/unload",
        "/v2/systemsharedmemory/region/r/register",
        "/v2/systemsharedmemory/unregister",
        "/v2/cudasharedmemory/region/r/unregister",
    ] {
        let (_, response) = open(&OURS, "POST", path).finish().unwrap();
        let answer = response.finish().unwrap();
        let mut body = Vec::new();
        assert_eq!(answer.status(), 200);
        answer.render(&mut body);
        assert_eq!(body, b"", "{path}");
        let (_, mut response) = open(&OURS, "POST", path).finish().unwrap();
        response.write(b"\xff").unwrap();
        assert_eq!(response.finish().unwrap_err().status, 502, "{path}");
    }
}

proptest! {
    #[test]
    fn no_settings_make_it_panic(value in r#"[{}\[\],:" a-z0-9\\.-]{0,40}"#, bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        for path in ["/v2/logging", "/v2/trace/setting", "/v2/repository/models/m/load"] {
            for body in [value.clone(), format!(r#"{{"a":{value}}}"#), format!(r#"{{"parameters":{{"file:a":{value}}}}}"#)] {
                if let Err(problem) = sent(&OURS, "POST", path, &body) {
                    prop_assert_eq!(problem.status, 400);
                }
            }
        }
        for path in ["/v2/logging", "/v2/trace/setting", "/v2/systemsharedmemory/status", "/v2/models/m/config"] {
            match answered(&OURS, path, &bytes) {
                Ok((_, body)) => prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok()),
                Err(problem) => prop_assert!(problem.status == 502 || problem.status == 503),
            }
        }
    }
}
