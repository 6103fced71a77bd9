//! A Gaussian blur, first along rows, then across them, in fixed point: half as many bytes to move as floats have, and the same
//! result to the last bit on every machine.

use alloc::vec;
use alloc::vec::Vec;
use core::array;
use wide::bytemuck::cast;
use wide::{i16x8, i32x4};

pub(super) const LANES: usize = 8;
pub(super) const CHANNELS: usize = 3;
/// Bits behind the point: as many as leave room for the sum of two pixels.
pub(super) const FRACTION: u32 = 6;
/// Standard deviation, in pixels.
pub const SIGMA: f32 = 3.0;
/// Taps on each side of the middle: three standard deviations, so that 0.3 % is cut off.
const REACH: usize = 9;
/// Taps of one side, the middle among them, that are added in a first pass over a row; a second adds the others. The compiler of components
/// loads all that a turn of a loop needs before it computes anything: so much fits into the registers of a processor.
const NEAR: usize = 4;
/// A weight of one.
const ONE: i32 = 1 << 15;

/// Blurs `rgb` (three bytes a pixel, `width` pixels a row) by [`SIGMA`], and hands every row in turn to `use_row`: three numbers a
/// pixel, each from 0 to 255 with [`FRACTION`] bits behind the point, and numbers of no meaning behind the row's end, up to a whole
/// number of vectors. Beyond its edges a picture goes on with its outermost pixels.
pub(super) fn each_row(rgb: &[u8], width: usize, mut use_row: impl FnMut(&mut [[i16; LANES]])) {
    let kernel = Kernel::new();
    let height = rgb.len() / (width * CHANNELS);
    let mut band = Band::new(width);
    let mut blurred = vec![0; band.stride];
    for y in 0..height {
        while band.filled < height && band.filled <= y + REACH {
            let start = band.filled * width * CHANNELS;
            band.push(&rgb[start..start + width * CHANNELS], &kernel);
        }
        kernel.blur(&mut blurred, |offset| band.row(y.saturating_add_signed(offset).min(height - 1)));
        use_row(blurred.as_chunks_mut().0);
    }
}

/// One half of the bell, its middle first; the other is the same. Weights by two, as they are multiplied.
struct Kernel([i16x8; (REACH + 1).div_ceil(2)]);

impl Kernel {
    fn new() -> Self {
        let half: [f32; REACH + 1] =
            array::from_fn(|x| libm::expf(-((x * x) as f32) / (2.0 * SIGMA * SIGMA)));
        let sum = 2.0 * half.iter().sum::<f32>() - half[0];
        let mut weights = half.map(|weight| libm::roundf(weight / sum * ONE as f32) as i32);
        // What rounding left over: all together are ONE.
        weights[0] = ONE - 2 * weights[1..].iter().sum::<i32>();
        let weights = weights.map(|weight| weight as i16);
        Self(array::from_fn(|pair| i16x8::new(array::from_fn(|lane| weights[2 * pair + lane % 2]))))
    }

    /// Blurs into `out`, whole vectors, of which `tap` gives what lies at an offset from it, as long as it.
    fn blur<'a>(&self, out: &mut [i16], tap: impl Fn(isize) -> &'a [i16]) {
        let out = out.as_chunks_mut::<LANES>().0;
        let count = out.len();
        let vectors = |offset| &tap(offset).as_chunks::<LANES>().0[..count];
        let around = |distance: usize| [vectors(-(distance as isize)), vectors(distance as isize)];
        let sum = |[before, after]: [&[[i16; LANES]]; 2], place: usize| {
            i16x8::new(before[place]) + i16x8::new(after[place])
        };
        let (near_weights, far_weights) = self.0.split_at(NEAR / 2);
        let middle = vectors(0);
        let near: [_; NEAR - 1] = array::from_fn(|tap| around(1 + tap));
        for (place, out) in out.iter_mut().enumerate() {
            let [first, second, third] = near.map(|rows| sum(rows, place));
            let taps = [i16x8::new(middle[place]), first, second, third];
            *out = weighed(&taps, near_weights).to_array();
        }
        let far: [_; REACH + 1 - NEAR] = array::from_fn(|tap| around(NEAR + tap));
        for (place, out) in out.iter_mut().enumerate() {
            let taps = far.map(|rows| sum(rows, place));
            *out = (i16x8::new(*out) + weighed(&taps, far_weights)).to_array();
        }
    }
}

/// The sum of what lies at some distances, each times its weight.
#[inline(always)]
fn weighed<const TAPS: usize>(taps: &[i16x8; TAPS], weights: &[i16x8]) -> i16x8 {
    let mut sums = [i32x4::splat(ONE / 2); 2];
    for (pair, &weight) in taps.as_chunks::<2>().0.iter().zip(weights) {
        let [low, high] = interleaved(pair[0], pair[1]);
        sums[0] += low.dot(weight);
        sums[1] += high.dot(weight);
    }
    i16x8::from_i32x8_saturate(cast(sums.map(|sum| sum >> ONE.ilog2())))
}

/// Lanes of the one and the other by turns.
#[inline(always)]
fn interleaved(one: i16x8, other: i16x8) -> [i16x8; 2] {
    let both = [one.to_array(), other.to_array()];
    [0, LANES / 2].map(|first| i16x8::new(array::from_fn(|lane| both[lane % 2][first + lane / 2])))
}

/// As many rows, blurred along, as are needed to blur one across.
struct Band {
    /// Numbers a row, and some that are not used, up to a whole number of vectors.
    stride: usize,
    /// Rows blurred so far; the last of them are held.
    filled: usize,
    rows: Vec<i16>,
    padded: Vec<i16>,
}

impl Band {
    const HELD: usize = 2 * REACH + 1;
    /// Numbers before a row's first.
    const MARGIN: usize = REACH * CHANNELS;

    fn new(width: usize) -> Self {
        let stride = (width * CHANNELS).next_multiple_of(LANES);
        Self {
            stride,
            filled: 0,
            rows: vec![0; Self::HELD * stride],
            padded: vec![0; stride + 2 * Self::MARGIN],
        }
    }

    fn push(&mut self, rgb: &[u8], kernel: &Kernel) {
        let (before, row) = self.padded.split_at_mut(Self::MARGIN);
        let (row, after) = row.split_at_mut(rgb.len());
        for (number, &pixel) in row.iter_mut().zip(rgb) {
            *number = i16::from(pixel) << FRACTION;
        }
        let pixels = row.as_chunks::<CHANNELS>().0;
        before.as_chunks_mut().0.fill(pixels[0]);
        after.as_chunks_mut().0.fill(pixels[pixels.len() - 1]);
        let start = self.filled % Self::HELD * self.stride;
        kernel.blur(&mut self.rows[start..start + self.stride], |offset| {
            let first = Self::MARGIN.saturating_add_signed(offset * CHANNELS as isize);
            &self.padded[first..first + self.stride]
        });
        self.filled += 1;
    }

    fn row(&self, y: usize) -> &[i16] {
        let start = y % Self::HELD * self.stride;
        &self.rows[start..start + self.stride]
    }
}
