//! `explain`, as a user runs it.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;

use command::{Ran, has, root, run, run_with, scratch};

/// The steps for a request, in an overlay of `dynamic-subset`.
fn explained(overlay: &str, more: &[&str]) -> String {
    let overlay = root().join("istio").join(overlay).display().to_string();
    let mut arguments = vec!["explain", "-c", &overlay];
    arguments.extend(more);
    let Ran { out, err, code } = run(&arguments);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

const INFER: &str = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;
const URL: &str = "http://gateway:8008/v2/models/some/infer";

#[test]
fn a_header_leads_to_a_subset_by_its_rule_and_route() {
    let json =
        ["-H", "content-type: application/json", "-H", "x-model-format-pytorch: true", "-d", INFER, URL];
    let out = explained("dynamic-subset/overlays/gateway-routes", &json);
    has(
        &out,
        &[
            "POST /v2/models/some/infer",
            "1. dynamic-subset (wasm; WasmPlugin istio-system/dynamic-subset",
            "rule: rules[1]",
            "gives runtime=ovms-1-x",
            "sets x-subset-runtime: ovms-1-x",
            "2. kserve-transcoder (wasm; ",
            "row: POST /v2/models/some/infer is the RPC ModelInfer",
            "codec: application/json becomes application/grpc",
            "route: http[0] does not: x-subset-runtime is \"ovms-1-x\", not exact \"triton-2-x\"",
            "route: http[1] (ovms-1-x) takes it",
            "subset: ovms-1-x, the pods with {\"name\":\"modelmesh-serving-ovms-1.x\"}",
        ],
    );
}

#[test]
fn a_request_without_a_preference_says_so() {
    let out = explained("dynamic-subset/overlays/gateway-routes", &["-d", INFER, URL]);
    has(
        &out,
        &[
            "rule: none of the rules is about this request",
            "route: http[2] (any-runtime) takes it: it has no conditions",
        ],
    );
}

#[test]
fn a_forged_header_is_seen_to_go() {
    let out = explained(
        "dynamic-subset/overlays/gateway-routes",
        &["-H", "x-subset-runtime: triton-2-x", "-d", INFER, URL],
    );
    has(&out, &["removes x-subset-runtime (was triton-2-x)", "http[2] (any-runtime) takes it"]);
}

#[test]
fn the_group_of_an_added_cluster_is_named() {
    let header = "x-model-format-tensorflow: true";
    let out = explained("dynamic-subset/overlays/gateway-subset-lb", &["-H", header, "-d", INFER, URL]);
    has(
        &out,
        &[
            "rule: headerToDynamicSubsetKey[0]",
            "group: by model.format.tensorflow: modelmesh-triton-2-x.modelmesh-serving.svc.cluster.local",
        ],
    );
    let both = ["-H", header, "-H", "x-model-format-pytorch: true", "-d", INFER, URL];
    let out = explained("dynamic-subset/overlays/gateway-subset-lb", &both);
    has(&out, &["so any endpoint (ANY_ENDPOINT)"]);
    let out = explained("dynamic-subset/overlays/gateway-native", &["-H", header, "-d", INFER, URL]);
    has(&out, &["(native; ", "group: the policy runtime-group takes endpoints with"]);
}

#[test]
fn a_get_in_wasm_is_seen_to_go_past_its_route() {
    let line = "curl -s http://gateway:8008/v2/models/m/ready";
    let out = explained("kserve-transcoder/overlays/gateway-wasm", &["--curl", line]);
    has(
        &out,
        &["calls the cluster the route's cluster by itself: POST /inference.GRPCInferenceService/ModelReady"],
    );
}

#[test]
fn claims_become_headers_and_headers_routes() {
    let claims = r#"{"sub": "u", "user_type": "premium"}"#;
    let request = ["--claims", claims, "-H", "user_class: forged", "http://app/home"];
    let out = explained("claim-headers/overlays/gateway-wasm", &request);
    has(
        &out,
        &[
            "claim: map[0] makes user_class of the claim",
            "removes user_class (was forged)",
            "sets user_class: premium",
        ],
    );
    let out =
        explained("claim-headers/overlays/gateway-wasm", &["-H", "user_class: forged", "http://app/home"]);
    assert!(!out.contains("user_class: premium"), "{out}");
}

#[test]
fn each_proxy_has_its_own_routes() {
    let claims = r#"{"sub": "u", "user_type": "premium"}"#;
    let out = explained(
        "../examples/ai-application/k8s/overlays/modelmesh",
        &["--claims", claims, "http://style-transfer.apsara-demo.svc.cluster.local:8000/"],
    );
    let place = |name: &str| out.split("\nat ").find(|part| part.starts_with(name)).unwrap();
    let (gateway, waypoint) =
        (place("the pods with istio=api-ingressgateway"), place("the waypoint in apsara-demo"));
    has(waypoint, &["sets user_class: premium", "subset: tensorflow, the pods with"]);
    assert!(!gateway.contains("style-transfer-vs") && !waypoint.contains("ai-app,"), "{out}");
}

#[test]
fn a_saved_message_and_a_plain_configuration_do_as_well() {
    let folder = scratch("explain");
    let (config, message) = (folder.join("config.yaml"), folder.join("request.txt"));
    fs::write(&config, "headerToDynamicSubsetKey:\n- {header: x-version, key: version}\n").unwrap();
    fs::write(&message, "POST /p HTTP/1.1\r\nHost: h\r\nX-Version: v2\r\nContent-Length: 1\r\n\r\nx")
        .unwrap();
    let (config, message) = (config.to_str().unwrap(), message.to_str().unwrap());
    let arguments =
        ["explain", "-c", config, "--filter", "dynamic-subset", "--host", "native", "--http", message];
    let Ran { out, code, err } = run(&arguments);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    has(&out, &["POST /p", "gives version=v2", "subset: version=v2 (metadata envoy.lb)"]);
}

#[test]
fn a_request_that_a_filter_refuses_ends_there() {
    let overlay = root().join("istio/kserve-transcoder/overlays/gateway-wasm").display().to_string();
    let Ran { out, code, .. } =
        run(&["explain", "-c", &overlay, "-H", "content-type: application/json", "-d", "{", URL]);
    assert_eq!(code, 1, "{out}");
    has(&out, &["answers the request itself: 400"]);
}

#[test]
fn what_is_not_understood_is_said() {
    let overlay = root().join("istio/kserve-transcoder/overlays/gateway-wasm").display().to_string();
    for (arguments, reason) in [
        (vec!["-c", &overlay], "give either a URL, --curl or --http"),
        (vec!["-c", &overlay, "--curl", "curl --proxy x h"], "the option --proxy of curl is not understood"),
        (vec!["-c", &overlay, "--claims", "1", "h"], "--claims:1: not a JSON object"),
        (vec!["-c", &overlay, "-H", "a", "h"], "is not NAME: VALUE"),
        (vec!["-c", &overlay, "--filter", "other", "h"], "unknown filter other"),
        (vec!["-c", "nowhere", "h"], "nowhere: "),
        (vec!["-c", &overlay, "-X", "GET IT", "h"], "the method \"GET IT\" is not a token"),
        (vec!["-c", &overlay, "-X", "", "h"], "the method \"\" is not a token"),
        (vec!["-c", &overlay, "--curl", "curl -X 'A:B' h"], "the method \"A:B\" is not a token"),
        (vec!["-c", &overlay, "--port", "99999", "h"], "99999 is not in 1..=65535"),
        (vec!["-c", &overlay, "--port", "0", "h"], "0 is not in 1..=65535"),
    ] {
        let arguments: Vec<&str> = ["explain"].into_iter().chain(arguments).collect();
        let Ran { out, err, code } = run(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(reason), "{arguments:?}: {err}");
    }
}

#[test]
fn an_answer_goes_back_through_the_filters() {
    let json = ["-H", "content-type: application/json", "-d", INFER, URL];
    for (answer, lines) in [
        (
            "0",
            &[
                "grpc-status: 0 (trailer)",
                "sets content-type: application/json (was application/grpc)",
                "replaces the body: ",
            ][..],
        ),
        ("5", &["grpc-status: 5 (trailer)", "sets :status: 404 (was 200)", "{\"error\":"]),
    ] {
        let mut arguments = vec!["--answer", answer];
        arguments.extend(json);
        // With held headers the status is right from the start.
        let out = explained("kserve-transcoder/overlays/gateway-native", &arguments);
        has(&out, &["the server's answer", ":status: 200"]);
        has(&out, lines);
    }
    let grpc = [
        "--answer",
        "0",
        "-X",
        "POST",
        "-H",
        "content-type: application/grpc",
        "http://gateway:8008/inference.GRPCInferenceService/ModelInfer",
    ];
    let out = explained("kserve-transcoder/overlays/gateway-native", &grpc);
    has(&out, &["lets the answer pass as it is"]);
    let overlay = root().join("istio/kserve-transcoder/overlays/gateway-wasm").display().to_string();
    for (arguments, reason) in [
        (vec!["--answer", "0", "http://h/other"], "--answer:1: 0 is not an HTTP status"),
        (
            vec!["--answer", "200", "--answer-header", "a", "http://h/other"],
            "--answer-header:1: \"a\" is not NAME: VALUE",
        ),
        (vec!["--answer", "1000", "http://h/other"], "1000 is not in 0..=599"),
    ] {
        let arguments: Vec<&str> = ["explain", "-c", &overlay].into_iter().chain(arguments).collect();
        let Ran { err, code, .. } = run(&arguments);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(reason), "{err}");
    }
}

