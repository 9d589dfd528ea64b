//! The exchanges that are compared: scripts for the probe, and what client and upstream send.

/// One exchange.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Unique; names the exchange in the trace too.
    pub(crate) name: String,
    /// The probe's script.
    pub(crate) script: String,
    /// Further request headers.
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) request: Message,
    pub(crate) response: Message,
}

/// What one side sends: headers, which end the message if nothing follows, pieces of body, trailers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) trailers: Option<Vec<(&'static str, &'static str)>>,
}

impl Message {
    pub(crate) fn headers_end(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none()
    }
}

/// Bodies by the sizes of their pieces.
const SIZES: [&[usize]; 4] = [&[], &[5], &[10, 20, 30], &[3, 0]];

fn body(sizes: &[usize]) -> Vec<Vec<u8>> {
    sizes.iter().enumerate().map(|(i, size)| vec![b'a' + i as u8; *size]).collect()
}

fn request(sizes: &[usize], trailers: bool) -> Message {
    Message {
        headers: Vec::new(),
        pieces: body(sizes),
        trailers: trailers.then(|| vec![("x-end", "request")]),
    }
}

fn response(sizes: &[usize], trailers: bool) -> Message {
    Message {
        headers: vec![("content-type", "application/grpc"), ("x-from", "upstream")],
        pieces: body(sizes),
        trailers: trailers.then(|| vec![("grpc-status", "0"), ("x-end", "response")]),
    }
}

/// The four shapes of a gRPC answer, and a plain one.
fn shapes() -> Vec<(&'static str, Message)> {
    let trailers_only = Message {
        headers: vec![("content-type", "application/grpc"), ("grpc-status", "5")],
        ..Message::default()
    };
    vec![
        ("trailers_only", trailers_only),
        ("headers_data_trailers", response(&[10, 20, 30], true)),
        ("headers_trailers", response(&[], true)),
        ("empty_data_trailers", response(&[0], true)),
        ("headers_data", response(&[10, 20], false)),
    ]
}

/// Collects cases.
#[derive(Default)]
struct Matrix {
    cases: Vec<Case>,
}

impl Matrix {
    fn add(&mut self, name: String, script: String, request: Message, response: Message) {
        self.cases.push(Case { name, script, headers: Vec::new(), request, response });
    }
}

/// Every case, for one of the two forms of the plugin.
pub(crate) fn all() -> Vec<Case> {
    let mut matrix = Matrix::default();
    codes_on_requests(&mut matrix);
    codes_on_responses(&mut matrix);
    buffers(&mut matrix);
    headers(&mut matrix);
    replies(&mut matrix);
    flow(&mut matrix);
    limits(&mut matrix);
    services(&mut matrix);
    matrix.cases
}

/// A case in which one callback traps.
pub(crate) fn trap(phase: &str) -> Case {
    let (request, response) = (request(&[5, 6], true), response(&[7, 8], true));
    Case {
        name: format!("trap_{phase}"),
        script: format!("{phase}=panic"),
        headers: Vec::new(),
        request,
        response,
    }
}

/// A case in which the probe only looks on.
pub(crate) fn quiet() -> Case {
    let (request, response) = (request(&[5], false), response(&[7], false));
    Case { name: "quiet".to_owned(), script: String::new(), headers: Vec::new(), request, response }
}

/// Every code from the headers, body and trailers callbacks of the request.
fn codes_on_requests(m: &mut Matrix) {
    for (i, sizes) in SIZES.iter().enumerate() {
        for trailers in [false, true] {
            for headers_code in 0..=4 {
                m.add(
                    format!("request_headers_{headers_code}_body_{i}_trailers_{trailers}"),
                    format!("rqh=r|{headers_code};rqb=len|0;rqt=size|1"),
                    request(sizes, trailers),
                    response(&[4], false),
                );
            }
        }
    }
    for headers_code in [0, 1, 3] {
        for code in 0..=4 {
            for last in 0..=3 {
                for trailers in [None, Some(0), Some(1)] {
                    m.add(
                        format!("request_{headers_code}_{code}_{last}_{trailers:?}"),
                        format!(
                            "rqh=r|{headers_code};rqb=len|0,r|{code};rqb.end=len|0,r|{last};rqb.3=len|0,r|{last};\
                             rqt=len|0,r|{}",
                            trailers.unwrap_or(0)
                        ),
                        request(&[10, 20, 30], trailers.is_some()),
                        response(&[4], false),
                    );
                }
            }
        }
    }
}

