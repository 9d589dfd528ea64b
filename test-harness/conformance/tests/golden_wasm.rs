//! Every golden case and every capture in wasm on the emulator: both wasm columns, every chunking, the modules that
//! ship. `cargo test -p conformance --test golden_wasm NAME` runs those whose names have `NAME` in them.
//!
//! A filter's module is `$KSERVE_TRANSCODER_WASM` and so on, or `dist/kserve_transcoder.wasm`; without it the filter's
//! tests are ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use conformance::ends::{self, Asked, CLUSTER, Ends};
use conformance::verify_signature;
use proxy_wasm_emulator::{
    Delivered, Direction, Engine, HttpResponse, Plugin, PluginOptions, Stream, StreamOptions, Vm, VmOptions,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use testkit::{Case, Column, Outcome, Pairs, Part, Run, Seen, Subject, Trials};

/// As small as buffer limits sensibly are: what a filter holds must fit.
const BUFFER_LIMIT: usize = 32 * 1024;

/// The filters that have cases, and how many there are at least in a column.
const FILTERS: [(&str, usize); 3] = [("kserve_transcoder", 138), ("dynamic_subset", 10), (CLAIMS, 7)];

const CLAIMS: &str = "claim_headers";

/// The filter that keeps requests back while it reads them.
const HOLDING: &str = "dynamic_subset";

fn main() -> ExitCode {
    let cases = conformance::cases().unwrap();
    let unknown = cases.iter().find(|case| FILTERS.iter().all(|(known, _)| *known != case.filter));
    assert!(unknown.is_none(), "a case of a filter that nothing runs here: {unknown:?}");
    let mut trials = Trials::of(cases);
    for (filter, least) in FILTERS {
        for column in [Column::Wasm, Column::WasmHold] {
            trials = trials.on(OnEmulator::new(filter, column), least);
        }
    }
    trials.run()
}

/// A filter's module in a VM of the emulator's.
struct OnEmulator {
    filter: &'static str,
    column: Column,
    module: PathBuf,
}

struct Live {
    vm: Vm,
    /// By their configuration.
    plugins: BTreeMap<String, Plugin>,
    /// A request that never ends, beside which the cases run.
    beside: Option<(Plugin, Stream)>,
}

impl OnEmulator {
    fn new(filter: &'static str, column: Column) -> Self {
        let module = std::env::var_os(format!("{}_WASM", filter.to_ascii_uppercase())).map(PathBuf::from);
        let module = module.unwrap_or_else(|| e2e::dist(&format!("{filter}.wasm")));
        Self { filter, column, module }
    }
}

impl Subject for OnEmulator {
    type Live = Live;

    fn columns(&self) -> &[Column] {
        std::slice::from_ref(&self.column)
    }

    fn filter(&self) -> Option<&str> {
        Some(self.filter)
    }

    fn missing(&self) -> Option<String> {
        (!self.module.exists()).then(|| "dist/".to_owned())
    }

    fn start(&self, _cases: &[&Case]) -> Result<Live, String> {
        let foreign_functions = verify_signature::missing();
        let clusters = [CLUSTER.to_owned()].into();
        let options = VmOptions { clusters, foreign_functions, ..VmOptions::default() };
        let wasm = std::fs::read(&self.module).map_err(|error| error.to_string())?;
        let vm = Vm::new(&Engine::new(), &wasm, options).map_err(|error| error.to_string())?;
        let beside = (self.filter == HOLDING).then(|| endless_request(&vm)).transpose()?;
        Ok(Live { vm, plugins: BTreeMap::new(), beside })
    }

    fn exchange(&self, live: &mut Live, case: &Case, run: Run) -> Result<Outcome, String> {
        let config = case.config_in(self.column);
        if !live.plugins.contains_key(&config) {
            let hold = self.column == Column::WasmHold;
            let plugin = configure(&live.vm, &format!("golden-{}", live.plugins.len()), &config, hold)?;
            live.plugins.insert(config.clone(), plugin);
        }
        let options =
            StreamOptions::default().property("xds.cluster_name", CLUSTER).buffer_limits(BUFFER_LIMIT);
        let stream = OnStream { vm: &live.vm, stream: live.plugins[&config].open(options) };
        ends::exchange(&stream, case, run.chunking)
    }

    fn verdict(&self, live: &mut Live) -> Result<(), String> {
        if let Some(failure) = live.vm.failure() {
            return Err(format!("the VM died: {failure}"));
        }
        let held = |(_, stream): &(Plugin, Stream)| !stream.is_over() && stream.upstream().headers.is_none();
        if !live.beside.as_ref().is_none_or(held) {
            return Err("the request that holds memory beside the cases does not hold it".to_owned());
        }
        match &live.vm.hazards()[..] {
            [] => Ok(()),
            hazards => Err(format!("hazards: {}", hazards.join("; "))),
        }
    }
}

fn configure(vm: &Vm, name: &str, configuration: &str, hold: bool) -> Result<Plugin, String> {
    let options = PluginOptions {
        name: name.to_owned(),
        root_id: name.to_owned(),
        configuration: configuration.to_owned().into_bytes(),
        allow_on_headers_stop_iteration: hold,
        ..PluginOptions::default()
    };
    vm.plugin(options).map_err(|error| error.to_string())
}

fn endless_request(vm: &Vm) -> Result<(Plugin, Stream), String> {
    let config = r#"{"rules": [{"model": ["*"], "key": "model"}], "max_held_bytes": 65536, "hold_request_headers": true}"#;
    let plugin = configure(vm, "beside", config, true)?;
    let stream = plugin.open(StreamOptions::default().buffer_limits(BUFFER_LIMIT));
    let (head, body) = conformance::endless_request();
    stream.request_headers(head, false);
    stream.request_data(&body, false);
    Ok((plugin, stream))
}

struct OnStream<'a> {
    vm: &'a Vm,
    stream: Stream,
}

impl Ends for OnStream<'_> {
    fn send(&self, from: Direction, part: Part) {
        conformance::send_part!(self.stream, from, part, self.stream.client_reset());
    }

    fn delivered(&self, to: Direction) -> Delivered {
        match to {
            Direction::Request => self.stream.upstream(),
            Direction::Response => self.stream.downstream(),
        }
    }

    fn is_over(&self) -> bool {
        self.stream.is_over()
    }

    fn subset(&self) -> Pairs {
        self.stream.filter_state("dynamic_subset").map_or_else(Vec::new, |text| Seen::pairs(&text))
    }

    fn call(&self) -> Option<Asked> {
        let call = self.stream.calls().into_iter().next()?;
        Some(Asked { id: call.token.into(), headers: call.headers.clone(), body: call.body.clone() })
    }

    fn answer_call(&self, id: u64, response: HttpResponse) {
        self.vm.answer_call(id.try_into().unwrap(), response);
    }
}
