//! Whether memory is flat.

use std::time::Duration;

/// How often memory is looked at.
pub(crate) const EVERY: Duration = Duration::from_millis(100);

/// What the last fifth may have more than the second: a part of it, and bytes. The heap of an allocator, and of V8, is
/// never quite the same twice; what is lost with each request is more than this over a long run.
const TOLERATED_PART: f64 = 0.1;
const TOLERATED_BYTES: u64 = 16 << 20;

/// Resident memory over a run: medians of the second and the last fifth of it. The first is warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) early: u64,
    pub(crate) late: u64,
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(samples: &[u64]) -> Self {
        let fifth = samples.len() / 5;
        let median = |part: &[u64]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part.get(part.len() / 2).copied().unwrap_or(0)
        };
        Self {
            early: median(&samples[fifth..fifth * 2]),
            late: median(&samples[samples.len() - fifth..]),
            peak: samples.iter().copied().max().unwrap_or(0),
        }
    }

    /// The most that the last fifth may have.
    pub(crate) fn tolerated(&self) -> u64 {
        (self.early as f64 * (1.0 + TOLERATED_PART)) as u64 + TOLERATED_BYTES
    }

    pub(crate) fn is_flat(&self) -> bool {
        self.late <= self.tolerated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_with_each_request_is_not_flat_and_a_warm_up_is_no_growth() {
        let mib = |n: u64| n << 20;
        let leaks: Vec<u64> = (0..100).map(|at| mib(100 + at)).collect();
        assert!(!Memory::of(&leaks).is_flat());
        let warms_up: Vec<u64> = (0..100).map(|at| mib(100 + at.min(15) * 10)).collect();
        assert_eq!(Memory::of(&warms_up), Memory { early: mib(250), late: mib(250), peak: mib(250) });
        assert!(Memory::of(&warms_up).is_flat());
    }
}
