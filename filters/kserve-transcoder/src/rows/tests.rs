//! Rows as a client and as an operator meet them.

mod raw_bodies;

use super::*;
use filter_api::ConfigError;
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver};
use std::sync::LazyLock;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn rows() -> Rows {
    Rows::load(Options::default()).unwrap()
}

/// The row of a request, as gRPC method and values; or what else the request is.
fn find(rows: &Rows, method: &str, path: &str) -> String {
    match rows.find(method.as_bytes(), path.as_bytes()) {
        Ok(Found::Row { row, variables }) => {
            let rpc = row.rpc_path().rsplit('/').next().unwrap().to_owned();
            variables.iter().fold(rpc, |text, (name, _, value)| format!("{text} {name}={value}"))
        }
        Ok(Found::MethodNotAllowed { allow }) => format!("allow: {allow}"),
        Ok(Found::Unknown) => "unknown".into(),
        Ok(Found::NotOurs) => "not ours".into(),
        Err(problem) => format!("{}: {}", problem.status, problem.message),
    }
}

/// The definition of a body that is not JSON.
const HTTP_BODY: &str = r#"syntax = "proto3";
    package google.api;
    import "google/protobuf/any.proto";
    message HttpBody {
        string content_type = 1;
        bytes data = 2;
        repeated google.protobuf.Any extensions = 3;
    }"#;

/// Compiles a service of a user: `methods` stand in `service user.S`, and `M` is there to be used.
pub(crate) fn descriptor_set(methods: &str) -> Vec<u8> {
    let source = format!(
        r#"syntax = "proto3";
        package user;
        import "google/api/annotations.proto";
        import "google/api/httpbody.proto";
        import "google/protobuf/any.proto";
        import "google/protobuf/duration.proto";
        import "google/protobuf/field_mask.proto";
        import "google/protobuf/struct.proto";
        import "google/protobuf/timestamp.proto";
        import "google/protobuf/wrappers.proto";
        enum Colour {{ RED = 0; BLUE = 1; }}
        message M {{
            string name = 1;
            int32 number = 2;
            M inner = 3;
            repeated string list = 4;
            bytes data = 5;
            Colour colour = 6;
            map<string, int64> counts = 7;
            bool flag = 8;
            double ratio = 9;
            repeated M many = 10;
            uint64 big = 11;
            optional string note = 12;
        }}
        message Pack {{
            repeated google.protobuf.Any packs = 1;
            Colour main_colour = 2;
            Pack inner = 3;
        }}
        message Upload {{
            string name = 1;
            google.api.HttpBody file = 3;
            int32 number = 5;
            repeated google.api.HttpBody files = 6;
        }}
        service S {{ {methods} }}"#
    );
    compiled(&source)
}