/// The same for the response, in every shape of answer.
fn codes_on_responses(m: &mut Matrix) {
    for (shape, message) in shapes() {
        for headers_code in 0..=4 {
            for code in 0..=3 {
                for last in [0, 1] {
                    m.add(
                        format!("response_{shape}_{headers_code}_{code}_{last}"),
                        format!("rsh=r|{headers_code};rsb=len|1,r|{code};rsb.end=len|1,r|{last};rst=len|1,r|{last}"),
                        request(&[], false),
                        message.clone(),
                    );
                }
            }
        }
    }
}

/// Every way to write a buffer, in every phase, under codes 0, 1 and 3.
fn buffers(m: &mut Matrix) {
    let writes = [
        "read|B|0|1000,read|B|2|3,read|B|1000|5",
        "put|B|0|0|<<",
        "put|B|0|1000|whole",
        "put|B|0|1000|",
        "put|B|0|1|no",
        "put|B|1|1|no",
        "put|B|1000|0|>>",
        "put|B|0|1000|,put|B|0|0|again,read|B|0|1000",
    ];
    for (n, write) in writes.iter().enumerate() {
        let (on_request, on_response) = (write.replace('B', "0"), write.replace('B', "1"));
        for code in [0, 1, 3] {
            for headers_code in [0, 1] {
                m.add(
                    format!("write_request_{n}_{code}_{headers_code}"),
                    format!("rqh=r|{headers_code};rqb={on_request},r|{code};rqb.end={on_request},r|0"),
                    request(&[4, 5], false),
                    response(&[4], false),
                );
                m.add(
                    format!("write_response_{n}_{code}_{headers_code}"),
                    format!(
                        "rsh=r|{headers_code};rsb={on_response},r|{code};rsb.end={on_response},r|0;rst={on_response}"
                    ),
                    request(&[], false),
                    response(&[4, 5], n % 2 == 0),
                );
            }
            m.add(
                format!("write_in_request_trailers_{n}_{code}"),
                format!("rqb=len|0,r|{code};rqt={on_request}"),
                request(&[4, 5], true),
                response(&[4], false),
            );
        }
        m.add(
            format!("write_in_headers_{n}"),
            format!(
                "rqh={on_request},{on_response};rsh={on_request},{on_response};log={on_request},{on_response}"
            ),
            request(&[4], false),
            response(&[4], true),
        );
    }
}

/// Every header call on every map, in every phase.
fn headers(m: &mut Matrix) {
    for map in 0..=8 {
        let calls = format!(
            "get|{map}|x-end,get|{map}|:path,get|{map}|:status,get|{map}|content-type,get|{map}|none,size|{map},\
             add|{map}|x-a|1,add|{map}|x-a|2,get|{map}|x-a,set|{map}|x-b|1,rm|{map}|x-a,get|{map}|x-a,size|{map}"
        );
        let script: Vec<String> = ["rqh", "rqb", "rqt", "rsh", "rsb", "rst"]
            .iter()
            .map(|phase| format!("{phase}={calls}"))
            .collect();
        let mut script = script.join(";");
        script.push_str(&format!(
            ";log=get|{map}|x-end,get|{map}|:path,get|{map}|:status,get|{map}|none,add|{map}|x|1"
        ));
        for held in [false, true] {
            let script = if held {
                // Once sent, response headers have grown by `date` and `server`.
                script
                    .replace(",size|2", "")
                    .replace("rqb=", "rqb.end=r|0;rqb=")
                    .replace("rqh=", "rqh=r|1,")
                    .replace("rsh=", "rsh=r|1,")
            } else {
                script.clone()
            };
            m.add(
                format!("map_{map}_held_{held}_trailers"),
                script.clone(),
                request(&[4, 5], true),
                response(&[4, 5], true),
            );
            m.add(format!("map_{map}_held_{held}"), script, request(&[4, 5], false), response(&[4], false));
        }
    }
    m.add(
        "single_entry_headers".to_owned(),
        "rqh=add|0|content-type|a/b,add|0|content-type|c/d,get|0|content-type,get|0|host,get|0|:authority,\
         set|0|X-Upper|v,get|0|x-upper,rm|0|content-type,get|0|content-type,pairs|0;\
         rsh=add|2|content-type|x/y,get|2|content-type,set|2|content-type|z,get|2|content-type,set|2|:status|418,\
         get|2|:status,pairs|2"
            .to_owned(),
        request(&[], false),
        response(&[3], false),
    );
    m.add(
        "status_removed".to_owned(),
        "rsh=rm|2|:status".to_owned(),
        request(&[], false),
        response(&[3], false),
    );
    m.add(
        "path_changed_at_every_step".to_owned(),
        "rqh=set|0|:path|/one,r|1;rqb=set|0|:path|/two,r|1;rqb.end=set|0|:path|/three".to_owned(),
        request(&[1, 2, 3], false),
        response(&[], false),
    );
}

