//! A Gaussian blur, first along rows, then across them.

use alloc::vec;
use alloc::vec::Vec;
use core::array;
use wide::f32x8;

const LANES: usize = 8;
const CHANNELS: usize = 3;
/// Taps on each side of the middle: three standard deviations, so that 0.3 % is cut off. Known to the compiler, which then needs
/// to check no bounds within a row's inner loop.
const REACH: usize = 9;
const WINDOW: usize = LANES + 2 * REACH;

/// Blurs `rgb` (three bytes a pixel, `width` pixels a row) by `sigma` pixels, and hands every row in turn to `use_row`: three
/// channels, each from 0 to 255. Beyond its edges a picture goes on with its outermost pixels.
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
            kernel.across(out, |offset| band.row(channel, y.saturating_add_signed(offset).min(height - 1)));
        }
        use_row(array::from_fn(|channel| &blurred[channel][..width]));
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

    /// Blurs along a row. `padded` begins [`REACH`] pixels before `out`, and ends as many after it.
    fn along(&self, padded: &[f32], out: &mut [f32]) {
        for (start, out) in (0..).step_by(LANES).zip(out.chunks_exact_mut(LANES)) {
            let Ok(window) = <&[f32; WINDOW]>::try_from(&padded[start..start + WINDOW]) else { return };
            let mut sum = load(window, REACH) * self.0[0];
            for x in 1..=REACH {
                sum += (load(window, REACH - x) + load(window, REACH + x)) * self.0[x];
            }
            out.copy_from_slice(&sum.to_array());
        }
    }

    /// Blurs across rows, of which `row` gives the one at an offset.
    fn across<'a>(&self, out: &mut [f32], row: impl Fn(isize) -> &'a [f32]) {
        let reach = REACH as isize;
        let rows: [&[[f32; LANES]]; 2 * REACH + 1] =
            array::from_fn(|place| row(place as isize - reach).as_chunks().0);
        for (place, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            let mut sum = f32x8::from(rows[REACH][place]) * self.0[0];
            for y in 1..=REACH {
                let pair = f32x8::from(rows[REACH - y][place]) + f32x8::from(rows[REACH + y][place]);
                sum += pair * self.0[y];
            }
            *out = sum.to_array();
        }
    }
}

#[inline(always)]
fn load(row: &[f32; WINDOW], at: usize) -> f32x8 {
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
            kernel.along(&self.padded, &mut rows[start..start + self.stride]);
        }
        self.filled += 1;
    }

    fn row(&self, channel: usize, y: usize) -> &[f32] {
        let start = y % self.held * self.stride;
        &self.rows[channel][start..start + self.stride]
    }
}
