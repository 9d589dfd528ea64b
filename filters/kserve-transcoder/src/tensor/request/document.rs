//! The JSON document of an inference request: which key means what, at which place.

use super::deferred::Deferred;
use super::elements::Elements;
use super::encode::{field_len, head, string};
use super::input::{Input, OpenInput};
use super::keys::{Key, Place};
use super::lexer::{Event, Lexer};
use super::parameters::{Level, Parameters};
use super::source::{ArrayPath, Source};
use crate::problem::Problem;
use crate::tensor::charged::ChargedList;
use crate::tensor::datatype::MAX_RANK;
use crate::tensor::number::decimal::integer_of;
use filter_api::{Buffer, Charge, Rope};

/// The document as far as it has been read.
#[derive(Debug)]
pub(super) struct Document {
    charge: Charge,
    lexer: Lexer,
    /// The open arrays and objects whose keys matter; the grammar bounds their number.
    places: Vec<Place>,
    /// The key whose value comes next.
    key: Key,
    /// The keys of the top, of the open input and of the open output that have been seen, as bits.
    seen: [u32; 3],
    /// Who reads the array that is open, if not the lexer.
    reading: Reading,
    pub(super) model_name: Option<Buffer>,
    pub(super) model_version: Option<Buffer>,
    pub(super) id: Option<Buffer>,
    pub(super) parameters: Parameters,
    open: Option<OpenInput>,
    pub(super) inputs: ChargedList<Input>,
    has_inputs: bool,
    open_output: Option<OpenOutput>,
    /// `outputs` entries, each with its key and length.
    pub(super) outputs: Buffer,
    /// The names of requested outputs that say whether they want to be binary.
    pub(super) wanted: ChargedList<(Buffer, bool)>,
    output_count: usize,
    /// `raw_input_contents`, if they were given.
    pub(super) raw: Option<ChargedList<Rope>>,
}

#[derive(Debug)]
enum Reading {
    Events,
    Data(Source, Elements),
    Text(Deferred),
    Raw(Elements),
}

#[derive(Debug)]
struct OpenOutput {
    name: Option<Buffer>,
    parameters: Parameters,
}

impl Document {
    pub(super) fn new(charge: Charge) -> Self {
        Self {
            lexer: Lexer::new(charge.sibling()),
            places: Vec::new(),
            key: Key::None,
            seen: [0; 3],
            reading: Reading::Events,
            model_name: None,
            model_version: None,
            id: None,
            parameters: Parameters::new(Level::Request, &charge),
            open: None,
            inputs: ChargedList::new(charge.sibling()),
            has_inputs: false,
            open_output: None,
            outputs: Buffer::new(charge.sibling()),
            wanted: ChargedList::new(charge.sibling()),
            output_count: 0,
            raw: None,
            charge,
        }
    }

    /// Takes the next bytes of the document.
    pub(super) fn read(&mut self, mut input: &[u8]) -> Result<(), Problem> {
        loop {
            let taken = match &mut self.reading {
                Reading::Events => match self.lexer.next(&mut input)? {
                    Some(event) => {
                        self.event(event)?;
                        continue;
                    }
                    None => return Ok(()),
                },
                Reading::Data(_, data) | Reading::Raw(data) => data.read(input)?,
                Reading::Text(kept) => kept.read(input)?,
            };
            self.lexer.advance(taken);
            input = &input[taken..];
            let closed = match &self.reading {
                Reading::Data(_, data) | Reading::Raw(data) => data.is_closed(),
                Reading::Text(kept) => kept.is_closed(),
                Reading::Events => true,
            };
            if !closed {
                return Ok(());
            }
            self.array_ended()?;
        }
    }

    /// Whether the document has been closed.
    pub(super) fn is_done(&self) -> bool {
        self.lexer.is_done()
    }

