//! The kinds of requests, how often each comes, and what is a right answer to it.

use testkit::Column;

/// A kind of request.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// How many of a thousand requests are of this kind.
    pub(crate) weight: usize,
    pub(crate) ask: Ask,
    /// What is right in wasm without held headers, and where headers are held.
    right: [Right; 2],
    pub(crate) counts: Counts,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A tensor of two numbers, which the server echoes.
    Small,
    /// The upload of this size, in any of its forms, which the server echoes.
    Upload(usize),
    /// A GET of a path, and its answer.
    Get(&'static str, &'static str),
    /// An ill-meant request.
    Hostile,
    /// A small tensor, and an answer that the header `x-case` chooses.
    Case(&'static str),
    /// A request that the client gives up.
    LeaveRequest,
    /// A large answer that the client does not wait for.
    LeaveAnswer,
}

/// What is a right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    /// The statuses of whole answers; from 400 on they have an `{"error"}` body.
    pub(crate) statuses: &'static [u16],
    /// Whether the answer may be cut off.
    pub(crate) cut: bool,
    /// Whether an error may be Envoy's own, in plain text: Envoy leaves the filters out when the server breaks off
    /// while headers are held.
    pub(crate) plain: bool,
}

/// What the filter counts for a request of this kind that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// How often `transcoded`, at least and at most.
    pub(crate) transcoded: (u64, u64),
    /// How often `refused`.
    pub(crate) refused: u64,
    /// Whether wasm without held headers tells the error under a 200 (`errors_under_200`).
    pub(crate) under_200: bool,
}

const fn told(statuses: &'static [u16]) -> Right {
    Right { statuses, cut: false, plain: false }
}

const CUT: Right = Right { statuses: &[], cut: true, plain: false };
const BROKEN_OFF: Right = Right { statuses: &[503], cut: true, plain: true };
const OK: [Right; 2] = [told(&[200]); 2];
/// No client waits for an answer.
const LEFT: [Right; 2] = [told(&[]); 2];

const ONCE: Counts = Counts { transcoded: (1, 1), refused: 0, under_200: false };
const NEVER: Counts = Counts { transcoded: (0, 0), refused: 0, under_200: false };
/// A body that goes on after its end is wrong only once its message has gone out.
const REFUSED: Counts = Counts { transcoded: (0, 1), refused: 1, under_200: false };

const fn good(name: &'static str, weight: usize, ask: Ask) -> Kind {
    Kind { name, weight, ask, right: OK, counts: ONCE }
}

const fn case(name: &'static str, weight: usize, wasm: Right, held: Right) -> Kind {
    Kind { name, weight, ask: Ask::Case(name), right: [wasm, held], counts: ONCE }
}

/// All kinds. Their weights add up to a thousand.
pub(crate) const KINDS: &[Kind] = &[
    good("small", 542, Ask::Small),
    good("upload 25 KB", 80, Ask::Upload(0)),
    good("upload 200 KB", 30, Ask::Upload(1)),
    good("upload 2 MB", 4, Ask::Upload(2)),
    good("ready", 60, Ask::Get("/v2/health/ready", r#"{"ready":true}"#)),
    good(
        "metadata",
        28,
        Ask::Get("/v2/models/m", r#"{"name":"m","versions":[],"platform":"odd","inputs":[],"outputs":[]}"#),
    ),
    Kind {
        name: "hostile",
        weight: 100,
        ask: Ask::Hostile,
        right: [told(&[400, 404, 405, 413, 415]); 2],
        counts: REFUSED,
    },
    case("trailers-only", 10, told(&[404]), told(&[404])),
    case("after-headers", 8, CUT, told(&[429])),
    case("after-message", 8, CUT, told(&[429])),
    Kind {
        counts: Counts { under_200: true, ..ONCE },
        ..case("empty-message", 8, told(&[200]), told(&[429]))
    },
    case("within-message", 8, CUT, told(&[429])),
    case("no-trailers", 8, CUT, told(&[500])),
    case("reset-before-headers", 8, told(&[503]), told(&[503])),
    case("reset-after-headers", 8, BROKEN_OFF, BROKEN_OFF),
    case("reset-within-message", 8, BROKEN_OFF, BROKEN_OFF),
    case("hang-up", 8, BROKEN_OFF, BROKEN_OFF),
    case("never", 2, told(&[504]), told(&[504])),
    case("slow", 8, told(&[200]), told(&[200])),
    case("bad-flag", 6, CUT, told(&[502])),
    case("bad-length", 6, CUT, told(&[502])),
    case("two-messages", 6, CUT, told(&[502])),
    case("no-protobuf", 6, CUT, told(&[502])),
    case("wrong-tensor", 6, CUT, told(&[502])),
    case("plain-503", 8, told(&[503]), told(&[503])),
    case("html", 8, told(&[502]), told(&[502])),
    Kind {
        name: "client leaves its request",
        weight: 10,
        ask: Ask::LeaveRequest,
        right: LEFT,
        counts: NEVER,
    },
    Kind { name: "client leaves the answer", weight: 8, ask: Ask::LeaveAnswer, right: LEFT, counts: ONCE },
];

impl Kind {
    /// What is right in a column.
    pub(crate) fn right(&self, column: Column) -> Right {
        self.right[usize::from(column == Column::Native)]
    }

    /// The kind of a number below a thousand.
    pub(crate) fn of(mut number: usize) -> usize {
        for (index, kind) in KINDS.iter().enumerate() {
            if number < kind.weight {
                return index;
            }
            number -= kind.weight;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_add_up_and_every_kind_has_its_share() {
        assert_eq!(KINDS.iter().map(|kind| kind.weight).sum::<usize>(), 1000);
        let mut seen = vec![0; KINDS.len()];
        (0..1000).for_each(|number| seen[Kind::of(number)] += 1);
        assert_eq!(seen, KINDS.iter().map(|kind| kind.weight).collect::<Vec<_>>());
    }
}
