//! A test target's `main` in which every case is a trial of its own on every subject.

use crate::case::{Case, Column};
use crate::subject::{Failure, Subject, hold, takes};
use libtest_mimic::{Arguments, Trial};
use std::collections::VecDeque;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

/// Cases, and the subjects that they run on: `CASE::COLUMN` is the name of a trial, with the client's way to ask and the
/// subject's label behind it where it has them.
///
/// A subject is started when one of its trials is due that the command line asks for, and ended after the last. As many
/// subjects run at the same time as there are test threads.
pub struct Trials {
    arguments: Arguments,
    cases: Vec<Arc<Case>>,
    trials: Vec<Trial>,
    crew: Arc<Crew>,
}

impl Trials {
    /// Trials of these cases.
    #[must_use]
    pub fn of(cases: Vec<Case>) -> Self {
        let arguments = Arguments::from_args();
        let here = || thread::available_parallelism().map_or(1, NonZero::get);
        let crew = Crew { size: arguments.test_threads.unwrap_or_else(here), ..Crew::default() };
        let cases = cases.into_iter().map(Arc::new).collect();
        Self { arguments, cases, trials: Vec::new(), crew: Arc::new(crew) }
    }

    /// Has the cases run on a subject, in each of its columns.
    ///
    /// # Panics
    /// There are fewer trials than `at_least`.
    #[must_use]
    pub fn on(mut self, subject: impl Subject, at_least: usize) -> Self {
        let (label, missing) = (subject.label(), subject.missing());
        let mut jobs = Vec::new();
        for &column in subject.columns() {
            for case in self.cases.iter().filter(|case| takes(&subject, case, column)) {
                for &way in subject.ways() {
                    let parts = [case.name.as_str(), column.name(), way, &label];
                    let name: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                    let (job, trial) = self.trial(case.clone(), column, way, &name.join("::"));
                    self.trials.push(unless_missing(trial, missing.as_deref()));
                    jobs.push(job);
                }
            }
        }
        assert!(jobs.len() >= at_least, "only {} trials {label}: were cases lost?", jobs.len());
        // A trial that is run although it has no work fails.
        if missing.is_none() {
            self.crew.will(Box::new(move || run_all(&subject, jobs)));
        }
        self
    }

    /// A trial, and the job whose result it waits for.
    fn trial(&self, case: Arc<Case>, column: Column, way: &'static str, name: &str) -> (Job, Trial) {
        let (done, result) = channel();
        let wanted = Arc::new(());
        let job = Job { case, column, way, wanted: Arc::downgrade(&wanted), done };
        let crew = self.crew.clone();
        let body = move || {
            let _wanted = wanted;
            crew.start();
            result
                .recv()
                .unwrap_or_else(|_| Err("its subject is not here, or its thread has ended".to_owned()))
        };
        (job, Trial::test(name, move || body().map_err(Into::into)))
    }

    /// Runs the trials that the command line asks for.
    pub fn run(self) -> ExitCode {
        let conclusion = libtest_mimic::run(&self.arguments, self.trials);
        self.crew.end();
        conclusion.exit_code()
    }
}

/// `trial`, or, if something that it needs is missing, an ignored one with `[needs WHAT]` before its name. `WHAT` is the
/// environment variable that would name it, from which `cargo xtask test` knows how to get it.
#[must_use]
pub fn unless_missing(trial: Trial, missing: Option<&str>) -> Trial {
    match missing {
        Some(what) => trial.with_ignored_flag(true).with_kind(format!("needs {what}")),
        None => trial,
    }
}

/// A case that is due on a subject.
struct Job {
    case: Arc<Case>,
    column: Column,
    way: &'static str,
    /// Dead once the command line has left the trial out.
    wanted: Weak<()>,
    done: Sender<Result<(), String>>,
}

/// Runs what is wanted on one subject.
fn run_all<S: Subject>(subject: &S, mut jobs: Vec<Job>) {
    jobs.retain(|job| job.wanted.strong_count() > 0);
    let mut cases: Vec<&Case> = jobs.iter().map(|job| &*job.case).collect();
    cases.dedup_by_key(|case| std::ptr::from_ref(*case));
    let mut live: Option<Result<S::Live, String>> = None;
    for job in &jobs {
        let run = || {
            let live = live.get_or_insert_with(|| subject.start(&cases)).as_mut();
            let live = live.map_err(|why| Failure::Case(why.clone()))?;
            hold(subject, live, &job.case, job.column, job.way)
        };
        let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Failure::Subject(text.unwrap_or("it panicked").to_owned()))
        });
        // The next case must not suffer from this one.
        if matches!(result, Err(Failure::Subject(_))) {
            live = None;
        }
        // Its trial is waiting.
        let _ = job.done.send(result.map_err(|(Failure::Case(why) | Failure::Subject(why))| why));
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// The threads on which subjects run, one after the other.
#[derive(Default)]
struct Crew {
    size: usize,
    work: Mutex<VecDeque<Work>>,
    /// Empty until the first trial is due.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Crew {
    fn will(&self, work: Work) {
        lock(&self.work).push_back(work);
    }

    /// By now the command line's choice of trials has been made.
    fn start(self: &Arc<Self>) {
        let mut threads = lock(&self.threads);
        if threads.is_empty() {
            threads.extend((0..self.size.max(1)).map(|_| {
                let crew = self.clone();
                thread::spawn(move || {
                    while let Some(work) = crew.next() {
                        work();
                    }
                })
            }));
        }
    }

    fn next(&self) -> Option<Work> {
        lock(&self.work).pop_front()
    }

    /// Waits until every subject has ended.
    fn end(&self) {
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // What it panicked with has been printed, and its trials have failed.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
