//! What has been added for one model and version since the host was last told.

use super::{Ending, Inference};
use crate::metrics;
use filter_api::Ops;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The values of `grpc_status`: the codes of gRPC, and [`Ending::Unfinished`].
const STATUSES: [&str; 18] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "10",
    "11",
    "12",
    "13",
    "14",
    "15",
    "16",
    "unfinished",
];
const UNFINISHED: usize = STATUSES.len() - 1;
/// `UNKNOWN`, for which gRPC's rules take a code that it does not know.
const UNKNOWN: usize = 2;

/// The upper bounds of the buckets, in milliseconds, as the values of `le`; the last has none.
const BOUNDS: [(u128, &str); 16] = [
    (1, "1"),
    (2, "2"),
    (5, "5"),
    (10, "10"),
    (25, "25"),
    (50, "50"),
    (100, "100"),
    (250, "250"),
    (500, "500"),
    (1_000, "1000"),
    (2_500, "2500"),
    (5_000, "5000"),
    (10_000, "10000"),
    (30_000, "30000"),
    (60_000, "60000"),
    (u128::MAX, "+Inf"),
];

#[derive(Debug)]
pub(super) struct Tally {
    model: String,
    version: String,
    endings: [AtomicU64; STATUSES.len()],
    request_bytes: AtomicU64,
    answer_bytes: AtomicU64,
    elements: AtomicU64,
    first_byte: Durations,
    last_byte: Durations,
}

/// Durations by bucket. One that lies in several is counted in the first, and in the others when the host is told.
#[derive(Debug, Default)]
struct Durations {
    buckets: [AtomicU64; BOUNDS.len()],
    sum_ms: AtomicU64,
}

/// The metrics of durations.
struct Of {
    bucket: usize,
    sum: usize,
    count: usize,
}

impl Tally {
    pub(super) fn new(model: String, version: String) -> Self {
        Self {
            model,
            version,
            endings: Default::default(),
            request_bytes: AtomicU64::default(),
            answer_bytes: AtomicU64::default(),
            elements: AtomicU64::default(),
            first_byte: Durations::default(),
            last_byte: Durations::default(),
        }
    }

    pub(super) fn add(&self, inference: &Inference, last_byte: Duration, ending: Ending) {
        let ending = match ending {
            Ending::Status(code) if usize::from(code) < UNFINISHED => usize::from(code),
            Ending::Status(_) => UNKNOWN,
            Ending::Unfinished => UNFINISHED,
        };
        self.endings[ending].fetch_add(1, Relaxed);
        self.request_bytes.fetch_add(inference.request_bytes, Relaxed);
        self.answer_bytes.fetch_add(inference.answer_bytes, Relaxed);
        self.elements.fetch_add(inference.elements, Relaxed);
        if let Some(first_byte) = inference.first_byte {
            self.first_byte.add(first_byte);
        }
        if ending != UNFINISHED {
            self.last_byte.add(last_byte);
        }
    }

    pub(super) fn tell(&self, ops: &mut Ops) {
        let (model, version) = (self.model.as_str(), self.version.as_str());
        let mut any = false;
        for (count, status) in self.endings.iter().zip(STATUSES) {
            any |= tell(count, |by| ops.count_by(metrics::MODEL_REQUESTS, &[model, version, status], by));
        }
        if !any {
            // Whatever is added comes with an ending.
            return;
        }
        for (sum, metric) in [
            (&self.request_bytes, metrics::MODEL_REQUEST_BYTES),
            (&self.answer_bytes, metrics::MODEL_ANSWER_BYTES),
            (&self.elements, metrics::MODEL_ELEMENTS),
        ] {
            tell(sum, |by| ops.count_by(metric, &[model, version], by));
        }
        let of = Of {
            bucket: metrics::MODEL_FIRST_BYTE_BUCKET,
            sum: metrics::MODEL_FIRST_BYTE_SUM,
            count: metrics::MODEL_FIRST_BYTE_COUNT,
        };
        self.first_byte.tell(&of, model, version, ops);
        let of = Of {
            bucket: metrics::MODEL_LAST_BYTE_BUCKET,
            sum: metrics::MODEL_LAST_BYTE_SUM,
            count: metrics::MODEL_LAST_BYTE_COUNT,
        };
        self.last_byte.tell(&of, model, version, ops);
    }
}

impl Durations {
    fn add(&self, duration: Duration) {
        let ms = duration.as_millis();
        // In a bucket lies what is not longer than its bound; half a millisecond is longer than none.
        let at_most =
            |bound: u128| ms < bound || (ms == bound && duration.subsec_nanos().is_multiple_of(1_000_000));
        if let Some(bucket) = BOUNDS.iter().position(|(bound, _)| at_most(*bound)) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.sum_ms.fetch_add(u64::try_from(ms).unwrap_or(u64::MAX), Relaxed);
    }

    fn tell(&self, of: &Of, model: &str, version: &str, ops: &mut Ops) {
        let mut count = 0;
        for (bucket, (_, bound)) in self.buckets.iter().zip(BOUNDS) {
            count += bucket.swap(0, Relaxed);
            if count > 0 {
                ops.count_by(of.bucket, &[model, version, bound], count);
            }
        }
        if count > 0 {
            ops.count_by(of.count, &[model, version], count);
        }
        tell(&self.sum_ms, |by| ops.count_by(of.sum, &[model, version], by));
    }
}

/// Tells what was added, if anything was.
fn tell(sum: &AtomicU64, say: impl FnOnce(u64)) -> bool {
    // Read before it is written: most have not changed, and all workers look at them.
    let by = if sum.load(Relaxed) == 0 { 0 } else { sum.swap(0, Relaxed) };
    if by > 0 {
        say(by);
    }
    by > 0
}
