//! What the command line asks for.

use std::path::PathBuf;

use testkit::Column;

use crate::Result;

pub(crate) const HELP: &str = "\
soak [OPTIONS]       usually as: cargo xtask soak [OPTIONS]

  --requests N       requests per host; default 200000; from 20000 on memory must be flat
  --host HOST        wasm, wasm-hold or native only; may be repeated; default wasm and native
  --clients N        clients at once, half over HTTP/1.1 and half over HTTP/2; default 16
  --seed N           another mixture; default 1

$ENVOY is the Envoy to soak.";

/// A run's extent.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) requests: u64,
    pub(crate) columns: Vec<Column>,
    pub(crate) clients: u64,
    pub(crate) seed: u64,
    pub(crate) envoy: PathBuf,
}

impl Plan {
    /// Reads the command line; nothing if it asks for help.
    pub(crate) fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let mut plan =
            Self { requests: 200_000, columns: Vec::new(), clients: 16, seed: 1, envoy: PathBuf::new() };
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n\n{HELP}"));
            match argument {
                "--requests" => plan.requests = positive(argument, value()?)?,
                "--clients" => plan.clients = positive(argument, value()?)?,
                "--seed" => plan.seed = positive(argument, value()?)?,
                "--host" => {
                    let name = value()?;
                    let column = Column::ALL.into_iter().find(|column| column.name() == name);
                    plan.columns.push(column.ok_or_else(|| format!("no host {name:?}\n\n{HELP}"))?);
                }
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("no option {other:?}\n\n{HELP}").into()),
            }
        }
        if plan.columns.is_empty() {
            plan.columns = vec![Column::Wasm, Column::Native];
        }
        let envoy = std::env::var_os("ENVOY").filter(|value| !value.is_empty());
        plan.envoy = envoy.ok_or("ENVOY names no Envoy: `cargo xtask soak` finds one, or gets it")?.into();
        Ok(Some(plan))
    }
}

fn positive(option: &str, text: &str) -> Result<u64> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| format!("{option} {text}: not a positive number").into())
}
