//! The smallest filter that does something: it refuses a request that names no tenant, marks any other, and
//! counts both.

use filter_api::{
    Caps, ConfigError, Cx, Dir, Map, Memory, Metric, OnHeaders, Plugin, Reply, Stream, parse_config,
};
use std::sync::Arc;

/// The filter: just its configuration.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleFilter {
    /// The request header that names the tenant, in lower case.
    header: String,
}

/// One exchange.
#[derive(Debug)]
pub struct Exchange(Arc<SampleFilter>);

filter_api::metrics! {
    /// What the filter counts.
    const METRICS;
    /// requests that were let through
    SERVED: Counter "served";
    /// requests that were refused
    REFUSED: Counter "refused";
}

impl Plugin for SampleFilter {
    type Stream = Exchange;
    const NAME: &'static str = "sample_filter";
    const METRICS: &'static [Metric] = METRICS;

    fn configure(json: &[u8], _caps: Caps, _memory: Arc<Memory>) -> Result<Self, ConfigError> {
        let config: Self = parse_config(json)?;
        if config.header.is_empty() || config.header.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ConfigError::at("header", "must be a header's name in lower case"));
        }
        Ok(config)
    }

    fn open(self: &Arc<Self>) -> Exchange {
        Exchange(self.clone())
    }
}

impl Stream for Exchange {
    fn headers(&mut self, dir: Dir, _end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        if dir == Dir::Request {
            if cx.view.header(Map::RequestHeaders, &self.0.header).is_none() {
                cx.ops.count(REFUSED, 1);
                return OnHeaders::Reply(Reply::new(400, "no_tenant").body(b"which tenant?".to_vec()));
            }
            cx.ops.count(SERVED, 1);
            cx.ops.set_header(Map::RequestHeaders, "x-served", b"yes");
        }
        OnHeaders::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use testkit::{Chunking, load_dir, run_on_core};

    #[test]
    fn every_case_holds_on_the_core() {
        let cases = load_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")).unwrap();
        assert_eq!(cases.len(), 2);
        for case in cases {
            for &column in &case.columns {
                let outcome = run_on_core::<SampleFilter>(&case, column, Chunking::Odd).unwrap();
                case.check(column, &outcome).unwrap_or_else(|why| panic!("{}: {why}", case.name));
            }
        }
    }

    #[test]
    fn a_header_that_could_never_be_found_is_refused() {
        let error = SampleFilter::configure(br#"{"header":"X-Tenant"}"#, Caps::PROXY_WASM, Memory::new(0));
        assert_eq!(error.unwrap_err().path, "header");
    }
}
