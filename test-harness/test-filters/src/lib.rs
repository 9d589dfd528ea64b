//! Filters and a policy that only tests load.
//!
//! | | what it is for |
//! |---|---|
//! | [`SampleFilter`] | the filter that `filters/README.md` has its reader write, as a start for filters of one's own |
//! | [`VerdictFilter`] | returns every verdict in every phase, as a request header says: what a host makes of each |
//! | [`Probe`] | logs what a host shows to a filter, and panics on request |
//! | [`PanickingPolicy`] | a load-balancing policy that panics on request |
//!
//! The modules are this package's examples: `sample_filter` and `verdict_filter` for proxy-wasm, `test_module` with
//! everything for Envoy's dynamic modules. `probe_filter` is another wasm module, which speaks the raw ABI and shows
//! each host call's status. `cargo xtask test` builds them into `target/test-modules/`.

#![forbid(unsafe_code)]

pub mod panicking_policy;
pub mod probe;
pub mod sample;
pub mod verdict;

pub use panicking_policy::PanickingPolicy;
pub use probe::Probe;
pub use sample::SampleFilter;
pub use verdict::VerdictFilter;
