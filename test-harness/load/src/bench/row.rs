//! The exchanges that are measured.

use crate::claims::{Claims, Signature};
use crate::column::Column;
use crate::report::MEMORY_NOISE;
use crate::streams::Streams;
use crate::tensor::Digits;

/// One exchange, measured in every column that can serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A 1x4 tensor in, a 1x4 tensor out, on 16 connections at once.
    Tiny,
    /// JSON to a server that speaks it, and a header that picks the server's subset; on 16 connections at once.
    Subset,
    /// JSON to a server that speaks it, and a token whose claim becomes the header by which the route is chosen; on 16
    /// connections at once.
    Claims(Claims),
    /// A large tensor in, a 1x4 tensor out.
    Request(Digits),
    /// A 1x4 tensor in, a large tensor out.
    Response(Form, Digits),
    /// A large tensor in and one out, as the AI application of `examples/ai-application` has them: colours in, FP32
    /// out.
    Application,
    /// A large tensor in as the binary tensor extension has it, a 1x4 tensor out as JSON.
    BinaryRequest,
    /// A 1x4 tensor in as JSON, a large tensor out as the binary tensor extension has it.
    BinaryResponse,
    /// A tensor of this many megabytes of JSON in, a 1x4 tensor out: does cost grow linearly?
    GrowingRequest(Megabytes),
    /// A 1x4 tensor in, a tensor of this many megabytes of JSON out.
    GrowingResponse(Megabytes),
    /// JSON to a server that speaks it, past a filter that does nothing: what entering a filter costs.
    Nothing(Callbacks),
    /// Another row's exchange, by a filter that makes the fewest calls of its host: what no filter can go below.
    Least(Job),
    /// Another row's exchange, with so many workers.
    Workers(Together, u32),
    /// So many requests of which the second half does not come: the memory that each takes.
    Idle(u32),
    /// As [`Row::Subset`], with so many rules.
    Rules(u32),
    /// As [`Row::Tiny`], with so many rows of a descriptor set beside the protocol's own.
    Descriptors(u32),
    /// Answers of any number of messages, each of which goes on by itself.
    Streams(Streams),
}

/// The callbacks of a filter that does nothing, beside those in which a stream begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callbacks {
    /// The request's headers and body, as `claim-headers` has them.
    OfRequest,
    /// Also the answer's headers, body and trailers, as the transcoder has them.
    OfBoth,
}

/// What is done by the fewest calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// [`Row::Tiny`], in wasm.
    Transcode,
    /// [`Row::Subset`], in wasm and natively.
    Subset,
    /// [`Row::Claims`] with a remembered token of RS256, in wasm.
    Claim,
}

/// A row whose exchange others have with more workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    /// [`Row::Tiny`].
    Tiny,
    /// [`Row::Claims`] with a remembered token of RS256.
    Remembered,
}

/// Rows that differ in one number only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// Megabytes of a request.
    Requests,
    /// Megabytes of an answer.
    Responses,
    /// Exchanges that stand still.
    Idle,
    /// Rules of `dynamic-subset`.
    Rules,
    /// Rows of a descriptor set.
    Descriptors,
    /// Workers.
    Workers(Together),
}

impl Series {
    /// All, in the table's order.
    pub(crate) const ALL: [Self; 7] = [
        Self::Requests,
        Self::Responses,
        Self::Idle,
        Self::Rules,
        Self::Descriptors,
        Self::Workers(Together::Tiny),
        Self::Workers(Together::Remembered),
    ];
}

/// How large a growing body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Megabytes {
    /// 1 MB.
    One,
    /// 4 MB.
    Four,
    /// 16 MB.
    Sixteen,
    /// 64 MB.
    SixtyFour,
    /// 256 MB.
    TwoFiftySix,
}

impl Megabytes {
    /// As a number.
    pub(crate) fn number(self) -> usize {
        match self {
            Self::One => 1,
            Self::Four => 4,
            Self::Sixteen => 16,
            Self::SixtyFour => 64,
            Self::TwoFiftySix => 256,
        }
    }
}

/// How the model server's gRPC answer holds its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In `raw_output_contents`.
    Raw,
    /// In `contents.fp32_contents`.
    Typed,
}

