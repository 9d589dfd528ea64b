//! The messages of a stream as the chunks of a completion.
//!
//! Each message has the next piece of each text. A client gets a chunk of those that have something new in them; then, once the
//! call has succeeded, the tokens if it asked for them, and `[DONE]`.

use super::answer::{Answered, Outputs, Text, begin_completion, usage_object};
use super::{Model, Operation, Setup};
use crate::codec::{Answer, Part, ResponseCodec};
use crate::problem::Problem;
use crate::status::Status;
use crate::tensor::{self, Options, StreamMessages, StreamResponse, Wanted};
use filter_api::{Charge, OverBudget, Sink};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What ends OpenAI's streams.
const DONE: &[u8] = b"[DONE]";

/// Why a text has ended that has not: nothing, or Python's word for it, as the vLLM backend of Triton sends it.
const NOT_ENDED: [&str; 2] = ["", "None"];

/// A stream, of which each message has a codec of its own.
#[derive(Debug)]
pub(super) struct Chunks(Arc<Stream>);

#[derive(Debug)]
struct Stream {
    model: Arc<Model>,
    answered: Answered,
    messages: StreamMessages,
    options: Options,
    charge: Charge,
    /// A message's codec may be behind a decompressor, so what one message leaves to the next is here.
    progress: Mutex<Progress>,
}

/// What the messages so far have said.
#[derive(Debug)]
struct Progress {
    /// Which texts have ended.
    ended: Vec<bool>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl Chunks {
    pub(super) fn new(
        model: Arc<Model>,
        answered: Answered,
        messages: StreamMessages,
        options: Options,
        mut charge: Charge,
    ) -> Result<Self, OverBudget> {
        // As many as there were inputs, of which each took more.
        let inputs = usize::try_from(answered.inputs).unwrap_or(usize::MAX);
        charge.grow(inputs)?;
        let ended = vec![false; inputs];
        let progress = Progress { ended, prompt_tokens: answered.prompt_tokens, completion_tokens: None };
        Ok(Self(Arc::new(Stream {
            model,
            answered,
            messages,
            options,
            charge,
            progress: Mutex::new(progress),
        })))
    }
}

impl ResponseCodec for Chunks {
    fn for_message(&self) -> Option<Box<dyn ResponseCodec>> {
        let charge = self.0.charge.sibling();
        let wanted = Wanted::nothing(&charge);
        let message = tensor::Response::new(self.0.options, wanted, charge);
        let reader = match self.0.messages {
            StreamMessages::Mlserver => Reader::Plain(Box::new(message)),
            StreamMessages::Triton => Reader::Wrapped(Box::new(StreamResponse::new(message))),
        };
        Some(Box::new(Message { stream: self.0.clone(), reader }))
    }

    fn tells_last(&self) -> bool {
        self.0.setup().is_some_and(|setup| setup.finish_reason.is_some())
    }

    fn had_last(&self) -> bool {
        self.tells_last() && self.0.progress().ended.iter().all(|ended| *ended)
    }

    fn close(&self) -> Result<Vec<Vec<u8>>, Problem> {
        let stream = &*self.0;
        let progress = stream.progress();
        let mut last = Vec::new();
        match stream.setup().and_then(|setup| setup.finish_reason.as_deref()) {
            Some(name) if !progress.ended.iter().all(|ended| *ended) => {
                let what = format!("the server's stream has ended, but its output {name} has not said why");
                return Err(Problem::bad_answer(what));
            }
            Some(_) => {}
            None => {
                let choices = (0..stream.answered.inputs).map(|index| Choice {
                    index,
                    text: String::new(),
                    reason: Some("stop".to_owned()),
                });
                let mut chunk = Vec::new();
                stream.write(choices, &mut chunk);
                last.push(chunk);
            }
        }
        if stream.answered.usage {
            last.push(stream.usage(&progress)?);
        }
        last.push(DONE.to_vec());
        Ok(last)
    }

