//! `observability/`: the rules and the dashboard, on a real Prometheus that scrapes running Envoys.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod documents;
mod scraped;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use e2e::{Suite, dist, envoys, output, repository};

fn main() -> ExitCode {
    let running = || {
        let envoy = envoys().pop().ok_or("ENVOY_140")?;
        let programs = programs()?;
        if dist("kserve_transcoder.wasm").is_file() { Ok((envoy, programs)) } else { Err("dist/") }
    };
    Suite::new()
        .test("every_alert_has_a_runbook_and_a_case", documents::runbooks)
        .test("rules_and_dashboard_read_metrics_that_the_filters_have", documents::metrics)
        .given("each_alert_fires_on_what_it_is_for_and_is_silent_without", programs(), |programs| {
            promtool(&programs);
        })
        .given("every_query_has_an_answer_from_running_envoys", running(), |(envoy, programs)| {
            scraped::queried(&envoy.path, &programs);
        })
        .run()
}

/// The folder with `prometheus` and `promtool`.
fn programs() -> Result<PathBuf, &'static str> {
    const VARIABLE: &str = "PROMETHEUS";
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from).ok_or(VARIABLE)
}

fn folder() -> PathBuf {
    repository().join("observability")
}

fn promtool(programs: &Path) {
    for arguments in [
        ["check", "rules", "rules.yaml"],
        ["check", "config", "prometheus.yaml"],
        ["test", "rules", "rules.test.yaml"],
    ] {
        let mut promtool = Command::new(programs.join("promtool"));
        let done = output(promtool.args(arguments).current_dir(folder())).unwrap();
        let said =
            [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(done.status.success(), "promtool {arguments:?}: {said}");
    }
}
