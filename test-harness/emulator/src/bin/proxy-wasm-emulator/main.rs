//! Runs a filter against cases in files: `proxy-wasm-emulator run FILTER.wasm --cases DIR`.

mod case;
mod check;
mod play;

use std::path::PathBuf;
use std::process::ExitCode;

use proxy_wasm_emulator::EnvoyVersion;

const USAGE: &str = "\
usage: proxy-wasm-emulator run FILTER.wasm --cases DIR [options] [NAME...]

Runs the module against every *.toml below DIR, or those whose name has NAME in it, as Envoy would.

  --hold           with allow_on_headers_stop_iteration: true
  --envoy VERSION  behaves as Envoy 1.38, 1.39 or 1.40 (default)
  --cluster NAME   a cluster that calls may be made to; those that a case answers for exist anyway
  --filter NAME    leaves out cases that say they are about another filter
  --log            prints what the filter logs, also of cases that pass
";

/// What the command line asks for.
pub(crate) struct Request {
    pub(crate) module: PathBuf,
    pub(crate) cases: PathBuf,
    pub(crate) hold: bool,
    pub(crate) version: EnvoyVersion,
    pub(crate) clusters: Vec<String>,
    pub(crate) filter: Option<String>,
    pub(crate) log: bool,
    pub(crate) names: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match parse(arguments).and_then(|request| play::all(&request)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("proxy-wasm-emulator: {why}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: Vec<String>) -> Result<Request, String> {
    let mut arguments = arguments.into_iter();
    if arguments.next().as_deref() != Some("run") {
        return Err(format!("the one command is `run`\n\n{USAGE}"));
    }
    let (mut module, mut cases) = (None, None);
    let (mut hold, mut log, mut version, mut filter) = (false, false, EnvoyVersion::V1_40, None);
    let (mut clusters, mut names) = (Vec::new(), Vec::new());
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--cases" => cases = Some(value()?.into()),
            "--hold" => hold = true,
            "--log" => log = true,
            "--cluster" => clusters.push(value()?),
            "--filter" => filter = Some(value()?),
            "--envoy" => {
                version = match value()?.as_str() {
                    "1.38" => EnvoyVersion::V1_38,
                    "1.39" => EnvoyVersion::V1_39,
                    "1.40" => EnvoyVersion::V1_40,
                    other => return Err(format!("--envoy {other}: the emulator knows 1.38, 1.39 and 1.40")),
                };
            }
            option if option.starts_with('-') => return Err(format!("unknown option {option}\n\n{USAGE}")),
            _ if module.is_none() => module = Some(argument.into()),
            _ => names.push(argument),
        }
    }
    let module = module.ok_or_else(|| format!("which module?\n\n{USAGE}"))?;
    let cases = cases.ok_or_else(|| format!("--cases DIR is missing\n\n{USAGE}"))?;
    Ok(Request { module, cases, hold, version, clusters, filter, log, names })
}
