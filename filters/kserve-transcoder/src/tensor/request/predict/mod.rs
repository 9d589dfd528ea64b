//! The body of KServe v1's `:predict`, which says nothing of datatypes and shapes: those are the model's own
//! ([`Signature`]), and known before the first byte is read.
//!
//! - `instances` is a list of rows: each has a value for every input, by name, or the value itself where the model has one
//!   input. Their number is the first dimension of every tensor.
//! - `inputs` has whole tensors, by name, or the tensor itself where the model has one input.
//! - A value is a nested list as deep as the input's shape says. Lists of one depth are equally long, and as long as the
//!   dimension says if it is not -1.
//! - An element of BYTES is a string, or `{"b64": "<base64>"}`.
//! - Numbers are read as in v2's `data`, by the same readers.
//!
//! An input that no row has is left out: whether the model needs it is for its server to say.

mod column;

use super::document::Document;
use super::input::Input;
use super::lexer::{Event, Lexer};
use super::message;
use crate::codec::{Inputs, Progress, RequestCodec, ResponseCodec};
use crate::problem::Problem;
use crate::tensor::datatype::Datatype;
use crate::tensor::response::Predictions;
use crate::tensor::signature::Signature;
use crate::tensor::text::base64;
use crate::tensor::{Options, Target};
use column::Column;
use filter_api::{Charge, Rope};
use std::fmt::{Display, Write as _};
use std::sync::Arc;

/// How much of a name that a client sent comes back in an error, in characters.
const SHOWN: usize = 64;

/// The key of an element of BYTES that is base64.
const B64: &[u8] = b"b64";

/// Reads the body.
#[derive(Debug)]
pub(crate) struct Predict {
    target: Target,
    options: Options,
    charge: Charge,
    signature: Arc<Signature>,
    lexer: Lexer,
    /// How many bytes have come.
    taken: usize,
    /// What is open, but for a list whose elements are being read.
    places: Vec<Place>,
    form: Option<Form>,
    /// The member of the document whose value comes next.
    member: Member,
    /// The input whose value comes next or is being read, in an object of values by name.
    named: Option<usize>,
    /// The inputs, in the order of the signature.
    columns: Vec<Column>,
    /// For each open list of the value that is being read, from the outermost: how many of its items are complete. In
    /// rows the first is the list of instances itself.
    open: Vec<u64>,
    /// How many inputs each row has, and the current one has so far.
    per_row: usize,
    in_row: usize,
    /// The input whose innermost list is being read.
    reading: Option<usize>,
}

/// The two forms of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Rows,
    Columns,
}

/// A member of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Instances,
    Inputs,
    Other,
}

