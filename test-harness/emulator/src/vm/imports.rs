//! Whether Envoy offers what a module imports, and what to do where it does not.

use wasmtime::{ExternType, Linker, Module, Store};

use super::host::Host;
use crate::state::abi::Abi;
use crate::state::version::EnvoyVersion;

/// `Err` names every import that Envoy does not offer and says what to do about each kind of them.
pub(crate) fn check(
    store: &mut Store<Host>,
    linker: &Linker<Host>,
    module: &Module,
    version: EnvoyVersion,
    abi: Abi,
) -> Result<(), String> {
    let mut wrong = Vec::new();
    for import in module.imports() {
        let name = format!("{}::{}", import.module(), import.name());
        let Ok(offered) = linker.get(&mut *store, import.module(), import.name()) else {
            wrong.push(format!("{name}: {}", advice(import.module(), import.name(), version, abi)));
            continue;
        };
        let (ExternType::Func(wanted), ExternType::Func(offered)) = (import.ty(), offered.ty(&*store)) else {
            wrong.push(format!(
                "{name}: the module imports something else than the function that Envoy offers"
            ));
            continue;
        };
        if !offered.matches(&wanted) {
            wrong.push(format!("{name}: the module imports {wanted}, Envoy offers {offered}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the module imports what Envoy does not offer, so Envoy refuses it too:\n  {}",
        wrong.join("\n  ")
    ))
}

fn advice(module: &str, name: &str, version: EnvoyVersion, abi: Abi) -> String {
    match module {
        "wasi_snapshot_preview1" | "wasi_unstable" if version < EnvoyVersion::V1_39 && name != "proc_raise" => {
            "Envoy offers this function of WASI from 1.39 on; without it, leave out what uses files, sockets or \
             the like, or set `VmOptions::version`"
                .to_owned()
        }
        "wasi_snapshot_preview1" | "wasi_unstable" => {
            "Envoy does not offer this function of WASI; leave out what uses it".to_owned()
        }
        _ if module.starts_with("wasi:") => {
            "this is a component for WASI 0.2; build a module for WASI preview 1 (Rust: wasm32-wasip1, \
             Go: GOOS=wasip1)"
                .to_owned()
        }
        "__wbindgen_placeholder__" | "wbg" => {
            "this is built for JavaScript; build for wasm32-wasip1, without wasm-bindgen (chrono's `wasmbind` and \
             getrandom's `js` are common causes)"
                .to_owned()
        }
        "gojs" | "go" => "this is built for JavaScript; build with GOOS=wasip1".to_owned(),
        "env" if name.starts_with("proxy_") => {
            format!(
                "no such function in the proxy-wasm ABI {}, which the module says it is for; is the SDK for another \
                 proxy?",
                abi.name()
            )
        }
        "env" => "the linker did not find this function and left it to the host; link the library that has it, or \
                  leave out what calls it"
            .to_owned(),
        _ => "Envoy has no module of this name".to_owned(),
    }
}
