//! A proxy-wasm filter, steered by request headers, whose trace tells what a host does.
//!
//! `x-probe-id` names the exchange in the trace. `x-probe` is a script: phases separated by `;`, each a name,
//! `=`, and operations separated by `,`. A phase name is a callback (`rqh`, `rqb`, `rqt`, `rsh`, `rsb`, `rst`,
//! `log`, `done`, `del`, `call`), alone or with the number of the call (`rqb.2`) or `.end` for the one with the
//! end flag. An operation is a word and its arguments after `|`; see `operate`. Each callback logs one line:
//! `PROBE <id> <callback>(<arguments>) <operation>:<result> ... -><code>`.
#![cfg(target_arch = "wasm32")]

mod abi;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A callback of the host.
pub(crate) struct Callback {
    name: &'static str,
    arguments: Vec<u32>,
}

impl Callback {
    pub(crate) fn new(name: &'static str, arguments: &[u32]) -> Self {
        Self { name, arguments: arguments.to_vec() }
    }

    fn ends(&self) -> bool {
        self.arguments.len() == 2 && self.arguments[1] == 1
    }
}

#[derive(Default)]
struct Probe {
    id: String,
    script: BTreeMap<String, Vec<String>>,
    seen: BTreeMap<&'static str, u32>,
}

thread_local! {
    static PROBES: RefCell<BTreeMap<u32, Rc<RefCell<Probe>>>> = RefCell::default();
    /// Which context made a call.
    static CALLS: RefCell<BTreeMap<u32, u32>> = RefCell::default();
}

fn probe(context: u32) -> Rc<RefCell<Probe>> {
    if let Some(probe) = PROBES.with_borrow(|probes| probes.get(&context).cloned()) {
        return probe;
    }
    let (_, id) = abi::get_header(0, "x-probe-id");
    let (_, script) = abi::get_header(0, "x-probe");
    let script = String::from_utf8_lossy(&script);
    let phases = script.split(';').filter_map(|phase| phase.split_once('='));
    let probe = Rc::new(RefCell::new(Probe {
        id: String::from_utf8_lossy(&id).into_owned(),
        script: phases
            .map(|(name, operations)| {
                (name.trim().to_owned(), operations.split(',').map(str::to_owned).collect())
            })
            .collect(),
        seen: BTreeMap::new(),
    }));
    PROBES.with_borrow_mut(|probes| probes.insert(context, probe.clone()));
    probe
}

pub(crate) fn forget(context: u32) {
    PROBES.with_borrow_mut(|probes| probes.remove(&context));
}

/// Runs the script for a callback and gives the code to return. No borrow is held while the host is called:
/// some hosts call back from there.
pub(crate) fn on(context: u32, callback: Callback) -> u32 {
    let probe = probe(context);
    let (id, operations) = {
        let mut probe = probe.borrow_mut();
        let number = probe.seen.entry(callback.name).or_default();
        *number += 1;
        let number = *number;
        let end = if callback.ends() { probe.script.get(&format!("{}.end", callback.name)) } else { None };
        let chosen = end
            .or_else(|| probe.script.get(&format!("{}.{number}", callback.name)))
            .or_else(|| probe.script.get(callback.name));
        (probe.id.clone(), chosen.cloned().unwrap_or_default())
    };
    let mut code = u32::from(callback.name == "done");
    let mut line = String::new();
    for operation in &operations {
        let words: Vec<&str> = operation.split('|').collect();
        if words[0] == "r" {
            code = number(&words, 1);
            continue;
        }
        let result = operate(context, &id, &words);
        line.push_str(&format!(" {}:{result}", words[0]));
    }
    let arguments: Vec<String> = callback.arguments.iter().map(u32::to_string).collect();
    abi::log(&format!("PROBE {id} {}({}){line} ->{code}", callback.name, arguments.join(",")));
    code
}

/// An answered call works on the context that made it.
pub(crate) fn on_call(token: u32, headers: u32, body: u32, trailers: u32) {
    if let Some(context) = CALLS.with_borrow_mut(|calls| calls.remove(&token)) {
        abi::set_effective_context(context);
        on(context, Callback::new("call", &[headers, body, trailers]));
    }
}

