//! Every function of WASI preview 1 answers as it did in Envoy 1.38.2, 1.39.3 and 1.40.0, where a module called each
//! with the file 0, 1 and 3 and zeros, or is missing as there.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proxy_wasm_emulator::{Engine, EnvoyVersion, PluginOptions, Vm, VmOptions};

/// Name, parameters (`i` of 32 bits, `I` of 64), and answers.
type Function = (&'static str, &'static str, [u32; 3]);

const ALWAYS: &[Function] = &[
    ("args_get", "ii", [0; 3]),
    ("args_sizes_get", "ii", [0; 3]),
    ("environ_get", "ii", [0; 3]),
    ("environ_sizes_get", "ii", [0; 3]),
    ("clock_time_get", "iIi", [0, 0, 58]),
    ("fd_close", "i", [0; 3]),
    ("fd_fdstat_get", "ii", [8, 0, 8]),
    ("fd_fdstat_set_flags", "ii", [52; 3]),
    ("fd_prestat_get", "ii", [8; 3]),
    ("fd_prestat_dir_name", "iii", [52; 3]),
    ("fd_read", "iiii", [52; 3]),
    ("fd_seek", "iIii", [0; 3]),
    ("fd_write", "iiii", [8, 0, 8]),
    ("path_open", "iiiiiIIii", [44; 3]),
    ("random_get", "ii", [0; 3]),
    ("sched_yield", "", [0; 3]),
];

const FROM_1_39: &[Function] = &[
    ("clock_res_get", "ii", [0, 0, 58]),
    ("fd_advise", "iIIi", [0; 3]),
    ("fd_allocate", "iII", [8, 0, 8]),
    ("fd_datasync", "i", [8, 0, 8]),
    ("fd_fdstat_set_rights", "iII", [8, 0, 8]),
    ("fd_filestat_get", "ii", [8; 3]),
    ("fd_filestat_set_size", "iI", [8, 0, 8]),
    ("fd_filestat_set_times", "iIIi", [8, 0, 8]),
    ("fd_pread", "iiiIi", [52; 3]),
    ("fd_pwrite", "iiiIi", [8, 0, 8]),
    ("fd_readdir", "iiiIi", [20; 3]),
    ("fd_renumber", "ii", [8; 3]),
    ("fd_sync", "i", [8, 0, 8]),
    ("fd_tell", "ii", [8, 0, 8]),
    ("path_create_directory", "iii", [58; 3]),
    ("path_filestat_get", "iiiii", [58; 3]),
    ("path_filestat_set_times", "iiiiIIi", [58; 3]),
    ("path_link", "iiiiii", [58; 3]),
    ("path_readlink", "iiiiii", [58; 3]),
    ("path_remove_directory", "iii", [58; 3]),
    ("path_rename", "iiiiii", [58; 3]),
    ("path_symlink", "iiii", [58; 3]),
    ("path_unlink_file", "iii", [58; 3]),
    ("sock_accept", "iii", [58; 3]),
    ("sock_recv", "iiiiii", [58; 3]),
    ("sock_send", "iiiii", [58; 3]),
    ("sock_shutdown", "ii", [58; 3]),
];

/// A module that calls a function with the file in its configuration's place and logs what it answers.
fn module((name, parameters, _): Function, first: u32) -> String {
    let types: Vec<&str> = parameters.chars().map(|p| if p == 'i' { "i32" } else { "i64" }).collect();
    let arguments = types.iter().enumerate().map(|(i, kind)| match i {
        0 => format!("({kind}.const {first})"),
        // `random_get` has a length there.
        1 if name == "random_get" => format!("({kind}.const 4)"),
        _ if *kind == "i64" => "(i64.const 0)".to_owned(),
        _ if matches!(name, "fd_write" | "fd_pwrite") && i == 2 => "(i32.const 0)".to_owned(),
        _ => format!("({kind}.const {})", 64 + 16 * i),
    });
    let arguments: String = arguments.collect();
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "{name}" (func $it (param {}) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (local $r i32)
    (local.set $r (call $it {arguments}))
    (i32.store8 (i32.const 512) (i32.add (i32.const 48) (i32.div_u (local.get $r) (i32.const 10))))
    (i32.store8 (i32.const 513) (i32.add (i32.const 48) (i32.rem_u (local.get $r) (i32.const 10))))
    (drop (call $log (i32.const 2) (i32.const 512) (i32.const 2)))
    (i32.const 1)))"#,
        types.join(" ")
    )
}

fn load(engine: &Engine, module: &str, version: EnvoyVersion) -> Result<Vm, String> {
    let options = VmOptions { version, ..VmOptions::default() };
    Vm::new(engine, module.as_bytes(), options).map_err(|error| error.reason)
}

#[test]
fn every_function_answers_as_in_envoy() {
    let engine = Engine::new();
    let all = [EnvoyVersion::V1_38, EnvoyVersion::V1_39, EnvoyVersion::V1_40];
    let always = ALWAYS.iter().flat_map(|f| all.map(|version| (*f, version)));
    let later = FROM_1_39.iter().flat_map(|f| [EnvoyVersion::V1_39, EnvoyVersion::V1_40].map(|v| (*f, v)));
    for (function, version) in always.chain(later) {
        for (first, expected) in [0, 1, 3].into_iter().zip(function.2) {
            let vm = load(&engine, &module(function, first), version).unwrap();
            vm.plugin(PluginOptions::default()).unwrap();
            let answer: u32 = vm.log().last().unwrap().text.parse().unwrap();
            assert_eq!(answer, expected, "{}({first}) in {version:?}", function.0);
        }
    }
}

#[test]
fn what_a_release_does_not_offer_is_named_with_what_to_do() {
    let engine = Engine::new();
    for function in FROM_1_39 {
        let why = load(&engine, &module(*function, 0), EnvoyVersion::V1_38).err().unwrap();
        assert!(why.contains(function.0) && why.contains("from 1.39 on"), "{why}");
    }
    let why = |import: &str| {
        let module = format!(r#"(module (import {import}) (func (export "proxy_abi_version_0_2_1")))"#);
        load(&engine, &module, EnvoyVersion::V1_40).err().unwrap()
    };
    assert!(
        why(r#""wasi_snapshot_preview1" "proc_raise" (func (param i32) (result i32))"#)
            .contains("does not offer")
    );
    assert!(why(r#""__wbindgen_placeholder__" "x" (func)"#).contains("wasm32-wasip1"));
    assert!(why(r#""env" "sqrtf" (func)"#).contains("link the library"));
    let mismatch = why(
        r#""wasi_snapshot_preview1" "path_link" (func (param i32 i32 i32 i32 i32 i32 i32) (result i32))"#,
    );
    assert!(mismatch.contains("Envoy offers"), "{mismatch}");
}
