//! What came of all tests, and why some were skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::Stop;
use crate::run::{self, Checked};

/// What wasm-bindgen's runner says, with success, of a binary without tests. Tests under a plain `#[test]` are
/// such: it does not see them.
const NO_TESTS_UNDER_NODE: &str = "no tests to run!";
/// How many tests that are skipped for one reason are named.
const NAMED: usize = 20;

/// What came of all tests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Why something is not here, and what to install, by the name that tests have for it.
    lacking: BTreeMap<String, String>,
    /// What was skipped, by the reason.
    left_out: BTreeMap<String, LeftOut>,
}

/// What was skipped for one reason.
#[derive(Debug, Default, PartialEq, Eq)]
struct LeftOut {
    count: u64,
    /// Without the version at their end.
    names: BTreeSet<String>,
}

impl Tally {
    /// Runs a `cargo test` and adds its closing lines up. One that ends in failure without saying which test
    /// failed (it did not compile) counts as one, and so does one that ran no test.
    pub(crate) fn tests(&mut self, name: &str, cargo: &mut Command) {
        let (before, ran_before) = (self.failed, self.ran());
        let outcome = run::step(name, || {
            let mut empty = 0;
            let status = cargo.teed(|line| {
                self.add(line);
                empty += u64::from(line.trim() == NO_TESTS_UNDER_NODE);
            })?;
            if !status.success() {
                Err(Stop::new(format!("{name}: {status}")))
            } else if self.ran() == ran_before || empty > 0 {
                Err(Stop::new(format!("{name}: a test binary ran no tests")))
            } else {
                Ok(())
            }
        });
        if let Err(stop) = outcome {
            eprintln!("    {stop}");
            self.failed = self.failed.max(before + 1);
        }
    }

    fn ran(&self) -> u64 {
        self.passed + self.failed
    }

    /// Notes why something is not here that tests need, and what to install. They say `[needs NAME]` when they are
    /// skipped.
    pub(crate) fn lacks(&mut self, name: &str, why: &str) {
        self.lacking.insert(name.to_owned(), why.to_owned());
    }

    /// Notes that something is left out, and why.
    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        eprintln!("==> skipped: {what}: {why}");
        self.skipped += 1;
        self.leave_out(what, why);
    }

    fn leave_out(&mut self, what: &str, why: &str) {
        let left_out = self.left_out.entry(why.to_owned()).or_default();
        left_out.count += 1;
        let version = |end: &str| !end.is_empty() && end.chars().all(|c| c.is_ascii_digit() || c == '.');
        let name = what.rsplit_once("::").filter(|(_, end)| version(end)).map_or(what, |(name, _)| name);
        left_out.names.insert(name.to_owned());
    }

    /// Adds what a line of libtest's says of a test that was skipped, or, if it is the closing one, of all.
    fn add(&mut self, line: &str) {
        let line = line.trim_start();
        if let Some((what, why)) = skipped(line) {
            let why = match why {
                Why::Said(why) => why.to_owned(),
                Why::Needs(name) => {
                    self.lacking.get(name).cloned().unwrap_or_else(|| format!("there is no {name}"))
                }
                Why::Unsaid => "they do not say why".to_owned(),
            };
            self.leave_out(what, &why);
            return;
        }
        // The closing line: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let counts = counts.split_once(". ").map_or(counts, |(_, counts)| counts);
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, what)| (number.parse::<u64>(), what)) {
                Some((Ok(n), "passed")) => self.passed += n,
                Some((Ok(n), "failed")) => self.failed += n,
                Some((Ok(n), "ignored")) => self.skipped += n,
                _ => {}
            }
        }
    }

    /// What was skipped and why, a reason with its tests after the other.
    fn report(&self) -> String {
        let mut report = String::new();
        for (why, LeftOut { count, names }) in &self.left_out {
            report += &format!("{count} skipped: {why}\n");
            for name in names.iter().take(NAMED) {
                report += &format!("    {name}\n");
            }
            if names.len() > NAMED {
                report += &format!("    and {} others\n", names.len() - NAMED);
            }
        }
        report
    }

    /// What was skipped, and the last line of all.
    pub(crate) fn close(self) -> Result<(), Stop> {
        let Self { passed, failed, skipped, .. } = self;
        print!("{}", self.report());
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed == 0 { Ok(()) } else { Err(Stop::new("tests failed")) }
    }
}

