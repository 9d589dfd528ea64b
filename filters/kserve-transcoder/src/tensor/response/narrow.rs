//! Typed contents of an answer as raw ones.

use crate::tensor::datatype::Datatype;
use filter_api::{Charge, OverBudget, Rope, Sink};

/// Typed contents as raw ones. `None` says that an element is out of the datatype's range: some servers pass
/// on what a model gives them.
pub(super) fn narrow(
    datatype: Datatype,
    mut typed: Rope,
    charge: &Charge,
) -> Result<Option<Rope>, OverBudget> {
    let (low, high) = match datatype {
        Datatype::Int8 => (i8::MIN.into(), i8::MAX.into()),
        Datatype::Int16 => (i16::MIN.into(), i16::MAX.into()),
        Datatype::Uint8 => (0, u8::MAX.into()),
        Datatype::Uint16 => (0, u16::MAX.into()),
        // These have their own width already.
        _ => return Ok(Some(typed)),
    };
    let out = Rope::new(charge.sibling());
    let size = datatype.size().unwrap_or(1);
    let mut narrow = Narrow { out, size, low, high, part: [0; 4], have: 0, fits: true, result: Ok(()) };
    typed.drain_to(&mut narrow);
    narrow.result?;
    Ok(narrow.fits.then_some(narrow.out))
}

struct Narrow {
    out: Rope,
    size: usize,
    low: i32,
    high: i32,
    part: [u8; 4],
    have: usize,
    fits: bool,
    result: Result<(), OverBudget>,
}

impl Sink for Narrow {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.part[self.have] = *byte;
            self.have += 1;
            if self.have == 4 {
                self.have = 0;
                // What is beyond an INT32 came in as unsigned, and is negative here: out of range as well.
                self.fits &= (self.low..=self.high).contains(&i32::from_le_bytes(self.part));
                if self.result.is_ok() {
                    self.result = self.out.push(&self.part[..self.size]);
                }
            }
        }
    }
}
