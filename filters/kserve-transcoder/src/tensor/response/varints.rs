//! Many varints at a time.
//!
//! How long a number is cannot be guessed: small ones are of one byte, negative ones of ten. So a number's length is neither
//! branched on nor waited for. The ends of all numbers of a block are found at once.

use crate::tensor::text::words::TOPS;

/// The bytes of some varints, as many as a word has bits, and what the last of them may have behind that.
pub(super) struct Block<'a> {
    bytes: &'a [u8; Block::LEN + BEHIND],
    /// A bit for each byte that is a number's last.
    ends: u64,
    /// Some number has more than eight bytes.
    has_long: bool,
}

/// How many bytes may be looked at behind a block: those of a number that begins with its last one, to the next word.
const BEHIND: usize = 16;

impl<'a> Block<'a> {
    /// How many bytes it has.
    pub(super) const LEN: usize = u64::BITS as usize;

    /// The block at the front of some numbers; `None` if there is less.
    #[inline(always)]
    pub(super) fn new(numbers: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; Block::LEN + BEHIND] = numbers.first_chunk()?;
        let (words, _) = bytes[..Self::LEN].as_chunks::<8>();
        let mut ends = 0;
        for (at, word) in words.iter().enumerate() {
            // The top bits of the eight bytes, next to each other.
            let tops = (!u64::from_le_bytes(*word) & TOPS) >> 7;
            ends |= (tops.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * at);
        }
        // Eight bytes after each other that are not the last one.
        let twos = !ends & !ends >> 1;
        let fours = twos & twos >> 2;
        Some(Self { bytes, ends, has_long: fours & fours >> 4 != 0 })
    }

    /// Its bytes, if each of them is a number.
    #[inline(always)]
    pub(super) fn all_of_one_byte(&self) -> Option<&'a [u8]> {
        (self.ends == u64::MAX).then_some(&self.bytes[..Self::LEN])
    }

    /// The places of the bytes that are a number's last.
    #[inline(always)]
    pub(super) fn ends(&self) -> Ends {
        Ends(self.ends)
    }

    /// The byte at a place.
    #[inline(always)]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes[at % Self::LEN]
    }

    /// The number that begins at `start` (at most [`Self::LEN`]) and ends with the byte at `end`; `None` if it has more than 64
    /// bits.
    #[inline(always)]
    pub(super) fn number(&self, start: usize, end: usize) -> Option<u64> {
        let [eight @ .., ninth, tenth] = self.bytes.get(start..)?.first_chunk::<10>()?;
        // How many bytes there are but the first.
        let more = end.wrapping_sub(start);
        let word = u64::from_le_bytes(*eight) & (u64::MAX >> (56 - 8 * more.min(7)));
        if !self.has_long {
            return Some(seven_bits(word));
        }
        let (ninth, tenth) = (u64::from(*ninth) & is_more(more, 7), u64::from(*tenth) & is_more(more, 8));
        let value = seven_bits(word) | (ninth & 0x7f) << 56 | tenth << 63;
        // One test in place of two, of which the compiler would make branches.
        (is_more(more, 9) | tenth >> 1 == 0).then_some(value)
    }
}

/// All bits if `more` is more than `than`, else none.
#[inline(always)]
fn is_more(more: usize, than: u64) -> u64 {
    (than.wrapping_sub(more as u64).cast_signed() >> 63).cast_unsigned()
}

/// Places, from the first on.
pub(super) struct Ends(u64);

impl Ends {
    /// Takes the first one.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<usize> {
        let first = self.0.trailing_zeros() as usize;
        let some = self.0 != 0;
        self.0 &= self.0.wrapping_sub(1);
        some.then_some(first)
    }
}

/// The varint at the front of ten bytes, and its length; `None` if it has more than 64 bits.
///
/// Small numbers are of one byte, or of ten if they are negative, and which of the two comes next cannot be guessed. Nor how
/// long a number is that is neither. So neither is branched on, but only whether it is one of the former.
#[inline(always)]
pub(super) fn number(word: u64, ninth: u8, tenth: u8) -> Option<(u64, usize)> {
    let last = !word & TOPS;
    // The first byte goes to the top, which makes this negative if it is the last; zero if none of the eight is.
    if last.rotate_right(8).cast_signed() > 0 {
        // All bits up to the top one of the last byte.
        let own = last ^ last.wrapping_sub(1);
        return Some((seven_bits(word & own), (last.trailing_zeros() as usize >> 3) + 1));
    }
    let is_ten = word & u64::from(ninth) & 0x80;
    let ten = seven_bits(word) | u64::from(ninth & 0x7f) << 56;
    if is_ten != word & 0x80 {
        return Some((ten, 9));
    }
    let is_ten = is_ten >> 7;
    if is_ten & u64::from(tenth > 1) != 0 {
        return None;
    }
    let ten = (ten | u64::from(tenth) << 63) & is_ten.wrapping_neg();
    Some(((word & 0x7f) | ten, 1 + 9 * is_ten as usize))
}

/// Puts the low seven bits of each byte next to each other.
#[inline(always)]
fn seven_bits(word: u64) -> u64 {
    let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
    (word & 0x0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4
}
