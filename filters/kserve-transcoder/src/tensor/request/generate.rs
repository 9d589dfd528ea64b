//! The body of Triton's `generate` and `generate_stream` (Triton's "Generate Extension"), which says nothing of datatypes and
//! shapes: those are the model's own ([`Signature`]), and known before the first byte is read.
//!
//! - A member of the document that has an input's name is that input's tensor, and so is one of `parameters`: one element, or
//!   a list of them, flat or nested in any way. Elements are read as in v2's `data`, by the same readers.
//! - The elements are of the model's shape. Of the sizes that the model leaves open the last one is what it takes, and the
//!   others are 1: one text is `[1, 1]` for a model whose batches are `[-1, 1]`, and three of them are `[3, 1]`.
//! - `id` is the request's. Everything else, in `parameters` as well, is a parameter of the request.
//!
//! An input that is not there is left out: whether the model needs it is for its server to say.

use super::document::Document;
use super::elements::Elements;
use super::input::{Contents, Input, encode_head};
use super::lexer::{Event, Lexer};
use super::message;
use super::parameters::{Level, Parameters};
use super::source::ArrayPath;
use crate::codec::{Inputs, Progress, RequestCodec, ResponseCodec};
use crate::problem::Problem;
use crate::tensor::datatype::{Datatype, elements};
use crate::tensor::response::{Generated, StreamResponse};
use crate::tensor::signature::{Declared, Signature};
use crate::tensor::{Options, Target};
use filter_api::{Buffer, Charge, Rope};
use std::fmt::Display;
use std::sync::Arc;

/// How much of a name that a client sent comes back in an error, in characters.
const SHOWN: usize = 64;

/// The parameter by which a client of Triton's gRPC asks for one more message, which says that it is the last. In an answer
/// of this form there is no such thing, so it is not passed on.
const EMPTY_FINAL_RESPONSE: &[u8] = b"triton_enable_empty_final_response";

/// Reads the body.
#[derive(Debug)]
pub(crate) struct Generate {
    target: Target,
    options: Options,
    charge: Charge,
    signature: Arc<Signature>,
    answers: Answers,
    lexer: Lexer,
    /// How many bytes have come.
    taken: usize,
    place: Place,
    /// The member whose value comes next.
    member: Member,
    id: Option<Buffer>,
    has_parameters: bool,
    parameters: Parameters,
    /// The inputs that have come, in the order of the signature.
    inputs: Vec<Option<Input>>,
    /// The input whose list is being read.
    reading: Option<(usize, Elements)>,
}

/// What the client gets of the model's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// The only one.
    One,
    /// Each.
    All,
}

/// The object that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// None as yet.
    Before,
    Top,
    Parameters,
}

/// What a member means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Id,
    Parameters,
    Parameter,
    Input(usize),
}