/// A local reply from every callback, with and without a body, under codes 0 and 1, for bodies and answers of
/// every shape. Not from the access log: that makes Envoy call the access log again until its stack ends.
fn replies(m: &mut Matrix) {
    for phase in ["rqh", "rqb", "rqb.2", "rqb.end", "rqt", "rsh", "rsb", "rsb.2", "rst"] {
        for (n, text) in ["", "denied"].iter().enumerate() {
            for code in [0, 1, 3] {
                for held in [false, true] {
                    let hold = if held { "rqh=r|1;rsh=r|1;rqb=r|1;rsb=r|1;rqb.end=r|0;" } else { "" };
                    let reply = format!("reply|403|{text}|x-why=probe|content-type=text/x,r|{code}");
                    let mut script: Vec<&str> = hold.split(';').collect();
                    script.retain(|entry| !entry.starts_with(&format!("{phase}=")));
                    let script = format!("{phase}={reply};{}", script.join(";"));
                    let trailers = !matches!(phase, "rqb.end");
                    m.add(
                        format!("reply_{phase}_{n}_{code}_{held}"),
                        script,
                        request(&[5, 6, 7], trailers),
                        response(&[8, 9], true),
                    );
                }
            }
        }
        for headers_code in [1, 3, 4] {
            m.add(
                format!("reply_{phase}_held_in_response_{headers_code}"),
                format!("{phase}=reply|400|no;rsh=r|{headers_code}"),
                request(&[5, 6], true),
                response(&[8, 9], true),
            );
        }
    }
    for (n, (_, message)) in shapes().into_iter().enumerate() {
        for phase in ["rsh", "rst"] {
            for headers_code in [0, 1] {
                m.add(
                    format!("reply_to_shape_{n}_{phase}_{headers_code}"),
                    format!("rsh=r|{headers_code};{phase}=reply|404|gone,r|{headers_code}"),
                    request(&[], false),
                    message.clone(),
                );
            }
        }
    }
    m.add(
        "reply_changed_by_its_own_response_callbacks".to_owned(),
        "rqh=reply|403|denied,r|1;rsh=set|2|x-seen|1,rm|2|content-length;rsb=put|1|0|1000|changed".to_owned(),
        request(&[5], false),
        response(&[], false),
    );
    m.add(
        "reply_answered_by_another_reply".to_owned(),
        "rqh=reply|403|denied,r|1;rsh=reply|401|again".to_owned(),
        request(&[5], false),
        response(&[], false),
    );
    m.cases.push(Case {
        name: "reply_to_grpc".to_owned(),
        script: "rqh=reply|403|not you,r|1".to_owned(),
        headers: vec![("content-type", "application/grpc")],
        request: request(&[5], false),
        response: response(&[], false),
    });
}

/// Close from every callback, continue from those that bear it.
fn flow(m: &mut Matrix) {
    for phase in ["rqh", "rqb", "rqb.end", "rqt"] {
        for code in [0, 1] {
            m.add(
                format!("close_in_{phase}_{code}"),
                format!("{phase}=close|0,r|{code}"),
                request(&[5, 6], phase == "rqt"),
                response(&[4], false),
            );
        }
    }
    // Closing or continuing a response in its trailers callback ends the stream there, and Envoy uses it
    // afterwards and dies.
    for phase in ["rsh", "rsb"] {
        for code in [0, 1] {
            m.add(
                format!("close_in_{phase}_{code}"),
                format!("{phase}=close|1,r|{code}"),
                request(&[], false),
                response(&[4, 5], true),
            );
        }
    }
    // Nor continuing it in its headers callback: Envoy then sends the headers twice.
    for code in [0, 1] {
        m.add(
            format!("continue_in_rsb_{code}"),
            format!("rsh=r|{code};rsb=cont|1,r|{code}"),
            request(&[], false),
            response(&[4, 5], true),
        );
    }
    m.add(
        "streams_that_are_none".to_owned(),
        "rqh=cont|2,cont|3,cont|4,close|2,close|3,close|4,effective|999999".to_owned(),
        request(&[], false),
        response(&[4], false),
    );
}

