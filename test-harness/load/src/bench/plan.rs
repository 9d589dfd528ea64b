//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::row::Row;

pub(crate) const HELP: &str = "\
bench [OPTIONS]      usually as: cargo xtask bench [OPTIONS]

  --quick            a smoke run: small tensors, one round; its numbers mean nothing
  --rounds N         rounds (each column once per round) with each process; default 4
  --row NAME         this row only; may be repeated
  --side N           large tensors of 1x3xNxN; default 512
  --dist DIR         measure the filters in DIR instead of dist/

$ENVOY is the Envoy to measure with.";

/// A run's extent.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) quick: bool,
    /// How many processes each column is measured with in each row, one after the other; one in rows that grow.
    pub(crate) processes: usize,
    /// How often each of them is measured.
    pub(crate) rounds_per_process: usize,
    /// Requests per round, one after the other, in the rows with large tensors.
    pub(crate) requests_per_round: usize,
    /// Large requests before the first round: V8 compiles what is hot while they run.
    pub(crate) warm_up: usize,
    /// How long a round of the concurrent row lasts.
    pub(crate) concurrent_round: Duration,
    /// Height and width of the large tensor.
    pub(crate) side: usize,
    /// At most so many exchanges stand still at once.
    pub(crate) most_idle: u32,
    /// A stream has at most so many events.
    pub(crate) most_events: u32,
    /// Streams per round, one after the other.
    pub(crate) streams_per_round: usize,
    /// How many bytes of JSON are taken for a megabyte in the rows that grow.
    pub(crate) megabyte: usize,
    /// Where the filters are.
    pub(crate) dist: PathBuf,
    only: Vec<Row>,
}

/// How much is done for one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) processes: usize,
    pub(crate) requests_per_round: usize,
    pub(crate) warm_up: usize,
}

impl Plan {
    /// Reads the command line; nothing if it asks for help.
    pub(crate) fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let mut plan = Self {
            quick: false,
            processes: 3,
            rounds_per_process: 4,
            requests_per_round: 3,
            warm_up: 5,
            concurrent_round: Duration::from_secs(2),
            side: 512,
            megabyte: 1_000_000,
            most_idle: u32::MAX,
            most_events: u32::MAX,
            streams_per_round: 250,
            dist: e2e::dist(""),
            only: Vec::new(),
        };
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n\n{HELP}"));
            match argument {
                "--quick" => {
                    plan.quick = true;
                    (plan.processes, plan.rounds_per_process) = (1, 1);
                    (plan.requests_per_round, plan.warm_up) = (1, 1);
                    (plan.concurrent_round, plan.side) = (Duration::from_millis(100), 16);
                    (plan.megabyte, plan.most_idle) = (1000, 20);
                    (plan.most_events, plan.streams_per_round) = (1000, 5);
                }
                "--rounds" => {
                    let text = value()?;
                    plan.rounds_per_process = positive(argument, text)?;
                }
                "--side" => {
                    let text = value()?;
                    plan.side = positive(argument, text)?;
                }
                "--row" => {
                    let name = value()?;
                    let row = Row::ALL.into_iter().find(|row| row.name() == name);
                    let names = || Row::ALL.map(Row::name).join(", ");
                    plan.only.push(row.ok_or_else(|| format!("no row {name:?}; there are: {}", names()))?);
                }
                // Envoy runs in the repository's root, which need not be where this program runs.
                "--dist" => plan.dist = std::path::absolute(value()?)?,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("no option {other:?}\n\n{HELP}").into()),
            }
        }
        Ok(Some(plan))
    }

    /// The plan of a row: one that grows is there for the comparison with itself, and its large bodies take long.
    pub(crate) fn of(&self, row: Row) -> Extent {
        if row.grows_in_size() {
            return Extent { processes: 1, requests_per_round: 1, warm_up: self.warm_up.min(2) };
        }
        Extent {
            processes: self.processes,
            requests_per_round: self.requests_per_round,
            warm_up: self.warm_up,
        }
    }

    /// The rows to measure.
    pub(crate) fn rows(&self) -> Vec<Row> {
        if self.only.is_empty() { Row::ALL.to_vec() } else { self.only.clone() }
    }
}

fn positive(option: &str, text: &str) -> Result<usize> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| format!("{option} {text}: not a positive number").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Option<Plan>> {
        Plan::parse(&arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn without_options_every_row_is_measured_in_full() {
        let plan = parse(&[]).unwrap().unwrap();
        assert_eq!((plan.rows().len(), plan.rounds_per_process, plan.side), (Row::ALL.len(), 4, 512));
    }

    #[test]
    fn named_rows_and_rounds_are_taken() {
        let plan = parse(&["--row", "tiny", "--rounds", "3", "--side", "64"]).unwrap().unwrap();
        assert_eq!((plan.rows(), plan.rounds_per_process, plan.side), (vec![Row::Tiny], 3, 64));
    }

    #[test]
    fn a_wrong_option_is_named() {
        for (arguments, named) in [
            (&["--fast"][..], "no option \"--fast\""),
            (&["--rounds"], "--rounds needs a value"),
            (&["--rounds", "0"], "--rounds 0: not a positive number"),
            (&["--row", "huge"], "no row \"huge\"; there are: tiny"),
        ] {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
