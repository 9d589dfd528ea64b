//! Every golden case and every capture in the dynamic module that ships, played by `conformance::native`, under every
//! chunking. `cargo test -p conformance --test golden_native NAME` runs those whose names have `NAME` in them.
//!
//! The module is `$INFERENCE_FILTERS_SO`, or `dist/libinference_filters.so`; without it the tests are ignored.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use conformance::ends::{self, Asked, CLUSTER, Ends};
use conformance::native::{LoadError, Module, Plugin, Stream, StreamOptions};
use proxy_wasm_emulator::{Delivered, Direction, HttpResponse};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use testkit::{Case, Column, Outcome, Pairs, Part, Run, Subject, Trials};

fn main() -> ExitCode {
    let module = std::env::var_os("INFERENCE_FILTERS_SO").map(PathBuf::from);
    let module = module.unwrap_or_else(|| e2e::dist("libinference_filters.so"));
    Trials::of(conformance::cases().unwrap()).on(InPlayer { module }, 138).run()
}

/// The module in the player.
struct InPlayer {
    module: PathBuf,
}

struct Live {
    /// A request that never ends, beside which the cases run.
    beside: Stream<'static>,
    module: Module,
    /// By the filter's name and its configuration.
    plugins: BTreeMap<(String, String), Plugin>,
}

impl Subject for InPlayer {
    type Live = Live;

    fn columns(&self) -> &[Column] {
        &[Column::Native]
    }

    fn missing(&self) -> Option<String> {
        (!self.module.exists()).then(|| "dist/".to_owned())
    }

    fn start(&self, _cases: &[&Case]) -> Result<Live, String> {
        let module = Module::load(&self.module).map_err(said)?;
        let config = r#"{"rules": [{"model": ["*"], "key": "model"}], "max_held_bytes": 65536}"#;
        // It has to live as long as the request, which ends with the process at the latest.
        let plugin = Box::leak(Box::new(module.plugin("dynamic_subset", config.as_bytes()).map_err(said)?));
        let beside = plugin.open(StreamOptions::default());
        let (head, body) = conformance::endless_request();
        beside.request_headers(head, false);
        beside.request_data(&body, false);
        Ok(Live { beside, module, plugins: BTreeMap::new() })
    }

    fn exchange(&self, live: &mut Live, case: &Case, run: Run) -> Result<Outcome, String> {
        let key = (case.filter.clone(), case.config_in(run.column));
        if !live.plugins.contains_key(&key) {
            let plugin = live.module.plugin(&key.0, key.1.as_bytes()).map_err(said)?;
            live.plugins.insert(key.clone(), plugin);
        }
        let cluster = ("xds.cluster_name".to_owned(), CLUSTER.into());
        let options = StreamOptions { properties: [cluster].into(), ..StreamOptions::default() };
        ends::exchange(&OnStream(live.plugins[&key].open(options)), case, run.chunking)
    }

    fn verdict(&self, live: &mut Live) -> Result<(), String> {
        match live.beside.is_over() || live.beside.upstream().headers.is_some() {
            true => Err("the request that holds memory beside the cases does not hold it".to_owned()),
            false => Ok(()),
        }
    }
}

fn said(error: LoadError) -> String {
    error.log.join("\n")
}

struct OnStream<'p>(Stream<'p>);

impl Ends for OnStream<'_> {
    fn send(&self, from: Direction, part: Part) {
        conformance::send_part!(self.0, from, part, panic!("the player has no client that goes away"));
    }

    fn delivered(&self, to: Direction) -> Delivered {
        match to {
            Direction::Request => self.0.upstream(),
            Direction::Response => self.0.downstream(),
        }
    }

    fn is_over(&self) -> bool {
        self.0.is_over()
    }

    fn subset(&self) -> Pairs {
        self.0.lb_metadata().into_iter().collect()
    }

    fn call(&self) -> Option<Asked> {
        let call = self.0.calls().into_iter().next()?;
        Some(Asked { id: call.id, headers: call.headers, body: call.body })
    }

    fn answer_call(&self, id: u64, response: HttpResponse) {
        self.0.answer(id, &response);
    }
}
