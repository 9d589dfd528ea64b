//! How the messages of a stream follow one another in the answer's body.

use filter_api::{Map, Sink, View};

/// The form of an answer with any number of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamForm {
    delimiters: Delimiters,
    /// The answer's `content-type`.
    pub(crate) content_type: &'static str,
}

/// What stands around the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimiters {
    /// Each message is a line.
    Lines,
    /// Each message is an event without a name (HTML standard, section "Server-sent events").
    Events,
    /// All of them are one JSON array.
    Array,
}

impl StreamForm {
    /// A line of JSON for each message.
    pub(crate) const LINES: Self =
        Self { delimiters: Delimiters::Lines, content_type: "application/x-ndjson" };
    /// A server-sent event for each message.
    pub(crate) const EVENTS: Self =
        Self { delimiters: Delimiters::Events, content_type: "text/event-stream" };
    /// The lines of Envoy's own transcoder, which differ in their content type.
    pub(crate) const STOCK_LINES: Self =
        Self { delimiters: Delimiters::Lines, content_type: "application/json" };
    /// What Envoy's own transcoder writes unless it is told otherwise.
    pub(crate) const ARRAY: Self = Self { delimiters: Delimiters::Array, content_type: "application/json" };

    /// Whether something must follow the last message, which is known to be the last only when the trailers come.
    pub(crate) fn needs_end(self) -> bool {
        self.delimiters == Delimiters::Array
    }

    /// Writes a message; `write` writes its JSON, which has no line breaks unless the form is an array.
    pub(crate) fn message(self, first: bool, out: &mut dyn Sink, write: impl FnOnce(&mut dyn Sink)) {
        let (before, after): (&[u8], &[u8]) = match self.delimiters {
            Delimiters::Lines => (b"", b"\n"),
            Delimiters::Events => (b"data: ", b"\n\n"),
            Delimiters::Array if first => (b"[", b""),
            Delimiters::Array => (b",", b""),
        };
        out.write(before);
        write(out);
        out.write(after);
    }

    /// What follows the last message; `empty` if there was no message at all.
    pub(crate) fn end(self, empty: bool) -> &'static [u8] {
        match self.delimiters {
            Delimiters::Array if empty => b"[]",
            Delimiters::Array => b"]",
            Delimiters::Lines | Delimiters::Events => b"",
        }
    }
}

/// Whether a client takes server-sent events: its `accept` names `text/event-stream`, with a weight other than 0 (RFC
/// 9110, section 12.5.1). A range with an asterisk, as every client sends it, says nothing about events.
pub(crate) fn accepts_events(view: &dyn View) -> bool {
    let mut accepts = false;
    view.each_header(Map::RequestHeaders, &mut |name, value| {
        accepts |= name == b"accept" && value.split(|byte| *byte == b',').any(is_events);
    });
    accepts
}

fn is_events(range: &[u8]) -> bool {
    let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let is_named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
    is_named && !parts.any(is_weight_of_zero)
}

fn is_weight_of_zero(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => weight.iter().all(|byte| matches!(byte, b'0' | b'.')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn written(form: StreamForm, messages: &[&str]) -> String {
        let mut out = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            form.message(index == 0, &mut out, |out| out.write(message.as_bytes()));
        }
        out.extend_from_slice(form.end(messages.is_empty()));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_are_lines_events_or_the_items_of_an_array() {
        let two = ["{\"a\":1}", "{}"];
        assert_eq!(written(StreamForm::LINES, &two), "{\"a\":1}\n{}\n");
        assert_eq!(written(StreamForm::STOCK_LINES, &two), "{\"a\":1}\n{}\n");
        assert_eq!(written(StreamForm::EVENTS, &two), "data: {\"a\":1}\n\ndata: {}\n\n");
        assert_eq!(written(StreamForm::ARRAY, &two), "[{\"a\":1},{}]");
        let empty = [StreamForm::LINES, StreamForm::EVENTS, StreamForm::ARRAY].map(|form| written(form, &[]));
        assert_eq!(empty, ["", "", "[]"]);
    }

    #[test]
    fn only_who_names_events_gets_them() {
        for range in
            ["text/event-stream", " Text/Event-Stream ; q=0.1", "text/event-stream;charset=utf-8;q=1"]
        {
            assert!(is_events(range.as_bytes()), "{range}");
        }
        for range in
            ["*/*", "text/*", "text/event-stream;q=0", "text/event-stream; q=0.000", "text/event-streams", ""]
        {
            assert!(!is_events(range.as_bytes()), "{range}");
        }
    }
}
