//! How many signatures may turn out wrong in a second.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

/// Counts wrong signatures second by second, without a lock: all workers of a process share it natively.
///
/// Whether a signature is wrong is not known beforehand. So a token takes as many of those that are allowed as there
/// are keys to check it with, and gives them back if its signature was right by one of them. While one is left a token
/// may take what it needs: otherwise one with more keys than the limit could never be checked.
#[derive(Debug)]
pub(crate) struct Meter {
    most: u32,
    /// The second in the upper half, what was taken in it in the lower half.
    taken: AtomicU64,
}

/// Checks that are allowed, in the second they were taken in.
#[derive(Debug)]
pub(crate) struct Taken {
    second: u32,
    checks: u32,
}

impl Meter {
    /// A meter that allows this many wrong signatures in a second.
    pub(crate) fn new(most: u32) -> Self {
        Self { most, taken: AtomicU64::new(0) }
    }

    /// Takes a token's checks, a few, of this second; `None` if all are taken.
    pub(crate) fn take(&self, now: SystemTime, checks: u32) -> Option<Taken> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // In the year 2106 it begins anew at 0, which is another second all the same.
        let second = since.as_secs() as u32;
        let take = |state: u64| {
            let (of, count) = parts(state);
            let count = if of == second { count } else { 0 };
            (count < self.most).then(|| joined(second, count + checks))
        };
        self.taken.fetch_update(Relaxed, Relaxed, take).ok().map(|_| Taken { second, checks })
    }

    /// Gives checks back. If their second is over there is nothing to do.
    pub(crate) fn give_back(&self, Taken { second, checks }: Taken) {
        let give_back = |state: u64| {
            let (of, count) = parts(state);
            (of == second && count >= checks).then(|| joined(second, count - checks))
        };
        let _over = self.taken.fetch_update(Relaxed, Relaxed, give_back);
    }
}

fn parts(state: u64) -> (u32, u32) {
    ((state >> 32) as u32, state as u32)
}

fn joined(second: u32, count: u32) -> u64 {
    (u64::from(second) << 32) | u64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_in_the_same_second_only() {
        let meter = Meter::new(2);
        let (first, _second) = (meter.take(at(7), 1).unwrap(), meter.take(at(7), 1).unwrap());
        assert!(meter.take(at(7), 1).is_none());
        meter.give_back(first);
        let late = meter.take(at(7), 1).unwrap();
        assert!(meter.take(at(7), 1).is_none());
        assert!(meter.take(at(8), 1).is_some() && meter.take(at(8), 1).is_some());
        meter.give_back(late);
        assert!(meter.take(at(8), 1).is_none(), "it was taken in another second");
    }

    #[test]
    fn a_token_takes_all_its_checks_while_one_is_left_and_gives_all_back() {
        let meter = Meter::new(1);
        let four = meter.take(at(7), 4).unwrap();
        assert!(meter.take(at(7), 1).is_none());
        meter.give_back(four);
        assert!(meter.take(at(7), 4).is_some() && meter.take(at(7), 1).is_none());
    }

    #[cfg(not(target_family = "wasm"))]
    #[test]
    fn workers_that_all_give_back_leave_nothing_taken_and_never_exceed_the_limit() {
        use std::sync::atomic::AtomicU32;
        let (meter, under_way, refused) = (Meter::new(3), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let Some(taken) = meter.take(at(1), 1) else {
                            refused.fetch_add(1, Relaxed);
                            continue;
                        };
                        assert!(under_way.fetch_add(1, Relaxed) < 3);
                        under_way.fetch_sub(1, Relaxed);
                        meter.give_back(taken);
                    }
                });
            }
        });
        let left: Vec<_> = (0..3).map(|_| meter.take(at(1), 1).is_some()).collect();
        assert_eq!((left, meter.take(at(1), 1).is_none()), (vec![true; 3], true));
    }
}
