//! The JSON document of a request of OpenAI's, read as it comes.
//!
//! Texts and tokens go to where the message takes them from as they are read, and everything else is kept by its name: which
//! model is meant, and so what the rest means, may be said last.

use super::Operation;
use super::error;
use super::tensors::Scalar;
use crate::problem::Problem;
use crate::tensor::number::decimal::integer_of;
use crate::tensor::{ChargedList, Event, Lexer};
use filter_api::{Buffer, Charge, Rope};

/// How many members a document may have. OpenAI's have up to 20.
const MAX_MEMBERS: usize = 64;

/// How long their names may be, in bytes.
const NAME_BYTES: usize = 100;

/// The largest token.
const MAX_TOKEN: i128 = i32::MAX as i128;

/// The document as far as it has been read.
#[derive(Debug)]
pub(super) struct Document {
    operation: Operation,
    charge: Charge,
    lexer: Lexer,
    place: Place,
    inputs: Inputs,
    /// How many tokens the list has that is open.
    open_tokens: u32,
    /// Every member, in order.
    members: ChargedList<Member>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Key,
    Value,
    /// In the list of inputs.
    Inputs,
    /// In a list of tokens in it.
    Tokens,
    /// In another member's list.
    List,
    /// In the object `stream_options`.
    Options,
    /// In something that is not kept; ends where its member ends.
    Skipped,
}

/// What the model is asked about.
#[derive(Debug)]
pub(super) enum Inputs {
    None,
    /// Texts, each with its length in front, as BYTES has them.
    Texts {
        raw: Rope,
        count: u64,
    },
    /// Lists of tokens, one behind the other, each token as four bytes.
    Tokens {
        raw: Rope,
        lengths: ChargedList<u32>,
    },
}

/// A member of the document.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Buffer,
    pub(super) form: Form,
    values: ChargedList<(Kind, Buffer)>,
}

/// Of what form a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Null,
    /// A string, number or boolean.
    One,
    /// A list of them.
    List,
    /// An object of them, each behind its name: `stream_options`.
    Object,
    /// An object, or a list of other things; not kept.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Bool(bool),
}

impl Member {
    /// Its values.
    pub(super) fn values(&self) -> impl Iterator<Item = Scalar<'_>> {
        self.values.iter().map(scalar)
    }

    /// Its one value, if it has one.
    pub(super) fn value(&self) -> Option<Scalar<'_>> {
        self.values().next().filter(|_| self.form == Form::One)
    }

    /// The names and values of an object's members.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&[u8], Scalar<'_>)> {
        let values = if self.form == Form::Object { &self.values[..] } else { &[] };
        let (pairs, _) = values.as_chunks::<2>();
        pairs.iter().map(|[(_, name), value]| (name.as_slice(), scalar(value)))
    }
}

fn scalar((kind, text): &(Kind, Buffer)) -> Scalar<'_> {
    match kind {
        Kind::Text => Scalar::Text(text.as_slice()),
        Kind::Number => Scalar::Number(text.as_slice()),
        Kind::Bool(value) => Scalar::Bool(*value),
    }
}

#[cold]
fn long_name() -> Problem {
    Problem::bad_request(format!("a member's name is longer than {NAME_BYTES} bytes"))
}

impl Document {
    pub(super) fn new(operation: Operation, charge: Charge) -> Self {
        Self {
            operation,
            lexer: Lexer::new(charge.sibling()),
            place: Place::Start,
            inputs: Inputs::None,
            open_tokens: 0,
            members: ChargedList::new(charge.sibling()),
            charge,
        }
    }

    /// Takes the next bytes.
    pub(super) fn read(&mut self, mut input: &[u8]) -> Result<(), Problem> {
        while let Some(event) = self.lexer.next(&mut input)? {
            self.event(event)?;
        }
        Ok(())
    }

    /// Whether the document has been closed.
    pub(super) fn is_done(&self) -> bool {
        self.lexer.is_done()
    }

    /// Ends the document; gives what it has.
    pub(super) fn finish(self) -> Result<(Inputs, ChargedList<Member>), Problem> {
        self.lexer.end()?;
        Ok((self.inputs, self.members))
    }

