//! Everything that only tests load, as a native module.
#![cfg(not(target_arch = "wasm32"))]

host_dynamic_module::module! {
    filters: [test_filters::SampleFilter, test_filters::VerdictFilter, test_filters::Probe],
    policies: [test_filters::PanickingPolicy],
}
