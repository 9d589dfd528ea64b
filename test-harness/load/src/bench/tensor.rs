//! The tensors that are sent and answered, as numbers and as text.

/// How many digits a tensor's numbers have as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digits {
    /// At most three, as of rounded data: `0.498`.
    Three,
    /// The shortest text that gives the same FP32 number back, most often of seven to nine digits.
    Nine,
    /// The shortest text of the same number as FP64, most often of 16 or 17 digits: what clients send whose
    /// language has no FP32, Python among them.
    Seventeen,
}

/// An FP32 tensor.
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
    /// The values as JSON writes them, with commas between them.
    pub(crate) text: String,
}

impl Tensor {
    /// A tensor of 1x4.
    pub(crate) fn tiny() -> Self {
        Self::new(vec![1, 4], vec![0.25, -1.5, 3.0, 0.1], Digits::Nine)
    }

    /// A tensor of 1x3x`side`x`side`: an image.
    pub(crate) fn image(side: usize, digits: Digits) -> Self {
        let shape = vec![1, 3, side, side];
        let count = shape.iter().product();
        let values = match digits {
            Digits::Three => {
                uniform().map(|x| (x * 1000.0).round() / 1000.0).map(|x| x as f32).take(count).collect()
            }
            Digits::Nine | Digits::Seventeen => uniform().map(|x| x as f32).take(count).collect(),
        };
        Self::new(shape, values, digits)
    }

    /// A tensor of 1xN whose text has about `bytes` bytes, of [`Digits::Nine`].
    pub(crate) fn of_length(bytes: usize) -> Self {
        let mut length = 0;
        let fits = |value: &f32| {
            length += format!("{value:?},").len();
            length <= bytes
        };
        let values: Vec<f32> = uniform().map(|x| x as f32).take_while(fits).collect();
        Self::new(vec![1, values.len()], values, Digits::Nine)
    }

    fn new(shape: Vec<usize>, values: Vec<f32>, digits: Digits) -> Self {
        let text = |value: &f32| match digits {
            Digits::Three | Digits::Nine => format!("{value:?}"),
            Digits::Seventeen => format!("{:?}", f64::from(*value)),
        };
        let text = values.iter().map(text).collect::<Vec<_>>().join(",");
        Self { shape, values, text }
    }

    /// The values as little-endian FP32.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The dimensions as JSON.
    pub(crate) fn shape_text(&self) -> String {
        format!("{:?}", self.shape).replace(' ', "")
    }
}

/// Numbers from 0 up to 1, the same in every run (splitmix64).
fn uniform() -> impl Iterator<Item = f64> {
    let mut state = 0u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (x >> 11) as f64 / (1u64 << 53) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_its_number() {
        for digits in [Digits::Three, Digits::Nine, Digits::Seventeen] {
            let tensor = Tensor::image(16, digits);
            let read: Vec<f32> = tensor.text.split(',').map(|text| text.parse().unwrap()).collect();
            assert_eq!(read, tensor.values);
            assert_eq!(read.len(), 3 * 16 * 16);
        }
    }

    #[test]
    fn a_tensor_of_a_length_has_it() {
        let text = Tensor::of_length(10_000).text;
        assert!(text.len() <= 10_000 && text.len() > 9_980, "{}", text.len());
    }

    #[test]
    fn the_texts_have_the_digits_that_their_names_say() {
        let median_digits = |digits| {
            let tensor = Tensor::image(16, digits);
            let count = |text: &str| text.trim_start_matches(['0', '.']).len();
            let mut counts: Vec<usize> = tensor.text.split(',').map(count).collect();
            counts.sort_unstable();
            counts[counts.len() / 2]
        };
        assert_eq!(median_digits(Digits::Three), 3);
        assert!((7..=9).contains(&median_digits(Digits::Nine)));
        assert!((16..=18).contains(&median_digits(Digits::Seventeen)));
    }
}
