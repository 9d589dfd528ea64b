//! Runs one filter's core on the request.

use std::sync::Arc;

use claim_headers::ClaimHeaders;
use dynamic_subset::DynamicSubset;
use filter_api::{Caps, Dir, Memory, Plugin, Stream};
use host_driver::{Driver, OnChunk, OnHead};
use istio_lint::embedded::{Configuration, Host};
use kserve_transcoder::KserveTranscoder;
use serde_json::{Value, json};

use super::chain::Link;
use super::exchange::{Piece, Way};
use super::{Step, refused};
use crate::Error;

/// What all exchanges may hold, in bytes.
const MEMORY_BYTES: usize = 256 << 20;

/// What a filter that has seen a request does with the answer.
pub(super) type Back = Box<dyn FnMut(&mut Way)>;

/// Runs the filter, and says what it did and by which rule.
pub(super) fn run(link: &Link, way: &mut Way) -> Result<(Step, Back), Error> {
    let before = way.again();
    let back = core(link, way)?;
    let mut lines = std::mem::take(&mut way.lines);
    if link.configuration.filter == "dynamic-subset" {
        lines.splice(0..0, deciding(link, &before, way));
    }
    if link.configuration.filter == "claim-headers" {
        lines.splice(0..0, mapped(&link.configuration));
    }
    if link.configuration.filter == "kserve-transcoder" {
        lines.splice(0..0, row(&before, way));
    }
    if lines.is_empty() {
        lines.push("lets the request pass as it is".into());
    }
    Ok((Step { title: title(link), lines }, back))
}

fn title(link: &Link) -> String {
    let host = if link.configuration.host == Host::Native { "native" } else { "wasm" };
    format!("{} ({host}; {})", link.configuration.filter, link.origin)
}

/// Has the filter see the answer, and says what it did.
pub(super) fn answered(link: &Link, back: &mut Back, way: &mut Way) -> Step {
    let before = way.answer.body.clone();
    back(way);
    let mut lines = std::mem::take(&mut way.lines);
    if way.answer.body != before {
        let text = String::from_utf8_lossy(&way.answer.body);
        let text = text.chars().all(|letter| !letter.is_control()).then(|| format!(": {text}"));
        lines.push(format!(
            "replaces the body: {} bytes, of {}{}",
            way.answer.body.len(),
            before.len(),
            text.unwrap_or_default()
        ));
    }
    if lines.is_empty() {
        lines.push("lets the answer pass as it is".into());
    }
    Step { title: title(link), lines }
}

fn core(link: &Link, way: &mut Way) -> Result<Back, Error> {
    match link.configuration.filter.as_str() {
        "kserve-transcoder" => drive::<KserveTranscoder>(link, way),
        "dynamic-subset" => drive::<DynamicSubset>(link, way),
        "claim-headers" => drive::<ClaimHeaders>(link, way),
        other => Err(refused(&link.origin, format!("unknown filter {other}"))),
    }
}

/// The request through one core: headers, then the body in one piece.
fn drive<P: Plugin<Stream: 'static>>(link: &Link, way: &mut Way) -> Result<Back, Error> {
    let Configuration { host, json, .. } = &link.configuration;
    let caps = if *host == Host::Native { Caps::DYNAMIC_MODULE } else { Caps::PROXY_WASM };
    let plugin = P::configure(json.as_bytes(), caps, Memory::new(MEMORY_BYTES))
        .map_err(|error| refused(&link.origin, format!("the filter refuses its configuration: {error}")))?;
    (way.metrics, way.native) = (P::METRICS, *host == Host::Native);
    let plugin = Arc::new(plugin);
    let mut driver = Driver::<P::Stream, usize>::new(plugin.open());
    let (metrics, native) = (way.metrics, way.native);
    let end = way.body.is_empty();
    let step = driver.headers(Dir::Request, end, &mut *way);
    if !(matches!(step, OnHead::Wait | OnHead::Over) || end) {
        body(&mut driver, way);
    }
    Ok(Box::new(move |way| {
        (way.metrics, way.native) = (metrics, native);
        answer(&mut driver, way);
    }))
}