#[test]
fn each_listener_of_a_bootstrap_is_a_place_of_its_own() {
    let file = root().join("envoy/dynamic-subset.yaml").display().to_string();
    let explained = |port: &[&str]| {
        let all = ["explain", "-c", &file, "-d", INFER, URL];
        run(&[&all, port].concat())
    };
    let Ran { out, code, .. } = explained(&[]);
    assert_eq!(code, 0, "{out}");
    let places: Vec<_> = out.split("\nat the listener ").skip(1).collect();
    let [first, second] = places[..] else { panic!("{out}") };
    has(first, &["inference, port 8080, in ", "1. dynamic-subset ", "kserve-transcoder ("]);
    has(second, &["vendor, port 8180, in ", "1. dynamic-subset "]);
    assert!(!second.contains("kserve-transcoder ("), "{out}");
    // The port chooses.
    let Ran { out, .. } = explained(&["--port", "8180"]);
    assert!(out.contains("port 8180") && !out.contains("port 8080"), "{out}");
    let Ran { err, code, .. } = explained(&["--port", "80"]);
    assert_eq!(code, 2, "{err}");
    has(&err, &["no listener with a filter has the port 80: there are 8080, 8180"]);
}

#[test]
fn a_message_on_standard_input_does_as_well() {
    let overlay = root().join("istio/kserve-transcoder/overlays/gateway-native").display().to_string();
    let message = format!(
        "POST /v2/models/m/infer HTTP/1.1\nHost: gateway:8008\nTransfer-Encoding: chunked\n\n{:x}\n{INFER}\n0\n\n",
        INFER.len()
    );
    let Ran { out, err, code } = run_with(&["explain", "-c", &overlay, "--http", "-"], &message);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    has(&out, &["is the RPC ModelInfer", "replaces the body: "]);
}

#[test]
fn envoy_gateway_is_not_followed_and_that_is_said() {
    for folder in ["envoy-gateway", "envoy-gateway/base", "envoy-gateway/native"] {
        let folder = root().join(folder).display().to_string();
        let Ran { out, err, code } = run(&["explain", "-c", &folder, "-d", INFER, URL]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        has(&err, &["are for Envoy Gateway, which this command does not follow", "--filter"]);
    }
    // Beside Istio's, its routes are not taken for those of Istio's proxies.
    let folder = scratch("both-gateways");
    let of = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    fs::write(folder.join("route.yaml"), of("envoy-gateway/native/httproute.yaml")).unwrap();
    fs::write(folder.join("plugin.yaml"), of("istio/kserve-transcoder/base/gateway-plugin/wasmplugin.yaml"))
        .unwrap();
    let folder = folder.display().to_string();
    let Ran { out, err, code } = run(&["explain", "-c", &folder, "-d", INFER, URL]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    has(
        &out,
        &[
            "at the pods with istio=ingressgateway in istio-system, without the resources of Envoy Gateway, which this \
             command does not follow",
            "is the RPC ModelInfer",
        ],
    );
    assert!(!out.contains("HTTPRoute"), "{out}");
}