    fn event(&mut self, event: Event) -> Result<(), Problem> {
        if event == Event::NotFinite {
            let word = String::from_utf8_lossy(self.lexer.text());
            return Err(Problem::bad_request(format!("invalid JSON: {word} is not a JSON value")));
        }
        match self.place {
            Place::Start if event == Event::ObjectStart => self.place = Place::Key,
            Place::Start => return Err(Problem::bad_request("the JSON document must be an object")),
            Place::Key => {
                if event == Event::Key {
                    self.begin_member()?;
                }
            }
            Place::Value if self.is_inputs() => self.begin_inputs(event)?,
            Place::Value => self.begin_value(event)?,
            Place::Inputs => self.input(event)?,
            Place::Tokens => self.token_in_list(event)?,
            Place::List => match event {
                Event::ArrayEnd => self.place = Place::Key,
                Event::String | Event::Number | Event::Bool(_) => self.keep(event)?,
                _ => self.skip(),
            },
            Place::Options => match event {
                Event::ObjectEnd => self.place = Place::Key,
                Event::Key if self.lexer.text().len() > NAME_BYTES => {
                    return Err(long_name());
                }
                Event::Key | Event::String | Event::Number | Event::Bool(_) => self.keep(event)?,
                // As if it were not there.
                Event::Null => {
                    if let Some(member) = self.members.last_mut() {
                        member.values.pop();
                    }
                }
                _ => self.skip(),
            },
            Place::Skipped => {
                if self.lexer.depth() <= 1 {
                    self.lexer.skip(false);
                    self.place = Place::Key;
                }
            }
        }
        Ok(())
    }

    /// A key has come.
    fn begin_member(&mut self) -> Result<(), Problem> {
        let key = self.lexer.text();
        if key.len() > NAME_BYTES {
            return Err(long_name());
        }
        if self.members.iter().any(|member| member.name.as_slice() == key) {
            let name = String::from_utf8_lossy(key).into_owned();
            return Err(error::invalid(&name, format!("{name} is given twice")));
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(Problem::bad_request(format!("the body has more than {MAX_MEMBERS} members")));
        }
        let mut name = Buffer::new(self.charge.sibling());
        name.push(key)?;
        let values = ChargedList::new(self.charge.sibling());
        self.members.push(Member { name, form: Form::Null, values })?;
        self.place = Place::Value;
        Ok(())
    }

    /// Whether the member that is open is the one with the inputs.
    fn is_inputs(&self) -> bool {
        let name = self.operation.inputs().as_bytes();
        self.members.last().is_some_and(|member| member.name.as_slice() == name)
    }

    /// Whether the member that is open is the one with what a stream shall have.
    fn is_options(&self) -> bool {
        let is_named = |member: &Member| member.name.as_slice() == b"stream_options";
        self.operation == Operation::Completions && self.members.last().is_some_and(is_named)
    }

    fn begin_value(&mut self, event: Event) -> Result<(), Problem> {
        let form = match event {
            Event::Null => Form::Null,
            Event::ArrayStart => Form::List,
            Event::ObjectStart if self.is_options() => Form::Object,
            Event::ObjectStart => Form::Other,
            _ => Form::One,
        };
        if let Some(member) = self.members.last_mut() {
            member.form = form;
        }
        self.place = match form {
            Form::List => Place::List,
            Form::Object => Place::Options,
            _ => Place::Key,
        };
        match form {
            Form::Other => self.skip(),
            Form::One => self.keep(event)?,
            Form::Null | Form::List | Form::Object => {}
        }
        Ok(())
    }

    /// Keeps a value of the member that is open.
    fn keep(&mut self, event: Event) -> Result<(), Problem> {
        let kind = match event {
            Event::String | Event::Key => Kind::Text,
            Event::Bool(value) => Kind::Bool(value),
            _ => Kind::Number,
        };
        let mut text = Buffer::new(self.charge.sibling());
        if !matches!(kind, Kind::Bool(_)) {
            text.push(self.lexer.text())?;
        }
        if let Some(member) = self.members.last_mut() {
            member.values.push((kind, text))?;
        }
        Ok(())
    }

    /// Keeps nothing of the member that is open, in whose list or object something stands that cannot be used.
    fn skip(&mut self) {
        if let Some(member) = self.members.last_mut() {
            member.form = Form::Other;
            member.values.clear();
        }
        self.lexer.skip(true);
        self.place = Place::Skipped;
    }

    fn begin_inputs(&mut self, event: Event) -> Result<(), Problem> {
        self.place = Place::Key;
        match event {
            Event::Null => {}
            Event::String => self.text()?,
            Event::ArrayStart => self.place = Place::Inputs,
            _ => return Err(self.wrong("")),
        }
        Ok(())
    }

