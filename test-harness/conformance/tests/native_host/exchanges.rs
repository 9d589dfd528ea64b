//! The exchanges, and what is kept of each.

/// One exchange: what the probe does, and what client and server send.
pub(crate) struct Exchange {
    pub(crate) name: &'static str,
    /// The value of `x-probe`.
    pub(crate) steps: &'static str,
    pub(crate) request: Message,
    pub(crate) response: Message,
}

/// What follows headers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// Nothing.
    Headers,
    /// Two chunks, the second of which ends the message.
    Data,
    /// Two chunks and trailers.
    Trailers,
}

/// The two chunks of a request.
pub(crate) const REQUEST_CHUNKS: [&[u8]; 2] = [b"to be, ", b"or not to be"];
/// The two chunks of a response.
pub(crate) const RESPONSE_CHUNKS: [&[u8]; 2] = [b"words, ", b"words, words"];

/// What is left of an exchange. A message that was cut has no content: how much of it came is a matter of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The probe's lines, neighbouring chunks taken together.
    pub(crate) log: Vec<String>,
    /// The request as the server saw it, if it came to its end.
    pub(crate) upstream: Option<Content>,
    /// The answer as the client got it, if it came to its end.
    pub(crate) downstream: Option<(u16, Content)>,
}

/// Body, the names of the probe's own headers (sorted) and whether there were trailers, and the probe's among
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) body: String,
    pub(crate) headers: Vec<String>,
    pub(crate) trailers: (bool, bool),
}

impl Content {
    pub(crate) fn new<'a>(
        exchange: &Exchange,
        body: &[u8],
        headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        trailers: &[(Vec<u8>, Vec<u8>)],
    ) -> Self {
        let own = |(name, _): (&[u8], &[u8])| {
            let name = String::from_utf8_lossy(name).into_owned();
            let phase = name.strip_prefix("x-saw-").map(|phase| cut_phase(exchange.name, phase));
            phase.or((name == "x-probe-reply").then_some(name))
        };
        let mut headers: Vec<String> = headers.filter_map(own).collect();
        headers.sort_unstable();
        headers.dedup();
        let own_trailer = trailers.iter().any(|(name, _)| name == b"x-saw-trailers");
        Self {
            body: String::from_utf8_lossy(body).into_owned(),
            headers,
            trailers: (!trailers.is_empty(), own_trailer),
        }
    }
}

/// The probe's lines for one exchange: neighbouring chunks become one, since both hosts may cut anew.
pub(crate) fn lines(log: &[String], name: &str) -> Vec<String> {
    let prefix = format!("probe: {name} ");
    let chunk = |line: &str| {
        let (phase, bytes) = line.split_once(" bytes=").filter(|(phase, _)| !phase.contains(' '))?;
        Some((cut_phase(name, phase), bytes.parse::<usize>().ok()?))
    };
    let mut lines: Vec<String> = Vec::new();
    for line in log.iter().filter_map(|line| line.split_once(&prefix)).map(|(_, line)| line.trim()) {
        let last = lines.last().and_then(|last| chunk(last));
        let line = match (last, chunk(line)) {
            (Some((phase, before)), Some((same, now))) if phase == same => {
                lines.pop();
                format!("{phase} bytes={}", before + now)
            }
            (_, Some((phase, bytes))) => format!("{phase} bytes={bytes}"),
            _ => line.to_owned(),
        };
        lines.push(line);
    }
    lines
}

/// After a wait a chunk and the last chunk count as the same phase: what comes during a wait comes in one piece
/// afterwards, and how much that is is a matter of time.
fn cut_phase(exchange: &str, phase: &str) -> String {
    let data = ["rqd", "rqe", "rsd", "rse"].contains(&phase);
    if data && exchange.starts_with("wait") { phase[..2].to_owned() } else { phase.to_owned() }
}

const fn of(name: &'static str, steps: &'static str, request: Message, response: Message) -> Exchange {
    Exchange { name, steps, request, response }
}

use Message::{Data, Headers, Trailers};

