//! The matrix of official clients, real servers and hosts of the filter.
//!
//! Each client makes its calls at each host in front of each server, and at the server's own port where that speaks the client's
//! protocol. A cell says how many of the calls were told what they must be; what a server itself cannot do is named, and is
//! looked at there.

mod clients;
mod page;
mod servers;

use clients::{CLIENTS, Client, Told};
use e2e::{Installed, repository};
use page::{Asked, Cell, Row, Table};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use testkit::Column;

pub(crate) use page::print;
pub(crate) use servers::Kind;

/// What has come of the servers that were run, until all of it is printed.
static TABLES: Mutex<BTreeMap<Kind, Table>> = Mutex::new(BTreeMap::new());

/// Has all clients that are here ask a server through each host, and holds what came of it against the page.
pub(crate) fn of(kind: Kind, envoy: &Installed, python: &Path) {
    let server = servers::Server::start(kind, python);
    let envoy = servers::start_envoy(envoy, kind, &server);
    let mut table = Table { version: servers::version(&envoy), rows: Vec::new() };
    let mut faults = Vec::new();
    for client in &CLIENTS {
        let hosts = Column::ALL.map(|column| envoy.address(&client.asks.listener(column)).unwrap());
        let row = match client.python.here() {
            Ok(python) => ask(client, kind, &python, (client.own)(kind, &server), &hosts, &mut faults),
            Err(missing) => Row { speaks: client.speaks, result: Err(missing) },
        };
        table.rows.push(row);
    }
    TABLES.lock().unwrap().insert(kind, table.clone());
    assert!(
        faults.is_empty(),
        "{}\n\nthe log of {}:\n{}",
        faults.join("\n"),
        kind.name(),
        last_lines(&server.log())
    );
    page::hold_against(kind, &table);
}

fn ask(
    client: &Client,
    kind: Kind,
    python: &Path,
    own: Option<SocketAddr>,
    hosts: &[SocketAddr; 3],
    faults: &mut Vec<String>,
) -> Row {
    let endpoints: Vec<SocketAddr> = own.into_iter().chain(*hosts).collect();
    let mut printed = run(python, client.script, &endpoints);
    let package = printed["package"].as_str().unwrap().to_owned();
    let mut told = match printed["told"].take() {
        Value::Array(told) => told.into_iter(),
        other => panic!("{}: {other}", client.script),
    };
    let own = own.and_then(|_| told.next());
    let at_its_own_port = own.as_ref().map(|own| {
        let place = Told { kind, column: None, own: Some(own) };
        judge(client, &place, own).0
    });
    let cells = Column::ALL.map(|column| {
        let place = Told { kind, column: Some(column), own: own.as_ref() };
        let (cell, wrong) = judge(client, &place, &told.next().unwrap_or_default());
        let name = format!("{}, {} in front of {}", client.script, column.name(), kind.name());
        faults.extend(wrong.into_iter().map(|fault| format!("{name}: {fault}")));
        cell
    });
    let limits = client.limits.iter().filter(|limit| limit.server == kind);
    let limits = limits.map(|limit| match limit.calls {
        [] => limit.why.to_owned(),
        calls => format!("{}: {}", calls.join(", "), limit.why),
    });
    let limits = limits.collect::<Vec<_>>().join("; ");
    Row { speaks: client.speaks, result: Ok(Asked { package, own: at_its_own_port, cells, limits }) }
}

/// How many calls were told what they must be, and what is wrong with the others.
fn judge(client: &Client, place: &Told, told: &Value) -> (Cell, Vec<String>) {
    let expected = (client.expected)(place);
    let expected = expected.as_object().unwrap();
    let mut cell = Cell { answered: 0, calls: expected.len() };
    let mut wrong = Vec::new();
    for (call, wanted) in expected {
        let right = told[call] == *wanted;
        cell.answered += usize::from(right);
        let limited = client.limits.iter().any(|limit| {
            limit.server == place.kind && (limit.calls.is_empty() || limit.calls.contains(&call.as_str()))
        });
        match (limited, right) {
            (false, true) => {}
            (false, false) => wrong.push(format!("{call}: {} and not {wanted}", told[call])),
            (true, true) => wrong.push(format!("{call}: what the server cannot do was done")),
            // The limit is the server's own: its own port says the same.
            (true, false) if place.own.is_some_and(|own| own[call] == told[call]) => {}
            (true, false) => {
                wrong.push(format!("{call}: {}, and the server itself says {:?}", told[call], place.own));
            }
        }
    }
    let unexpected = told.as_object().into_iter().flatten().filter(|(call, _)| !expected.contains_key(*call));
    wrong.extend(unexpected.map(|(call, value)| format!("{call}: {value}, of which nothing is expected")));
    (cell, wrong)
}

fn run(python: &Path, script: &str, endpoints: &[SocketAddr]) -> Value {
    let path = repository().join("test-harness/e2e/python").join(script);
    let mut command = Command::new(python);
    command.arg(path).args(endpoints.iter().map(SocketAddr::to_string));
    let output = e2e::output(command.env("PYTHONDONTWRITEBYTECODE", "1")).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} gave up: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{script}: {error}: {complaint}"))
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