/// Compiles a file.
pub(crate) fn compiled(source: &str) -> Vec<u8> {
    struct Source(String);
    impl FileResolver for Source {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match name {
                "user.proto" => File::from_source(name, &self.0),
                "google/api/httpbody.proto" => File::from_source(name, HTTP_BODY),
                _ => Err(protox::Error::file_not_found(name)),
            }
        }
    }
    let mut files = ChainFileResolver::new();
    files.add(Source(source.to_owned()));
    files.add(GoogleFileResolver::new());
    files.add(DescriptorSetFileResolver::decode(kserve_proto::DESCRIPTOR_SET).unwrap());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).open_file("user.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

/// One method `C(M) returns (M)` with a rule.
pub(crate) fn method(rule: &str) -> Vec<u8> {
    descriptor_set(&format!("rpc C(M) returns (M) {{ option (google.api.http) = {{ {rule} }}; }}"))
}

fn of_sets(sets: &[Vec<u8>]) -> Options {
    Options { sets: sets.to_vec(), ..Options::default() }
}

/// The rows of these sets, and ours.
pub(crate) fn load(sets: &[Vec<u8>]) -> Result<Rows, ConfigError> {
    Rows::load(of_sets(sets))
}

/// A method from one type to another, with a rule.
pub(crate) fn method_of(input: &str, output: &str, rule: &str) -> Vec<u8> {
    descriptor_set(&format!(
        "rpc C({input}) returns ({output}) {{ option (google.api.http) = {{ {rule} }}; }}"
    ))
}

fn refused(sets: &[Vec<u8>]) -> String {
    load(sets).map(drop).unwrap_err().to_string()
}

#[test]
fn kserve_v1_has_its_paths_only_where_it_is_asked_for() {
    let v1 = Rows::load(Options { kserve_v1: true, ..Options::default() }).unwrap();
    let long = "/v1/models/m/versions/2";
    for (method, path, expected) in [
        ("POST", "/v1/models/m:predict", "ModelInfer model_name=m"),
        ("POST", "/v1/models/a:b%20c:predict", "ModelInfer model_name=a:b c"),
        ("POST", &format!("{long}:predict"), "ModelInfer model_name=m model_version=2"),
        ("GET", "/v1/models/m", "ModelReady name=m"),
        ("HEAD", "/v1/models/m", "ModelReady name=m"),
        ("GET", long, "ModelReady name=m version=2"),
        ("GET", "/v1/models", "RepositoryIndex"),
        ("PUT", "/v1/models/m:predict", "allow: GET, POST"),
        ("POST", "/v1/models/m/metadata", "unknown"),
        ("GET", "/v1/models/", "unknown"),
        ("GET", "/v1/modelsx", "not ours"),
        ("GET", "/v1", "not ours"),
        ("POST", "/v1/embeddings", "not ours"),
        ("GET", "/v2/models", "unknown"),
    ] {
        assert_eq!(find(&v1, method, path), expected, "{method} {path}");
        if path.starts_with("/v1") {
            assert_eq!(find(&rows(), method, path), "not ours", "{method} {path}");
        }
    }
    let kind = |path: &str| match v1.find(b"POST", path.as_bytes()) {
        Ok(Found::Row { row, .. }) => row.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind("/v1/models/m:predict"), RowKind::Predict);
    assert_eq!(kind("/v2/models/m/infer"), RowKind::Infer);
}

#[test]
fn every_path_of_the_protocol_finds_its_method() {
    let rows = rows();
    for (method, path, expected) in [
        ("GET", "/v2/health/live", "ServerLive"),
        ("GET", "/v2/health/ready", "ServerReady"),
        ("GET", "/v2", "ServerMetadata"),
        ("GET", "/v2/models/ident", "ModelMetadata name=ident"),
        ("GET", "/v2/models/ident/versions/1", "ModelMetadata name=ident version=1"),
        ("GET", "/v2/models/ident/ready", "ModelReady name=ident"),
        ("GET", "/v2/models/ident/versions/1/ready", "ModelReady name=ident version=1"),
        ("POST", "/v2/models/ident/infer", "ModelInfer model_name=ident"),
        ("POST", "/v2/models/ident/versions/1/infer", "ModelInfer model_name=ident model_version=1"),
    ] {
        assert_eq!(find(&rows, method, path), expected, "{method} {path}");
    }
}

#[test]
fn every_path_of_tritons_extensions_finds_its_method() {
    let rows = rows();
    for (method, path, expected) in [
        ("GET", "/v2/models/m/config", "ModelConfig name=m"),
        ("GET", "/v2/models/m/versions/1/config", "ModelConfig name=m version=1"),
        ("GET", "/v2/models/stats", "ModelStatistics"),
        ("GET", "/v2/models/m/stats", "ModelStatistics name=m"),
        ("GET", "/v2/models/m/versions/1/stats", "ModelStatistics name=m version=1"),
        ("POST", "/v2/repository/index", "RepositoryIndex"),
        ("POST", "/v2/repository/r/index", "RepositoryIndex repository_name=r"),
        ("POST", "/v2/repository/models/m/load", "RepositoryModelLoad model_name=m"),
        ("POST", "/v2/repository/r/models/m/load", "RepositoryModelLoad repository_name=r model_name=m"),
        ("POST", "/v2/repository/models/m/unload", "RepositoryModelUnload model_name=m"),
        ("POST", "/v2/repository/r/models/m/unload", "RepositoryModelUnload repository_name=r model_name=m"),
        ("GET", "/v2/systemsharedmemory/status", "SystemSharedMemoryStatus"),
        ("GET", "/v2/systemsharedmemory/region/g/status", "SystemSharedMemoryStatus name=g"),
        ("POST", "/v2/systemsharedmemory/region/g/register", "SystemSharedMemoryRegister name=g"),
        ("POST", "/v2/systemsharedmemory/region/g/unregister", "SystemSharedMemoryUnregister name=g"),
        ("POST", "/v2/systemsharedmemory/unregister", "SystemSharedMemoryUnregister"),
        ("GET", "/v2/cudasharedmemory/status", "CudaSharedMemoryStatus"),
        ("GET", "/v2/cudasharedmemory/region/g/status", "CudaSharedMemoryStatus name=g"),
        ("POST", "/v2/cudasharedmemory/region/g/register", "CudaSharedMemoryRegister name=g"),
        ("POST", "/v2/cudasharedmemory/region/g/unregister", "CudaSharedMemoryUnregister name=g"),
        ("POST", "/v2/cudasharedmemory/unregister", "CudaSharedMemoryUnregister"),
        ("GET", "/v2/trace/setting", "TraceSetting"),
        ("POST", "/v2/trace/setting", "TraceSetting"),
        ("GET", "/v2/models/m/trace/setting", "TraceSetting model_name=m"),
        ("POST", "/v2/models/m/trace/setting", "TraceSetting model_name=m"),
        ("GET", "/v2/logging", "LogSettings"),
        ("POST", "/v2/logging", "LogSettings"),
    ] {
        assert_eq!(find(&rows, method, path), expected, "{method} {path}");
    }
    assert_eq!(rows.rows.len(), 9 + 27);
}

#[test]
fn only_inference_goes_to_the_tensor_codec() {
    let infer = |row: &&Arc<Row>| row.kind == RowKind::Infer;
    let rows = rows();
    let rpcs: Vec<_> = rows.rows.iter().filter(infer).map(|row| row.rpc_path()).collect();
    assert_eq!(rpcs, [kserve_proto::MODEL_INFER, kserve_proto::MODEL_INFER]);
}

#[test]
fn a_query_sets_nothing_and_hides_nothing() {
    let rows = rows();
    assert_eq!(find(&rows, "GET", "/v2?name=x"), "ServerMetadata");
    assert_eq!(find(&rows, "POST", "/v2/models/a/infer?model_name=b&id=1"), "ModelInfer model_name=a");
    assert_eq!(find(&rows, "GET", "/v2/models/a?/ready"), "ModelMetadata name=a");
    assert_eq!(find(&rows, "GET", "/other?/v2"), "not ours");
}

#[test]
fn a_models_name_may_hold_an_escaped_slash_but_never_a_bare_one() {
    let rows = rows();
    assert_eq!(find(&rows, "POST", "/v2/models/team%2Fmodel/infer"), "ModelInfer model_name=team/model");
    assert_eq!(find(&rows, "POST", "/v2/models/team/model/infer"), "unknown");
    assert_eq!(find(&rows, "POST", "/v2/models/a/../b/infer"), "unknown");
    assert_eq!(find(&rows, "GET", "/v2/models/%zz"), "400: path: in name, '%zz' is not a percent escape");
    assert_eq!(find(&rows, "GET", "/v2/models/%C3"), "400: path: name is not valid UTF-8");
}

#[test]
fn a_slash_more_is_another_path_except_after_v2() {
    let rows = rows();
    assert_eq!(find(&rows, "GET", "/v2/"), "ServerMetadata");
    for path in
        ["/v2//", "//v2", "/v2/models/", "/v2/models//ready", "/v2/models/m/infer/", "/v2/health/live/"]
    {
        let expected = if path.starts_with("//") { "not ours" } else { "unknown" };
        assert_eq!(find(&rows, "GET", path), expected, "{path}");
    }
}

#[test]
fn another_method_is_told_which_ones_there_are() {
    let rows = rows();
    assert_eq!(find(&rows, "POST", "/v2/health/live"), "allow: GET");
    assert_eq!(find(&rows, "GET", "/v2/models/m/infer"), "allow: POST");
    assert_eq!(find(&rows, "get", "/v2"), "allow: GET");
    // A bad escape does not matter where no variable is read.
    assert_eq!(find(&rows, "PUT", "/v2/models/%zz"), "allow: GET");
}

#[test]
fn what_lies_under_v2_without_a_row_is_unknown_and_the_rest_is_not_ours() {
    let rows = rows();
    for path in ["/v2/models", "/v2/repository", "/v2/?x", "/v2/models/m/nonsense"] {
        let expected = if path == "/v2/?x" { "ServerMetadata" } else { "unknown" };
        assert_eq!(find(&rows, "GET", path), expected, "{path}");
    }
    for path in
        ["/", "", "*", "v2", "/v1/models/m:predict", "/v20", "/inference.GRPCInferenceService/ModelInfer"]
    {
        assert_eq!(find(&rows, "GET", path), "not ours", "{path}");
    }
    assert_eq!(find(&rows, "GET", &"/v2".repeat(100)), "unknown");
}

#[test]
fn a_users_rows_join_ours_and_the_more_specific_one_wins() {
    let rows = load(&[descriptor_set(
        r#"rpc Stats(M) returns (M) { option (google.api.http) = {
               get: "/v2/models/all"
               additional_bindings { post: "/v1/{inner.name}/{name=files/**}" body: "inner" }
               additional_bindings { custom { kind: "HEAD" path: "/v2/models/{name}" } }
           }; }
           rpc Plain(M) returns (M);
           rpc Many(M) returns (stream M) { option (google.api.http) = { get: "/v2/many" }; }
           rpc Up(stream M) returns (M) { option (google.api.http) = { post: "/v2/up" }; }"#,
    )])
    .unwrap();
    assert_eq!(find(&rows, "GET", "/v2/models/all"), "Stats");
    assert_eq!(find(&rows, "GET", "/v2/models/other"), "ModelMetadata name=other");
    assert_eq!(find(&rows, "HEAD", "/v2/models/other"), "Stats name=other");
    assert_eq!(find(&rows, "PUT", "/v2/models/other"), "allow: GET, HEAD");
    assert_eq!(find(&rows, "POST", "/v1/x/files/a/b"), "Stats inner.name=x name=files/a/b");
    assert_eq!(find(&rows, "GET", "/v2/many"), "Many");
    assert_eq!(
        find(&rows, "POST", "/v2/up"),
        "501: /user.S/Up takes a stream of requests, which one JSON request cannot call"
    );
}

