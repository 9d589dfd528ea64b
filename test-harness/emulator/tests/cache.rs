//! What is compiled is kept on disk. Only with the feature `cache`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use proxy_wasm_emulator::{Engine, Vm, VmOptions};

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[test]
fn a_second_engine_finds_what_the_first_has_compiled() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulator-cache");
    let _ = std::fs::remove_dir_all(&folder);
    let module = br#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 64)))"#;
    let load = || Vm::new(&Engine::with_cache(&folder).unwrap(), module, VmOptions::default()).unwrap();
    drop(load());
    let kept = files(&folder);
    assert!(kept > 0);
    drop(load());
    assert_eq!(files(&folder), kept);
    assert!(Engine::with_cache("relative").is_err());
}