pub(crate) const EXCHANGES: &[Exchange] = &[
    // Everything passes.
    of("pass-headers", "", Headers, Headers),
    of("pass-data", "", Data, Data),
    of("pass-trailers", "", Trailers, Trailers),
    // Bytes are replaced, with headers held and without.
    of("emit", "rqd=emit:10;rqe=emit:20;rsd=emit:30;rse=emit:40", Data, Data),
    of("emit-nothing", "rqd=emit:0;rqe=emit:0;rsd=emit:0;rse=emit:0", Data, Data),
    of("keep-dump", "rqd=keep;rqe=dump;rsd=keep;rse=dump", Data, Data),
    of("hold-keep-dump", "rqh=hold;rqd=keep;rqe=dump;rsh=hold;rsd=keep;rse=dump", Data, Data),
    of("hold-pass", "rqh=hold;rsh=hold", Data, Data),
    of("hold-trailers", "rqh=hold;rsh=hold", Trailers, Trailers),
    // Bytes in front of trailers: after headers were held, after chunks were kept, after everything passed.
    of("hold-keep-trailers", "rqh=hold;rqd=keep;rqt=dump;rsh=hold;rsd=keep;rst=dump", Trailers, Trailers),
    of("keep-trailers", "rqd=keep;rqt=dump;rsd=park;rst=dump", Trailers, Trailers),
    of("pass-emit-trailers", "rqt=emit:10;rst=emit:20", Trailers, Trailers),
    of(
        "hold-emit-trailers",
        "rqh=hold;rqd=emit:10;rqt=emit:20;rsh=hold;rsd=emit:30;rst=emit:40",
        Trailers,
        Trailers,
    ),
    of("hold-pass-emit-trailers", "rqh=hold;rqt=emit:20;rsh=hold;rst=emit:40", Trailers, Trailers),
    of("keep-drop-trailers", "rqd=keep;rqt=continue;rsd=keep;rst=continue", Trailers, Trailers),
    // Messages without a body are given one.
    of("body-for-headers", "rqh=body:100;rsh=body:200", Headers, Headers),
    of("no-body-where-data-follows", "rqh=body:100;rsh=body:200", Data, Data),
    // Waiting for calls.
    of("wait", "rqh=wait", Data, Data),
    of("wait-trailers", "rqh=wait;rqd=keep;rqt=dump", Trailers, Data),
    of("wait-echo-emit-trailers", "rqh=wait;rqd=echo;rqt=emit:20", Trailers, Data),
    of("wait-keep-dump", "rqh=wait;rqd=keep;rqe=dump", Data, Data),
    of("wait-headers", "rqh=wait", Headers, Data),
    of("wait-headers-body", "rqh=wait;end=body:100", Headers, Data),
    of("wait-reply", "rqh=wait;end=reply", Data, Data),
    of("wait-detach", "rqh=wait;end=detach", Data, Data),
    of("wait-hold", "rqh=wait;end=hold", Data, Data),
    of("wait-hold-keep", "rqh=wait;end=hold;rqd=keep;rqe=dump", Data, Data),
    of("wait-hold-keep-trailers", "rqh=wait;end=hold;rqd=keep;rqt=dump", Trailers, Data),
    of("wait-reply-data", "rqh=wait;rqd=keep;rqe=reply", Data, Data),
    of("wait-reply-trailers", "rqh=wait;rqt=reply", Trailers, Data),
    of("wait-response-hold", "rsh=wait;end=hold;rsd=keep;rse=dump", Data, Data),
    of("wait-response-reply-data", "rsh=wait;end=hold;rsd=keep;rse=reply", Data, Data),
    of("wait-panic", "rqh=wait;end=panic", Data, Data),
    of("wait-twice", "rqh=wait:2;end=more", Data, Data),
    of("wait-for-nothing", "rqh=more", Data, Data),
    of("wait-unknown-cluster", "rqh=wait;cluster=nowhere", Data, Data),
    of("wait-unknown-cluster-reply", "rqh=wait;cluster=nowhere;end=reply", Data, Data),
    of("wait-response", "rsh=wait", Data, Data),
    of("wait-response-keep", "rsh=wait;rsd=keep;rst=dump", Data, Trailers),
    of("wait-response-headers-body", "rsh=wait;end=body:100", Data, Headers),
    of("wait-response-reply", "rsh=wait;end=reply", Data, Data),
    // Answers of the filter's own.
    of("reply-rqh", "rqh=reply", Data, Data),
    of("reply-rqd-held", "rqh=hold;rqd=reply", Data, Data),
    of("reply-rqd", "rqd=reply", Data, Data),
    of("reply-rqe-held", "rqh=hold;rqd=keep;rqe=reply", Data, Data),
    of("reply-rqt-held", "rqh=hold;rqd=keep;rqt=reply", Trailers, Data),
    of("reply-rsh", "rsh=reply", Data, Data),
    of("reply-rsh-headers", "rsh=reply", Data, Headers),
    of("reply-rsd-held", "rsh=hold;rsd=reply", Data, Data),
    of("reply-rse-held", "rsh=hold;rsd=keep;rse=reply", Data, Data),
    of("reply-rst-held", "rsh=hold;rsd=keep;rst=reply", Data, Trailers),
    of("reply-rsd-too-late", "rsd=reply", Data, Data),
    of("reply-rst-too-late", "rst=reply", Data, Trailers),
    // Resets.
    of("reset-rqd", "rqd=reset", Data, Data),
    of("reset-rqt", "rqh=hold;rqd=keep;rqt=reset", Trailers, Data),
    of("reset-rsd-held", "rsh=hold;rsd=reset", Data, Data),
    of("reset-rse", "rse=reset", Data, Data),
    of("reset-rst", "rst=reset", Data, Trailers),
    // Detaching.
    of("detach-rqh", "rqh=detach;rsh=reply", Data, Data),
    of("detach-rqd-held", "rqh=hold;rqd=detach;rsh=reply", Data, Data),
    of("detach-rsd-held", "rsh=hold;rsd=detach", Data, Data),
    // A panic in every hook.
    of("panic-rqh", "rqh=panic", Data, Data),
    of("panic-rqd-held", "rqh=hold;rqd=panic", Data, Data),
    of("panic-rqd", "rqd=panic", Data, Data),
    of("panic-rqe", "rqe=panic", Data, Data),
    of("panic-rqt", "rqt=panic", Trailers, Data),
    of("panic-rsh", "rsh=panic", Data, Data),
    of("panic-rsh-headers", "rsh=panic", Data, Headers),
    of("panic-rsd-held", "rsh=hold;rsd=panic", Data, Data),
    of("panic-rsd", "rsd=panic", Data, Data),
    of("panic-rse", "rse=panic", Data, Data),
    of("panic-rst-held", "rsh=hold;rsd=keep;rst=panic", Data, Trailers),
    of("panic-rst", "rst=panic", Data, Trailers),
    // Verdicts that a filter must not give.
    of("keep-the-end", "rqh=hold;rqd=keep;rqe=keep", Data, Data),
    of("hold-no-data", "rqh=hold", Headers, Data),
    // Attributes.
    of("property-cluster", "property=xds.cluster_name", Headers, Headers),
    of("property-route", "property=xds.route_name", Headers, Headers),
    of("property-path", "property=request.path", Headers, Headers),
    of("property-none", "property=request.nothing", Headers, Headers),
];
