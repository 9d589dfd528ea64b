//! What cases run on.

use crate::case::{Case, Column};
use crate::chunking::Chunking;
use crate::core_host::Core;
use crate::outcome::Outcome;
use filter_api::Plugin;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::marker::PhantomData;

/// What cases run on: a core, a module in a host, an Envoy.
///
/// A subject is listed at once, but started only when its first case is due, once for all of its cases and on the thread
/// that runs them.
pub trait Subject: Send + 'static {
    /// What runs: a VM, a loaded library, an Envoy. Dropping it ends it.
    type Live;

    /// The columns of the table of hosts in which it runs cases.
    fn columns(&self) -> &[Column];

    /// What tells it from other subjects with these columns, in the names of trials: an Envoy's version.
    fn label(&self) -> String {
        String::new()
    }

    /// The filter whose cases it runs; every filter's if `None`.
    fn filter(&self) -> Option<&str> {
        None
    }

    /// The ways in which a client can ask, such as protocols, by name. A case holds in each of them.
    fn ways(&self) -> &'static [&'static str] {
        &[""]
    }

    /// What it needs but cannot find: the environment variable that would name it.
    fn missing(&self) -> Option<String> {
        None
    }

    /// Starts it for these cases.
    ///
    /// # Errors
    /// Why it does not start.
    fn start(&self, cases: &[&Case]) -> Result<Self::Live, String>;

    /// Runs a case.
    ///
    /// # Errors
    /// Why there is no outcome.
    fn exchange(&self, live: &mut Self::Live, case: &Case, run: Run) -> Result<Outcome, String>;

    /// Whether it is still sound after the exchanges so far.
    ///
    /// # Errors
    /// What is wrong with it.
    fn verdict(&self, live: &mut Self::Live) -> Result<(), String> {
        let _ = live;
        Ok(())
    }
}

/// One of the runs of a case on a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The column, one of [`Subject::columns`].
    pub column: Column,
    /// How bodies are cut.
    pub chunking: Chunking,
    /// How the client asks, one of [`Subject::ways`].
    pub way: &'static str,
}

/// What is wrong with a case on a subject, or with the subject itself, which is then of no further use.
#[derive(Debug)]
pub(crate) enum Failure {
    Case(String),
    Subject(String),
}

/// Runs a case under every chunking.
pub(crate) fn hold<S: Subject>(
    subject: &S,
    live: &mut S::Live,
    case: &Case,
    column: Column,
    way: &'static str,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for chunking in Chunking::ALL {
        let outcome = subject.exchange(live, case, Run { column, chunking, way });
        if let Err(difference) = outcome.and_then(|outcome| case.check(column, &outcome)) {
            failures.push(format!("{chunking:?}: {difference}"));
        }
    }
    let well = subject.verdict(live);
    failures.extend(well.as_ref().err().cloned());
    match (failures.is_empty(), well) {
        (true, _) => Ok(()),
        (false, Ok(())) => Err(Failure::Case(failures.join("\n"))),
        (false, Err(_)) => Err(Failure::Subject(failures.join("\n"))),
    }
}

/// Whether a subject runs a case in a column.
pub(crate) fn takes(subject: &impl Subject, case: &Case, column: Column) -> bool {
    case.columns.contains(&column) && subject.filter().is_none_or(|filter| filter == case.filter)
}

/// Runs all cases on a subject in one test, for targets on which there can be no trial for each: Node.
///
/// # Panics
/// A case does not hold, the subject does not start, or there are fewer runs than `at_least`.
pub fn assert_all_hold<S: Subject>(subject: &S, cases: &[Case], at_least: usize) {
    let all: Vec<&Case> = cases.iter().collect();
    let mut live = subject.start(&all).unwrap_or_else(|why| panic!("{why}"));
    let (mut runs, mut failures) = (0, Vec::new());
    for case in cases {
        for &column in subject.columns().iter().filter(|&&column| takes(subject, case, column)) {
            for &way in subject.ways() {
                runs += 1;
                if let Err(Failure::Case(why) | Failure::Subject(why)) =
                    hold(subject, &mut live, case, column, way)
                {
                    failures.push(format!("{} ({}): {why}", case.name, column.name()));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {runs} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(runs >= at_least, "only {runs} runs: were cases lost?");
}

/// A core without a host around it: a [`Core`] for each configuration.
#[derive(Debug)]
pub struct OnCore<P> {
    others: usize,
    plugin: PhantomData<fn() -> P>,
}

impl<P: Plugin> OnCore<P> {
    /// The core of this filter, alone in its process.
    #[must_use]
    pub fn alone() -> Self {
        Self::beside(0)
    }

    /// The same in a process whose other streams hold this many bytes of [`crate::MEMORY_BYTES`].
    #[must_use]
    pub fn beside(others: usize) -> Self {
        Self { others, plugin: PhantomData }
    }
}

impl<P: Plugin> Subject for OnCore<P> {
    type Live = HashMap<(String, Column), Core<P>>;

    fn columns(&self) -> &[Column] {
        &Column::ALL
    }

    fn filter(&self) -> Option<&str> {
        Some(P::NAME)
    }

    fn start(&self, _cases: &[&Case]) -> Result<Self::Live, String> {
        Ok(HashMap::new())
    }

    fn exchange(&self, cores: &mut Self::Live, case: &Case, run: Run) -> Result<Outcome, String> {
        let core = match cores.entry((case.config_in(run.column), run.column)) {
            Entry::Occupied(core) => core.into_mut(),
            Entry::Vacant(place) => {
                let core = Core::configure_beside(self.others, &place.key().0, run.column)?;
                place.insert(core)
            }
        };
        core.run(case, run.chunking)
    }
}