    /// No more bytes come: checks that the document is whole and has what it must have.
    pub(super) fn end(&self) -> Result<(), Problem> {
        self.lexer.end()?;
        if !self.has_inputs {
            return Err(Problem::bad_request("inputs is missing"));
        }
        Ok(())
    }

    fn array_ended(&mut self) -> Result<(), Problem> {
        self.lexer.array_was_closed();
        match (std::mem::replace(&mut self.reading, Reading::Events), &mut self.open) {
            (Reading::Data(source, data), Some(open)) => open.set_data(source, data),
            (Reading::Text(kept), Some(open)) => open.set_text(kept),
            (Reading::Raw(data), _) => {
                self.raw = data.finish_parts();
                Ok(())
            }
            _ => Ok(()),
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
            // As Triton writes them in an answer, and Python in a request: where a number may be, but nowhere else.
            (place, Event::NotFinite) if !matches!(place, Place::Parameters(_) | Place::Parameter(_)) => {
                let word = String::from_utf8_lossy(self.lexer.text());
                Err(Problem::bad_request(format!("invalid JSON: {word} is not a JSON value")))
            }
            (Place::Skipped(depth), _) => {
                if self.lexer.depth() <= depth {
                    self.lexer.skip(false);
                    self.places.pop();
                }
                Ok(())
            }
            (Place::Inputs, Event::ObjectStart) => {
                self.open = Some(OpenInput::new(self.inputs.len(), &self.charge));
                self.seen[1] = 0;
                self.enter(Place::Input)
            }
            (Place::Outputs, Event::ObjectStart) => {
                let parameters = Parameters::new(Level::Output, &self.charge);
                self.open_output = Some(OpenOutput { name: None, parameters });
                self.seen[2] = 0;
                self.enter(Place::Output)
            }
            (_, Event::ObjectEnd | Event::ArrayEnd) => self.leave(place),
            (Place::Inputs | Place::Outputs, _) => Err(self.expected("an object")),
            (Place::Shape, event) => self.dimension(event),
            (Place::Parameters(level), Event::Key) => {
                let text = self.lexer.text();
                parameters(&mut self.parameters, &mut self.open, &mut self.open_output, level, |list| {
                    Ok(list.set_name(text)?)
                })
            }
            (Place::Parameters(level), Event::ObjectStart) => {
                self.of_level(level, |list| {
                    list.begin_object();
                    Ok(())
                })?;
                self.enter(Place::Parameter(level))
            }
            (Place::Parameters(level), event) => self.parameter(level, event, false),
            (Place::Parameter(level), Event::Key) => self.parameter_field(level),
            (Place::Parameter(level), event) => self.parameter(level, event, true),
            (place, Event::Key) => self.set_key(place),
            (_, event) => self.value(event),
        }
    }

    fn enter(&mut self, place: Place) -> Result<(), Problem> {
        self.places.push(place);
        Ok(())
    }

