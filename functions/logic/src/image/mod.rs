//! A photograph's way through a small studio: JPEG in, Gaussian blur, brightness, contrast, grey, JPEG out.

mod blur;
mod codec;

use crate::{Error, Files};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use wide::f32x8;

const LANES: usize = 8;
/// Standard deviation of the blur, in pixels.
pub const SIGMA: f32 = 3.0;
/// What is added to every channel.
pub const BRIGHTNESS: f32 = 2.0;
/// By how much a channel's distance from the middle (128) grows.
pub const CONTRAST: f32 = 1.5;
/// Quality of the JPEG that is made, of 100.
pub const QUALITY: u8 = 75;
/// The files that [`run_io`] reads and writes when it is given no names.
pub const FILES: (&str, &str) = ("input.jpg", "output.jpg");

/// Processes `picture`, and says in JSON what became of it: `width` and `height` in pixels, and of the JPEG made its `bytes` and CRC-32.
///
/// # Errors
/// As [`process`].
pub fn run(picture: &[u8]) -> Result<String, Error> {
    process(picture).map(|made| made.summary())
}

/// Processes the picture in a file into another: `args` is `INPUT OUTPUT`, or empty for [`FILES`]. Answers as [`run`].
///
/// # Errors
/// As [`process`]; one of the files cannot be read or written, or `args` names another number of them.
pub fn run_io(args: &str, files: &mut impl Files) -> Result<String, Error> {
    let names: Vec<&str> = args.split_whitespace().collect();
    let (input, output) = match names[..] {
        [] => FILES,
        [input, output] => (input, output),
        _ => return Err(Error::new(format!("expected `INPUT OUTPUT`, found `{args}`"))),
    };
    let made = process(&files.read(input)?)?;
    files.write(output, &made.jpeg)?;
    Ok(made.summary())
}

/// A picture that was processed.
pub struct Made {
    /// Pixels a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// The picture itself, grey.
    pub jpeg: Vec<u8>,
}

impl Made {
    fn summary(&self) -> String {
        let Self { width, height, jpeg } = self;
        let (bytes, sum) = (jpeg.len(), crc32fast::hash(jpeg));
        format!(r#"{{"width":{width},"height":{height},"bytes":{bytes},"crc32":"{sum:08x}"}}"#)
    }
}

/// Decodes `jpeg` (baseline or progressive), blurs it by [`SIGMA`], brightens it by [`BRIGHTNESS`], raises its contrast by
/// [`CONTRAST`], makes it grey (ITU-R BT.601), and encodes it again.
///
/// # Errors
/// `jpeg` is none, or cannot be decoded.
pub fn process(jpeg: &[u8]) -> Result<Made, Error> {
    let picture = codec::decode(jpeg)?;
    let mut grey = Vec::with_capacity(picture.rgb.len() / 3 + LANES);
    blur::each_row(&picture.rgb, picture.width, SIGMA, |channels| {
        let row = grey.len();
        let [red, green, blue] = channels.map(|channel| channel.as_chunks::<LANES>().0);
        for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
            let luma = developed(red) * f32x8::splat(0.299)
                + developed(green) * f32x8::splat(0.587)
                + developed(blue) * f32x8::splat(0.114);
            // Rounds: it is positive, and below 255.5.
            let pixels = (luma + f32x8::splat(0.5)).fast_trunc_int();
            grey.extend(pixels.to_array().map(|pixel| pixel as u8));
        }
        grey.truncate(row + picture.width);
    });
    codec::encode(&grey, picture.width, picture.height)
}

/// A blurred channel's pixels, brighter and of more contrast, within what a byte holds.
#[inline(always)]
fn developed(channel: [f32; LANES]) -> f32x8 {
    let middle = f32x8::splat(128.0);
    let brighter = f32x8::from(channel) + f32x8::splat(BRIGHTNESS);
    let developed = (brighter - middle) * f32x8::splat(CONTRAST) + middle;
    // It is a number, so that the fast ones do.
    developed.fast_max(f32x8::ZERO).fast_min(f32x8::splat(255.0))
}
