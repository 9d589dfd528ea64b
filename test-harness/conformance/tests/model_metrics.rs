//! What an inference adds to the metrics of its model, as each host tells it to Envoy.
//!
//! The modules are `$KSERVE_TRANSCODER_WASM` and `$INFERENCE_FILTERS_SO`, or those in `dist/`; without one its test is
//! ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use conformance::native::{Module, StreamOptions as NativeOptions};
use libtest_mimic::{Arguments, Failed, Trial};
use odd_server::wire;
use proxy_wasm_emulator::{Engine, HeaderMap, PluginOptions, StreamOptions, Vm, VmOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Counters with labels: the metric's name, and the labels' values.
type Counted = BTreeMap<(String, Vec<String>), u64>;

const FILTER: &str = "kserve_transcoder.";
/// The metrics whose values do not depend on the time.
const TIMELESS: [&str; 5] = [
    "model_requests",
    "model_request_bytes",
    "model_answer_bytes",
    "model_elements",
    "model_last_byte_ms_count",
];

fn main() -> ExitCode {
    let trials = vec![
        trial("in_wasm_labels_are_in_the_name_as_istio_has_them", "kserve_transcoder.wasm", in_wasm),
        trial("natively_labels_are_envoys_own", "libinference_filters.so", natively),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, module: &str, counted: fn(&Path) -> Counted) -> Trial {
    let variable = match module.strip_suffix(".wasm") {
        Some(filter) => format!("{}_WASM", filter.to_ascii_uppercase()),
        None => "INFERENCE_FILTERS_SO".to_owned(),
    };
    let module = std::env::var_os(variable).map_or_else(|| e2e::dist(module), PathBuf::from);
    let ignored = !module.exists();
    let run = move || {
        assert_eq!(counted(&module), expected());
        Ok::<(), Failed>(())
    };
    Trial::test(name, run).with_ignored_flag(ignored)
}

/// One inference of a model without a version, one of an invented name, which no server has, and one whose server hangs
/// until the client leaves.
fn expected() -> Counted {
    let of = |name: &str, labels: &[&str], by| {
        ((name.to_owned(), labels.iter().map(|&label| label.to_owned()).collect()), by)
    };
    // The names in the messages of the other two have 8 and 7 bytes, and not 1.
    Counted::from([
        of("model_requests", &["m", "any", "0"], 1),
        of("model_requests", &["other", "other", "5"], 1),
        of("model_requests", &["other", "other", "unfinished"], 1),
        of("model_request_bytes", &["m", "any"], 25),
        of("model_request_bytes", &["other", "other"], 32 + 31),
        of("model_answer_bytes", &["m", "any"], 3),
        of("model_elements", &["m", "any"], 4),
        of("model_elements", &["other", "other"], 8),
        of("model_last_byte_ms_count", &["m", "any"], 1),
        of("model_last_byte_ms_count", &["other", "other"], 1),
    ])
}

const BODY: &[u8] = br#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"UINT8","data":[1,2,3,4]}]}"#;
/// By model, the server's status; none where it hangs.
const CALLS: [(&str, Option<&str>); 3] = [("m", Some("0")), ("invented", Some("5")), ("hanging", None)];

fn request(model: &str) -> HeaderMap {
    let path = format!("/v2/models/{model}/infer");
    head(&[(":method", "POST"), (":path", &path), (":scheme", "http"), (":authority", "gateway.test")])
}

/// Headers, and the message if there is one.
fn answer(status: &str) -> (HeaderMap, Option<Vec<u8>>) {
    let grpc = [(":status", "200"), ("content-type", "application/grpc")];
    match status {
        "0" => (head(&grpc), Some(wire::frame(wire::Message::new().bytes(1, "m").as_bytes()))),
        status => (head(&[grpc[0], grpc[1], ("grpc-status", status)]), None),
    }
}

fn head(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().copied().collect()
}

fn in_wasm(module: &Path) -> Counted {
    let bytes = std::fs::read(module).unwrap();
    let vm = Vm::new(&Engine::new(), &bytes, VmOptions::default()).unwrap();
    let plugin = vm.plugin(PluginOptions::default()).unwrap();
    for (model, status) in CALLS {
        vm.advance(std::time::Duration::from_secs(1));
        let stream = plugin.open(StreamOptions::default());
        stream.request_headers(request(model), false);
        stream.request_data(BODY, true);
        let Some(status) = status else {
            stream.client_reset();
            continue;
        };
        let (headers, message) = answer(status);
        stream.response_headers(headers, message.is_none());
        if let Some(message) = message {
            stream.response_data(message, false);
            stream.response_trailers(head(&[("grpc-status", "0")]));
        }
    }
    assert_eq!((vm.failure(), vm.hazards()), (None, Vec::new()));
    let counters = vm.shared().counters();
    let labelled = counters.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(FILTER)?;
        let at = name.find("model=.=")?;
        let labels =
            name[at..].split_terminator(";.;").map(|label| label.split_once("=.=").unwrap().1.to_owned());
        Some(((name[..at].to_owned(), labels.collect()), *value))
    });
    labelled.filter(|((name, _), _)| TIMELESS.contains(&name.as_str())).collect()
}

fn natively(module: &Path) -> Counted {
    let module = Module::load(module).unwrap();
    let mut counted = Counted::new();
    // A configuration for each: they are told at once only where nothing was a moment before.
    for (model, status) in CALLS {
        let config = format!(r#"{{"max_request_bytes": {}}}"#, 1000 + model.len());
        let plugin = module.plugin("kserve_transcoder", config.as_bytes()).unwrap();
        let stream = plugin.open(NativeOptions::default());
        stream.request_headers(request(model), false);
        stream.request_data(BODY, true);
        if let Some(status) = status {
            let (headers, message) = answer(status);
            stream.response_headers(headers, message.is_none());
            if let Some(message) = message {
                stream.response_data(&message, false);
                stream.response_trailers(head(&[("grpc-status", "0")]));
            }
        }
        drop(stream);
        for name in TIMELESS {
            let labelled = plugin.labelled(&format!("{FILTER}{name}")).unwrap();
            for (labels, by) in labelled {
                *counted.entry((name.to_owned(), labels)).or_default() += by;
            }
        }
    }
    counted
}
