//! What a filter counts and measures.

/// A metric that a filter declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name below the filter's own: `kserve_transcoder.<name>`.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// What it counts or measures, for operators: a row of the filter's README.
    pub meaning: &'static str,
    /// What its values are kept apart by, such as `model`; only for a counter, which [`Ops::count_by`](crate::Ops::count_by)
    /// then adds to.
    pub labels: &'static [&'static str],
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// A distribution of values.
    Histogram,
    /// The last value that was recorded.
    Gauge,
}

/// The counter that every host keeps for every filter, as `<filter>.dropped_operations`.
pub const DROPPED_OPERATIONS: Metric = Metric {
    name: "dropped_operations",
    kind: MetricKind::Counter,
    meaning: "what the filter asked for and did not get, because it came too late or because the proxy cannot do it: a bug \
              of the filter. The log has a warning for each",
    labels: &[],
};

/// The values of a counter's labels, in the order of [`Metric::labels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Labels<'a>(pub(crate) &'a str);

/// Between the values of labels. A value that has it is not counted: Envoy refuses another number of values.
pub(crate) const BETWEEN_LABELS: char = '\0';

impl<'a> Labels<'a> {
    /// The values.
    pub fn values(self) -> impl Iterator<Item = &'a str> {
        self.0.split(BETWEEN_LABELS)
    }
}

/// Declares a filter's metrics, each once: its index for [`Ops::count`](crate::Ops::count) and
/// [`Ops::record`](crate::Ops::record) or [`Choice::count`](crate::Choice::count), its entry in the list for
/// [`Plugin::METRICS`](crate::Plugin::METRICS) or [`Policy::METRICS`](crate::Policy::METRICS), its documentation and the row
/// of the filter's README.
///
/// ```
/// filter_api::metrics! {
///     /// The metrics of `my_filter`.
///     pub const ALL;
///     /// requests that were marked
///     MARKED: Counter "marked";
///     /// the length of the longest queue
///     LONGEST_QUEUE: Gauge "longest_queue";
///     /// requests of a tenant
///     OF_TENANT: Counter "of_tenant" by ["tenant"];
/// }
///
/// assert_eq!(ALL[LONGEST_QUEUE].name, "longest_queue");
/// assert_eq!(ALL[MARKED].meaning.trim(), "requests that were marked");
/// assert_eq!((ALL[MARKED].labels, ALL[OF_TENANT].labels), (&[][..], &["tenant"][..]));
/// ```
#[macro_export]
macro_rules! metrics {
    (
        $(#[$of_all:meta])*
        $visible:vis const $all:ident;
        $($(#[doc = $meaning:literal])+ $index:ident: $kind:ident $name:literal $(by [$($label:literal),+])?;)+
    ) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Index {
            $($index,)+
        }

        $(
            $(#[doc = $meaning])+
            $visible const $index: usize = Index::$index as usize;
        )+

        $(#[$of_all])*
        $visible const $all: &[$crate::Metric] = &[
            $($crate::Metric {
                name: $name,
                kind: $crate::MetricKind::$kind,
                meaning: concat!($($meaning),+),
                labels: &[$($($label),+)?],
            },)+
        ];
    };
}
