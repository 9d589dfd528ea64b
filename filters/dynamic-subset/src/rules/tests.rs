use super::*;
use filter_api::parse_config;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn rules(json: &str) -> Result<Rules, String> {
    let config = format!("{{\"rules\":{json}}}");
    Rules::compile(&parse_config(config.as_bytes()).unwrap()).map_err(|error| error.to_string())
}

/// The pairs of a request, joined, and how many were bad.
fn selected(json: &str, headers: &[(&str, &[u8])], model: Option<&str>) -> (String, u64) {
    let rules = rules(json).unwrap();
    let mut found = Found::default();
    for (name, value) in headers {
        rules.see(name.as_bytes(), value, &mut found);
    }
    let selection = rules.select(&found, model.map(str::as_bytes));
    let pairs = selection.pairs.iter().map(|pair| format!("{}={}", pair.key, pair.value));
    (pairs.collect::<Vec<_>>().join(" "), selection.bad)
}

fn pairs(json: &str, headers: &[(&str, &[u8])], model: Option<&str>) -> String {
    selected(json, headers, model).0
}

#[test]
fn a_headers_value_is_the_subsets_value_and_with_a_value_its_presence_is_enough() {
    let value = r#"[{"header": "X-Version", "key": "version"}]"#;
    assert_eq!(pairs(value, &[("x-version", b" v2 ")], None), "version=v2");
    assert_eq!(pairs(value, &[("x-other", b"v2")], None), "");
    let presence = r#"[{"header": "x-gpu", "key": "accelerator", "value": "gpu"}]"#;
    assert_eq!(pairs(presence, &[("x-gpu", b"please")], None), "accelerator=gpu");
    assert_eq!(pairs(presence, &[("x-gpu", b"")], None), "accelerator=gpu");
    assert_eq!(pairs(presence, &[("x-gpu", b"\xff, \xfe"), ("x-gpu", b"")], None), "accelerator=gpu");
    assert_eq!(pairs(presence, &[], None), "");
}

#[test]
fn the_rest_of_a_headers_name_is_the_key_or_the_value() {
    let keys = r#"[{"header_prefix": "x-model-format-", "key_prefix": "model.format."}]"#;
    let both: [(&str, &[u8]); 2] =
        [("x-model-format-tensorflow", b"true"), ("x-model-format-onnx-rt", b"1.x")];
    assert_eq!(pairs(keys, &both, None), "model.format.tensorflow=true model.format.onnx-rt=1.x");
    let values = r#"[{"header_prefix": "x-model-format-", "key": "model.format"}]"#;
    assert_eq!(pairs(values, &both[..1], None), "model.format=tensorflow");
    assert_eq!(selected(values, &both, None), (String::new(), 1), "which of the two?");
    let presence = r#"[{"header_prefix": "x-model-format-", "key_prefix": "", "value": "yes"}]"#;
    assert_eq!(pairs(presence, &both[..1], None), "tensorflow=yes");
    assert_eq!(selected(keys, &[("x-model-format-", b"true")], None), (String::new(), 1), "no rest");
    assert_eq!(selected(keys, &[("x-model-format-a~b", b"true")], None), (String::new(), 1), "no key");
}

#[test]
fn a_models_name_chooses_by_pattern_and_may_itself_be_the_value() {
    let json = r#"[{"model": ["tf-*", "bert"], "key": "format", "value": "tensorflow"}, {"model": ["*"], "key": "model"}]"#;
    assert_eq!(pairs(json, &[], Some("tf-style")), "format=tensorflow model=tf-style");
    assert_eq!(pairs(json, &[], Some("pt-style")), "model=pt-style");
    assert_eq!(pairs(json, &[], None), "");
    assert_eq!(selected(json, &[], Some("bert ")), (String::new(), 1));
    assert_eq!(selected(json, &[], Some("tf-\u{e9}")), ("format=tensorflow".to_owned(), 1));
}