#[test]
fn a_rule_that_cannot_be_served_is_named_with_its_method_and_template() {
    let of = |rule: &str| {
        let error = refused(&[method("get: '/v9'"), method(rule)]);
        error.strip_prefix("configuration key descriptor_sets[1]: /user.S/C: ").unwrap_or(&error).to_owned()
    };
    assert_eq!(
        of("get: '/v1/{name}:'"),
        "/v1/{name}:: a ':' can only stand after the last segment, with a verb behind it"
    );
    assert_eq!(of("get: '/v1/{nome}'"), "/v1/{nome}: 'nome' is not a field of user.M");
    assert_eq!(of("get: '/v1/{list}'"), "/v1/{list}: 'list' leads through a repeated field");
    assert_eq!(of("get: '/v1/{name.x}'"), "/v1/{name.x}: 'name.x' leads through a field without fields");
    assert_eq!(of("get: '/v1/{inner}'"), "/v1/{inner}: 'inner' is neither text nor a number");
    assert_eq!(of("get: '/v1/{data}'"), "/v1/{data}: 'data' is neither text nor a number");
    assert_eq!(of("post: '/v1' body: 'nobody'"), "/v1: body 'nobody' is not a field of user.M");
    for field in ["name", "list", "counts", "nobody"] {
        assert_eq!(
            of(&format!("get: '/v1' response_body: '{field}'")),
            format!("/v1: response_body '{field}' is not a message or a list of messages in user.M")
        );
    }
    assert_eq!(of("body: '*'"), "its rule names no path");
    assert_eq!(of("custom { kind: '*' path: '/v1' }"), "custom method '*' is not supported");
    assert_eq!(
        of("get: '/v2/models/stats'"),
        "GET /v2/models/stats is already a path of /inference.GRPCInferenceService/ModelStatistics"
    );
    assert_eq!(of("get: '/v9'"), "GET /v9 is already a path of /user.S/C");
    assert_eq!(
        of("get: '/v2/models/{inner.name}'"),
        "GET /v2/models/{inner.name} is already a path of /inference.GRPCInferenceService/ModelMetadata"
    );
}