/// Why a test was skipped, as its line says.
#[derive(Debug, PartialEq, Eq)]
enum Why<'a> {
    /// `#[ignore = "..."]`.
    Said(&'a str),
    /// Something is missing that goes by this name.
    Needs(&'a str),
    /// `#[ignore]`.
    Unsaid,
}

/// A skipped test in a line of libtest's (`test NAME ... ignored, WHY`) or of libtest-mimic's (`test [needs WHAT] NAME
/// ... ignored`).
fn skipped(line: &str) -> Option<(&str, Why<'_>)> {
    let (what, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ignored")?;
    match (what.strip_prefix("[needs ").and_then(|what| what.split_once(']')), outcome.strip_prefix(", ")) {
        (Some((missing, what)), _) => Some((what.trim(), Why::Needs(missing))),
        (None, Some(why)) => Some((what.trim(), Why::Said(why))),
        (None, None) => outcome.is_empty().then(|| (what.trim(), Why::Unsaid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_every_runner_add_up() {
        let mut tally = Tally::default();
        tally.add(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.0s",
        );
        tally.add("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 filtered out");
        tally.add("    test result: ok. 1 passed; 0 failed; 0 ignored");
        tally.add("test the_test_result: ok. 9 passed ... ok");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (16, 2, 1));
    }

    #[test]
    fn a_run_that_fails_without_a_count_counts_as_one_failure() {
        let mut tally = Tally::default();
        tally.tests("no such program", &mut Command::new("no-such-program-at-all"));
        let mut counted = Command::new("sh");
        counted.args(["-c", "echo 'test result: FAILED. 0 passed; 2 failed; 0 ignored'; exit 101"]);
        tally.tests("two failures", &mut counted);
        assert_eq!(tally.failed, 3);
        assert!(tally.close().is_err());
    }

    #[test]
    fn a_run_that_succeeds_without_a_test_counts_as_one_failure() {
        for (said, failed) in [
            ("test result: ok. 3 passed; 0 failed; 0 ignored", 0),
            ("test result: ok. 0 passed; 0 failed; 3 ignored", 1),
            ("no tests to run!", 1),
            ("test result: ok. 3 passed; 0 failed; 0 ignored\nno tests to run!", 1),
        ] {
            let mut tally = Tally::default();
            tally.tests("a run", Command::new("printf").args(["%s\n", said]));
            assert_eq!(tally.failed, failed, "{said}");
        }
    }

    #[test]
    fn what_was_skipped_is_named_with_the_reason_and_what_to_install() {
        let mut tally = Tally::default();
        let install =
            "chromedriver was not found on PATH; on Debian: apt-get install chromium chromium-driver";
        tally.lacks("CHROMEDRIVER", install);
        for line in [
            "test [needs CHROMEDRIVER] a_user_logs_in           ... ignored",
            "test                        a_user_who_is_known    ... ok",
            "test [needs CHROMEDRIVER] a_user_logs_out::1.40  ... ignored",
            "test [needs ENVOY_139]    golden_cases_hold::1.39 ... ignored",
            "test tests::a_slow_one ... ignored, takes an hour",
            "test tests::an_odd_one ... ignored",
            "test tests::ignored ... ok",
            "test result: ok. 2 passed; 0 failed; 5 ignored; 0 measured",
        ] {
            tally.add(line);
        }
        tally.skip("pure crates under Node", "there is no node on PATH; install Node");
        let expected = format!(
            "2 skipped: {install}\n    a_user_logs_in\n    a_user_logs_out\n\
             1 skipped: takes an hour\n    tests::a_slow_one\n\
             1 skipped: there is no ENVOY_139\n    golden_cases_hold\n\
             1 skipped: there is no node on PATH; install Node\n    pure crates under Node\n\
             1 skipped: they do not say why\n    tests::an_odd_one\n"
        );
        assert_eq!(tally.report(), expected);
        assert_eq!((tally.passed, tally.skipped), (2, 6));
    }

    #[test]
    fn a_test_that_is_skipped_on_several_versions_is_named_once_and_a_long_list_is_cut() {
        let mut tally = Tally::default();
        for version in ["1.38", "1.39", "1.40"] {
            for number in 10..40 {
                tally.add(&format!("test [needs Envoy] story_{number}::{version} ... ignored"));
            }
        }
        let report = tally.report();
        assert!(
            report.starts_with("90 skipped: there is no Envoy\n    story_10\n    story_11\n"),
            "{report}"
        );
        assert!(report.ends_with("    story_29\n    and 10 others\n"), "{report}");
    }
}