impl Row {
    /// All, in the table's order.
    pub(crate) const ALL: [Self; 50] = [
        Self::Tiny,
        Self::Subset,
        Self::Nothing(Callbacks::OfRequest),
        Self::Nothing(Callbacks::OfBoth),
        Self::Least(Job::Transcode),
        Self::Least(Job::Subset),
        Self::Least(Job::Claim),
        Self::Claims(Claims::Metadata),
        Self::Claims(Claims::Remembered(Signature::Rs256)),
        Self::Claims(Claims::Remembered(Signature::Es256)),
        Self::Claims(Claims::Checked(Signature::Rs256)),
        Self::Claims(Claims::Checked(Signature::Es256)),
        Self::Request(Digits::Three),
        Self::Request(Digits::Nine),
        Self::Request(Digits::Seventeen),
        Self::Response(Form::Raw, Digits::Three),
        Self::Response(Form::Raw, Digits::Nine),
        Self::Response(Form::Typed, Digits::Three),
        Self::Response(Form::Typed, Digits::Nine),
        Self::Application,
        Self::BinaryRequest,
        Self::BinaryResponse,
        Self::GrowingRequest(Megabytes::One),
        Self::GrowingRequest(Megabytes::Four),
        Self::GrowingRequest(Megabytes::Sixteen),
        Self::GrowingRequest(Megabytes::SixtyFour),
        Self::GrowingRequest(Megabytes::TwoFiftySix),
        Self::GrowingResponse(Megabytes::One),
        Self::GrowingResponse(Megabytes::Four),
        Self::GrowingResponse(Megabytes::Sixteen),
        Self::GrowingResponse(Megabytes::SixtyFour),
        Self::GrowingResponse(Megabytes::TwoFiftySix),
        Self::Idle(1),
        Self::Idle(100),
        Self::Idle(1000),
        Self::Idle(10_000),
        Self::Rules(1),
        Self::Rules(100),
        Self::Rules(1000),
        Self::Rules(10_000),
        Self::Streams(Streams::First),
        Self::Streams(Streams::AtOnce(2000)),
        Self::Streams(Streams::Long(100_000)),
        Self::Descriptors(1),
        Self::Descriptors(10),
        Self::Descriptors(100),
        Self::Workers(Together::Tiny, 2),
        Self::Workers(Together::Tiny, 4),
        Self::Workers(Together::Remembered, 2),
        Self::Workers(Together::Remembered, 4),
    ];

    /// The row whose bytes and filters it has.
    pub(crate) fn exchange(self) -> Self {
        match self {
            Self::Workers(Together::Tiny, _) | Self::Least(Job::Transcode) => Self::Tiny,
            Self::Descriptors(_) | Self::Idle(_) => Self::Tiny,
            Self::Workers(Together::Remembered, _) | Self::Least(Job::Claim) => {
                Self::Claims(Claims::Remembered(Signature::Rs256))
            }
            Self::Rules(_) | Self::Least(Job::Subset) => Self::Subset,
            row => row,
        }
    }

    /// How many workers Envoy has.
    pub(crate) fn workers(self) -> u32 {
        if let Self::Workers(_, workers) = self { workers } else { 1 }
    }

    /// Whether its requests are sent on several connections at once.
    pub(crate) fn is_at_once(self) -> bool {
        matches!(self.exchange(), Self::Tiny | Self::Subset | Self::Claims(_) | Self::Nothing(_))
    }

    /// Whether the server behind Envoy gets just what the client has sent.
    pub(crate) fn passes_on(self) -> bool {
        matches!(self.exchange(), Self::Subset | Self::Claims(_) | Self::Nothing(_))
    }

    /// The column whose protocols a column speaks on both sides of Envoy.
    pub(crate) fn speaks_as(self, column: Column) -> Column {
        if self.passes_on() { Column::Passthrough } else { column }
    }

    /// The most CPU over passthrough that is wanted of a column, in parts of what stock takes over passthrough.
    pub(crate) fn goal_of_cpu(self, column: Column) -> Option<f64> {
        match (self, column) {
            (Self::Subset, Column::Native) => Some(1.0),
            (row, _) if row.is_at_once() || matches!(row, Self::Streams(_)) => None,
            (_, Column::Wasm) => Some(0.07),
            (_, Column::Native) => Some(0.05),
            (_, Column::Passthrough | Column::Stock | Column::Grpc) => None,
        }
    }

    /// The most CPU, that of passing on included, that is wanted of a column, in parts of stock's.
    pub(crate) fn goal_of_whole_cpu(self, column: Column) -> Option<f64> {
        match (self, column) {
            (Self::Claims(Claims::Remembered(_)), Column::Native) => Some(1.0),
            (Self::Claims(Claims::Remembered(_)), Column::Wasm) => Some(1.1),
            (Self::Claims(Claims::Checked(Signature::Rs256)), Column::Native | Column::Wasm) => Some(1.2),
            _ => None,
        }
    }

    /// The fewest requests per second that are wanted of a column, in parts of what stock serves.
    pub(crate) fn goal_of_rate(self, column: Column) -> Option<f64> {
        match (self, column) {
            (Self::Tiny, Column::Wasm) => Some(1.15),
            (Self::Tiny, Column::Native) => Some(1.4),
            _ => None,
        }
    }

