//! What is done with a filter, and what is seen of it.

/// The language of a filter, and of its SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Go,
    AssemblyScript,
}

impl Language {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::AssemblyScript => "assemblyscript",
        }
    }

    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Go => "GO_FILTER_WASM",
            Self::AssemblyScript => "ASSEMBLYSCRIPT_FILTER_WASM",
        }
    }
}

/// A plugin and the requests that pass it, one after the other.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) root_id: &'static str,
    pub(crate) configuration: &'static str,
    pub(crate) requests: Vec<Sent>,
}

/// A request. The body's pieces are sent one by one.
#[derive(Clone, Default)]
pub(crate) struct Sent {
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) pieces: &'static [&'static str],
}

impl Sent {
    pub(crate) fn method(&self) -> &'static str {
        if self.pieces.is_empty() { "GET" } else { "POST" }
    }
}

/// What the upstream answers to a path.
pub(crate) fn answer(path: &str) -> (u16, String) {
    match path {
        "/auth/denied" => (401, "no".to_owned()),
        "/auth/allowed" => (200, "ann".to_owned()),
        _ => (200, format!("answer to {path}")),
    }
}

/// What is seen of a scenario: each exchange from both ends, and the lines that the filter logged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) said: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Path, headers and body, if the upstream got the request.
    pub(crate) upstream: Option<(Vec<(String, String)>, String)>,
}

impl Observed {
    pub(crate) fn difference(&self, real: &Self, name: &str) -> String {
        let mut out = format!("{name}:");
        for i in 0..self.exchanges.len().max(real.exchanges.len()) {
            let (emulated, envoy) = (self.exchanges.get(i), real.exchanges.get(i));
            if emulated != envoy {
                out += &format!("\n  request {i}: emulator {emulated:?}\n             envoy    {envoy:?}");
            }
        }
        for i in 0..self.said.len().max(real.said.len()) {
            let (emulated, envoy) = (self.said.get(i), real.said.get(i));
            if emulated != envoy {
                out += &format!("\n  line {i}: emulator {emulated:?}\n          envoy    {envoy:?}");
            }
        }
        out
    }
}

/// Headers that the filters deal with; Envoy adds others, with times and ids in them.
pub(crate) fn relevant(headers: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    const KEPT: [&str; 7] = ["x-added", "x-replaced", "x-removed", "x-user", "x-why", "x-filter", "x-hello"];
    let mut kept: Vec<_> = headers.filter(|(name, _)| KEPT.contains(&name.as_str())).collect();
    kept.sort();
    kept
}

/// What the filter says in a line of the log.
pub(crate) fn said(line: &str) -> Option<String> {
    line.split_once("SAY ").map(|(_, text)| text.trim_end().to_owned())
}

const HEADERS: &[(&str, &str)] =
    &[("x-replaced", "old"), ("x-removed", "yes"), ("x-twice", "1"), ("x-twice", "2")];

/// What a property is in every Envoy, whatever its addresses and times.
const PROPERTIES: &str = "properties request/path,request/url_path,request/query,request/host,request/scheme,\
    request/method,request/referer,request/useragent,request/size,request/headers/x-twice,\
    request/headers/x-missing,request/no_such,request,response,connection,source,destination,\
    response/code,response/flags,response/size,response/code_details,response/grpc_status,\
    response/headers/x-upstream,response/trailers/x,response/trailers,\
    connection/mtls,connection/requested_server_name,connection/termination_details,connection/no_such,\
    source/no_such,cluster_name,xds/cluster_name,route_name,xds/route_name,xds/virtual_host_name,\
    xds/filter_chain_name,xds/listener_direction,listener_direction,xds/no_such,node/id,node/cluster,node/no_such,\
    xds/node/id,plugin_name,plugin_root_id,plugin_vm_id,metadata,metadata/filter_metadata,\
    metadata/filter_metadata/x,metadata/no_such,filter_state/x,filter_state,upstream/request_attempt_count,\
    upstream/transport_failure_reason,no_such,no_such/at/all";

/// Objects of filter state that Envoy makes of text, and one that it does not.
const FILTER_STATE: &str = "make envoy.filters.listener.original_dst.local_ip,\
    envoy.filters.listener.original_dst.remote_ip,envoy.hashable_string,envoy.network.application_protocols,\
    envoy.network.ip,envoy.network.network_namespace,envoy.network.transport_socket.original_dst_address,\
    envoy.network.upstream_server_name,envoy.network.upstream_subject_alt_names,envoy.ratelimit.hits_addend,\
    envoy.router.debug_config,envoy.tcp_proxy.cluster,envoy.tcp_proxy.disable_tunneling,\
    envoy.tcp_proxy.per_connection_idle_timeout_ms,envoy.upstream.dynamic_host,envoy.upstream.dynamic_port,\
    envoy.string,envoy.lb";

pub(crate) fn all(language: Language) -> Vec<Scenario> {
    let get = Sent { path: "/get?q=1", headers: HEADERS, pieces: &[] };
    let post = Sent { path: "/post", headers: HEADERS, pieces: &["hello ", "world"] };
    let (allowed, denied) =
        (Sent { path: "/allowed", ..Sent::default() }, Sent { path: "/denied", ..Sent::default() });
    let both = || vec![get.clone(), post.clone()];
    let scenario =
        |name, root_id, configuration, requests| Scenario { name, root_id, configuration, requests };
    match language {
        Language::Go => vec![
            scenario("headers", "", "headers", both()),
            scenario("body", "", "body", vec![post.clone()]),
            scenario("properties", "root", PROPERTIES, both()),
            scenario("auth", "", "auth upstream", vec![allowed, denied]),
            scenario("auth-elsewhere", "", "auth nowhere", vec![get.clone()]),
            scenario("state", "", "state", vec![get.clone(), get.clone()]),
            scenario("make", "", FILTER_STATE, vec![get.clone()]),
            scenario("panic", "", "panic", vec![post.clone(), get.clone()]),
        ],
        Language::AssemblyScript => vec![
            scenario("add", "add", "world", both()),
            scenario("auth", "auth", "upstream", vec![allowed, denied]),
        ],
    }
}