impl Generate {
    /// A reader of a body for a model with this signature.
    pub(crate) fn new(
        target: Target,
        options: Options,
        signature: Arc<Signature>,
        answers: Answers,
        mut charge: Charge,
    ) -> Result<Box<Self>, Problem> {
        charge.grow(signature.inputs.len() * size_of::<Option<Input>>())?;
        Ok(Box::new(Self {
            target,
            options,
            answers,
            lexer: Lexer::new(charge.sibling()),
            taken: 0,
            place: Place::Before,
            member: Member::Parameter,
            id: None,
            has_parameters: false,
            parameters: Parameters::new(Level::Request, &charge),
            inputs: signature.inputs.iter().map(|_| None).collect(),
            reading: None,
            signature,
            charge,
        }))
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        loop {
            let Some((index, reader)) = &mut self.reading else {
                match self.lexer.next(&mut bytes)? {
                    Some(event) => self.event(event)?,
                    None => return Ok(()),
                }
                continue;
            };
            let taken = reader.read(bytes);
            let taken = taken.map_err(|problem| placed(&self.signature.inputs[*index], problem))?;
            self.lexer.advance(taken);
            bytes = &bytes[taken..];
            if !reader.is_closed() {
                return Ok(());
            }
            if let Some((index, reader)) = self.reading.take() {
                self.lexer.array_was_closed();
                let (count, raw) = reader.finish();
                self.set_input(index, count, raw)?;
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Problem> {
        match (self.place, event) {
            (Place::Before, Event::ObjectStart) => self.place = Place::Top,
            (Place::Before, _) => return Err(Problem::bad_request("the JSON document must be an object")),
            (_, Event::Key) => self.member = self.member_of_key()?,
            (Place::Parameters, Event::ObjectEnd) => self.place = Place::Top,
            (Place::Top, Event::ObjectEnd) => self.parameters.close(|| "parameters".to_owned())?,
            (_, event) => self.value(event)?,
        }
        Ok(())
    }

    /// What the key means that has come.
    fn member_of_key(&mut self) -> Result<Member, Problem> {
        let name = self.lexer.text();
        let input = std::str::from_utf8(name).ok().and_then(|name| self.signature.find(name));
        let (member, is_there) = match (input, self.place, name) {
            (Some(_), Place::Top, b"parameters") => {
                return Err(Problem::bad_request(
                    "the model has an input of the name parameters, which cannot be told from the request's parameters \
                     here: use infer or infer_stream",
                ));
            }
            (Some(index), ..) => (Member::Input(index), self.inputs[index].is_some()),
            (None, Place::Top, b"id") => (Member::Id, self.id.is_some()),
            (None, Place::Top, b"parameters") => {
                (Member::Parameters, std::mem::replace(&mut self.has_parameters, true))
            }
            (None, _, name) => {
                // Whether one comes twice is seen at the end.
                self.parameters.set_name(name)?;
                (Member::Parameter, false)
            }
        };
        if is_there {
            Err(Problem::bad_request(format!("{} is given twice", shown(name))))
        } else {
            Ok(member)
        }
    }

    /// The value of the member, or its start.
    fn value(&mut self, event: Event) -> Result<(), Problem> {
        match (self.member, event) {
            (Member::Input(index), event) => self.input(index, event),
            (Member::Parameter, event) => self.parameter(event),
            (Member::Parameters, Event::ObjectStart) => {
                self.place = Place::Parameters;
                Ok(())
            }
            (Member::Parameters, _) => Err(Problem::bad_request("parameters must be an object")),
            (Member::Id, Event::String) => {
                let mut id = Buffer::new(self.charge.sibling());
                id.push(self.lexer.text())?;
                self.id = Some(id);
                Ok(())
            }
            (Member::Id, _) => Err(Problem::bad_request("id must be a string")),
        }
    }

    fn parameter(&mut self, event: Event) -> Result<(), Problem> {
        let within = if self.place == Place::Parameters { "parameters." } else { "" };
        let path = format!("{within}{}", shown(self.parameters.name()));
        if matches!(event, Event::ObjectStart | Event::ArrayStart) {
            let names = self.signature.names();
            return Err(Problem::bad_request(format!(
                "{path}: a parameter is a string, a number or a boolean, and the model has no input of this name: its inputs \
                 are {names}"
            )));
        }
        if self.parameters.name() == EMPTY_FINAL_RESPONSE {
            return Ok(());
        }
        self.parameters.plain(event, self.lexer.text(), &path)
    }

    fn input(&mut self, index: usize, event: Event) -> Result<(), Problem> {
        let input = &self.signature.inputs[index];
        if event == Event::ArrayStart {
            let reader = Elements::new(input.datatype, ArrayPath::Row, false, false, &self.charge);
            self.reading = Some((index, reader));
            return Ok(());
        }
        let text = self.lexer.text();
        let mut reader = Elements::rows(input.datatype, &self.charge);
        match (input.datatype, event) {
            (_, Event::ObjectStart) => return Err(misfit(input, "an object")),
            (Datatype::Bytes, Event::String) => reader.bytes(text)?,
            (Datatype::Bytes, Event::Null) => return Err(misfit(input, "null")),
            (Datatype::Bytes, Event::Bool(_)) => return Err(misfit(input, "a boolean")),
            (Datatype::Bytes, _) => return Err(misfit(input, "a number")),
            (_, event) => {
                let taken = reader.single(text, event == Event::String);
                taken.map_err(|problem| placed(input, problem))?;
            }
        }
        let (_, raw) = reader.finish();
        self.set_input(index, 1, raw)
    }

    /// Takes the elements of an input.
    fn set_input(&mut self, index: usize, count: u64, raw: Rope) -> Result<(), Problem> {
        let input = &self.signature.inputs[index];
        let Some(shape) = fitted(&input.shape, count) else {
            let name = &input.name;
            return Err(Problem::bad_request(format!(
                "{name}: {count} elements do not fit the shape {input} of the model's input"
            )));
        };
        let head = encode_head(&self.charge, input.name.as_bytes(), input.datatype, &shape, &[])?;
        let contents = Contents::Raw(raw);
        self.inputs[index] = Some(Input { head, datatype: input.datatype, elements: count, contents });
        Ok(())
    }
}

impl RequestCodec for Generate {
    fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        self.taken = self.taken.saturating_add(bytes.len());
        let limit = self.options.max_request_bytes;
        if self.taken > limit {
            return Err(Problem::too_large(format!("the body is larger than {limit} bytes")));
        }
        self.read(bytes)?;
        Ok(Progress::complete_if(self.lexer.is_done()))
    }

    fn finish(self: Box<Self>) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        self.finish_described(&mut Inputs::default())
    }

    fn finish_described(
        self: Box<Self>,
        described: &mut Inputs,
    ) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        self.lexer.end()?;
        let Self { target, options, charge, answers, id, parameters, inputs, .. } = *self;
        let mut document = Document::new(charge.sibling());
        (document.id, document.parameters) = (id, parameters);
        for input in inputs.into_iter().flatten() {
            described.elements = described.elements.saturating_add(input.elements);
            document.inputs.push(input)?;
        }
        if described.describe {
            described.first = document.inputs.iter().next().map(Input::description);
        }
        let message = message::assemble(document, &target, options.encoding, &charge)?;
        let answer = Generated::new(options, charge);
        let answer = match answers {
            Answers::All => StreamResponse::new(answer),
            Answers::One => StreamResponse::alone(answer),
        };
        Ok((message, Box::new(answer)))
    }
}

