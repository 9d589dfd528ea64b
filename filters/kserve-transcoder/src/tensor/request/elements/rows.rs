//! Rows: flat arrays that a reader of something larger meets one after the other, and elements that stand alone.

use super::super::element::{Bf16, Bool, Fp16, Fp32, Fp64, Integer};
use super::super::source::ArrayPath;
use super::{BATCH_BYTES, Batch, Elements, Expect};
use crate::problem::Problem;
use crate::tensor::datatype::Datatype;
use filter_api::{Charge, OverBudget};

impl Elements {
    /// A reader of rows, whose elements follow each other as one tensor's. What is wrong in a row is told with the
    /// element's index in brackets in front, and what is wrong with an element that stands alone with a colon.
    pub(in super::super) fn rows(datatype: Datatype, charge: &Charge) -> Self {
        let reader = Self::new(datatype, ArrayPath::Row, false, false, charge);
        Self { deepest: 1, expect: Expect::Nothing, ..reader }
    }

    /// A row begins, whose opening bracket has been taken. From now on only its elements count.
    pub(in super::super) fn begin_row(&mut self) {
        (self.depth, self.count, self.expect) = (1, 0, Expect::ElementOrEnd);
    }

    /// How many elements the row has.
    pub(in super::super) fn count(&self) -> u64 {
        self.count
    }

    /// Takes an element that stands alone, which is not one of BYTES.
    pub(in super::super) fn single(&mut self, token: &[u8], in_quotes: bool) -> Result<(), Problem> {
        let mut batch = Batch { bytes: [0; BATCH_BYTES + 8], len: 0 };
        self.count = 0;
        let taken = match self.datatype {
            Datatype::Bool => self.element::<Bool>(token, in_quotes, &mut batch),
            Datatype::Uint8 => self.element::<Integer<u8>>(token, in_quotes, &mut batch),
            Datatype::Uint16 => self.element::<Integer<u16>>(token, in_quotes, &mut batch),
            Datatype::Uint32 => self.element::<Integer<u32>>(token, in_quotes, &mut batch),
            Datatype::Uint64 => self.element::<Integer<u64>>(token, in_quotes, &mut batch),
            Datatype::Int8 => self.element::<Integer<i8>>(token, in_quotes, &mut batch),
            Datatype::Int16 => self.element::<Integer<i16>>(token, in_quotes, &mut batch),
            Datatype::Int32 => self.element::<Integer<i32>>(token, in_quotes, &mut batch),
            Datatype::Int64 => self.element::<Integer<i64>>(token, in_quotes, &mut batch),
            Datatype::Fp16 => self.element::<Fp16>(token, in_quotes, &mut batch),
            Datatype::Bf16 => self.element::<Bf16>(token, in_quotes, &mut batch),
            Datatype::Fp32 => self.element::<Fp32>(token, in_quotes, &mut batch),
            Datatype::Fp64 => self.element::<Fp64>(token, in_quotes, &mut batch),
            Datatype::Bytes => Err(self.problem(format_args!("it is not one of BYTES"))),
        };
        taken.map_err(|problem| Problem {
            message: problem.message.trim_start_matches("[0]").to_owned().into(),
            ..problem
        })?;
        self.out.push(&batch.bytes[..batch.len])?;
        Ok(())
    }

    /// Takes an element of BYTES, which is shorter than 4 GiB.
    pub(in super::super) fn bytes(&mut self, element: &[u8]) -> Result<(), OverBudget> {
        self.out.push(&(element.len() as u32).to_le_bytes())?;
        self.out.push(element)
    }
}
