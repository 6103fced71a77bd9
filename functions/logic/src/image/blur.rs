//! A Gaussian blur, first along rows, then across them.

use alloc::vec;
use alloc::vec::Vec;
use core::array;
use wide::f32x8;

const LANES: usize = 8;
const CHANNELS: usize = 3;
/// Taps on each side of the middle, in standard deviations: what is cut off is 0.3 %.
const REACH: f32 = 3.0;

/// Blurs `rgb` (three bytes a pixel, `width` pixels a row) by `sigma` pixels, and hands every row in turn to `use_row`: three
/// channels, each from 0 to 255. Beyond its edges a picture goes on with its outermost pixels.
pub(super) fn each_row(rgb: &[u8], width: usize, sigma: f32, mut use_row: impl FnMut([&[f32]; CHANNELS])) {
    let kernel = Kernel::new(sigma);
    let height = rgb.len() / (width * CHANNELS);
    let mut band = Band::new(width, &kernel);
    let mut blurred: [Vec<f32>; CHANNELS] = array::from_fn(|_| vec![0.0; band.stride]);
    for y in 0..height {
        while band.filled < height && band.filled <= y + kernel.reach() {
            let start = band.filled * width * CHANNELS;
            band.push(&rgb[start..start + width * CHANNELS], &kernel);
        }
        for (channel, out) in blurred.iter_mut().enumerate() {
            kernel.across(out, |offset| band.row(channel, y.saturating_add_signed(offset).min(height - 1)));
        }
        use_row(array::from_fn(|channel| &blurred[channel][..width]));
    }
}

/// One half of the bell, its middle first; the other is the same.
struct Kernel(Vec<f32>);

impl Kernel {
    fn new(sigma: f32) -> Self {
        let reach = libm::ceilf(REACH * sigma) as i32;
        let half: Vec<f32> =
            (0..=reach).map(|x| libm::expf(-((x * x) as f32) / (2.0 * sigma * sigma))).collect();
        let sum = 2.0 * half.iter().sum::<f32>() - half[0];
        Self(half.iter().map(|weight| weight / sum).collect())
    }

    fn reach(&self) -> usize {
        self.0.len() - 1
    }

    /// Blurs along a row. `padded` begins [`reach`](Self::reach) pixels before `out`, and ends as many after it.
    fn along(&self, padded: &[f32], out: &mut [f32]) {
        let reach = self.reach();
        for start in (0..out.len()).step_by(LANES) {
            let middle = start + reach;
            let mut sum = load(padded, middle) * f32x8::splat(self.0[0]);
            for (x, &weight) in self.0.iter().enumerate().skip(1) {
                sum += (load(padded, middle - x) + load(padded, middle + x)) * f32x8::splat(weight);
            }
            out[start..start + LANES].copy_from_slice(&sum.to_array());
        }
    }

    /// Blurs across rows, of which `row` gives the one at an offset.
    fn across<'a>(&self, out: &mut [f32], row: impl Fn(isize) -> &'a [f32]) {
        let middle = row(0);
        let pairs: Vec<(f32, &[f32], &[f32])> =
            self.0.iter().zip(0_isize..).skip(1).map(|(&weight, y)| (weight, row(-y), row(y))).collect();
        for start in (0..out.len()).step_by(LANES) {
            let mut sum = load(middle, start) * f32x8::splat(self.0[0]);
            for &(weight, above, below) in &pairs {
                sum += (load(above, start) + load(below, start)) * f32x8::splat(weight);
            }
            out[start..start + LANES].copy_from_slice(&sum.to_array());
        }
    }
}

fn load(row: &[f32], at: usize) -> f32x8 {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&row[at..at + LANES]);
    f32x8::from(lanes)
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
    fn new(width: usize, kernel: &Kernel) -> Self {
        let stride = width.next_multiple_of(LANES);
        let held = 2 * kernel.reach() + 1;
        Self {
            stride,
            filled: 0,
            held,
            rows: array::from_fn(|_| vec![0.0; held * stride]),
            padded: vec![0.0; stride + 2 * kernel.reach()],
        }
    }

    fn push(&mut self, rgb: &[u8], kernel: &Kernel) {
        let reach = kernel.reach();
        let width = rgb.len() / CHANNELS;
        let start = self.filled % self.held * self.stride;
        for (channel, rows) in self.rows.iter_mut().enumerate() {
            let pixels = rgb.iter().skip(channel).step_by(CHANNELS);
            for (padded, &pixel) in self.padded[reach..].iter_mut().zip(pixels) {
                *padded = f32::from(pixel);
            }
            let (first, last) = (self.padded[reach], self.padded[reach + width - 1]);
            self.padded[..reach].fill(first);
            self.padded[reach + width..].fill(last);
            kernel.along(&self.padded, &mut rows[start..start + self.stride]);
        }
        self.filled += 1;
    }

    fn row(&self, channel: usize, y: usize) -> &[f32] {
        let start = y % self.held * self.stride;
        &self.rows[channel][start..start + self.stride]
    }
}
