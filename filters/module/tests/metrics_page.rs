//! `docs/metrics.md` lists every metric of every filter: its tables are made from the filters' own lists.
#![allow(clippy::unwrap_used)] // A test: a page of another shape ends it.

use filter_api::{DROPPED_OPERATIONS, Metric, MetricKind, Plugin, Policy};
use std::path::Path;

const BEGIN: &str =
    "<!-- The tables are made from the filters' lists: UPDATE_DOCS=1 cargo test -p inference-filters -->\n";
const END: &str = "<!-- end of the tables -->\n";

#[test]
fn the_page_of_metrics_lists_those_that_the_filters_have() {
    let tables = [
        filter::<kserve_transcoder::KserveTranscoder>(),
        filter::<dynamic_subset::DynamicSubset>(),
        filter::<claim_headers::ClaimHeaders>(),
        policy::<runtime_group::RuntimeGroup>(),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the tables");
    let (_, after) = rest.split_once(END).expect("the page says where the tables end");
    let expected = format!("{before}{BEGIN}{}{END}{after}", tables.concat());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    let how = "run UPDATE_DOCS=1 cargo test -p inference-filters";
    assert!(page == expected, "docs/metrics.md is not current: {how}");
}

fn filter<P: Plugin>() -> String {
    table(P::NAME, P::METRICS.iter().chain([&DROPPED_OPERATIONS]))
}

/// Hosts count nothing for a policy.
fn policy<P: Policy>() -> String {
    table(&P::NAME.replace('-', "_"), P::METRICS.iter())
}

fn table<'a>(filter: &str, metrics: impl Iterator<Item = &'a Metric>) -> String {
    let mut table = format!(
        "\n### {}\n\n| metric | type | labels | counts |\n|---|---|---|---|\n",
        filter.replace('_', "-")
    );
    for Metric { name, kind, meaning, labels } in metrics {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Histogram => "histogram",
            MetricKind::Gauge => "gauge",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ");
        table += &format!("| `{filter}_{name}` | {kind} | {} | {meaning} |\n", labels.join(", "));
    }
    table
}