    /// An array or object whose keys matter has been closed.
    fn leave(&mut self, place: Place) -> Result<(), Problem> {
        self.places.pop();
        match place {
            Place::Input => {
                if let Some(open) = self.open.take() {
                    self.inputs.push(open.close()?)?;
                }
            }
            Place::Output => self.close_output()?,
            Place::Parameters(level) => {
                let (inputs, outputs) = (self.inputs.len(), self.output_count);
                self.of_level(level, |list| list.close(|| parameter_path(level, inputs, outputs)))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn close_output(&mut self) -> Result<(), Problem> {
        let Some(OpenOutput { name, parameters }) = self.open_output.take() else { return Ok(()) };
        let Some(name) = name else {
            return Err(Problem::bad_request(format!("outputs[{}]: name is missing", self.output_count)));
        };
        let name_len = if name.is_empty() { 0 } else { field_len(1, name.len()) };
        head(&mut self.outputs, 6, name_len + parameters.encoded().len())?;
        string(&mut self.outputs, 1, name.as_slice())?;
        self.outputs.push(parameters.encoded())?;
        if let Some(binary) = parameters.binary {
            self.wanted.push((name, binary))?;
        }
        self.output_count += 1;
        Ok(())
    }

    fn set_key(&mut self, place: Place) -> Result<(), Problem> {
        let (level, key) = Key::of(place, self.lexer.text());
        self.key = key;
        if key == Key::Skipped {
            self.lexer.skip(true);
            return Ok(());
        }
        let Some(level) = level else { return Ok(()) };
        let bit = 1 << key.bit();
        if self.seen[level] & bit != 0 {
            return Err(Problem::bad_request(format!("{} is given twice", self.path())));
        }
        self.seen[level] |= bit;
        Ok(())
    }

    /// The value of [`Self::key`], or its start.
    fn value(&mut self, event: Event) -> Result<(), Problem> {
        let key = std::mem::replace(&mut self.key, Key::None);
        let text = self.lexer.text();
        match (key, event) {
            (Key::Skipped, Event::ObjectStart | Event::ArrayStart) => {
                self.enter(Place::Skipped(self.lexer.depth() - 1))
            }
            (Key::Skipped, _) => {
                self.lexer.skip(false);
                Ok(())
            }
            (Key::ModelName, Event::String) => keep(&mut self.model_name, text, &self.charge),
            (Key::ModelVersion, Event::String) => keep(&mut self.model_version, text, &self.charge),
            (Key::Id, Event::String) => keep(&mut self.id, text, &self.charge),
            (Key::Parameters(level), Event::ObjectStart) => self.enter(Place::Parameters(level)),
            (Key::Inputs, Event::ArrayStart) => {
                self.has_inputs = true;
                self.enter(Place::Inputs)
            }
            (Key::Outputs, Event::ArrayStart) => self.enter(Place::Outputs),
            (Key::RawInputContents, Event::ArrayStart) => {
                self.reading = Reading::Raw(Elements::parts(ArrayPath::RawInputContents, &self.charge));
                Ok(())
            }
            // What serialisers of optional fields write for none.
            (
                Key::ModelName
                | Key::ModelVersion
                | Key::Id
                | Key::Parameters(_)
                | Key::Outputs
                | Key::RawInputContents
                | Key::Data
                | Key::Contents
                | Key::Typed(_),
                Event::Null,
            ) => Ok(()),
            (Key::OutputName, Event::String) => match &mut self.open_output {
                Some(output) => keep(&mut output.name, text, &self.charge),
                None => Ok(()),
            },
            (_, event) => match self.open.as_mut() {
                Some(open) => match (key, event) {
                    (Key::Name, Event::String) => keep(&mut open.name, text, &self.charge),
                    (Key::Datatype, Event::String) => open.set_datatype(text),
                    (Key::Shape, Event::ArrayStart) => {
                        open.shape = Some(Vec::new());
                        self.enter(Place::Shape)
                    }
                    (Key::Contents, Event::ObjectStart) => {
                        open.contents_seen = true;
                        self.enter(Place::Contents)
                    }
                    (Key::Data, Event::ArrayStart) => {
                        self.reading = reading(open, Source::Plain);
                        Ok(())
                    }
                    (Key::Typed(field), Event::ArrayStart) => {
                        self.reading = reading(open, Source::Proto(field));
                        Ok(())
                    }
                    _ => {
                        self.key = key;
                        Err(self.expected(key.wants()))
                    }
                },
                None => {
                    self.key = key;
                    Err(self.expected(key.wants()))
                }
            },
        }
    }

    fn dimension(&mut self, event: Event) -> Result<(), Problem> {
        let text = self.lexer.text();
        // Protobuf's JSON quotes 64-bit integers.
        let size = match event {
            Event::Number | Event::String => {
                integer_of(text, 0, i64::MAX.into()).ok().map(|size| size as u64)
            }
            _ => None,
        };
        let Some(shape) = self.open.as_mut().and_then(|open| open.shape.as_mut()) else { return Ok(()) };
        match size {
            Some(_) if shape.len() >= MAX_RANK => {
                Err(self.wrong("shape", &format!("there are more than {MAX_RANK} dimensions")))
            }
            Some(size) => {
                shape.push(size);
                Ok(())
            }
            None => {
                let index = shape.len();
                Err(self.wrong("shape", &format!("dimension {index} is not a size from 0 to 2^63-1")))
            }
        }
    }

    fn parameter(&mut self, level: Level, event: Event, proto: bool) -> Result<(), Problem> {
        let path = || parameter_path(level, self.inputs.len(), self.output_count);
        let text = self.lexer.text();
        parameters(&mut self.parameters, &mut self.open, &mut self.open_output, level, |list| {
            let path = format!("{}.{}", path(), String::from_utf8_lossy(list.name()));
            if proto { list.proto(event, text, &path) } else { list.plain(event, text, &path) }
        })
    }

    fn parameter_field(&mut self, level: Level) -> Result<(), Problem> {
        let path = || parameter_path(level, self.inputs.len(), self.output_count);
        let text = self.lexer.text();
        parameters(&mut self.parameters, &mut self.open, &mut self.open_output, level, |list| {
            let path = format!("{}.{}", path(), String::from_utf8_lossy(list.name()));
            list.set_field(text, &path)
        })
    }

    /// Calls `take` with the parameters of a level that are open.
    fn of_level(
        &mut self,
        level: Level,
        take: impl FnOnce(&mut Parameters) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        parameters(&mut self.parameters, &mut self.open, &mut self.open_output, level, take)
    }

    /// The path of the value that is being read.
    fn path(&self) -> String {
        let key = self.key.name();
        match self.places.last() {
            Some(Place::Input) => format!("inputs[{}].{key}", self.inputs.len()),
            Some(Place::Contents) => format!("inputs[{}].contents.{key}", self.inputs.len()),
            Some(Place::Output) => format!("outputs[{}].{key}", self.output_count),
            Some(Place::Inputs) => format!("inputs[{}]", self.inputs.len()),
            Some(Place::Outputs) => format!("outputs[{}]", self.output_count),
            _ => key.to_owned(),
        }
    }

    #[cold]
    fn expected(&self, wanted: &str) -> Problem {
        Problem::bad_request(format!("{} must be {wanted}", self.path()))
    }

    #[cold]
    fn wrong(&self, key: &str, what: &str) -> Problem {
        Problem::bad_request(format!("inputs[{}].{key}: {what}", self.inputs.len()))
    }
}

/// As [`Document::of_level`], beside a borrow of the document's text.
fn parameters(
    request: &mut Parameters,
    input: &mut Option<OpenInput>,
    output: &mut Option<OpenOutput>,
    level: Level,
    take: impl FnOnce(&mut Parameters) -> Result<(), Problem>,
) -> Result<(), Problem> {
    match (level, input, output) {
        (Level::Request, ..) => take(request),
        (Level::Input, Some(input), _) => take(&mut input.parameters),
        (Level::Output, _, Some(output)) => take(&mut output.parameters),
        _ => Ok(()),
    }
}

fn parameter_path(level: Level, inputs: usize, outputs: usize) -> String {
    match level {
        Level::Request => "parameters".to_owned(),
        Level::Input => format!("inputs[{inputs}].parameters"),
        Level::Output => format!("outputs[{outputs}].parameters"),
    }
}

fn reading(open: &OpenInput, source: Source) -> Reading {
    match open.reader(source) {
        Ok(data) => Reading::Data(source, data),
        Err(kept) => Reading::Text(kept),
    }
}

fn keep(place: &mut Option<Buffer>, text: &[u8], charge: &Charge) -> Result<(), Problem> {
    let mut held = Buffer::new(charge.sibling());
    held.push(text)?;
    *place = Some(held);
    Ok(())
}