#[test]
fn a_verb_tells_methods_of_one_path_apart() {
    let rows = load(&[descriptor_set(
        r#"rpc Get(M) returns (M) { option (google.api.http) = { get: "/v1/{name}" }; }
           rpc Archive(M) returns (M) { option (google.api.http) = { post: "/v1/{name}:archive" body: "*" }; }
           rpc Undo(M) returns (M) { option (google.api.http) = { post: "/v1/{name=**}:undo" }; }
           rpc All(M) returns (M) { option (google.api.http) = { post: "/v1/all:archive" }; }"#,
    )])
    .unwrap();
    assert_eq!(find(&rows, "POST", "/v1/a:archive"), "Archive name=a");
    assert_eq!(find(&rows, "POST", "/v1/all:archive"), "All");
    assert_eq!(find(&rows, "POST", "/v1/a/b:undo"), "Undo name=a/b");
    assert_eq!(find(&rows, "GET", "/v1/a"), "Get name=a");
    assert_eq!(find(&rows, "POST", "/v1/a:other"), "allow: GET");
    // The protocol's own paths have no verbs, and a model's name may have a colon.
    assert_eq!(find(&rows, "GET", "/v2/models/a:archive"), "ModelMetadata name=a:archive");
}

#[test]
fn a_verb_that_no_path_has_can_be_kept_out_of_the_last_segment() {
    let set = || {
        of_sets(&[descriptor_set(
            r#"rpc Get(M) returns (M) { option (google.api.http) = { get: "/v1/{name}" }; }
               rpc Undo(M) returns (M) { option (google.api.http) = { get: "/v1/{name}:undo" }; }"#,
        )])
    };
    let plain = Rows::load(set()).unwrap();
    assert_eq!(find(&plain, "GET", "/v1/a:b"), "Get name=a:b");
    let rows = Rows::load(Options { any_verb: true, ..set() }).unwrap();
    assert_eq!(find(&rows, "GET", "/v1/a:b"), "not ours");
    assert_eq!(find(&rows, "GET", "/v1/a:b:undo"), "Undo name=a:b");
    assert_eq!(find(&rows, "GET", "/v1/a"), "Get name=a");
    // A colon with nothing behind it is no verb.
    assert_eq!(find(&rows, "GET", "/v1/a:"), "Get name=a:");
    // The protocol's own paths have none, whatever the user's have.
    assert_eq!(find(&rows, "GET", "/v2/models/llama:7b"), "ModelMetadata name=llama:7b");
}

