//! A Gaussian blur, first along rows, then across them.

use alloc::vec;
use alloc::vec::Vec;
use core::array;
use wide::f32x8;

const LANES: usize = 8;
const CHANNELS: usize = 3;
/// Taps on each side of the middle: three standard deviations, so that 0.3 % is cut off.
const REACH: usize = 9;
/// Taps on each side that are added in one pass over a row, of which REACH is a multiple. The compiler of components loads all that a turn of a
/// loop needs before it computes anything: so much fits into the registers of a processor.
const PAIRS: usize = 3;

/// Blurs `rgb` (three bytes a pixel, `width` pixels a row) by `sigma` pixels, and hands every row in turn to `use_row`: three
/// channels, each from 0 to 255, with numbers of no meaning behind the row's end, up to a whole number of vectors. Beyond its edges a
/// picture goes on with its outermost pixels.
pub(super) fn each_row(rgb: &[u8], width: usize, sigma: f32, mut use_row: impl FnMut([&[f32]; CHANNELS])) {
    let kernel = Kernel::new(sigma);
    let height = rgb.len() / (width * CHANNELS);
    let mut band = Band::new(width);
    let mut blurred: [Vec<f32>; CHANNELS] = array::from_fn(|_| vec![0.0; band.stride]);
    for y in 0..height {
        while band.filled < height && band.filled <= y + REACH {
            let start = band.filled * width * CHANNELS;
            band.push(&rgb[start..start + width * CHANNELS], &kernel);
        }
        for (channel, out) in blurred.iter_mut().enumerate() {
            kernel.blur(out, |offset| band.row(channel, y.saturating_add_signed(offset).min(height - 1)));
        }
        use_row(array::from_fn(|channel| &blurred[channel][..]));
    }
}

/// One half of the bell, its middle first; the other is the same.
struct Kernel([f32x8; REACH + 1]);

impl Kernel {
    fn new(sigma: f32) -> Self {
        let half: [f32; REACH + 1] =
            array::from_fn(|x| libm::expf(-((x * x) as f32) / (2.0 * sigma * sigma)));
        let sum = 2.0 * half.iter().sum::<f32>() - half[0];
        Self(half.map(|weight| f32x8::splat(weight / sum)))
    }

    /// Blurs into `out`, whole vectors, of which `tap` gives what lies at an offset from it, as long as it.
    fn blur<'a>(&self, out: &mut [f32], tap: impl Fn(isize) -> &'a [f32]) {
        let out = out.as_chunks_mut::<LANES>().0;
        let count = out.len();
        let vectors = |offset| &tap(offset).as_chunks::<LANES>().0[..count];
        let middle = vectors(0);
        for place in 0..count {
            out[place] = (f32x8::from(middle[place]) * self.0[0]).to_array();
        }
        for nearest in (1..=REACH).step_by(PAIRS) {
            let before: [_; PAIRS] = array::from_fn(|pair| vectors(-((nearest + pair) as isize)));
            let after: [_; PAIRS] = array::from_fn(|pair| vectors((nearest + pair) as isize));
            let weights: [_; PAIRS] = array::from_fn(|pair| self.0[nearest + pair]);
            for place in 0..count {
                let mut sum = f32x8::from(out[place]);
                for pair in 0..PAIRS {
                    sum +=
                        (f32x8::from(before[pair][place]) + f32x8::from(after[pair][place])) * weights[pair];
                }
                out[place] = sum.to_array();
            }
        }
    }
}

/// As many rows, blurred along, as are needed to blur one across.
struct Band {
    /// Pixels a row, and some that are not used, up to a whole number of vectors.
    stride: usize,
    /// Rows blurred so far; the last of them are held.
    filled: usize,
    held: usize,
    rows: [Vec<f32>; CHANNELS],
    padded: Vec<f32>,
}

impl Band {
    fn new(width: usize) -> Self {
        let stride = width.next_multiple_of(LANES);
        let held = 2 * REACH + 1;
        Self {
            stride,
            filled: 0,
            held,
            rows: array::from_fn(|_| vec![0.0; held * stride]),
            padded: vec![0.0; stride + 2 * REACH],
        }
    }

    fn push(&mut self, rgb: &[u8], kernel: &Kernel) {
        let width = rgb.len() / CHANNELS;
        let start = self.filled % self.held * self.stride;
        for (channel, rows) in self.rows.iter_mut().enumerate() {
            let pixels = rgb.iter().skip(channel).step_by(CHANNELS);
            for (padded, &pixel) in self.padded[REACH..].iter_mut().zip(pixels) {
                *padded = f32::from(pixel);
            }
            let (first, last) = (self.padded[REACH], self.padded[REACH + width - 1]);
            self.padded[..REACH].fill(first);
            self.padded[REACH + width..].fill(last);
            kernel.blur(&mut rows[start..start + self.stride], |offset| {
                let first = REACH.saturating_add_signed(offset);
                &self.padded[first..first + self.stride]
            });
        }
        self.filled += 1;
    }

    fn row(&self, channel: usize, y: usize) -> &[f32] {
        let start = y % self.held * self.stride;
        &self.rows[channel][start..start + self.stride]
    }
}