#[test]
fn the_first_rule_with_a_value_sets_a_key() {
    let json = r#"[
        {"header": "x-group", "key": "group"},
        {"model": ["tf-*"], "key": "group", "value": "tensorflow"},
        {"header": "x-gpu", "key": "accelerator", "value": "gpu"}
    ]"#;
    let gpu: (&str, &[u8]) = ("x-gpu", b"1");
    assert_eq!(pairs(json, &[gpu, ("x-group", b"canary")], Some("tf-1")), "group=canary accelerator=gpu");
    assert_eq!(pairs(json, &[gpu], Some("tf-1")), "group=tensorflow accelerator=gpu");
    assert_eq!(selected(json, &[("x-group", b"")], Some("tf-1")), ("group=tensorflow".to_owned(), 0));
    assert_eq!(selected(json, &[("x-group", b"a b")], Some("tf-1")), ("group=tensorflow".to_owned(), 1));
}

#[test]
fn copies_of_a_header_must_agree() {
    let json = r#"[{"header": "x-version", "key": "version"}]"#;
    assert_eq!(pairs(json, &[("x-version", b"v2"), ("x-version", b"v2")], None), "version=v2");
    assert_eq!(selected(json, &[("x-version", b"v1"), ("x-version", b"v2")], None), (String::new(), 1));
    assert_eq!(selected(json, &[("x-version", b"v1,v2")], None), (String::new(), 1));
    let keys = r#"[{"header_prefix": "x-f-", "key_prefix": "f."}]"#;
    assert_eq!(
        selected(keys, &[("x-f-a", b"1"), ("x-f-b", b"2"), ("x-f-a", b"3")], None),
        ("f.b=2".to_owned(), 1)
    );
}

#[test]
fn what_is_absurdly_long_or_too_much_is_left_out_and_counted() {
    let json = r#"[{"header": "x-version", "key": "version"}]"#;
    assert_eq!(selected(json, &[("x-version", &[b'v'; 60_000])], None), (String::new(), 1));
    assert_eq!(pairs(json, &[("x-version", &[b'v'; 256])], None).len(), "version=".len() + 256);
    let keys = r#"[{"header_prefix": "x-f-", "key_prefix": "f."}]"#;
    let names: Vec<String> = (0..20).map(|index| format!("x-f-{index}")).collect();
    let headers: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
    let (pairs, bad) = selected(keys, &headers, None);
    assert_eq!((pairs.split(' ').count(), bad), (MAX_PAIRS, 4));
}

