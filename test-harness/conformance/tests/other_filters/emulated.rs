//! A scenario on the emulator.

use std::path::Path;
use std::sync::LazyLock;

use libtest_mimic::Failed;
use proxy_wasm_emulator::{
    Delivered, Engine, EnvoyVersion, HeaderMap, HttpResponse, Message, Plugin, PluginOptions, StreamOptions,
    Vm, VmOptions,
};

use crate::scenario::{Exchange, Observed, Scenario, Sent, answer, relevant, said};

/// One for all threads, so that the Go module, of three megabytes, is compiled once.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::new);

pub(crate) fn run(module: &Path, scenario: &Scenario, version: EnvoyVersion) -> Result<Observed, Failed> {
    let options = VmOptions {
        vm_id: scenario.name.to_owned(),
        clusters: ["upstream".to_owned()].into(),
        version,
        ..VmOptions::default()
    };
    let vm = Vm::new(&ENGINE, &std::fs::read(module)?, options)?;
    let plugin = vm.plugin(PluginOptions {
        name: scenario.name.to_owned(),
        root_id: scenario.root_id.to_owned(),
        configuration: scenario.configuration.into(),
        ..PluginOptions::default()
    })?;
    let exchanges = scenario.requests.iter().map(|sent| exchange(&plugin, sent)).collect();
    let said = vm.log().iter().filter_map(|line| said(&line.text)).collect();
    Ok(Observed { exchanges, said })
}

fn exchange(plugin: &Plugin, sent: &Sent) -> Exchange {
    let stream = plugin.open(StreamOptions {
        routes: Some(std::rc::Rc::new(|_| Some("upstream".to_owned()))),
        ..StreamOptions::default().property("xds.virtual_host_name", "all")
    });
    let mut headers = HeaderMap::from([
        (":method", sent.method()),
        (":path", sent.path),
        (":scheme", "http"),
        (":authority", "test.local"),
    ]);
    sent.headers.iter().for_each(|(name, value)| headers.add(name, value));
    stream.request_headers(headers, sent.pieces.is_empty());
    for (i, piece) in sent.pieces.iter().enumerate() {
        stream.request_data(piece, i + 1 == sent.pieces.len());
    }
    for call in stream.calls() {
        let (status, body) = answer(&call.headers.text(":path").unwrap_or_default());
        call.answer(HttpResponse::new(status, body));
    }
    if stream.upstream().ended && !stream.is_over() {
        let (status, body) = answer(sent.path);
        stream.respond(&Message::response(status, body).header("x-upstream", "yes"));
    }
    let (got, passed) = (stream.downstream(), stream.upstream());
    Exchange {
        status: got.status().unwrap_or_default(),
        headers: kept(&got),
        body: got.text(),
        upstream: (passed.ended && !passed.reset).then(|| (kept(&passed), passed.text())),
    }
}

fn kept(delivered: &Delivered) -> Vec<(String, String)> {
    let headers = delivered.headers.iter().flat_map(HeaderMap::iter);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    relevant(headers.map(|(name, value)| (text(name), text(value))))
}
