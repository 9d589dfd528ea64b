//! How far long work is, for a user at a terminal: one line on standard error, which goes when the work ends.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Work that is done sooner is not spoken of.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the line changes.
const PACE: Duration = Duration::from_millis(100);

/// The line. It is taken away when this is dropped.
pub(crate) struct Progress<W: Write> {
    /// `None` where it is not a terminal.
    out: Option<W>,
    next: Instant,
    shown: bool,
}

impl Progress<io::Stderr> {
    /// On standard error, if that is a terminal.
    pub(crate) fn new() -> Self {
        let out = io::stderr();
        Self::on(out.is_terminal().then_some(out), Instant::now() + PATIENCE)
    }
}

impl<W: Write> Progress<W> {
    fn on(out: Option<W>, next: Instant) -> Self {
        Self { out, next, shown: false }
    }

    /// So many of all are done.
    pub(crate) fn at(&mut self, what: &str, done: usize, all: usize) {
        let Some(out) = &mut self.out else { return };
        let now = Instant::now();
        if now < self.next {
            return;
        }
        (self.next, self.shown) = (now + PACE, true);
        // The work goes on without its terminal.
        let _ = write!(out, "\r\x1b[K{what}: {done} of {all}").and_then(|()| out.flush());
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        if let Some(out) = self.out.as_mut().filter(|_| self.shown) {
            // As above.
            let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_comes_after_a_while_and_goes_with_the_work() {
        let mut out = Vec::new();
        let mut progress = Progress::on(Some(&mut out), Instant::now() + Duration::from_secs(3600));
        progress.at("checking", 1, 2);
        drop(progress);
        assert_eq!(out, b"");
        let mut progress = Progress::on(Some(&mut out), Instant::now());
        progress.at("checking", 1, 2);
        progress.at("checking", 2, 2);
        drop(progress);
        assert_eq!(out, b"\r\x1b[Kchecking: 1 of 2\r\x1b[K");
    }

    #[test]
    fn there_is_none_without_a_terminal() {
        let mut progress = Progress::<Vec<u8>>::on(None, Instant::now());
        progress.at("checking", 1, 2);
        assert!(progress.out.is_none());
    }
}