    /// How much later than in gRPC the first event of a stream may be, in seconds.
    pub(crate) fn goal_over_grpc(self, column: Column) -> Option<f64> {
        let ours = matches!(column, Column::Wasm | Column::Native);
        (self == Self::Streams(Streams::First) && ours).then_some(0.001)
    }

    /// How many bytes a long stream may leave behind.
    pub(crate) fn goal_of_growth(self, column: Column) -> Option<u64> {
        let ours = matches!(column, Column::Wasm | Column::Native);
        (matches!(self, Self::Streams(Streams::Long(_))) && ours).then_some(MEMORY_NOISE)
    }

    /// What is known of a peer that this program does not run.
    pub(crate) fn note(self) -> Option<&'static str> {
        (self == Self::Application).then_some(
            "kserve/rest-proxy, not run here: measured once at 149 ms of CPU for the request and \
             48 for the answer, where stock took 67 and 171 in the same run",
        )
    }

    /// The series that it belongs to, and its number there. [`Row::Tiny`] and a remembered token begin one and have a
    /// block of their own as well.
    pub(crate) fn in_series(self) -> Option<(Series, usize)> {
        match self {
            Self::GrowingRequest(size) => Some((Series::Requests, size.number())),
            Self::GrowingResponse(size) => Some((Series::Responses, size.number())),
            Self::Idle(exchanges) => Some((Series::Idle, exchanges as usize)),
            Self::Rules(rules) => Some((Series::Rules, rules as usize)),
            Self::Descriptors(rows) => Some((Series::Descriptors, rows as usize)),
            Self::Workers(row, workers) => Some((Series::Workers(row), workers as usize)),
            _ => None,
        }
    }

    /// Whether it is there for the comparison with others of its series.
    pub(crate) fn grows(self) -> bool {
        self.in_series().is_some()
    }

    /// Whether it is one of a series of large bodies.
    pub(crate) fn grows_in_size(self) -> bool {
        matches!(self, Self::GrowingRequest(_) | Self::GrowingResponse(_))
    }

    /// As the JSON and the command line call it.
    pub(crate) fn name(self) -> String {
        let name = match self {
            Self::Idle(exchanges) => return format!("idle_{exchanges}"),
            Self::Rules(rules) => return format!("rules_{rules}"),
            Self::Descriptors(rows) => return format!("descriptors_{rows}"),
            Self::Streams(Streams::First) => return "streams_first".to_owned(),
            Self::Streams(Streams::AtOnce(streams)) => return format!("streams_{streams}"),
            Self::Streams(Streams::Long(events)) => return format!("streams_{events}_events"),
            Self::Workers(Together::Tiny, workers) => return format!("tiny_{workers}_workers"),
            Self::Workers(Together::Remembered, workers) => {
                return format!("claims_cached_rs256_{workers}_workers");
            }
            Self::Least(Job::Transcode) => "least_tiny",
            Self::Least(Job::Subset) => "least_subset",
            Self::Least(Job::Claim) => "least_claims_cached_rs256",
            Self::Nothing(Callbacks::OfRequest) => "nothing_request",
            Self::Nothing(Callbacks::OfBoth) => "nothing_both",
            Self::Tiny => "tiny",
            Self::Subset => "subset",
            Self::Claims(Claims::Metadata) => "claims_metadata",
            Self::Claims(Claims::Remembered(Signature::Rs256)) => "claims_cached_rs256",
            Self::Claims(Claims::Remembered(Signature::Es256)) => "claims_cached_es256",
            Self::Claims(Claims::Checked(Signature::Rs256)) => "claims_rs256",
            Self::Claims(Claims::Checked(Signature::Es256)) => "claims_es256",
            Self::Request(Digits::Three) => "request_3",
            Self::Request(Digits::Nine) => "request_9",
            Self::Request(Digits::Seventeen) => "request_17",
            Self::Response(Form::Raw, Digits::Three) => "response_raw_3",
            Self::Response(Form::Raw, _) => "response_raw_9",
            Self::Response(Form::Typed, Digits::Three) => "response_typed_3",
            Self::Response(Form::Typed, _) => "response_typed_9",
            Self::Application => "application",
            Self::BinaryRequest => "request_binary",
            Self::BinaryResponse => "response_binary",
            Self::GrowingRequest(Megabytes::One) => "request_1mb",
            Self::GrowingRequest(Megabytes::Four) => "request_4mb",
            Self::GrowingRequest(Megabytes::Sixteen) => "request_16mb",
            Self::GrowingRequest(Megabytes::SixtyFour) => "request_64mb",
            Self::GrowingResponse(Megabytes::One) => "response_1mb",
            Self::GrowingResponse(Megabytes::Four) => "response_4mb",
            Self::GrowingResponse(Megabytes::Sixteen) => "response_16mb",
            Self::GrowingResponse(Megabytes::SixtyFour) => "response_64mb",
            Self::GrowingRequest(Megabytes::TwoFiftySix) => "request_256mb",
            Self::GrowingResponse(Megabytes::TwoFiftySix) => "response_256mb",
        };
        name.to_owned()
    }

    /// As the table calls it.
    pub(crate) fn title(self) -> String {
        let title = match self {
            Self::Idle(exchanges) => return format!("{exchanges} requests that stand still"),
            Self::Rules(rules) => {
                return format!("{rules} rules of dynamic-subset: JSON passed on, 16 connections");
            }
            Self::Descriptors(rows) => {
                return format!("tiny, with {rows} rows of a descriptor set, 16 connections");
            }
            Self::Streams(Streams::First) => return "streams: the first event".to_owned(),
            Self::Streams(Streams::AtOnce(streams)) => return format!("{streams} streams at once"),
            Self::Streams(Streams::Long(events)) => return format!("a stream of {events} events"),
            Self::Workers(Together::Tiny, workers) => {
                return format!("tiny, 16 connections, {workers} workers");
            }
            Self::Workers(Together::Remembered, workers) => {
                return format!("a claim, RS256, token in the cache, 16 connections, {workers} workers");
            }
            Self::Least(Job::Transcode) => {
                "tiny, wasm with constant bytes and the fewest host calls, 16 connections"
            }
            Self::Least(Job::Subset) => {
                "a header picks the subset, filters with the fewest host calls, 16 connections"
            }
            Self::Least(Job::Claim) => {
                "a claim, RS256, wasm with constant bytes and the fewest host calls, 16 connections"
            }
            Self::Nothing(Callbacks::OfRequest) => {
                "a filter that does nothing, callbacks of the request: JSON passed on, 16 connections"
            }
            Self::Nothing(Callbacks::OfBoth) => {
                "a filter that does nothing, callbacks of both directions: JSON passed on, 16 connections"
            }
            Self::Tiny => "tiny: 1x4 both ways, 16 connections",
            Self::Subset => "a header picks the subset: JSON passed on, 16 connections",
            Self::Claims(Claims::Metadata) => {
                "a claim that jwt_authn verified, with its cache, 16 connections"
            }
            Self::Claims(Claims::Remembered(Signature::Rs256)) => {
                "a claim, RS256, token in the cache, 16 connections"
            }
            Self::Claims(Claims::Remembered(Signature::Es256)) => {
                "a claim, ES256, token in the cache, 16 connections"
            }
            Self::Claims(Claims::Checked(Signature::Rs256)) => "a claim, RS256, no cache, 16 connections",
            Self::Claims(Claims::Checked(Signature::Es256)) => "a claim, ES256, no cache, 16 connections",
            Self::Request(Digits::Three) => "request, numbers of 3 digits",
            Self::Request(Digits::Nine) => "request, shortest FP32 numbers (7 to 9 digits)",
            Self::Request(Digits::Seventeen) => "request, numbers of 17 digits",
            Self::Response(Form::Raw, Digits::Three) => "response from raw contents, numbers of 3 digits",
            Self::Response(Form::Raw, _) => "response from raw contents, shortest FP32 numbers",
            Self::Response(Form::Typed, Digits::Three) => "response from typed contents, numbers of 3 digits",
            Self::Response(Form::Typed, _) => "response from typed contents, shortest FP32 numbers",
            Self::Application => "the AI application's tensor, both ways at once",
            Self::BinaryRequest => "request, binary tensor extension",
            Self::BinaryResponse => "response, binary tensor extension",
            Self::GrowingRequest(Megabytes::One) => "request of 1 MB, shortest FP32 numbers",
            Self::GrowingRequest(Megabytes::Four) => "request of 4 MB",
            Self::GrowingRequest(Megabytes::Sixteen) => "request of 16 MB",
            Self::GrowingRequest(Megabytes::SixtyFour) => "request of 64 MB",
            Self::GrowingResponse(Megabytes::One) => "response of 1 MB, shortest FP32 numbers",
            Self::GrowingResponse(Megabytes::Four) => "response of 4 MB",
            Self::GrowingResponse(Megabytes::Sixteen) => "response of 16 MB",
            Self::GrowingResponse(Megabytes::SixtyFour) => "response of 64 MB",
            Self::GrowingRequest(Megabytes::TwoFiftySix) => "request of 256 MB",
            Self::GrowingResponse(Megabytes::TwoFiftySix) => "response of 256 MB",
        };
        title.to_owned()
    }
}
