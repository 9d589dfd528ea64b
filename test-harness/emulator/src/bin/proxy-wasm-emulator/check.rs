//! Whether an exchange went as its case says.

use proxy_wasm_emulator::{Delivered, HeaderMap};

use crate::case::{Expect, Pairs, Upstream};

/// What the upstream saw, against what it must see.
pub(crate) fn upstream(expected: Option<&Upstream>, seen: Option<&Delivered>) -> Result<(), String> {
    let (expected, seen) = match (expected, seen) {
        (None, Some(seen)) if !seen.body().is_empty() => {
            return Err(format!("the upstream must not be asked, but saw {seen:?}"));
        }
        (None, _) => return Ok(()),
        (Some(_), None) => return Err("the upstream was not asked".to_owned()),
        (Some(expected), Some(seen)) => (expected, seen),
    };
    let (headers, trailers) =
        (seen.headers.clone().unwrap_or_default(), seen.trailers.clone().unwrap_or_default());
    if let Some(path) = expected.path() {
        present(&vec![(":path".to_owned(), path.to_owned())], &headers)?;
    }
    present(&expected.headers, &headers)?;
    absent(&expected.absent, &headers)?;
    present(&expected.trailers, &trailers)?;
    absent(&expected.absent_trailers, &trailers)?;
    match expected.body()? {
        Some(body) if body != seen.body() => {
            Err(format!("the upstream must see {}, not {:?}", text(&body), seen.text()))
        }
        _ => Ok(()),
    }
}

/// What the client got, against what it must get.
pub(crate) fn client(expected: &Expect, got: &Delivered) -> Result<(), String> {
    let cut = got.reset || !got.ended;
    let status = got.status().unwrap_or_default();
    if cut != expected.reset {
        let word = if expected.reset { "be cut" } else { "end" };
        return Err(format!("the answer must {word}: status {status}, body {:?}", got.text()));
    }
    if let Some(wanted) = expected.status.filter(|wanted| *wanted != status) {
        return Err(format!("the status must be {wanted}, not {status}; body {:?}", got.text()));
    }
    let headers = got.headers.clone().unwrap_or_default();
    present(&expected.headers, &headers)?;
    absent(&expected.absent, &headers)?;
    absent(&expected.absent, &got.trailers.clone().unwrap_or_default())?;
    let body = expected.body.bytes()?;
    if !expected.reset && got.body() != body {
        return Err(format!("the body must be {}, not {:?}", text(&body), got.text()));
    }
    Ok(())
}

fn present(expected: &Pairs, found: &HeaderMap) -> Result<(), String> {
    for (name, value) in expected {
        let values: Vec<_> = found.all(name).map(text).collect();
        if found.all(name).ne([value.as_bytes()]) {
            return Err(format!("header {name} must be {value:?} once, not [{}]", values.join(", ")));
        }
    }
    Ok(())
}

fn absent(names: &[String], found: &HeaderMap) -> Result<(), String> {
    match names.iter().find(|name| found.get(name).is_some()) {
        Some(name) => Err(format!("header {name} must be absent")),
        None => Ok(()),
    }
}

fn text(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}