    fn write(&mut self, _bytes: &[u8]) -> Result<(), Problem> {
        Err(Problem::bad_answer("an answer in one piece, where a stream was asked for"))
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        Err(Problem::bad_answer("an answer in one piece, where a stream was asked for"))
    }
}

impl Stream {
    fn setup(&self) -> Option<&Setup> {
        self.model.setup(Operation::Completions)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a chunk.
    fn write(&self, choices: impl Iterator<Item = Choice>, out: &mut dyn Sink) {
        let mut text = Text::new(out);
        begin_completion(&self.answered.stamp, &self.model, &mut text);
        for (at, Choice { index, text: piece, reason }) in choices.enumerate() {
            text.put(if at > 0 { br#",{"text":"# } else { br#"{"text":"# });
            text.string(&piece);
            text.put(format!(r#","index":{index},"logprobs":null,"finish_reason":"#).as_bytes());
            match reason {
                Some(reason) => text.string(&reason),
                None => text.put(b"null"),
            }
            text.put(b"}");
        }
        text.put(if self.answered.usage { br#"],"usage":null}"# } else { b"]}" });
        text.flush();
    }

    /// The chunk that says how many tokens there were.
    fn usage(&self, progress: &Progress) -> Result<Vec<u8>, Problem> {
        for (name, found) in [
            (self.setup().and_then(|setup| setup.prompt_tokens.as_deref()), progress.prompt_tokens),
            (self.setup().and_then(|setup| setup.completion_tokens.as_deref()), progress.completion_tokens),
        ] {
            if let (Some(name), None) = (name, found) {
                return Err(Problem::bad_answer(format!("the server's stream has no output {name}")));
            }
        }
        let mut chunk = Vec::new();
        let mut text = Text::new(&mut chunk);
        begin_completion(&self.answered.stamp, &self.model, &mut text);
        text.put(b"],");
        text.put(usage_object(progress.prompt_tokens, progress.completion_tokens).as_bytes());
        text.put(b"}");
        text.flush();
        Ok(chunk)
    }
}

/// Reads a message.
#[derive(Debug)]
struct Message {
    stream: Arc<Stream>,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Plain(Box<tensor::Response>),
    Wrapped(Box<StreamResponse>),
}

impl ResponseCodec for Message {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        match &mut self.reader {
            Reader::Plain(message) => message.write(bytes),
            Reader::Wrapped(message) => message.write(bytes),
        }
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        let Self { stream, reader } = *self;
        let message = match reader {
            Reader::Plain(message) => message,
            Reader::Wrapped(message) => match message.unwrapped()? {
                Ok(message) => message,
                Err(text) => return Ok(Box::new(Failure(Status::unknown(text).problem()))),
            },
        };
        let mut outputs = Outputs::from(message.into_outputs()?);
        let choices = stream.choices(&mut outputs)?;
        Ok(Box::new(Chunk { stream, choices, _held: outputs.charge }))
    }
}

impl Stream {
    /// The texts that a message goes on with or ends.
    fn choices(&self, outputs: &mut Outputs) -> Result<Vec<Choice>, Problem> {
        let inputs = self.answered.inputs;
        let Some(setup) = self.setup() else {
            return Err(Problem::bad_answer("an answer to what was not asked"));
        };
        let mut progress = self.progress();
        if let Some(tokens) = outputs.sum_if_there(setup.prompt_tokens.as_deref())? {
            progress.prompt_tokens = Some(tokens);
        }
        if let Some(tokens) = outputs.sum_if_there(setup.completion_tokens.as_deref())? {
            let before = progress.completion_tokens.unwrap_or_default();
            progress.completion_tokens = Some(before.saturating_add(tokens));
        }
        let mut texts = outputs.texts_if_there(Some(&setup.output), inputs)?.into_iter();
        let mut reasons = outputs.texts_if_there(setup.finish_reason.as_deref(), inputs)?.into_iter();
        outputs.charge.grow(progress.ended.len() * size_of::<Choice>())?;
        let mut choices = Vec::new();
        for (index, ended) in (0..inputs).zip(&mut progress.ended) {
            let text = texts.next().unwrap_or_default();
            let reason = reasons.next().filter(|reason| !NOT_ENDED.contains(&reason.as_str()));
            if *ended {
                // A server may say again that a text has ended, while others go on.
                if !text.is_empty() {
                    let name = &setup.output;
                    let what = format!(
                        "the server's answer goes on with text {index} of output {name}, which has ended"
                    );
                    return Err(Problem::bad_answer(what));
                }
            } else if !text.is_empty() || reason.is_some() {
                *ended = reason.is_some();
                choices.push(Choice { index, text, reason });
            }
        }
        Ok(choices)
    }
}

/// A piece of a text.
#[derive(Debug)]
struct Choice {
    index: u64,
    text: String,
    /// Why the text has ended, if it has.
    reason: Option<String>,
}

/// A chunk of a completion.
#[derive(Debug)]
struct Chunk {
    stream: Arc<Stream>,
    choices: Vec<Choice>,
    _held: Charge,
}

impl Answer for Chunk {
    fn part(&self) -> Part<'_> {
        if self.choices.is_empty() { Part::Nothing } else { Part::Message }
    }

    fn render(self: Box<Self>, out: &mut dyn Sink) {
        let Self { stream, choices, .. } = *self;
        stream.write(choices.into_iter(), out);
    }

    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}

/// What the server says went wrong.
#[derive(Debug)]
struct Failure(Problem);

impl Answer for Failure {
    fn part(&self) -> Part<'_> {
        Part::Failure(&self.0)
    }

    fn render(self: Box<Self>, out: &mut dyn Sink) {
        out.write(&super::error_body(&self.0));
    }

    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}