    /// An item of the list of inputs, or its end.
    fn input(&mut self, event: Event) -> Result<(), Problem> {
        let flat = self.open_tokens > 0;
        match (event, &self.inputs) {
            (Event::String, Inputs::None | Inputs::Texts { .. }) => self.text(),
            (Event::Number, Inputs::None) => self.token(),
            (Event::Number, Inputs::Tokens { .. }) if flat => self.token(),
            (Event::ArrayStart, Inputs::None | Inputs::Tokens { .. }) if !flat => {
                self.place = Place::Tokens;
                Ok(())
            }
            (Event::ArrayEnd, Inputs::None) => {
                let name = self.operation.inputs();
                Err(error::invalid(name, format!("{name} must not be an empty list")))
            }
            (Event::ArrayEnd, _) => {
                self.place = Place::Key;
                if flat { self.end_tokens() } else { Ok(()) }
            }
            _ => {
                let index = match &self.inputs {
                    Inputs::None => 0,
                    Inputs::Texts { count, .. } => *count,
                    Inputs::Tokens { .. } if flat => u64::from(self.open_tokens),
                    Inputs::Tokens { lengths, .. } => lengths.len() as u64,
                };
                Err(self.wrong(&format!("[{index}]")))
            }
        }
    }

    fn text(&mut self) -> Result<(), Problem> {
        let (text, charge) = (self.lexer.text(), &self.charge);
        let Ok(length) = u32::try_from(text.len()) else {
            return Err(Problem::too_large("a text is longer than 4 GiB"));
        };
        if matches!(self.inputs, Inputs::None) {
            self.inputs = Inputs::Texts { raw: Rope::new(charge.sibling()), count: 0 };
        }
        if let Inputs::Texts { raw, count } = &mut self.inputs {
            raw.push(&length.to_le_bytes())?;
            raw.push(text)?;
            *count += 1;
        }
        Ok(())
    }

    fn token_in_list(&mut self, event: Event) -> Result<(), Problem> {
        match event {
            Event::Number => self.token(),
            Event::ArrayEnd => {
                self.place = Place::Inputs;
                self.end_tokens()
            }
            _ => Err(self.wrong_token()),
        }
    }

    fn token(&mut self) -> Result<(), Problem> {
        let Ok(token) = integer_of(self.lexer.text(), 0, MAX_TOKEN) else { return Err(self.wrong_token()) };
        if matches!(self.inputs, Inputs::None) {
            let lengths = ChargedList::new(self.charge.sibling());
            self.inputs = Inputs::Tokens { raw: Rope::new(self.charge.sibling()), lengths };
        }
        if let Inputs::Tokens { raw, .. } = &mut self.inputs {
            raw.push(&(token as u32).to_le_bytes())?;
        }
        self.open_tokens =
            self.open_tokens.checked_add(1).ok_or_else(|| Problem::too_large("too many tokens"))?;
        Ok(())
    }

    fn end_tokens(&mut self) -> Result<(), Problem> {
        let name = self.operation.inputs();
        let length = std::mem::take(&mut self.open_tokens);
        match &mut self.inputs {
            Inputs::Tokens { lengths, .. } if length > 0 => Ok(lengths.push(length)?),
            Inputs::Tokens { lengths, .. } => {
                let index = lengths.len();
                Err(error::invalid(name, format!("{name}[{index}] must not be an empty list")))
            }
            _ => Err(error::invalid(name, format!("{name}[0] must not be an empty list"))),
        }
    }

    #[cold]
    fn wrong(&self, place: &str) -> Problem {
        let name = self.operation.inputs();
        let what = match (&self.inputs, self.open_tokens) {
            (Inputs::None, _) if place.is_empty() => {
                "a string, a list of strings, a list of tokens or a list of such lists"
            }
            (Inputs::None, _) => "a string, a token or a list of tokens",
            (Inputs::Texts { .. }, _) => "a string, as what stands before it",
            (Inputs::Tokens { .. }, 0) => "a list of tokens, as what stands before it",
            (Inputs::Tokens { .. }, _) => "a token, as what stands before it",
        };
        error::invalid(name, format!("{name}{place} must be {what}"))
    }

    #[cold]
    fn wrong_token(&self) -> Problem {
        let (name, token) = (self.operation.inputs(), self.open_tokens);
        let lists = match &self.inputs {
            Inputs::Tokens { lengths, .. } => lengths.len(),
            _ => 0,
        };
        let place =
            if self.place == Place::Tokens { format!("[{lists}][{token}]") } else { format!("[{token}]") };
        error::invalid(name, format!("{name}{place} must be a token: a whole number from 0 to {MAX_TOKEN}"))
    }
}