/// The request's body in one piece.
fn body<S: Stream>(driver: &mut Driver<S, usize>, way: &mut Way) {
    let bytes = way.body.clone();
    // A core that has detached is not shown the body any more.
    let mut left = bytes.clone();
    let piece = Piece { bytes: &bytes, left: &mut left };
    match driver.data(Dir::Request, true, &mut *way, piece) {
        OnChunk::Over => {}
        OnChunk::Release | OnChunk::Keep | OnChunk::Park | OnChunk::Wait => {
            if left != bytes {
                way.lines.push(format!("replaces the body: {} bytes, of {}", left.len(), bytes.len()));
            }
            way.body = left;
        }
    }
}

/// The answer through one core: headers, the body in one piece, trailers where there are any.
fn answer<S: Stream>(driver: &mut Driver<S, usize>, way: &mut Way) {
    let end = way.answer.trailers.is_empty();
    let bytes = std::mem::take(&mut way.answer.body);
    if driver.headers(Dir::Response, end && bytes.is_empty(), &mut *way) == OnHead::Over {
        return;
    }
    let mut left = bytes.clone();
    if !bytes.is_empty() {
        let piece = Piece { bytes: &bytes, left: &mut left };
        if driver.data(Dir::Response, end, &mut *way, piece) == OnChunk::Over {
            return;
        }
    }
    let mut last = Vec::new();
    if !end
        && driver.trailers(Dir::Response, &mut *way, Piece { bytes: &[], left: &mut last }) == OnHead::Over
    {
        return;
    }
    left.append(&mut last);
    way.answer.body = left;
}

/// The RPC that a path and method have become, and the codec.
fn row(before: &Way, after: &Way) -> Vec<String> {
    let (Some(from), Some(to)) = (before.text(":path"), after.text(":path")) else { return Vec::new() };
    let method = before.text(":method").unwrap_or_default();
    let rpc = to.rsplit('/').next().unwrap_or_default();
    let kind = |way: &Way| way.text("content-type").unwrap_or_else(|| "no content type".into());
    if from != to {
        let (old, new) = (kind(before), kind(after));
        vec![format!("row: {method} {from} is the RPC {rpc}"), format!("codec: {old} becomes {new}")]
    } else if kind(before).starts_with("application/grpc") {
        vec!["row: none, the request is gRPC already and passes as it is".into()]
    } else {
        Vec::new()
    }
}

/// Which rule is behind each pair: the first that leads to it when it is alone in the configuration.
fn deciding(link: &Link, before: &Way, after: &Way) -> Vec<String> {
    let config: Value = serde_json::from_str(&link.configuration.json).unwrap_or_else(|_| json!({}));
    let mut lines = Vec::new();
    for (key, value) in after.subset.iter().filter(|(key, value)| before.subset.get(*key) != Some(value)) {
        for list in ["headerToDynamicSubsetKey", "rules"] {
            let rules = config.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let decides = rules.iter().position(|rule| {
                let mut alone = config.clone();
                alone["rules"] = json!([]);
                if let Some(fields) = alone.as_object_mut() {
                    fields.remove("headerToDynamicSubsetKey");
                    fields.remove("rules");
                }
                alone[list] = json!([rule]);
                let mut way = before.again();
                let configuration = Configuration { json: alone.to_string(), ..link.configuration.clone() };
                let only = Link { origin: link.origin.clone(), configuration };
                core(&only, &mut way).is_ok() && way.subset.get(key) == Some(value)
            });
            if let Some(index) = decides {
                lines.push(format!("rule: {list}[{index}] {} gives {key}={value}", rules[index]));
                break;
            }
        }
    }
    if lines.is_empty() && after.subset == before.subset {
        lines.push("rule: none of the rules is about this request, so it has no subset".into());
    }
    lines
}

/// The rules of `claim-headers`, so that a reader sees which claim a header is of.
fn mapped(configuration: &Configuration) -> Vec<String> {
    let config: Value = serde_json::from_str(&configuration.json).unwrap_or_default();
    let rules = config.get("map").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let line = |(index, rule): (usize, &Value)| {
        let claim = rule.get("claim").map(Value::to_string).unwrap_or_default();
        let header = rule.get("header").and_then(Value::as_str).unwrap_or_default();
        format!("claim: map[{index}] makes {header} of the claim {claim}")
    };
    rules.iter().enumerate().map(line).collect()
}