/// The shape of a tensor of so many elements, of which the model declares these sizes; `None` if there is none.
fn fitted(declared: &[Option<u64>], count: u64) -> Option<Vec<u64>> {
    let fixed: Vec<u64> = declared.iter().copied().flatten().collect();
    let open = match elements(&fixed)? {
        0 if count == 0 => 1,
        0 => return None,
        fixed if count.is_multiple_of(fixed) => count / fixed,
        _ => return None,
    };
    let last = declared.iter().rposition(Option::is_none);
    if last.is_none() && open != 1 {
        return None;
    }
    let size =
        |(index, size): (usize, &Option<u64>)| size.unwrap_or(if Some(index) == last { open } else { 1 });
    Some(declared.iter().enumerate().map(size).collect())
}

/// A client's name in an error.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(SHOWN).collect()
}

#[cold]
fn misfit(input: &Declared, found: impl Display) -> Problem {
    let (name, datatype) = (&input.name, input.datatype.name());
    Problem::bad_request(format!("{name}: expected a value of {datatype} or a list of them, found {found}"))
}

/// Says where the problem of a reader of elements is.
#[cold]
fn placed(input: &Declared, problem: Problem) -> Problem {
    // Not in the memory budget.
    if problem.status != 400 {
        return problem;
    }
    let message = format!("{}{}", input.name, problem.message);
    Problem { message: message.into(), ..problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_innermost_open_size_is_what_the_fixed_ones_leave_and_the_others_are_one() {
        let any = None;
        for (declared, count, expected) in [
            (&[][..], 1, Some(&[][..])),
            (&[], 2, None),
            (&[], 0, None),
            (&[Some(1)], 1, Some(&[1])),
            (&[Some(1)], 2, None),
            (&[any], 0, Some(&[0])),
            (&[any], 3, Some(&[3])),
            (&[any, Some(1)], 1, Some(&[1, 1])),
            (&[any, Some(1)], 3, Some(&[3, 1])),
            (&[any, any], 3, Some(&[1, 3])),
            (&[any, Some(2), any], 6, Some(&[1, 2, 3])),
            (&[any, Some(2), any], 5, None),
            (&[any, Some(2)], 0, Some(&[0, 2])),
            (&[any, Some(0)], 0, Some(&[1, 0])),
            (&[Some(0)], 1, None),
            (&[Some(u64::MAX), Some(2)], 2, None),
        ] {
            assert_eq!(fitted(declared, count).as_deref(), expected, "{declared:?} {count}");
        }
    }
}