#[test]
fn a_service_that_is_not_meant_need_not_be_served() {
    let set = |services: &[&str]| Options {
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        ..of_sets(&[descriptor_set(
            r#"rpc C(M) returns (M) { option (google.api.http) = { get: "/v1/c" }; } }
               service Plain { rpc D(M) returns (M); }
               service Taken { rpc E(M) returns (M) { option (google.api.http) = { get: "/v2/models/stats" }; }"#,
        )])
    };
    let refused = |services: &[&str]| Rows::load(set(services)).map(drop).unwrap_err().to_string();
    assert!(refused(&[]).contains("/v2/models/stats is already a path"));
    assert_eq!(find(&Rows::load(set(&["user.S"])).unwrap(), "GET", "/v1/c"), "C");
    assert_eq!(find(&Rows::load(set(&["user.S", "user.Plain"])).unwrap(), "GET", "/v1/c"), "C");
    assert!(refused(&["user.Plain"]).contains("none of its methods has a google.api.http rule"));
    assert_eq!(
        refused(&["user.S", "user.s"]),
        "configuration key services[1]: no descriptor set has the service \"user.s\""
    );
    assert_eq!(
        refused(&["other.S"]),
        "configuration key services[0]: no descriptor set has the service \"other.S\""
    );
    let mut beside = set(&["user.S"]);
    beside.sets.push(kserve_proto::DESCRIPTOR_SET.to_vec());
    assert_eq!(
        Rows::load(beside).map(drop).unwrap_err().to_string(),
        "configuration key descriptor_sets[1]: none of its services is among the configuration's services"
    );
}

#[test]
fn a_query_sets_the_fields_that_neither_path_nor_body_has() {
    let rows = load(&[descriptor_set(
        r#"rpc Get(M) returns (M) { option (google.api.http) = { get: "/v1/{name}" }; }
           rpc Put(M) returns (M) { option (google.api.http) = { post: "/v1/put/{inner.name}" body: "many" }; }
           rpc All(M) returns (M) { option (google.api.http) = { post: "/v1/all" body: "*" }; }"#,
    )])
    .unwrap();
    let bound = |method: &str, path: &str| match rows.find(method.as_bytes(), path.as_bytes()) {
        Ok(Found::Row { variables, .. }) => {
            let of = |parameter: &Parameter| {
                let fields: Vec<_> = parameter.path.iter().map(|field| field.name().to_owned()).collect();
                format!("{}={}", fields.join("."), parameter.value)
            };
            variables.parameters.iter().map(of).collect::<Vec<_>>().join(" ")
        }
        Err(problem) => format!("{}: {}", problem.status, problem.message),
        other => format!("{other:?}"),
    };
    assert_eq!(bound("GET", "/v1/n?"), "");
    assert_eq!(bound("GET", "/v1/n?number=7&&list=a+b&list=%63#part"), "number=7 list=a b list=c");
    assert_eq!(bound("GET", "/v1/n?inner.inner.note=x%26y&flag"), "inner.inner.note=x&y flag=");
    assert_eq!(bound("GET", "/v1/n?n%75mber=7"), "number=7");
    assert_eq!(bound("POST", "/v1/put/x?name=top&inner.number=3"), "name=top inner.number=3");
    for (method, path, error) in [
        ("GET", "/v1/n?nope=1", "'nope': user.M has no such field"),
        ("GET", "/v1/n?inner.nope=1", "'inner.nope': user.M has no such field"),
        ("GET", "/v1/n?=1", "'': user.M has no such field"),
        ("GET", "/v1/n?name=x", "'name': the path says what this field is"),
        ("GET", "/v1/n?name.x=1", "'name.x': it leads through a field that holds no single message"),
        ("GET", "/v1/n?many.name=x", "'many.name': it leads through a field that holds no single message"),
        ("GET", "/v1/n?counts=1", "'counts': a map cannot be given in a query"),
        ("GET", "/v1/n?inner=1", "'inner': a user.M cannot be given in a query; name one of its fields"),
        ("GET", "/v1/n?list=%zz", "'list': its value is badly encoded"),
        ("GET", "/v1/n?%ff=1", "'%ff': its name is badly encoded"),
        ("POST", "/v1/put/x?inner.name=y", "'inner.name': the path says what this field is"),
        ("POST", "/v1/all?number=1", "'number': this field belongs in the body"),
    ] {
        assert_eq!(bound(method, path), format!("400: query parameter {error}"), "{path}");
    }
    let deep = format!("/v1/n?{}note=x", "inner.".repeat(20_000));
    assert!(bound("GET", &deep).ends_with("': it reaches more than 16 messages deep"));
}

#[test]
fn parameters_can_be_ignored_by_name_or_because_no_field_has_theirs() {
    let found = |ignored: Ignored, query: &str| {
        let rows = Rows::load(Options { ignored, ..of_sets(&[method("get: '/v1/{name}'")]) }).unwrap();
        find(&rows, "GET", &format!("/v1/n?{query}"))
    };
    let named = Ignored { names: vec!["key".into(), "number".into()], unknown: false };
    assert_eq!(found(named.clone(), "key=%zz&number=x"), "C name=n");
    assert_eq!(found(named, "other=1"), "400: query parameter 'other': user.M has no such field");
    let unknown = Ignored { names: Vec::new(), unknown: true };
    assert_eq!(found(unknown.clone(), "other=1&inner.other=2"), "C name=n");
    assert_eq!(found(unknown, "name=x"), "400: query parameter 'name': the path says what this field is");
}

#[test]
fn a_prefix_stands_in_front_of_every_path() {
    let prefixes = PathPrefixes::parse("path_prefixes", &["/serving/{namespace}/{service}".into()]).unwrap();
    let rows = Rows::load(Options { prefixes, ..of_sets(&[method("get: '/v1/{name}'")]) }).unwrap();
    for (method, path, expected) in [
        ("POST", "/serving/ns/isvc/v2/models/m/infer?x=/v2", "ModelInfer model_name=m"),
        ("POST", "/serving/ns/isvc/v2/repository/models/m/unload", "RepositoryModelUnload model_name=m"),
        ("GET", "/serving/ns/isvc/v2/", "ServerMetadata"),
        ("GET", "/serving/ns/isvc/v1/n?number=1", "C name=n"),
        ("GET", "/v2/models/m", "ModelMetadata name=m"),
        ("GET", "/serving/ns/isvc/v2/nothing", "unknown"),
        ("PUT", "/serving/ns/isvc/v2/health/live", "allow: GET"),
        ("GET", "/serving/ns/v2/models/m", "not ours"),
        ("GET", "/serving/ns/isvc/other", "not ours"),
        ("GET", "/serving/ns/isvc/serving/ns/isvc/v2", "not ours"),
    ] {
        assert_eq!(find(&rows, method, path), expected, "{method} {path}");
    }
}

#[test]
fn a_head_is_the_get_of_its_path() {
    let rows = rows();
    assert_eq!(find(&rows, "HEAD", "/v2/models/m"), "ModelMetadata name=m");
    assert_eq!(find(&rows, "HEAD", "/v2/models/m/infer"), "allow: POST");
    assert_eq!(find(&rows, "HEAD", "/v2/nothing"), "unknown");
}

#[test]
fn a_model_has_the_streams_of_its_kind_of_server() {
    let of = |stream_messages| Rows::load(Options { stream_messages, ..Options::default() }).unwrap();
    let (none, triton, mlserver) =
        (of(None), of(Some(StreamMessages::Triton)), of(Some(StreamMessages::Mlserver)));
    let stream = "ModelStreamInfer model_name=m";
    for (path, in_triton, in_mlserver) in [
        ("/v2/models/m/infer_stream", stream, stream),
        ("/v2/models/m/generate_stream", stream, stream),
        ("/v2/models/m/generate", stream, "ModelInfer model_name=m"),
    ] {
        assert_eq!(find(&none, "POST", path), "unknown", "{path}");
        assert_eq!(find(&triton, "POST", path), in_triton, "{path}");
        assert_eq!(find(&mlserver, "POST", path), in_mlserver, "{path}");
    }
    let path = "/v2/models/m/versions/1/infer_stream";
    assert_eq!(find(&triton, "POST", path), "ModelStreamInfer model_name=m model_version=1");
    assert_eq!(find(&triton, "GET", path), "allow: POST");
    let Ok(Found::Row { row, variables }) = triton.find(b"POST", path.as_bytes()) else { panic!("no row") };
    assert_eq!((row.kind, row.streams(), row.model(&variables)), (RowKind::Infer, true, Some("m")));
    let of = |rows: &Rows, name: &str| match rows.find(b"POST", format!("/v2/models/m/{name}").as_bytes()) {
        Ok(Found::Row { row, .. }) => (row.kind, row.streams(), row.answers_once()),
        other => panic!("{other:?}"),
    };
    assert_eq!(of(&mlserver, "generate"), (RowKind::Infer, false, false));
    assert_eq!(of(&mlserver, "generate_stream"), (RowKind::Infer, true, false));
    assert_eq!(of(&triton, "generate"), (RowKind::Generate, false, true));
    assert_eq!(of(&triton, "generate_stream"), (RowKind::Generate, true, false));
}

#[test]
fn the_list_of_models_is_there_where_it_is_asked_for() {
    assert_eq!(find(&rows(), "GET", "/v2/models"), "unknown");
    let rows = Rows::load(Options { list_models: true, ..Options::default() }).unwrap();
    assert_eq!(find(&rows, "GET", "/v2/models?x=1"), "RepositoryIndex");
    assert_eq!(find(&rows, "POST", "/v2/models"), "allow: GET");
    let taken = Options { list_models: true, ..of_sets(&[method("get: '/v2/models'")]) };
    let error = Rows::load(taken).map(drop).unwrap_err().to_string();
    assert!(
        error
            .ends_with("GET /v2/models is already a path of /inference.GRPCInferenceService/RepositoryIndex")
    );
}

#[test]
fn a_set_without_rules_or_imports_or_sense_is_refused() {
    assert_eq!(
        refused(&[descriptor_set("rpc C(M) returns (M);")]),
        "configuration key descriptor_sets[0]: none of its methods has a google.api.http rule"
    );
    for bytes in [&b"\xff\xff"[..], b"{}", &method("get: '/v1'")[..50]] {
        let error = refused(&[bytes.to_vec()]);
        assert!(error.contains("not a FileDescriptorSet with all of its imports"), "{error}");
    }
    let mut edition = FileDescriptorSet::decode(&method("get: '/v1'")[..]).unwrap();
    edition.file.last_mut().unwrap().syntax = Some("editions".into());
    assert_eq!(
        refused(&[edition.encode_to_vec()]),
        "configuration key descriptor_sets[0]: user.proto has syntax 'editions'; only proto2 and proto3 are supported"
    );
    assert!(refused(&[Vec::new()]).contains("does not define google.api.http"));
}

/// Loaded once, as a plugin loads its own.
static OURS_ONLY: LazyLock<Rows> = LazyLock::new(rows);

proptest! {
    // Each case loads two sets.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_descriptor_set_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        static SET: LazyLock<Vec<u8>> = LazyLock::new(|| method("post: '/v1/{name}' body: 'inner'"));
        let mut set = SET.clone();
        let at = at.index(set.len());
        set[at] = byte;
        if cut {
            set.truncate(at);
        }
        if let Err(error) = load(&[set]) {
            prop_assert_eq!(error.path, "descriptor_sets[0]");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_search_fail_otherwise_than_with_400(
        method in proptest::collection::vec(any::<u8>(), 0..6),
        path in proptest::collection::vec(any::<u8>(), 0..80),
        known in "(/(v2|models|m|versions|1|infer|ready|health|live|%2F|%|%zz|%ff|\\?|))*",
    ) {
        for path in [&path[..], known.as_bytes(), &[b"/v2/models/", &path[..]].concat()] {
            for method in [&method[..], b"GET", b"POST"] {
                match OURS_ONLY.find(method, path) {
                    Ok(Found::Row { row, variables }) => {
                        let whole = path.split(|byte| *byte == b'?').next().unwrap();
                        prop_assert!(whole == b"/v2" || whole.starts_with(b"/v2/"));
                        prop_assert!(variables.iter().all(|(.., value)| !value.is_empty()));
                        prop_assert_eq!(row.method.as_bytes(), method);
                    }
                    Ok(Found::NotOurs) => prop_assert!(!path.starts_with(b"/v2/")),
                    Ok(_) => {}
                    Err(problem) => prop_assert_eq!(problem.status, 400),
                }
            }
        }
    }
}