#[test]
fn a_rule_that_can_never_work_is_refused_with_its_path() {
    let error = |json: &str| rules(json).unwrap_err();
    for (json, said) in [
        ("[]", "rules: there is no rule"),
        ("[{}]", "rules[0]: a rule has exactly one of"),
        (r#"[{"header":"a","model":["b"],"key":"c"}]"#, "rules[0]: a rule has exactly one of"),
        (r#"[{"header":"a b","key":"c"}]"#, "rules[0].header: it must be the characters"),
        (r#"[{"header":"a"}]"#, "rules[0].key: it is missing"),
        (r#"[{"header":"a","key":"k=v"}]"#, "rules[0].key: it must be letters"),
        (r#"[{"header":"a","key":"k","value":"a,b"}]"#, "rules[0].value: it must be visible"),
        (r#"[{"header":"a","key":"k","value":""}]"#, "rules[0].value: it must be something"),
        (r#"[{"header":"a","key_prefix":"k"}]"#, "rules[0].key_prefix: only a rule with header_prefix"),
        (
            r#"[{"header_prefix":"a-","key_prefix":"k","key":"k"}]"#,
            "rules[0]: a rule with header_prefix has either",
        ),
        (r#"[{"header_prefix":"a-"}]"#, "rules[0]: a rule with header_prefix has either"),
        (r#"[{"header_prefix":"","key":"k"}]"#, "rules[0].header_prefix: it must be something"),
        (r#"[{"model":[],"key":"k"}]"#, "rules[0].model: it must have a name"),
        (
            r#"[{"header":"X_Subset_stage","key":"stage"}]"#,
            "rules[0].header: clients' headers that begin with x-subset-",
        ),
        (r#"[{"header_prefix":"x-subset-f-","key":"k"}]"#, "rules[0].header_prefix: clients' headers"),
        (r#"[{"header":"a","key":"k/a"},{"header":"b","key":"K_A"}]"#, r#"rules: the keys "k/a" and "K_A""#),
    ] {
        assert!(error(json).contains(said), "{json}: {}", error(json));
    }
    let vendor = r#"{"headerToDynamicSubsetKey":[{"header":"a","key":""}]}"#;
    let error = Rules::compile(&parse_config(vendor.as_bytes()).unwrap()).unwrap_err();
    assert_eq!(error.path, "headerToDynamicSubsetKey[0].key");
}

#[test]
fn the_vendors_list_means_what_it_says_and_comes_after_the_rules() {
    let json = r#"{
        "rules": [{"header": "x-override", "key": "model.format.pytorch"}],
        "headerToDynamicSubsetKey": [
            {"header": "x-model-format-tensorflow", "key": "model.format.tensorflow"},
            {"header": "x-model-format-pytorch", "key": "model.format.pytorch"}
        ]
    }"#;
    let rules = Rules::compile(&parse_config(json.as_bytes()).unwrap()).unwrap();
    let mut found = Found::default();
    rules.see(b"x-model-format-pytorch", b"true", &mut found);
    assert_eq!(
        rules.select(&found, None).pairs,
        [Pair { key: "model.format.pytorch".into(), value: "true".into() }]
    );
    rules.see(b"x-override", b"2", &mut found);
    assert_eq!(
        rules.select(&found, None).pairs,
        [Pair { key: "model.format.pytorch".into(), value: "2".into() }]
    );
}

#[test]
fn ten_thousand_rules_cost_about_ten_thousand_times_what_one_does() {
    // With cost that grows by the square, this would take minutes.
    let list =
        |rule: &dyn Fn(usize) -> String| format!("[{}]", (0..10_000).map(rule).collect::<Vec<_>>().join(","));
    let names = list(&|n| format!(r#"{{"header": "x-{}", "key": "key.{n}"}}"#, n % 5000));
    let headers: Vec<(String, &[u8])> = (0..8).map(|n| (format!("x-{n}"), &b"v"[..])).collect();
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let (of_names, bad) = selected(&names, &headers, None);
    let keys: Vec<&str> = of_names.split(' ').collect();
    assert_eq!((keys.len(), keys[0], keys[8], bad), (16, "key.0=v", "key.5000=v", 0));

    let prefixes = list(&|n| format!(r#"{{"header_prefix": "x-", "key": "key.{n}", "value": "v"}}"#));
    assert_eq!(selected(&prefixes, &headers, None).0.split(' ').count(), MAX_PAIRS);
    let models = list(&|n| format!(r#"{{"model": ["m{n}"], "key": "key.{n}"}}"#));
    assert_eq!(selected(&models, &[], Some("m9999")), ("key.9999=m9999".to_owned(), 0));
}

#[test]
fn rules_about_headers_and_models_take_their_turns() {
    let json = r#"[
        {"model": ["m"], "key": "k", "value": "by-model"},
        {"header": "x-a", "key": "k", "value": "by-header"},
        {"header": "x-b", "key": "l", "value": "by-header"},
        {"model": ["*"], "key": "l", "value": "by-model"},
        {"header_prefix": "x-", "key": "m", "value": "by-prefix"},
        {"model": ["m"], "key": "m", "value": "by-model"}
    ]"#;
    let both: [(&str, &[u8]); 2] = [("x-b", b"1"), ("x-a", b"1")];
    assert_eq!(pairs(json, &both, Some("m")), "k=by-model l=by-header m=by-prefix");
    assert_eq!(pairs(json, &both, None), "k=by-header l=by-header m=by-prefix");
    assert_eq!(pairs(json, &[], Some("m")), "k=by-model l=by-model m=by-model");
    assert_eq!(pairs(json, &[], Some("n")), "l=by-model");
}
