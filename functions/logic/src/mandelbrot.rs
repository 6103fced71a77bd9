//! The Mandelbrot set in 32-bit floats: 800x800 points of x in [-2, 1) and y in [-1.5, 1.5), 256 iterations at most.

use crate::{Error, Files, png};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::array;
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
/// Iterations between two looks whether every point of a block has escaped.
const LOOK: u16 = 2;
/// Looks a turn of the loop.
const LOOKS: u16 = 4;
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
    let mut counts = vec![0; (WIDTH * HEIGHT) as usize];
    for (y, rows) in (0..).step_by(2).zip(counts.chunks_exact_mut(2 * WIDTH as usize)) {
        let (upper, lower) = rows.split_at_mut(WIDTH as usize);
        let (upper, lower) = (upper.as_chunks_mut::<LANES>().0, lower.as_chunks_mut::<LANES>().0);
        for (x, (upper, lower)) in (0..).step_by(LANES).zip(upper.iter_mut().zip(lower)) {
            let [above, below] = escape(columns(x), row(y), row(y + 1));
            *upper = above.to_array().map(|count| count as u16);
            *lower = below.to_array().map(|count| count as u16);
        }
    }
    counts
}

fn columns(first: u32) -> f32x8 {
    let x: [f32; LANES] = array::from_fn(|lane| (first + lane as u32) as f32 * (SIDE / WIDTH as f32) + LEFT);
    f32x8::from(x)
}

fn row(y: u32) -> f32x8 {
    f32x8::splat(y as f32 * (SIDE / HEIGHT as f32) + TOP)
}

/// The counts of a block, eight points wide and two rows high.
///
/// A function of its own: where it is inlined, LLVM keeps each lane of the counts in a variable, and moves all of them in and out of
/// a vector at each iteration.
#[inline(never)]
fn escape(x: f32x8, upper: f32x8, lower: f32x8) -> [i32x8; 2] {
    let mut block = Block { upper: Points::new(x, upper), lower: Points::new(x, lower) };
    for _ in 0..ITERATIONS / (LOOK * LOOKS) {
        // As many as LOOKS. A turn of the loop is dear in a component, where the host may interrupt it and all vectors are in memory meanwhile.
        // Looks are cheap, and keep the compiler of components from computing one vector through the whole turn before the next: processors do
        // not look so far ahead, and would wait for each result.
        if block.has_escaped() || block.has_escaped() || block.has_escaped() || block.has_escaped() {
            break;
        }
    }
    [block.upper.count, block.lower.count]
}

/// Two rows: each iteration waits for the one before, so that a processor has something to do meanwhile.
struct Block {
    upper: Points,
    lower: Points,
}

impl Block {
    /// Makes the next [`LOOK`] iterations; whether no point is left after them.
    #[inline(always)]
    fn has_escaped(&mut self) -> bool {
        for _ in 0..LOOK {
            self.upper.step();
            self.lower.step();
        }
        (self.upper.bounded | self.lower.bounded).none()
    }
}

struct Points {
    x: f32x8,
    y: f32x8,
    re: f32x8,
    im: f32x8,
    count: i32x8,
    /// -1 where the last absolute value looked at was 2 at most, otherwise 0.
    bounded: i32x8,
}

impl Points {
    fn new(x: f32x8, y: f32x8) -> Self {
        Self { x, y, re: f32x8::ZERO, im: f32x8::ZERO, count: i32x8::ZERO, bounded: i32x8::splat(-1) }
    }

    /// Counts where z has not escaped, and goes on to the next z. What has escaped moves ever further away, to infinity and from there to
    /// no number, and is not counted again.
    #[inline(always)]
    fn step(&mut self) {
        let Self { re, im, .. } = *self;
        let (re2, im2) = (re * re, im * im);
        self.bounded = cast((re2 + im2).simd_le(f32x8::splat(4.0)));
        self.count -= self.bounded;
        self.im = (re + re) * im + self.y;
        self.re = re2 - im2 + self.x;
    }
}

fn summary(counts: &[u16]) -> String {
    let inside = counts.iter().filter(|&&count| count == ITERATIONS).count();
    let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    format!(
        r#"{{"width":{WIDTH},"height":{HEIGHT},"iterations":{ITERATIONS},"inside":{inside},"total":{total}}}"#
    )
}
