//! `native-groups` and `native-subsets`: each request reaches its group.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use e2e::groups::{NAMES, cases, who};
use e2e::{Protocol, Request, send};

use super::{Gateway, Server};
use crate::report::Report;

/// How often all cases are sent at most until every server has answered.
const ROUNDS: usize = 50;

pub(super) fn tried(gateway: &Gateway<'_>, report: &mut Report) {
    gateway.inference(report);
    report.check("mixed requests, each to its group, until every server has answered", mixed());
    report.check("a client's own group header reaches no server", forged(gateway));
}

fn mixed() -> Result<()> {
    let mut cases = cases(true);
    // The header that chooses the group, from a client.
    let lie = |request: Request, group: &str| request.header("x-subset-model.format", group);
    let ready = |model: &str| Request::get(&format!("/v2/models/{model}/ready"));
    cases.push((lie(ready("pt-style-transfer"), "tensorflow"), "pytorch-"));
    cases.push((lie(ready("tf-style-transfer"), "pytorch"), "tensorflow-"));
    let mut served = BTreeSet::new();
    for round in 0..ROUNDS {
        for (number, (request, expected)) in cases.iter().enumerate() {
            let grpc = request.path.starts_with("/inference");
            let protocol = if grpc || (round + number) % 2 == 0 { Protocol::Http2 } else { Protocol::Http1 };
            let answer = send(protocol, Server::address(), request)?.complete()?;
            let name = who(&answer);
            let right = NAMES.contains(&name.as_str()) && name.starts_with(expected);
            ensure!(right, "{request:?}: {name}, not {expected:?}: {}", answer.text());
            served.insert(name);
        }
        if served.len() == NAMES.len() {
            return Ok(());
        }
    }
    bail!("after {ROUNDS} rounds only these have answered: {served:?}")
}

/// A request for no group of its own, with a header that claims one: it goes anywhere, without that header.
fn forged(gateway: &Gateway<'_>) -> Result<()> {
    for group in ["tensorflow", "pytorch", "another"] {
        let lies = [("X-Subset-Model.Format", group.to_owned()), ("x-subset-stage", group.to_owned())];
        let (answer, seen) = gateway.ask(&Request::get("/v2/models/any/ready"), None, &lies)?;
        ensure!(answer.status() == 200, "{group}: {} {}", answer.status(), answer.text());
        let seen = seen.with_context(|| format!("{group}: no server was asked"))?;
        let left: Vec<_> = seen.headers.iter().filter(|(name, _)| name.starts_with("x-subset-")).collect();
        ensure!(left.is_empty(), "{group}: the server got {left:?}");
    }
    Ok(())
}