fn number(words: &[&str], at: usize) -> u32 {
    words.get(at).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// One operation; the result is the host's status, and what it gave where that tells more.
fn operate(context: u32, id: &str, words: &[&str]) -> String {
    let n = |at| number(words, at);
    let text = |at: usize| words.get(at).copied().unwrap_or("");
    match words[0] {
        "get" => shown(abi::get_header(n(1), text(2))),
        "pairs" => summed(&abi::get_pairs(n(1))),
        "size" => pair(abi::get_map_size(n(1))),
        "add" => abi::add_header(n(1), text(2), text(3)).to_string(),
        "set" => abi::replace_header(n(1), text(2), text(3)).to_string(),
        "rm" => abi::remove_header(n(1), text(2)).to_string(),
        "len" => pair(abi::get_buffer_size(n(1))),
        "read" => summed(&abi::get_buffer(n(1), n(2) as usize, n(3) as usize)),
        "put" => abi::set_buffer(n(1), n(2) as usize, n(3) as usize, text(4).as_bytes()).to_string(),
        "fill" => abi::set_buffer(n(1), n(2) as usize, n(3) as usize, &vec![b'f'; n(4) as usize]).to_string(),
        "reply" => abi::send_local_response(n(1), text(2), &pairs(&words[3.min(words.len())..])).to_string(),
        "cont" => abi::continue_stream(n(1)).to_string(),
        "close" => abi::close_stream(n(1)).to_string(),
        "effective" => abi::set_effective_context(n(1)).to_string(),
        "call" => call(context, id, text(1)),
        "prop" => shown(abi::get_property(&text(1).replace('.', "\0"))),
        "setprop" => abi::set_property(text(1), text(2)).to_string(),
        "metric" => metric(n(1), &format!("probe_{id}_{}", n(1))),
        "shared" => shared(&format!("probe-{id}")),
        "foreign" => summed(&abi::call_foreign_function(text(1), b"")),
        #[allow(clippy::panic, reason = "a trap is what is asked for")]
        "panic" => panic!("asked for"),
        other => format!("unknown operation {other}"),
    }
}

fn call(context: u32, id: &str, cluster: &str) -> String {
    let headers = pairs(&[":method=POST", ":path=/call", ":authority=probe", &format!("x-probe-id={id}")]);
    let (status, token) = abi::http_call(cluster, &headers, "call body", &pairs(&["x-call-trailer=1"]));
    if status == 0 {
        CALLS.with_borrow_mut(|calls| calls.insert(token, context));
    }
    status.to_string()
}

/// Statuses of everything that can be done to a metric, with the values read between.
fn metric(kind: u32, name: &str) -> String {
    let (status, metric) = abi::define_metric(kind, name);
    let mut out = status.to_string();
    for offset in [2, 0, -1] {
        out.push_str(&format!("/{}", abi::increment_metric(metric, offset)));
    }
    out.push_str(&format!("/{}", pair(abi::get_metric(metric))));
    out.push_str(&format!("/{}", abi::record_metric(metric, 7)));
    out.push_str(&format!("/{}", pair(abi::get_metric(metric))));
    out.push_str(&format!("/{}", pair(abi::get_metric(4_000_000))));
    out
}

/// Statuses of a read, two writes, and a write with a stale number.
fn shared(key: &str) -> String {
    let (missing, _, _) = abi::get_shared_data(key);
    let first = abi::set_shared_data(key, "one", 0);
    let (read, value, cas) = abi::get_shared_data(key);
    let second = abi::set_shared_data(key, "two", cas);
    let stale = abi::set_shared_data(key, "three", cas);
    format!("{missing}/{first}/{read}/{}/{second}/{stale}", value.len())
}

fn pair<T: std::fmt::Display>((status, value): (u32, T)) -> String {
    format!("{status}/{value}")
}

fn shown((status, value): (u32, Vec<u8>)) -> String {
    format!("{status}/{}", value.escape_ascii())
}

/// Status, length and FNV-1a sum.
fn summed((status, value): &(u32, Vec<u8>)) -> String {
    let sum =
        value.iter().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{status}/{}/{sum:08x}", value.len())
}

/// `name=value` words in the ABI's form for maps.
fn pairs(words: &[&str]) -> Vec<u8> {
    let entries: Vec<(&str, &str)> = words.iter().filter_map(|word| word.rsplit_once('=')).collect();
    let mut out = (entries.len() as u32).to_le_bytes().to_vec();
    for (name, value) in &entries {
        out.extend_from_slice(&(name.len() as u32).to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    for (name, value) in &entries {
        out.extend_from_slice(&[name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    out
}
