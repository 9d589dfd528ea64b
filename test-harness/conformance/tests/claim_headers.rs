//! What attackers send, to the module that ships, in wasm on the emulator; and how its VMs fetch keys.
//!
//! The module is `$CLAIM_HEADERS_WASM`, or `dist/claim_headers.wasm`; without it the tests are ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conformance::verify_signature::Verifier;
use libtest_mimic::{Arguments, Trial};
use proxy_wasm_emulator::{
    Engine, HeaderMap, HttpCall, HttpResponse, Plugin, PluginOptions, Stream, StreamOptions, Vm, VmOptions,
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
    let module = std::env::var_os("CLAIM_HEADERS_WASM").map(PathBuf::from);
    let module = module.unwrap_or_else(|| repository().join("dist/claim_headers.wasm"));
    let ignored = !module.exists();
    type Story = fn(&[u8]);
    let stories: [(&str, Story); 5] = [
        ("attackers_get_no_header_and_the_vm_lives", attacks_on_rust),
        ("attackers_get_no_header_where_the_host_checks_signatures", attacks_on_the_host),
        ("a_signature_that_the_host_cannot_check_is_checked_by_the_filter", attacks_where_the_host_cannot),
        ("requests_wait_for_the_first_keys_and_go_on_with_them", waits),
        ("two_vms_take_turns_at_fetching_keys", take_turns),
    ];
    let trials = stories.map(|(name, story)| {
        let module = module.clone();
        let run = move || {
            story(&std::fs::read(&module).map_err(|error| error.to_string())?);
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
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
        // A token that was right before is remembered, and one of the wrong length is nobody's signature.
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

/// Sends every attempt; `after` is told which it was, the attempt, and the counter that went up.
fn attacks(wasm: &[u8], options: VmOptions, mut after: impl FnMut(&str, &Value, &str)) {
    let attacks = attacks_json();
    let vm = vm(wasm, options);
    let plugin = plugin(&vm, &attacks["config"]);
    let mut attempts = 0;
    for row in attacks["rows"].as_array().unwrap() {
        for attempt in row["attempts"].as_array().unwrap() {
            attempts += 1;
            let what = format!("{}: {}", row["name"], attempt["what"]);
            let counter = format!("claim_headers.{}", attempt["expect"]["counter"].as_str().unwrap());
            let before = vm.shared().counter(&counter).unwrap();
            let stream = send(&plugin, attempt);
            assert_eq!(vm.shared().counter(&counter), Some(before + 1), "{what}");
            let headers = stream.upstream().headers.unwrap();
            let class = attempt["expect"]["class"].as_str();
            assert_eq!(spellings(&headers, "user-class"), class.into_iter().collect::<Vec<_>>(), "{what}");
            let level = attempt["expect"]["level"].as_str();
            assert_eq!(spellings(&headers, "x-level"), level.into_iter().collect::<Vec<_>>(), "{what}");
            after(&what, attempt, attempt["expect"]["counter"].as_str().unwrap());
        }
    }
    assert!(attempts > 200, "{attempts}");
    assert_eq!((vm.failure(), vm.hazards()), (None, Vec::new()));
    let log: Vec<String> = vm.log().into_iter().map(|line| line.text).collect();
    assert!(log.iter().all(|line| !line.contains("premium") && !line.contains("eyJ")), "{log:?}");
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
        "one that waits is asked in vain"
    );
    vm.answer_call(call.token, HttpResponse::new(200, keys));
    for stream in &waiting {
        assert_eq!(spellings(&stream.upstream().headers.unwrap(), "user-class"), ["premium"]);
        assert!(stream.upstream().ended);
    }

    // Those that nobody can help are let go when their time is over.
    let vm = self::vm(wasm, VmOptions::default());
    let plugin = self::plugin(&vm, &config);
    let waiting = send(&plugin, &good);
    vm.advance(Duration::from_millis(900));
    assert!(waiting.upstream().headers.is_none());
    vm.advance(Duration::from_millis(200));
    assert!(spellings(&waiting.upstream().headers.unwrap(), "user-class").is_empty());
    assert_eq!(vm.shared().counter("claim_headers.unverified_no_keys"), Some(1));
    // A client that goes away while it waits is nobody to wake.
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
    first.advance(TICK);
    let call = only_call(&first);
    second.advance(Duration::from_secs(1));
    assert!(second.calls().is_empty(), "the first is at it");
    first.answer_call(call.token, HttpResponse::new(200, keys.clone()));
    second.advance(Duration::from_millis(400));
    let call = only_call(&second);
    second.answer_call(call.token, HttpResponse::new(200, keys));
    assert_eq!(spellings(&send(&plugin, &good).upstream().headers.unwrap(), "user-class"), ["premium"]);
}

/// The configuration of the attacks with keys that are fetched, these keys, and a request that is right.
fn fetching() -> (Value, String, Value) {
    let attacks = attacks_json();
    let mut config = attacks["config"].clone();
    let issuer = config["issuers"][0].as_object_mut().unwrap();
    let keys = issuer.remove("jwks").unwrap().to_string();
    issuer.insert("cluster".to_owned(), json!("idp"));
    issuer.insert("jwks_uri".to_owned(), json!("https://idp.test/keys"));
    config["jwks_wait_milliseconds"] = json!(1000);
    (config, keys, attacks["rows"][0]["attempts"][0].clone())
}

fn vm(wasm: &[u8], options: VmOptions) -> Vm {
    let options = VmOptions { clusters: ["idp".to_owned()].into(), start_time: NOW, ..options };
    Vm::new(&Engine::new(), wasm, options).unwrap()
}

fn plugin(vm: &Vm, config: &Value) -> Plugin {
    let configuration = config.to_string().into_bytes();
    vm.plugin(PluginOptions { name: "claims".to_owned(), configuration, ..PluginOptions::default() }).unwrap()
}

fn only_call(vm: &Vm) -> HttpCall {
    let mut calls = vm.calls();
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

fn send(plugin: &Plugin, attempt: &Value) -> Stream {
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
    let stream = plugin.open(StreamOptions::default());
    stream.request_headers(map, true);
    stream
}

/// The values of all headers that have this name but for case and dashes.
fn spellings(headers: &HeaderMap, name: &str) -> Vec<String> {
    let same = |found: &[u8]| String::from_utf8_lossy(found).to_ascii_lowercase().replace('_', "-") == name;
    let found = headers.iter().filter(|(found, _)| same(found));
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

fn attacks_json() -> Value {
    let text =
        std::fs::read_to_string(repository().join("filters/claim-headers/tests/attacks.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}
