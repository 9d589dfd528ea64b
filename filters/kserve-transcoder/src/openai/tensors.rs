//! Inputs of a model as a configuration describes them, and how they are filled.

use super::error;
use crate::problem::Problem;
use crate::tensor::number::decimal::NumberError;
use crate::tensor::{Datatype, MAX_RANK, elements, raw_element};
use filter_api::{Charge, ConfigError, OverBudget, Rope};
use serde_json::Value;

/// An input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    shape: Vec<Dimension>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dimension {
    /// The number of inputs of a request.
    Inputs,
    /// The number of tokens of an input, or of values of a parameter.
    Values,
    Fixed(u64),
}

/// A value of a parameter, as its JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    /// Without its quotes and escapes.
    Text(&'a [u8]),
    Number(&'a [u8]),
    Bool(bool),
}

impl Tensor {
    /// Reads an input of a configuration that is at `path` there.
    pub(super) fn read(path: &str, name: &str, datatype: &str, shape: &[i64]) -> Result<Self, ConfigError> {
        let at = |key: &str, reason: String| ConfigError::at(format!("{path}.{key}"), reason);
        if name.is_empty() {
            return Err(at("name", "an input's name cannot be empty".to_owned()));
        }
        let datatype = Datatype::from_name(datatype.as_bytes())
            .ok_or_else(|| at("datatype", format!("{datatype:?} is not a datatype of the protocol")))?;
        if shape.len() > MAX_RANK {
            return Err(at("shape", format!("it has more than {MAX_RANK} dimensions")));
        }
        let mut open = [Dimension::Inputs, Dimension::Values].into_iter();
        let dimension = |(index, size): (usize, &i64)| {
            match (u64::try_from(*size), size) {
                (Ok(size @ 1..), _) => Ok(Dimension::Fixed(size)),
                (Err(_), -1) => open.next().ok_or("at most two dimensions can be -1"),
                _ => Err("a dimension is -1, or 1 or more"),
            }
            .map_err(|why| ConfigError::at(format!("{path}.shape[{index}]"), why))
        };
        let shape = shape.iter().enumerate().map(dimension).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), datatype, shape })
    }

    /// Its shape for so many inputs, with so many values for each; and how many elements that is. `None` for more than can be
    /// counted.
    pub(super) fn shape(&self, inputs: u64, values: u64) -> Option<(Vec<u64>, u64)> {
        let size = |dimension: &Dimension| match dimension {
            Dimension::Inputs => inputs,
            Dimension::Values => values,
            Dimension::Fixed(size) => *size,
        };
        let shape: Vec<u64> = self.shape.iter().map(size).collect();
        let count = elements(&shape)?;
        Some((shape, count))
    }

    /// Whether it has an element for each input.
    pub(super) fn is_per_input(&self) -> bool {
        self.shape.contains(&Dimension::Inputs)
    }

    /// Appends the element that a value is.
    pub(super) fn push(&self, value: Scalar<'_>, raw: &mut Rope) -> Result<Result<(), String>, OverBudget> {
        let name = self.datatype.name();
        let token = match (self.datatype, value) {
            (Datatype::Bytes, Scalar::Text(text)) => {
                let Ok(length) = u32::try_from(text.len()) else {
                    return Ok(Err("it is longer than 4 GiB".to_owned()));
                };
                raw.push(&length.to_le_bytes())?;
                raw.push(text)?;
                return Ok(Ok(()));
            }
            (Datatype::Bytes, _) => return Ok(Err("it must be a string".to_owned())),
            (Datatype::Bool, Scalar::Bool(value)) => {
                raw.push(&[u8::from(value)])?;
                return Ok(Ok(()));
            }
            (Datatype::Bool, _) => return Ok(Err("it must be true or false".to_owned())),
            (_, Scalar::Number(token)) => token,
            _ => return Ok(Err("it must be a number".to_owned())),
        };
        let element = match raw_element(self.datatype, token) {
            Ok(element) => element,
            Err(NumberError::NotANumber) => return Ok(Err("it must be a number".to_owned())),
            Err(NumberError::OutOfRange) => return Ok(Err(format!("it is out of range for {name}"))),
            Err(NumberError::NotWhole) => {
                return Ok(Err(format!("it must be a whole number, as {name} needs")));
            }
        };
        raw.push(&element.to_le_bytes()[..self.datatype.size().unwrap_or_default()])?;
        Ok(Ok(()))
    }

    /// The raw contents for the values of a parameter, repeated for each input if it has an element for each; its shape, and
    /// how many elements that is. `most` is how long they may be, in bytes.
    pub(super) fn fill(
        &self,
        parameter: &str,
        values: &[Scalar<'_>],
        inputs: u64,
        most: usize,
        charge: &Charge,
    ) -> Result<(Vec<u64>, u64, Rope), Problem> {
        let refused = |why: &str| error::invalid(parameter, format!("{parameter}: {why}"));
        let times = if self.is_per_input() { inputs } else { 1 };
        let count = (values.len() as u64).checked_mul(times);
        let (shape, elements) = self
            .shape(inputs, values.len() as u64)
            .filter(|(_, elements)| Some(*elements) == count)
            .ok_or_else(|| refused("so many values do not fit the input that this model has for it"))?;
        let mut raw = Rope::new(charge.sibling());
        for _ in 0..times {
            for value in values {
                self.push(*value, &mut raw)?.map_err(|why| refused(&why))?;
            }
            if raw.len() > most {
                return Err(error::too_large(most));
            }
        }
        Ok((shape, elements, raw))
    }

    /// Checks a value that a configuration has for it at `path`, and gives it as a text that [`Fixed::scalar`] reads.
    pub(super) fn fixed(&self, path: &str, value: &Value, charge: &Charge) -> Result<Fixed, ConfigError> {
        let fixed = match value {
            Value::Bool(value) => Fixed::Bool(*value),
            Value::Number(number) => Fixed::Number(number.to_string()),
            Value::String(text) => Fixed::Text(text.clone()),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(ConfigError::at(path, "it must be a number, a text or a boolean"));
            }
        };
        let pushed = self.push(fixed.scalar(), &mut Rope::new(charge.sibling()));
        pushed
            .map_err(|error| ConfigError::at(path, error.to_string()))?
            .map_err(|why| ConfigError::at(path, why))?;
        match self.shape(1, 1) {
            Some((_, 1)) => Ok(fixed),
            _ => Err(ConfigError::at(path, "one value does not fit the shape")),
        }
    }
}

/// A value of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fixed {
    Text(String),
    Number(String),
    Bool(bool),
}

impl Fixed {
    pub(super) fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Text(text) => Scalar::Text(text.as_bytes()),
            Self::Number(text) => Scalar::Number(text.as_bytes()),
            Self::Bool(value) => Scalar::Bool(*value),
        }
    }
}