/// Bodies over the buffer limit, 65,535 bytes in both directions.
fn limits(m: &mut Matrix) {
    // The sixth piece goes over; five fill an HTTP/2 window exactly, so that the client never splits one.
    let large = [13_107; 6];
    for headers_code in [0, 1, 3] {
        for code in [0, 1, 3] {
            m.add(
                format!("large_request_{headers_code}_{code}"),
                format!("rqh=r|{headers_code};rqb=len|0,r|{code};rqb.end=len|0"),
                request(&large, false),
                response(&[4], false),
            );
            m.add(
                format!("large_response_{headers_code}_{code}"),
                format!("rsh=r|{headers_code};rsb=len|1,r|{code};rsb.end=len|1"),
                request(&[], false),
                response(&large, false),
            );
        }
    }
    for code in [0, 1, 3] {
        m.add(
            format!("request_grown_over_the_limit_{code}"),
            format!("rqb=len|0,r|{code};rqb.end=fill|0|0|100000|70000,len|0,r|0"),
            request(&[5, 6], false),
            response(&[4], false),
        );
        m.add(
            format!("response_grown_over_the_limit_{code}"),
            format!("rsb=len|1,r|{code};rsb.end=fill|1|0|100000|70000,len|1,r|0"),
            request(&[], false),
            response(&[5, 6], false),
        );
    }
}

/// Calls, properties, metrics, shared data, foreign functions.
fn services(m: &mut Matrix) {
    for (n, resumed) in
        ["cont|0", "reply|403|denied", "set|0|x-called|1,cont|0", "close|0"].iter().enumerate()
    {
        for code in [1, 3, 4] {
            for sizes in [&[][..], &[5]] {
                if code == 1 && !sizes.is_empty() {
                    // With the flag the body does not wait for the call: which comes first is open.
                    continue;
                }
                m.add(
                    format!("call_{n}_{code}_{}", sizes.len()),
                    format!(
                        "rqh=call|calls,r|{code};call=get|6|:status,get|6|x-from,get|7|grpc-status,read|4|0|100,{resumed}"
                    ),
                    request(sizes, false),
                    response(&[4], false),
                );
            }
        }
    }
    m.add(
        "calls_refused".to_owned(),
        "rqh=call|nowhere,call|".to_owned(),
        request(&[], false),
        response(&[], false),
    );
    m.add(
        "metrics".to_owned(),
        "rqh=metric|0,metric|1,metric|2,metric|3".to_owned(),
        request(&[], false),
        response(&[], false),
    );
    m.add("shared_data".to_owned(), "rqh=shared".to_owned(), request(&[], false), response(&[], false));
    m.add(
        "foreign_functions".to_owned(),
        "rqh=foreign|clear_route_cache,foreign|no_such_function".to_owned(),
        request(&[], false),
        response(&[], false),
    );
    m.add(
        "properties".to_owned(),
        "rqh=prop|request.path,prop|request.url_path,prop|request.query,prop|request.method,prop|request.host,\
         prop|request.scheme,prop|request.headers.x-probe-id,prop|request.headers.none,prop|plugin_root_id,\
         prop|xds.cluster_name,prop|nothing,prop|response.code,setprop|mine|value,prop|mine,set|0|:path|/new,\
         prop|request.path,prop|xds.cluster_name;rqb=prop|request.path,prop|request.method;\
         rsb=prop|response.code,prop|response.headers.x-from;rsh=prop|response.code,prop|response.headers.x-from,prop|mine,\
         prop|request.path;log=prop|response.code,prop|request.path,prop|response.headers.x-from,prop|mine"
            .to_owned(),
        request(&[3], false),
        response(&[4], false),
    );
}
