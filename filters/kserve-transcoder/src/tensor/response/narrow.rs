//! Typed contents of an answer as raw ones.

use crate::tensor::datatype::Datatype;
use filter_api::{Charge, OverBudget, Rope, Sink};

/// Typed contents as raw ones. `None` says that an element is out of the datatype's range: some servers pass
/// on what a model gives them.
pub(super) fn narrow(datatype: Datatype, typed: Rope, charge: &Charge) -> Result<Option<Rope>, OverBudget> {
    match datatype {
        Datatype::Int8 => of(typed, |value| Some(i8::try_from(value).ok()?.to_le_bytes()), charge),
        Datatype::Int16 => of(typed, |value| Some(i16::try_from(value).ok()?.to_le_bytes()), charge),
        // What is beyond an INT32 came in as unsigned, and is negative here: out of range as well.
        Datatype::Uint8 => of(typed, |value| Some(u8::try_from(value).ok()?.to_le_bytes()), charge),
        Datatype::Uint16 => of(typed, |value| Some(u16::try_from(value).ok()?.to_le_bytes()), charge),
        // These have their own width already.
        _ => Ok(Some(typed)),
    }
}

fn of<const SIZE: usize>(
    mut typed: Rope,
    narrow: impl Fn(i32) -> Option<[u8; SIZE]>,
    charge: &Charge,
) -> Result<Option<Rope>, OverBudget> {
    let out = Rope::new(charge.sibling());
    let mut sink =
        Narrow { out, narrow, some: [[0; SIZE]; AT_ONCE], part: [0; 4], have: 0, fits: true, result: Ok(()) };
    typed.drain_to(&mut sink);
    sink.result?;
    Ok(sink.fits.then_some(sink.out))
}

struct Narrow<F, const SIZE: usize> {
    out: Rope,
    narrow: F,
    /// Where some are made, before they go out together.
    some: [[u8; SIZE]; AT_ONCE],
    /// The first bytes of an element that was cut.
    part: [u8; 4],
    have: usize,
    fits: bool,
    result: Result<(), OverBudget>,
}

/// How many elements are written at a time.
const AT_ONCE: usize = 256;

impl<F: Fn(i32) -> Option<[u8; SIZE]>, const SIZE: usize> Narrow<F, SIZE> {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), OverBudget> {
        while self.have > 0 {
            let Some((byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            self.part[self.have] = *byte;
            self.have += 1;
            if self.have == 4 {
                self.have = 0;
                let part = self.part;
                self.write_some(&[part])?;
            }
        }
        let (whole, rest) = bytes.as_chunks::<4>();
        for some in whole.chunks(AT_ONCE) {
            self.write_some(some)?;
        }
        self.part[..rest.len()].copy_from_slice(rest);
        self.have = rest.len();
        Ok(())
    }

    fn write_some(&mut self, elements: &[[u8; 4]]) -> Result<(), OverBudget> {
        let mut fits = true;
        for (narrow, wide) in self.some.iter_mut().zip(elements) {
            let own = (self.narrow)(i32::from_le_bytes(*wide));
            fits &= own.is_some();
            *narrow = own.unwrap_or([0; SIZE]);
        }
        self.fits &= fits;
        self.out.push(self.some[..elements.len()].as_flattened())
    }
}

impl<F: Fn(i32) -> Option<[u8; SIZE]>, const SIZE: usize> Sink for Narrow<F, SIZE> {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.take(bytes);
        }
    }
}
