//! What the operator is told of requests for groups that no endpoint is in.

use crate::config::{Config, Fallback, IstioWorkload, Reading, Source};
use crate::header::{Header, header};
use crate::membership::Membership;
use filter_api::LbRequest;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many groups are reported before the endpoints' values change: clients decide which groups they ask for.
const MOST_GROUPS: usize = 16;
/// How many of the values that endpoints have are listed.
const MOST_VALUES: usize = 8;
/// How much of a value is shown, in bytes.
const MOST_BYTES: usize = 128;

/// The unknown groups that have been reported, by a hash of what the requests said.
#[derive(Debug, Default)]
pub(crate) struct Unknown(HashSet<u64>);

impl Unknown {
    /// A line for the log about a request for an unknown group, if it is the first one for that group.
    pub(crate) fn warning(
        &mut self,
        config: &Config,
        keys: &[Reading],
        request: &dyn LbRequest,
        membership: &Membership,
    ) -> Option<String> {
        if self.0.len() >= MOST_GROUPS {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        keys.iter().for_each(|key| header(request, &key.header).hash(&mut hasher));
        self.0.insert(hasher.finish()).then(|| text(config, keys, request, membership))
    }
}

fn text(config: &Config, keys: &[Reading], request: &dyn LbRequest, membership: &Membership) -> String {
    let (mut asked, mut known) = (Vec::new(), Vec::new());
    for (index, key) in keys.iter().enumerate() {
        match header(request, &key.header) {
            Header::None => continue,
            Header::One(value) => asked.push(format!("{}: {}", key.header, shown(value))),
            Header::Several => asked.push(format!("{} with different values", key.header)),
        }
        known.push(values(&key.source, &membership.values(index)));
    }
    let outcome = match config.unknown_group {
        Fallback::Any => "such requests go to any endpoint (unknown_group: any)",
        Fallback::None => "such requests fail with a 503 (unknown_group: none)",
    };
    format!("no endpoint is in the group of {}; {outcome}. {}", asked.join(", "), known.join(" "))
}

/// What endpoints have for a key.
fn values(source: &Source, values: &[&[u8]]) -> String {
    let (what, hint) = match source {
        Source::Metadata { namespace, key } => (format!("{key} in {namespace}"), ""),
        Source::IstioWorkload(IstioWorkload::Workload) => (
            "workload in istio".to_owned(),
            " (Istio reports a pod's own name if no Deployment owns the pod)",
        ),
        Source::IstioWorkload(_) => ("workload in istio".to_owned(), ""),
    };
    if values.is_empty() {
        return format!("No endpoint has {what}.");
    }
    let mut listed: Vec<String> = values.iter().take(MOST_VALUES).map(|value| shown(value)).collect();
    if values.len() > MOST_VALUES {
        listed.push(format!("{} more", values.len() - MOST_VALUES));
    }
    format!("Endpoints have {what}: {}{hint}.", listed.join(", "))
}

/// A value in quotation marks, shortened; what cannot be printed is escaped.
fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(MOST_BYTES)]).into_owned();
    let more = if value.len() > MOST_BYTES { "..." } else { "" };
    format!("{text:?}{more}")
}

#[cfg(test)]
mod tests {
    use crate::fake::{Cluster, Endpoint, Request};
    use crate::policy::RuntimeGroup;
    use filter_api::{Balancer, HostMetadata, Policy};
    use std::sync::Arc;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn worker(json: &str, cluster: &Cluster) -> <RuntimeGroup as Policy>::Balancer {
        let mut worker = Arc::new(RuntimeGroup::configure(json.as_bytes()).unwrap()).balancer(7);
        worker.hosts(cluster);
        worker
    }

    fn pod(name: &'static str) -> Endpoint {
        Endpoint::new(name).metadata("istio", "workload", HostMetadata::Text(name.as_bytes()))
    }

    #[test]
    fn bare_pods_that_no_group_finds_are_reported_once_with_what_istio_says_of_them() {
        let cluster =
            Cluster::new(vec![pod("triton-0;models;triton;;Kubernetes"), pod("triton-1;models;triton;;K")]);
        let json =
            r#"{"keys": [{"header": "x-runtime", "istio_workload": "workload"}], "unknown_group": "any"}"#;
        let mut worker = worker(json, &cluster);
        let request = Request::with("x-runtime", "triton");
        let first = worker.choose(&request, &cluster);
        assert!(first.host.is_some());
        assert_eq!(first.count, Some(1));
        assert_eq!(
            first.warning.as_deref(),
            Some(
                "no endpoint is in the group of x-runtime: \"triton\"; such requests go to any endpoint \
                 (unknown_group: any). Endpoints have workload in istio: \"triton-0\", \"triton-1\" (Istio reports a \
                 pod's own name if no Deployment owns the pod)."
            )
        );
        for _ in 0..10 {
            let next = worker.choose(&request, &cluster);
            assert_eq!((next.count, next.warning), (Some(1), None));
        }
        assert!(worker.choose(&Request::with("x-runtime", "ovms"), &cluster).warning.is_some());
        assert_eq!(worker.choose(&Request::with("x-runtime", "triton-1"), &cluster).warning, None);
    }

    #[test]
    fn a_group_is_reported_again_when_the_endpoints_values_have_changed_and_not_when_only_their_health_has() {
        let mut cluster = Cluster::new(vec![Endpoint::of("tf", "t1"), Endpoint::of("tf", "t2")]);
        let mut worker = worker(r#"{"keys": [{"key": "group"}]}"#, &cluster);
        let request = Request::with("x-subset-group", "pt");
        let warning = worker.choose(&request, &cluster).warning.unwrap();
        assert_eq!(
            warning,
            "no endpoint is in the group of x-subset-group: \"pt\"; such requests fail with a 503 \
             (unknown_group: none). Endpoints have group in envoy.lb: \"tf\"."
        );
        cluster.priorities[0][0].healthy = false;
        cluster.update();
        worker.hosts(&cluster);
        assert_eq!(worker.choose(&request, &cluster).warning, None);

        cluster.priorities[0].push(Endpoint::of("onnx", "o1"));
        cluster.update();
        worker.hosts(&cluster);
        let again = worker.choose(&request, &cluster).warning.unwrap();
        assert!(again.contains("\"onnx\", \"tf\""), "{again}");
    }

    #[test]
    fn clients_cannot_fill_the_log_or_forge_its_lines() {
        let cluster = Cluster::new(vec![Endpoint::new("none")]);
        let mut worker = worker(r#"{"keys": [{"key": "group"}]}"#, &cluster);
        let forged = worker.choose(&Request::with("x-subset-group", "a\u{1b}[0m"), &cluster).warning.unwrap();
        assert!(forged.contains(r#""a\u{1b}[0m""#), "{forged}");
        assert!(forged.ends_with("No endpoint has group in envoy.lb."), "{forged}");
        let long: &'static str = "x".repeat(10_000).leak();
        assert!(worker.choose(&Request::with("x-subset-group", long), &cluster).warning.unwrap().len() < 500);
        let several = Request {
            headers: vec![("x-subset-group", b"a"), ("x-subset-group", b"b")],
            ..Request::default()
        };
        let text = worker.choose(&several, &cluster).warning.unwrap();
        assert!(text.contains("x-subset-group with different values"), "{text}");
        let reported = (0..100).filter(|number| {
            let value: &'static str = number.to_string().leak();
            worker.choose(&Request::with("x-subset-group", value), &cluster).warning.is_some()
        });
        assert_eq!(reported.count(), super::MOST_GROUPS - 3);
    }
}
