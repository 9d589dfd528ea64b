//! What attackers send and what providers issue, to the modules that ship: in wasm on the emulator, and natively; and
//! how the VMs fetch keys.
//!
//! The modules are `$CLAIM_HEADERS_WASM`, or `dist/claim_headers.wasm`, and `$INFERENCE_FILTERS_SO`, or
//! `dist/libinference_filters.so`; without one its tests are ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conformance::native::{self, Module};
use conformance::verify_signature::{self, Verifier};
use libtest_mimic::{Arguments, Trial};
use proxy_wasm_emulator::{
    Call, Engine, HeaderMap, HttpResponse, MetadataValue, Plugin, PluginOptions, Stream, StreamOptions, Vm,
    VmOptions,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// 2027-01-15T08:00:00Z, in nanoseconds since 1970.
const NOW: u64 = 1_800_000_000_000_000_000;

/// How often the filter looks whether keys must be fetched.
const TICK: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let named = |variable: &str, file: &str| {
        let module = std::env::var_os(variable).map(PathBuf::from);
        module.unwrap_or_else(|| repository().join(file))
    };
    let module = named("CLAIM_HEADERS_WASM", "dist/claim_headers.wasm");
    let native = named("INFERENCE_FILTERS_SO", "dist/libinference_filters.so");
    let ignored = !module.exists();
    type Story = fn(&[u8]);
    let stories: [(&str, Story); 8] = [
        ("attackers_get_no_header_and_the_vm_lives", attacks_on_rust),
        ("attackers_get_no_header_where_the_host_checks_signatures", attacks_on_the_host),
        ("a_signature_that_the_host_cannot_check_is_checked_by_the_filter", attacks_where_the_host_cannot),
        ("tokens_of_every_provider_become_headers", providers),
        ("claims_in_metadata_are_read_with_their_types", metadata_has_types),
        ("requests_wait_for_the_first_keys_and_go_on_with_them", waits),
        ("two_vms_take_turns_at_refreshing_keys", take_turns),
        ("sixteen_vms_that_start_together_serve_their_first_requests", sixteen_at_once),
    ];
    let trials = stories.map(|(name, story)| {
        let module = module.clone();
        let run = move || {
            story(&std::fs::read(&module).map_err(|error| error.to_string())?);
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    });
    let natively = ATTACKS_AND_PROVIDERS.map(|file| {
        let name = format!("{}_hold_natively", file.trim_end_matches(".json"));
        let module = native.clone();
        Trial::test(name, move || {
            holds_natively(file, &module);
            Ok(())
        })
        .with_ignored_flag(!native.exists())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().chain(natively).collect()).exit_code()
}

const ATTACKS_AND_PROVIDERS: [&str; 2] = ["attacks.json", "providers.json"];

/// What providers issue, where the host checks signatures and where it does not.
fn providers(wasm: &[u8]) {
    let foreign_functions = [(Verifier::NAME.to_owned(), Verifier::default().function())].into();
    for options in [VmOptions::default(), VmOptions { foreign_functions, ..VmOptions::default() }] {
        let attempts = corpus(wasm, "providers.json", options, |_, _, _| ());
        assert!(attempts > 25, "{attempts}");
    }
}

fn holds_natively(file: &str, module: &Path) {
    let corpus = read(file);
    let module = Module::load(module).map_err(|error| error.log.join("\n")).unwrap();
    let plugin = module.plugin("claim_headers", corpus["config"].to_string().as_bytes());
    let plugin = plugin.map_err(|error| error.log.join("\n")).unwrap();
    let mut attempts = 0;
    for (what, attempt) in attempts_of(&corpus) {
        attempts += 1;
        let stream = plugin.open(native::StreamOptions::default());
        stream.request_headers(request(&attempt), true);
        check(&what, &attempt, &corpus["config"], &stream.upstream().headers.unwrap());
    }
    assert!(attempts > 25, "{attempts}");
}

/// Claims whose bytes are those of another type, in metadata as Envoy hands it out.
fn metadata_has_types(wasm: &[u8]) {
    let vm = vm(wasm, VmOptions::default());
    let rule = |header: &str, kind: &str| json!({"header": header, "claim": ["realm", "c"], "type": kind});
    let map = [
        rule("x-string", "string"),
        rule("x-list", "list"),
        rule("x-bool", "bool"),
        rule("x-integer", "integer"),
    ];
    let plugin = plugin(&vm, &json!({"map": map}));
    let text = |text: &str| MetadataValue::String(text.to_owned());
    let structure = |members: &[(&str, MetadataValue)]| {
        MetadataValue::Struct(
            members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        )
    };
    let letters = MetadataValue::Number(f64::from_le_bytes(*b"standard"));
    for (claim, expected) in [
        (text("premium"), [Some("premium"), Some("premium"), None, None]),
        (text("standard"), [Some("standard"), Some("standard"), None, None]),
        (text("true"), [Some("true"), Some("true"), Some("true"), None]),
        (text("\u{1}"), [None; 4]),
        (text("\0\0\0\0\0\0\u{14}@"), [None; 4]),
        (letters.clone(), [None; 4]),
        (MetadataValue::Number(5.0), [None, None, None, Some("5")]),
        (MetadataValue::Bool(true), [None, None, Some("true"), None]),
        (
            MetadataValue::List(vec![text("admin"), text("standard")]),
            [None, Some("admin,standard"), None, None],
        ),
        (
            MetadataValue::List(vec![MetadataValue::Number(1.0), MetadataValue::Number(2.0)]),
            [None, Some("1,2"), None, None],
        ),
        (MetadataValue::List(vec![letters]), [None; 4]),
        (structure(&[("admin", text(""))]), [None; 4]),
        (MetadataValue::Null, [None; 4]),
    ] {
        let payload =
            structure(&[("realm", structure(&[("c", claim.clone()), ("other", MetadataValue::Null)]))]);
        let members = [("payload".to_owned(), payload)].into();
        let metadata = [("envoy.filters.http.jwt_authn".to_owned(), members)].into();
        let stream = plugin.open(StreamOptions { metadata, ..StreamOptions::default() });
        stream.request_headers(request(&json!({"path": "/", "headers": []})), true);
        let headers = stream.upstream().headers.unwrap();
        for (name, value) in ["x-string", "x-list", "x-bool", "x-integer"].into_iter().zip(expected) {
            assert_eq!(
                spellings(&headers, name),
                value.into_iter().collect::<Vec<_>>(),
                "{name} of {claim:?}"
            );
        }
    }
    assert_eq!((vm.failure(), vm.hazards()), (None, Vec::new()));
}

/// The host has no function for signatures: the filter checks them itself.
fn attacks_on_rust(wasm: &[u8]) {
    attacks(wasm, VmOptions::default(), |_, _, _| ());
}

/// The host checks RSA's and ECDSA's signatures, and its word is the last one; the filter checks the others.
fn attacks_on_the_host(wasm: &[u8]) {
    let verifier = Verifier::default();
    let foreign_functions = [(Verifier::NAME.to_owned(), verifier.function())].into();
    let mut found = [0, 0];
    attacks(wasm, VmOptions { foreign_functions, ..VmOptions::default() }, |what, attempt, counter| {
        let asked = verifier.take();
        let expected: &[bool] = match (counter, algorithm(attempt).as_deref()) {
            ("unverified_signature", Some("RS256" | "ES256")) => &[false],
            ("verified", Some("RS256" | "ES256")) => &[true],
            _ => &[],
        };
        // A token that was right before is remembered, and a signature of the wrong length is refused unchecked.
        assert!(asked == expected || asked.is_empty(), "{what}: {asked:?}");
        asked.iter().for_each(|&right| found[usize::from(right)] += 1);
    });
    assert!(found[0] >= 4 && found[1] >= 30, "{found:?} of the signatures were wrong and right to the host");
}

/// The host has the function, and can import no key: no signature is wrong because of that.
fn attacks_where_the_host_cannot(wasm: &[u8]) {
    let verifier = Verifier::that_imports_no_key();
    let foreign_functions = [(Verifier::NAME.to_owned(), verifier.function())].into();
    attacks(wasm, VmOptions { foreign_functions, ..VmOptions::default() }, |_, _, _| ());
    assert!(verifier.take().is_empty());
}

/// The algorithm that a request's only token names.
fn algorithm(attempt: &Value) -> Option<String> {
    let mut tokens = attempt["headers"].as_array()?.iter().rev().filter_map(|header| {
        let token = header[1].as_str()?.strip_prefix("Bearer ")?;
        let head = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
        serde_json::from_slice::<Value>(&head).ok()?["alg"].as_str().map(str::to_owned)
    });
    tokens.next()
}

fn attacks(wasm: &[u8], options: VmOptions, after: impl FnMut(&str, &Value, &str)) {
    let attempts = corpus(wasm, "attacks.json", options, after);
    assert!(attempts > 200, "{attempts}");
}

/// Sends every attempt of a file, and says how many there were; `after` is told which it was, the attempt, and the
/// counter that went up.
fn corpus(wasm: &[u8], file: &str, options: VmOptions, mut after: impl FnMut(&str, &Value, &str)) -> usize {
    let corpus = read(file);
    let vm = vm(wasm, options);
    let plugin = plugin(&vm, &corpus["config"]);
    let attempts = attempts_of(&corpus);
    for (what, attempt) in &attempts {
        let counter = format!("claim_headers.{}", attempt["expect"]["counter"].as_str().unwrap());
        let before = vm.shared().counter(&counter).unwrap();
        let stream = send(&plugin, attempt);
        assert_eq!(vm.shared().counter(&counter), Some(before + 1), "{what}");
        check(what, attempt, &corpus["config"], &stream.upstream().headers.unwrap());
        after(what, attempt, attempt["expect"]["counter"].as_str().unwrap());
    }
    assert_eq!((vm.failure(), vm.hazards()), (None, Vec::new()));
    let log: Vec<String> = vm.log().into_iter().map(|line| line.text).collect();
    assert!(log.iter().all(|line| !line.contains("premium") && !line.contains("eyJ")), "{log:?}");
    attempts.len()
}

/// All attempts of a file, each with what it is.
fn attempts_of(corpus: &Value) -> Vec<(String, Value)> {
    let rows = corpus["rows"].as_array().unwrap().iter();
    let attempts = rows.flat_map(|row| {
        let attempts = row["attempts"].as_array().unwrap().iter();
        attempts.map(|attempt| (format!("{}: {}", row["name"], attempt["what"]), attempt.clone()))
    });
    attempts.collect()
}

/// What goes upstream has the headers that are expected, and no other ones of those that claims are mapped to.
fn check(what: &str, attempt: &Value, config: &Value, headers: &HeaderMap) {
    let expect = &attempt["expect"];
    for (name, expected) in [("user-class", &expect["class"]), ("x-level", &expect["level"])] {
        assert_eq!(spellings(headers, name), expected.as_str().into_iter().collect::<Vec<_>>(), "{what}");
    }
    let Some(expected) = expect["headers"].as_object() else { return };
    for rule in config["map"].as_array().unwrap() {
        let name = rule["header"].as_str().unwrap();
        let value = expected.get(name).and_then(Value::as_str);
        assert_eq!(spellings(headers, name), value.into_iter().collect::<Vec<_>>(), "{what}: {name}");
    }
}

fn waits(wasm: &[u8]) {
    let (config, keys, good) = fetching();
    let vm = vm(wasm, VmOptions::default());
    let plugin = plugin(&vm, &config);
    vm.advance(TICK);
    let call = only_call(&vm);
    assert_eq!((call.cluster.as_str(), call.headers.get(":path")), ("idp", Some(&b"/keys"[..])));
    let waiting: Vec<Stream> = (0..3).map(|_| send(&plugin, &good)).collect();
    assert!(waiting.iter().all(|stream| stream.upstream().headers.is_none()));
    vm.advance(Duration::from_millis(600));
    assert!(
        waiting.iter().all(|stream| stream.upstream().headers.is_none()),
        "one that waits is asked without effect"
    );
    vm.answer_call(call.token, HttpResponse::new(200, keys));
    for stream in &waiting {
        assert_eq!(spellings(&stream.upstream().headers.unwrap(), "user-class"), ["premium"]);
        assert!(stream.upstream().ended);
    }

    // Those whose keys do not come in time are told to come again.
    let vm = self::vm(wasm, VmOptions::default());
    let plugin = self::plugin(&vm, &config);
    let waiting = send(&plugin, &good);
    vm.advance(Duration::from_millis(900));
    assert!(waiting.upstream().headers.is_none());
    vm.advance(Duration::from_millis(200));
    assert_refused_for_now(&waiting);
    assert_eq!(vm.shared().counter("claim_headers.unverified_no_keys"), Some(1));
    assert_eq!(vm.shared().counter("claim_headers.unjudged"), Some(1));
    // A client that goes away while it waits is not woken.
    let gone = send(&plugin, &good);
    gone.client_reset();
    drop(gone);
    vm.advance(Duration::from_secs(10));
    assert_eq!((vm.failure(), vm.hazards()), (None, Vec::new()));
}

fn take_turns(wasm: &[u8]) {
    let (config, keys, good) = fetching();
    let first = vm(wasm, VmOptions::default());
    let second = vm(wasm, VmOptions { shared: first.shared(), ..VmOptions::default() });
    let _first_plugin = plugin(&first, &config);
    let plugin = plugin(&second, &config);
    let both = |time: Duration| {
        first.advance(time);
        second.advance(time);
    };
    both(TICK);
    for vm in [&first, &second] {
        vm.answer_call(only_call(vm).token, HttpResponse::new(200, keys.clone()));
    }
    // No request waits for keys that are there already.
    first.advance(Duration::from_secs(300));
    let call = only_call(&first);
    second.advance(Duration::from_secs(301));
    assert!(second.calls().is_empty(), "the first is at it");
    first.answer_call(call.token, HttpResponse::new(200, keys.clone()));
    second.advance(Duration::from_millis(400));
    let call = only_call(&second);
    second.answer_call(call.token, HttpResponse::new(200, keys));
    assert_eq!(spellings(&send(&plugin, &good).upstream().headers.unwrap(), "user-class"), ["premium"]);
    assert!(second.shared().gauge("claim_headers.jwks_age").is_some());
}

/// As many workers as a large machine has, which start together, and an issuer that takes 0.3 seconds.
fn sixteen_at_once(wasm: &[u8]) {
    let (config, keys, good) = fetching();
    let first = vm(wasm, VmOptions::default());
    let shared = || VmOptions { shared: first.shared(), ..VmOptions::default() };
    let mut vms = vec![first.clone()];
    vms.extend((1..16).map(|_| vm(wasm, shared())));
    let plugins: Vec<Plugin> = vms.iter().map(|vm| plugin(vm, &config)).collect();
    let requests: Vec<Stream> = plugins.iter().map(|plugin| send(plugin, &good)).collect();
    vms.iter().for_each(|vm| vm.advance(TICK));
    vms.iter().for_each(|vm| vm.advance(Duration::from_millis(300)));
    for vm in &vms {
        vm.answer_call(only_call(vm).token, HttpResponse::new(200, keys.clone()));
    }
    for request in requests {
        assert_eq!(spellings(&request.upstream().headers.unwrap(), "user-class"), ["premium"]);
    }
}

/// A client that is told to come again, because its token could not be judged.
fn assert_refused_for_now(stream: &Stream) {
    assert!(stream.upstream().headers.is_none());
    let answer = stream.downstream();
    let headers = answer.headers.clone().unwrap();
    let header = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
    assert_eq!((header(":status").as_deref(), header("retry-after").as_deref()), (Some("503"), Some("1")));
    assert_eq!(answer.body(), br#"{"error":"the issuer's keys are not available"}"#);
}

/// The configuration of the attacks with keys that are fetched, these keys, and a request that is right.
fn fetching() -> (Value, String, Value) {
    let attacks = read("attacks.json");
    let mut config = attacks["config"].clone();
    let issuer = config["issuers"][0].as_object_mut().unwrap();
    let keys = issuer.remove("jwks").unwrap().to_string();
    issuer.insert("cluster".to_owned(), json!("idp"));
    issuer.insert("jwks_uri".to_owned(), json!("https://idp.test/keys"));
    config["jwks_wait_milliseconds"] = json!(1000);
    (config, keys, attacks["rows"][0]["attempts"][0].clone())
}

fn vm(wasm: &[u8], mut options: VmOptions) -> Vm {
    for (name, function) in verify_signature::missing() {
        options.foreign_functions.entry(name).or_insert(function);
    }
    let options = VmOptions { clusters: ["idp".to_owned()].into(), start_time: NOW, ..options };
    thread_local!(static ENGINE: Engine = Engine::new());
    ENGINE.with(|engine| Vm::new(engine, wasm, options).unwrap())
}

fn plugin(vm: &Vm, config: &Value) -> Plugin {
    let configuration = config.to_string().into_bytes();
    vm.plugin(PluginOptions { name: "claims".to_owned(), configuration, ..PluginOptions::default() }).unwrap()
}

fn only_call(vm: &Vm) -> Call {
    let mut calls = vm.calls();
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

fn send(plugin: &Plugin, attempt: &Value) -> Stream {
    let stream = plugin.open(StreamOptions::default());
    stream.request_headers(request(attempt), true);
    stream
}

fn request(attempt: &Value) -> HeaderMap {
    let pairs = attempt["headers"].as_array().unwrap().iter();
    let pairs: Vec<(&str, &str)> =
        pairs.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect();
    let usual = [
        (":method", "GET"),
        (":path", attempt["path"].as_str().unwrap()),
        (":scheme", "http"),
        (":authority", "gateway.test"),
    ];
    let mut map = HeaderMap::new();
    for (name, value) in
        usual.iter().filter(|(name, _)| pairs.iter().all(|(own, _)| own != name)).chain(&pairs)
    {
        map.add(*name, *value);
    }
    map
}

/// The values of all headers that have this name but for case and dashes.
fn spellings(headers: &HeaderMap, name: &str) -> Vec<String> {
    let same = |found: &[u8]| String::from_utf8_lossy(found).to_ascii_lowercase().replace('_', "-") == name;
    let found = headers.iter().filter(|(found, _)| same(found));
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

fn read(file: &str) -> Value {
    let path = repository().join("filters/claim-headers/tests").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}
