//! One input as its values come.

use super::super::elements::Elements;
use super::super::input::{Contents, Input, encode_head};
use crate::problem::Problem;
use crate::tensor::datatype::{Datatype, elements};
use crate::tensor::signature::Declared;
use filter_api::Charge;

/// An input whose values are being read.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) datatype: Datatype,
    pub(super) elements: Elements,
    /// How many elements have come.
    pub(super) total: u64,
    /// How many rows have a value for it, or 1 for a whole tensor.
    pub(super) given: u64,
    /// The sizes that the model declares; `None` for any.
    declared: Vec<Option<u64>>,
    /// The sizes of the lists that have come, by their depth.
    sizes: Vec<Option<u64>>,
}

impl Column {
    pub(super) fn new(input: &Declared, charge: &Charge) -> Self {
        Self {
            datatype: input.datatype,
            elements: Elements::rows(input.datatype, charge),
            total: 0,
            given: 0,
            declared: input.shape.clone(),
            sizes: vec![None; input.shape.len()],
        }
    }

    /// How much memory it takes beside its elements.
    pub(super) fn bytes(input: &Declared) -> usize {
        size_of::<Self>() + 2 * size_of::<Option<u64>>() * input.shape.len()
    }

    /// How deep its elements are nested in lists.
    pub(super) fn rank(&self) -> usize {
        self.declared.len()
    }

    /// A list of `found` items has ended at a depth. An error says what is wrong with that.
    pub(super) fn set_size(&mut self, depth: usize, found: u64) -> Result<(), String> {
        if let Some(size) = self.declared.get(depth).copied().flatten().filter(|size| *size != found) {
            return Err(format!("expected {size} items, found {found}"));
        }
        let Some(place) = self.sizes.get_mut(depth) else { return Ok(()) };
        match place.replace(found).filter(|before| *before != found) {
            Some(before) => Err(format!("a list of {found} items beside one of {before}")),
            None => Ok(()),
        }
    }

    /// The input, once all of its values have come. `rows` is their number where they came in rows.
    pub(super) fn close(
        mut self,
        input: &Declared,
        rows: Option<u64>,
        charge: &Charge,
    ) -> Result<Input, Problem> {
        if let Some(rows) = rows {
            self.set_size(0, rows).map_err(|what| {
                let name = &input.name;
                Problem::bad_request(format!(
                    "instances: {what} (the model's input {name} has the shape {input})"
                ))
            })?;
        }
        // Below a list without items nothing is known.
        let size = |(found, declared): (&Option<u64>, &Option<u64>)| found.or(*declared).unwrap_or_default();
        let shape: Vec<u64> = self.sizes.iter().zip(&self.declared).map(size).collect();
        if elements(&shape) != Some(self.total) {
            let (name, total) = (&input.name, self.total);
            return Err(Problem::bad_request(format!(
                "input {name}: {total} elements are not of shape {shape:?}"
            )));
        }
        let head = encode_head(charge, input.name.as_bytes(), self.datatype, &shape, &[])?;
        let (_, raw) = self.elements.finish();
        Ok(Input { head, datatype: self.datatype, elements: self.total, contents: Contents::Raw(raw) })
    }
}
