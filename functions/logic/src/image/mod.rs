//! A photograph's way through a small studio: JPEG in, Gaussian blur, brightness, contrast, grey, JPEG out.

mod blur;
mod codec;

use crate::{Error, Files};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use wide::i16x8;

pub use blur::SIGMA;

/// What is added to every channel.
pub const BRIGHTNESS: i16 = 2;
/// The level from which a channel's distance grows by half of itself: a contrast of 1.5.
pub const MIDDLE: i16 = 128;
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

/// Decodes `jpeg` (baseline or progressive), blurs it by [`SIGMA`], brightens it by [`BRIGHTNESS`], raises its contrast by half around
/// [`MIDDLE`], makes it grey (ITU-R BT.601), and encodes it again.
///
/// # Errors
/// `jpeg` is none, or cannot be decoded.
pub fn process(jpeg: &[u8]) -> Result<Made, Error> {
    let picture = codec::decode(jpeg)?;
    let mut grey = Vec::with_capacity(picture.width * picture.height);
    blur::each_row(&picture.rgb, picture.width, |row| {
        for channels in row.iter_mut() {
            *channels = developed(i16x8::new(*channels)).to_array();
        }
        let pixels = row.as_flattened().as_chunks::<{ blur::CHANNELS }>().0;
        grey.extend(pixels[..picture.width].iter().map(luma));
    });
    codec::encode(&grey, picture.width, picture.height)
}

/// Blurred channels, brighter and of more contrast, within what a byte holds.
#[inline(always)]
fn developed(channels: i16x8) -> i16x8 {
    let level = |level: i16| i16x8::splat(level << blur::FRACTION);
    let distance = channels + level(BRIGHTNESS - MIDDLE);
    let developed = distance + (distance >> 1_i32) + level(MIDDLE);
    developed.max(i16x8::ZERO).min(level(255))
}

/// The luminance of a pixel, after ITU-R BT.601, with weights of 16 bits behind the point.
fn luma(&[red, green, blue]: &[i16; blur::CHANNELS]) -> u8 {
    let sum = 19595 * i32::from(red) + 38470 * i32::from(green) + 7471 * i32::from(blue);
    let bits = 16 + blur::FRACTION;
    ((sum + (1 << (bits - 1))) >> bits) as u8
}
