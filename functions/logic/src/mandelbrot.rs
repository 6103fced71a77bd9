//! The Mandelbrot set in 32-bit floats: 800x800 points of x in [-2, 1) and y in [-1.5, 1.5), 256 iterations at most.

use crate::{Error, Files, png};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use wide::bytemuck::cast;
use wide::{f32x8, i32x8};

/// Points a row.
pub const WIDTH: u32 = 800;
/// Rows.
pub const HEIGHT: u32 = 800;
/// A point that has not escaped after as many is taken for one of the set.
pub const ITERATIONS: u16 = 256;
/// The file that [`run_io`] writes when it is given no name.
pub const FILE: &str = "mandelbrot.png";

const LANES: usize = 8;
/// Iterations between two looks whether a point has escaped.
const STRIDE: u16 = 8;
const LEFT: f32 = -2.0;
const TOP: f32 = -1.5;
const SIDE: f32 = 3.0;

/// Counts for every point; says in JSON how many points are of the set (`inside`), and what all counts add up to (`total`).
pub fn run() -> String {
    summary(&counts())
}

/// As [`run`], and writes a grey PNG: each pixel is its point's count, or 0 where that is [`ITERATIONS`]. `name` is the file's;
/// when empty, [`FILE`].
///
/// # Errors
/// The file cannot be written.
pub fn run_io(name: &str, files: &mut impl Files) -> Result<String, Error> {
    let counts = counts();
    // 256 wraps to 0, which no count is.
    let pixels: Vec<u8> = counts.iter().map(|&count| count as u8).collect();
    let name = match name.trim() {
        "" => FILE,
        name => name,
    };
    files.write(name, &png::grey(&pixels, WIDTH))?;
    Ok(summary(&counts))
}

/// For every point, row after row, how many of z0 = 0, z1, ... z255 come before the first of an absolute value above 2.
pub fn counts() -> Vec<u16> {
    let mut counts = Vec::with_capacity((WIDTH * HEIGHT) as usize);
    for row in 0..HEIGHT {
        let y = row as f32 * (SIDE / HEIGHT as f32) + TOP;
        for column in (0..WIDTH).step_by(LANES) {
            let x = core::array::from_fn(|lane| (column + lane as u32) as f32 * (SIDE / WIDTH as f32) + LEFT);
            counts.extend(escape(f32x8::from(x), f32x8::splat(y)));
        }
    }
    counts
}

/// What has escaped moves ever further away, to infinity and from there to no number, so that a look after several iterations
/// finds it. Only the iterations before such a look are then made once more, one by one.
#[inline]
fn escape(x: f32x8, y: f32x8) -> [u16; LANES] {
    let mut z = Orbit { re: f32x8::ZERO, im: f32x8::ZERO };
    // -1 where no point so far had an absolute value above 2, otherwise 0.
    let mut bounded = i32x8::splat(-1);
    let mut count = i32x8::ZERO;
    for _ in 0..ITERATIONS / STRIDE {
        let start = z;
        for _ in 0..STRIDE - 1 {
            z = z.next(x, y);
        }
        // The last of them counts as well: it is looked at, and only then left.
        if (bounded & !z.bounded()).none() {
            count += bounded & i32x8::splat(i32::from(STRIDE));
        } else {
            z = start;
            for _ in 0..STRIDE - 1 {
                bounded &= z.bounded();
                count -= bounded;
                z = z.next(x, y);
            }
            bounded &= z.bounded();
            count -= bounded;
            if bounded.none() {
                break;
            }
        }
        z = z.next(x, y);
    }
    count.to_array().map(|count| count as u16)
}

#[derive(Clone, Copy)]
struct Orbit {
    re: f32x8,
    im: f32x8,
}

impl Orbit {
    #[inline(always)]
    fn next(self, x: f32x8, y: f32x8) -> Self {
        let Self { re, im } = self;
        Self { re: re * re - im * im + x, im: (re + re) * im + y }
    }

    /// -1 where the absolute value is 2 at most, otherwise 0.
    #[inline(always)]
    fn bounded(self) -> i32x8 {
        cast((self.re * self.re + self.im * self.im).simd_le(f32x8::splat(4.0)))
    }
}

fn summary(counts: &[u16]) -> String {
    let inside = counts.iter().filter(|&&count| count == ITERATIONS).count();
    let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    format!(
        r#"{{"width":{WIDTH},"height":{HEIGHT},"iterations":{ITERATIONS},"inside":{inside},"total":{total}}}"#
    )
}