/// An array or object that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Top,
    /// The list of instances.
    Instances,
    /// An instance that is an object.
    Instance,
    /// The object of whole tensors.
    Tensors,
    /// A list in an input's value.
    List(usize),
    /// `{"b64": "..."}`: before its key, before its text, and behind it.
    Binary(usize, InBinary),
    /// Something unknown; ends when no more arrays and objects are open than this.
    Skipped(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InBinary {
    Key,
    Text,
    End,
}

impl Predict {
    /// A reader of a body for a model with this signature.
    pub(crate) fn new(
        target: Target,
        options: Options,
        signature: Arc<Signature>,
        mut charge: Charge,
    ) -> Result<Box<Self>, Problem> {
        charge.grow(signature.inputs.iter().map(Column::bytes).sum())?;
        let columns = signature.inputs.iter().map(|input| Column::new(input, &charge)).collect();
        Ok(Box::new(Self {
            target,
            options,
            signature,
            lexer: Lexer::new(charge.sibling()),
            taken: 0,
            places: Vec::new(),
            form: None,
            member: Member::Other,
            named: None,
            columns,
            open: Vec::new(),
            per_row: 0,
            in_row: 0,
            reading: None,
            charge,
        }))
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        loop {
            let Some(reading) = self.reading else {
                match self.lexer.next(&mut bytes)? {
                    Some(event) => self.event(event)?,
                    None => return Ok(()),
                }
                continue;
            };
            let elements = &mut self.columns[reading].elements;
            let taken = elements.read(bytes);
            let (count, closed) = (elements.count(), elements.is_closed());
            let taken = taken.map_err(|problem| self.placed(&self.open[..self.open.len() - 1], problem))?;
            self.lexer.advance(taken);
            bytes = &bytes[taken..];
            if !closed {
                return Ok(());
            }
            self.reading = None;
            self.lexer.array_was_closed();
            self.columns[reading].total += count;
            if let Some(last) = self.open.last_mut() {
                *last = count;
            }
            self.close_list(reading)?;
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Problem> {
        let Some(place) = self.places.last().copied() else {
            if event != Event::ObjectStart {
                return Err(Problem::bad_request("the JSON document must be an object"));
            }
            self.places.push(Place::Top);
            return Ok(());
        };
        match (place, event) {
            (Place::Skipped(_), Event::NotFinite) => Err(self.not_json()),
            (Place::Skipped(depth), _) => {
                if self.lexer.depth() <= depth {
                    self.lexer.skip(false);
                    self.places.pop();
                }
                Ok(())
            }
            (Place::Top, Event::Key) => self.set_member(),
            (Place::Top, Event::ObjectEnd) => {
                self.places.pop();
                Ok(())
            }
            (Place::Top, event) => self.member(event),
            (Place::Instances, Event::ArrayEnd) if self.open == [0] => {
                Err(Problem::bad_request("instances has no instance"))
            }
            (Place::Instances, Event::ArrayEnd) => {
                self.places.pop();
                Ok(())
            }
            (Place::Instances, Event::ObjectStart) => {
                self.in_row = 0;
                self.places.push(Place::Instance);
                Ok(())
            }
            (Place::Instances, event) => self.value(self.only()?, event),
            (Place::Instance | Place::Tensors, Event::Key) => self.set_name(place),
            (Place::Instance, Event::ObjectEnd) => self.end_row(),
            (Place::Tensors, Event::ObjectEnd) if self.columns.iter().all(|column| column.given == 0) => {
                Err(Problem::bad_request("inputs has no input"))
            }
            (Place::Tensors, Event::ObjectEnd) => {
                self.places.pop();
                Ok(())
            }
            (Place::Instance | Place::Tensors, event) => match self.named {
                Some(column) => self.value(column, event),
                // The lexer gives no value without its key.
                None => Ok(()),
            },
            (Place::List(column), Event::ArrayEnd) => {
                self.places.pop();
                self.close_list(column)
            }
            (Place::List(column), event) => self.value(column, event),
            (Place::Binary(column, state), event) => self.binary(column, state, event),
        }
    }

    fn set_member(&mut self) -> Result<(), Problem> {
        let (member, form) = match self.lexer.text() {
            b"instances" => (Member::Instances, Form::Rows),
            b"inputs" => (Member::Inputs, Form::Columns),
            _ => {
                self.member = Member::Other;
                self.lexer.skip(true);
                return Ok(());
            }
        };
        match self.form.replace(form) {
            None => {}
            Some(before) if before == form => {
                return Err(Problem::bad_request(format!("{} is given twice", form.key())));
            }
            Some(_) => {
                return Err(Problem::bad_request("instances and inputs are both given: use one of them"));
            }
        }
        self.member = member;
        Ok(())
    }

    /// The value of a member of the document, or its start.
    fn member(&mut self, event: Event) -> Result<(), Problem> {
        match (self.member, event) {
            (Member::Other, Event::ObjectStart | Event::ArrayStart) => {
                self.places.push(Place::Skipped(self.lexer.depth() - 1));
                Ok(())
            }
            (Member::Other, Event::NotFinite) => Err(self.not_json()),
            (Member::Other, _) => {
                self.lexer.skip(false);
                Ok(())
            }
            (Member::Instances, Event::ArrayStart) => {
                self.open.push(0);
                self.places.push(Place::Instances);
                Ok(())
            }
            (Member::Instances, _) => Err(Problem::bad_request("instances must be a list")),
            (Member::Inputs, Event::ObjectStart) => {
                self.places.push(Place::Tensors);
                Ok(())
            }
            (Member::Inputs, event) => self.value(self.only()?, event),
        }
    }

    /// The input whose value stands without its name.
    fn only(&self) -> Result<usize, Problem> {
        match self.columns.len() {
            1 => Ok(0),
            _ => Err(self.problem(format_args!(
                "the model has several inputs, so their values must be given by name: {}",
                self.signature.names()
            ))),
        }
    }

    /// A name in an object of values; or the key of an element of BYTES, where the model has one input.
    fn set_name(&mut self, place: Place) -> Result<(), Problem> {
        let name = self.lexer.text();
        let Some(index) = std::str::from_utf8(name).ok().and_then(|name| self.signature.find(name)) else {
            let first = if place == Place::Instance { self.in_row == 0 } else { self.columns[0].given == 0 };
            if name == B64 && first && self.columns.len() == 1 && self.columns[0].datatype == Datatype::Bytes
            {
                self.places.pop();
                self.check_element(0, Event::ObjectStart)?;
                self.places.push(Place::Binary(0, InBinary::Text));
                return Ok(());
            }
            let shown: String = String::from_utf8_lossy(name).chars().take(SHOWN).collect();
            return Err(self.problem(format_args!(
                "the model has no input {shown:?}: its inputs are {}",
                self.signature.names()
            )));
        };
        let row = self.row();
        let column = &self.columns[index];
        if column.given == row + 1 {
            return Err(self.problem_of(index, "it is given twice"));
        }
        if place == Place::Instance && column.given < row {
            return Err(self.problem_of(index, "not every instance before this one has this input"));
        }
        self.in_row += 1;
        self.columns[index].given = row + 1;
        self.named = Some(index);
        Ok(())
    }

    /// The row that is being read; of whole tensors there is one.
    fn row(&self) -> u64 {
        if self.form == Some(Form::Rows) { self.open.first().copied().unwrap_or_default() } else { 0 }
    }

    /// An instance that is an object has been closed.
    fn end_row(&mut self) -> Result<(), Problem> {
        let row = self.row();
        if self.in_row == 0 {
            return Err(self.problem("the instance has no inputs"));
        }
        if row == 0 {
            self.per_row = self.in_row;
        }
        if self.in_row != self.per_row {
            let missing = self.columns.iter().position(|column| column.given == row && row > 0);
            return Err(
                self.problem_of(missing.unwrap_or_default(), "it is missing, but other instances have it")
            );
        }
        self.places.pop();
        self.open[0] += 1;
        Ok(())
    }

    /// A part of an input's value begins, or is an element.
    fn value(&mut self, index: usize, event: Event) -> Result<(), Problem> {
        let depth = self.open.len();
        let column = &mut self.columns[index];
        if event == Event::ArrayStart && depth < column.rank() {
            self.open.push(0);
            if depth + 1 == column.rank() && column.datatype != Datatype::Bytes {
                column.elements.begin_row();
                self.reading = Some(index);
            } else {
                self.places.push(Place::List(index));
            }
            return Ok(());
        }
        self.check_element(index, event)?;
        let text = self.lexer.text();
        let column = &mut self.columns[index];
        match (column.datatype, event) {
            (Datatype::Bytes, Event::ObjectStart) => {
                self.places.push(Place::Binary(index, InBinary::Key));
                return Ok(());
            }
            (Datatype::Bytes, _) => column.elements.bytes(text)?,
            _ => {
                let taken = column.elements.single(text, event == Event::String);
                taken.map_err(|problem| self.placed(&self.open, problem))?;
            }
        }
        self.element_done(index);
        Ok(())
    }

    /// Whether an element may begin so at this depth.
    fn check_element(&self, index: usize, event: Event) -> Result<(), Problem> {
        let (depth, column) = (self.open.len(), &self.columns[index]);
        let name = column.datatype.name();
        let found = match event {
            Event::ArrayStart => "a list",
            Event::ObjectStart => "an object",
            Event::String => "a string",
            Event::Null => "null",
            Event::Bool(_) => "a boolean",
            _ => "a number",
        };
        let fits = match column.datatype {
            Datatype::Bytes => matches!(event, Event::String | Event::ObjectStart),
            _ => event != Event::ObjectStart,
        };
        let input = &self.signature.inputs[index];
        if depth > column.rank() {
            return Err(self.problem(format_args!(
                "the model's input {} has the shape {input}, without a dimension for instances: use inputs",
                input.name
            )));
        }
        if depth < column.rank() || event == Event::ArrayStart {
            let wanted = if depth < column.rank() { "a list" } else { "an element" };
            return Err(self.problem(format_args!(
                "expected {wanted}, found {found}: the model's input {} has the shape {input}",
                input.name
            )));
        }
        if fits {
            Ok(())
        } else {
            Err(self.problem(format_args!("expected a value of {name}, found {found}")))
        }
    }

    fn element_done(&mut self, index: usize) {
        self.columns[index].total += 1;
        self.done(index);
    }

    /// A list of an input's value has been closed.
    fn close_list(&mut self, index: usize) -> Result<(), Problem> {
        let found = self.open.pop().unwrap_or_default();
        let depth = self.open.len();
        if let Err(what) = self.columns[index].set_size(depth, found) {
            let input = &self.signature.inputs[index];
            return Err(
                self.problem(format_args!("{what} (the model's input {} has the shape {input})", input.name))
            );
        }
        self.done(index);
        Ok(())
    }

    /// A value, or a part of one, is complete.
    fn done(&mut self, index: usize) {
        match self.places.last() {
            Some(Place::List(_)) => {
                if let Some(last) = self.open.last_mut() {
                    *last += 1;
                }
            }
            // An instance without its name.
            Some(Place::Instances) => {
                self.per_row = 1;
                self.open[0] += 1;
                self.columns[index].given = self.open[0];
            }
            Some(Place::Top) => self.columns[index].given = 1,
            _ => self.named = None,
        }
    }

    fn binary(&mut self, index: usize, state: InBinary, event: Event) -> Result<(), Problem> {
        let text = self.lexer.text();
        let next = match (state, event) {
            (InBinary::Key, Event::Key) if text == B64 => InBinary::Text,
            (InBinary::Text, Event::String) => {
                let mut held = self.charge.sibling();
                held.grow(text.len())?;
                let Some(bytes) = decoded(text) else {
                    return Err(self.problem("the string of b64 is not valid base64"));
                };
                self.columns[index].elements.bytes(&bytes)?;
                InBinary::End
            }
            (InBinary::End, Event::ObjectEnd) => {
                self.places.pop();
                self.element_done(index);
                return Ok(());
            }
            _ => return Err(self.problem("an object that is an element must be {\"b64\": \"<base64>\"}")),
        };
        if let Some(place) = self.places.last_mut() {
            *place = Place::Binary(index, next);
        }
        Ok(())
    }

    /// The body is over: checks that it is whole, and what is only known now.
    fn end(&self) -> Result<(), Problem> {
        self.lexer.end()?;
        if self.form.is_none() {
            return Err(Problem::bad_request("instances or inputs is missing"));
        }
        Ok(())
    }

    /// How many rows there are.
    fn rows(&self) -> Option<u64> {
        (self.form == Some(Form::Rows)).then(|| self.row())
    }

    #[cold]
    fn not_json(&self) -> Problem {
        let word = String::from_utf8_lossy(self.lexer.text());
        Problem::bad_request(format!("invalid JSON: {word} is not a JSON value"))
    }

    /// A problem at the place that is being read.
    #[cold]
    fn problem(&self, what: impl Display) -> Problem {
        Problem::bad_request(format!("{}: {what}", self.path(&self.open, None)))
    }

    /// A problem with an input that has a name at this place.
    #[cold]
    fn problem_of(&self, index: usize, what: &str) -> Problem {
        Problem::bad_request(format!("{}: {what}", self.path(&self.open, Some(index))))
    }

    /// Says where the problem of a reader of elements is.
    #[cold]
    fn placed(&self, open: &[u64], problem: Problem) -> Problem {
        // Not in the memory budget.
        if problem.status != 400 {
            return problem;
        }
        let message = format!("{}{}", self.path(open, None), problem.message);
        Problem { message: message.into(), ..problem }
    }

    /// The path of the item that is being read in the innermost of `open` lists: of the input `named`, or of the one whose
    /// name stands in front of the value.
    fn path(&self, open: &[u64], named: Option<usize>) -> String {
        let mut path = self.form.map_or("", Form::key).to_owned();
        let mut indexes = open;
        // Writing to a string cannot fail.
        if let (Some(Form::Rows), Some((row, inner))) = (self.form, open.split_first()) {
            let _ok = write!(path, "[{row}]");
            indexes = inner;
        }
        if let Some(input) = named.or(self.named).and_then(|index| self.signature.inputs.get(index)) {
            let _ok = write!(path, ".{}", input.name);
        }
        for index in indexes {
            let _ok = write!(path, "[{index}]");
        }
        path
    }
}

impl RequestCodec for Predict {
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
        inputs: &mut Inputs,
    ) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        self.end()?;
        let rows = self.rows();
        let Self { target, options, charge, signature, columns, .. } = *self;
        let mut document = Document::new(charge.sibling());
        for (input, column) in signature.inputs.iter().zip(columns) {
            if column.given == 0 {
                continue;
            }
            let input = column.close(input, rows, &charge)?;
            inputs.elements = inputs.elements.saturating_add(input.elements);
            document.inputs.push(input)?;
        }
        if inputs.describe {
            inputs.first = document.inputs.iter().next().map(Input::description);
        }
        let message = message::assemble(document, &target, options.encoding, &charge)?;
        Ok((message, Box::new(Predictions::new(options, rows, charge))))
    }
}

impl Form {
    /// The member that it is under.
    fn key(self) -> &'static str {
        match self {
            Self::Rows => "instances",
            Self::Columns => "inputs",
        }
    }
}

/// The bytes of a base64 text, in either alphabet, padded or not.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() + base64::ROOM];
    let len = base64::decode(text, &mut bytes)?;
    bytes.truncate(len);
    Some(bytes)
}
