//! Uploads at once that do not fit into a VM together.

use super::{
    INFER, LARGE, LARGE_UPLOAD, assert_alive, counted, counting_server, error_of, patient, start, vms,
};
use e2e::uploads::{Form, Upload};
use e2e::{Answer, Installed, Protocol, send};
use std::collections::BTreeMap;
use std::thread;
use testkit::Column;

const AT_ONCE: usize = 12;

/// Twelve uploads of 100 MiB at once, and how many of them at least have to get through.
///
/// The default budget is 512 MiB for the VM of a worker. JSON of FP32 numbers takes 40 MiB of it per upload, so
/// twelve fit; text that is kept, and binary tensors, take 100 MiB and a chunk, so five do. A request
/// that asks for more than is there is refused and leaves its part to the others, so that many get through in any case.
struct Load {
    column: Column,
    workers: u32,
    forms: &'static [Form],
    keys: &'static str,
    at_least: usize,
}

const LOADS: &[Load] = &[
    Load { column: Column::WasmHold, workers: 1, forms: &[Form::DatatypeFirst], keys: "", at_least: AT_ONCE },
    Load { column: Column::Wasm, workers: 1, forms: &[Form::DataFirst], keys: "", at_least: 5 },
    Load { column: Column::Wasm, workers: 1, forms: &[Form::Binary], keys: WHOLE_VM, at_least: 7 },
    Load { column: Column::Wasm, workers: 2, forms: &Form::ALL, keys: "", at_least: 5 },
    Load { column: Column::Native, workers: 2, forms: &Form::ALL, keys: "", at_least: 5 },
];

/// The most that a VM of 1 GiB gives to its streams, 768 MiB: seven times 100 MiB and a chunk.
const WHOLE_VM: &str = r#""memory_budget_bytes": 1073741824,"#;

pub(super) fn at_once(installed: &Installed) {
    let server = counting_server();
    let large = |form| match form {
        Form::DatatypeFirst => LARGE_UPLOAD.clone(),
        form => patient(Upload::new(form, INFER, LARGE)),
    };
    let uploads = Form::ALL.map(|form| (form, large(form)));
    assert!(LARGE_UPLOAD.elements * 4 < 41 << 20, "{} elements", LARGE_UPLOAD.elements);
    for &Load { column, workers, forms, keys, at_least } in LOADS {
        let mut envoy = start(installed, &server, &[column], workers, keys);
        let what = format!("{} {forms:?} on {workers} workers", column.name());
        let address = envoy.address(column.name()).unwrap();
        let before = (column != Column::Native).then(|| vms(&envoy));
        let chosen: Vec<&Upload> = (0..AT_ONCE)
            .map(|i| forms[i % forms.len()])
            .filter_map(|form| uploads.iter().find_map(|(f, upload)| (*f == form).then_some(upload)))
            .collect();
        let answers: Vec<Answer> = thread::scope(|scope| {
            let running: Vec<_> = chosen
                .iter()
                .map(|upload| scope.spawn(|| send(Protocol::Http1, address, &upload.request).unwrap()))
                .collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut statuses = BTreeMap::new();
        for (answer, upload) in answers.into_iter().zip(&chosen) {
            let answer = answer.complete().unwrap_or_else(|error| panic!("{what}: {error}"));
            *statuses.entry(answer.status()).or_insert(0_usize) += 1;
            match answer.status() {
                200 => assert_eq!(answer.text(), counted(upload.elements), "{what}"),
                413 | 503 => {
                    assert!(!error_of(&answer).is_empty(), "{what}: {answer:?}\n{}", envoy.log());
                }
                other => panic!("{what}: {other} {}", answer.text()),
            }
        }
        let memory = envoy.process().memory().unwrap();
        println!("{what}: {statuses:?}, Envoy held up to {} MiB", memory.peak >> 20);
        assert!(statuses.get(&200).is_some_and(|passed| *passed >= at_least), "{what}: {statuses:?}");
        assert_alive(&envoy, column.name());
        assert_eq!(before, (column != Column::Native).then(|| vms(&envoy)), "{what}");
    }
}
