//! A case in the emulator.

use proxy_wasm_emulator::{Delivered, HeaderMap, HttpResponse, Plugin, Stream, StreamOptions};

use crate::cases::{Case, Message};
use crate::seen::{Got, LIMIT, Run, Seen, call_answer, comparable, request_headers, trace_line};

pub(crate) fn run(plugin: &Plugin, case: &Case, id: &str) -> Run {
    let vm = plugin.vm();
    drop(vm.take_log());
    let before = vm.hazards().len();
    let stream = plugin.open(StreamOptions {
        routes: Some(std::rc::Rc::new(|_| Some("upstream".to_owned()))),
        ..StreamOptions::default().buffer_limits(LIMIT)
    });
    send_request(&stream, case, id);
    for call in stream.calls() {
        let (headers, body, trailers) = call_answer();
        let mut answer = HttpResponse::new(200, body);
        headers.into_iter().for_each(|(name, value)| answer.headers.add(name, value));
        // Envoy's router adds it for the calls of filters too.
        answer.headers.add("x-envoy-upstream-service-time", "0");
        answer.trailers = Some(trailers.into_iter().collect());
        vm.answer_call(call.token, answer);
    }
    if stream.upstream().ended && !stream.is_over() {
        send_response(&stream, &case.response);
    }
    let mut seen = Seen::default();
    let upstream = stream.upstream();
    if upstream.ended {
        seen.upstream = Some(got(&upstream));
    }
    let mut stuck_after = None;
    if stream.is_over() {
        seen.client = Some(got(&stream.downstream()));
    } else {
        stuck_after = Some(vm.log().iter().filter(|l| l.text.starts_with("PROBE")).count());
        stream.client_reset();
    }
    seen.trace = vm.take_log().into_iter().filter_map(|line| trace_line(&line.text, id)).collect();
    let hazards = vm.hazards().split_off(before);
    Run { seen, stuck_after, hazards }
}

fn send_request(stream: &Stream, case: &Case, id: &str) {
    let mut headers = HeaderMap::from([
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test.local"),
        (":path", "/probe?q=1"),
    ]);
    request_headers(case, id).iter().for_each(|(name, value)| headers.add(name, value));
    headers.add("x-forwarded-proto", "http");
    stream.request_headers(headers, case.request.headers_end());
    let last = case.request.pieces.len();
    for (i, piece) in case.request.pieces.iter().enumerate() {
        stream.request_data(piece, i + 1 == last && case.request.trailers.is_none());
    }
    if let Some(trailers) = &case.request.trailers {
        stream.request_trailers(trailers.iter().copied().collect::<HeaderMap>());
    }
}

fn send_response(stream: &Stream, response: &Message) {
    let mut headers = HeaderMap::from([(":status", "200")]);
    response.headers.iter().for_each(|(name, value)| headers.add(name, value));
    stream.response_headers(headers, response.headers_end());
    let last = response.pieces.len();
    for (i, piece) in response.pieces.iter().enumerate() {
        stream.response_data(piece, i + 1 == last && response.trailers.is_none());
    }
    if let Some(trailers) = &response.trailers {
        stream.response_trailers(trailers.iter().copied().collect::<HeaderMap>());
    }
}

fn got(delivered: &Delivered) -> Got {
    let list = |map: Option<&HeaderMap>| {
        map.map(|m| {
            m.iter()
                .map(|(n, v)| {
                    (String::from_utf8_lossy(n).into_owned(), String::from_utf8_lossy(v).into_owned())
                })
                .collect()
        })
        .unwrap_or_default()
    };
    Got {
        status: delivered.status(),
        headers: comparable(list(delivered.headers.as_ref())),
        body: delivered.body(),
        trailers: list(delivered.trailers.as_ref()),
        reset: delivered.reset,
    }
}
