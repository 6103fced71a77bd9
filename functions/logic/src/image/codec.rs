use super::{Made, QUALITY};
use crate::Error;
use alloc::format;
use alloc::vec::Vec;
use jpeg_encoder::{ColorType, Encoder};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// A picture of three bytes a pixel: red, green, blue.
pub(super) struct Picture {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

pub(super) fn decode(jpeg: &[u8]) -> Result<Picture, Error> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let rgb =
        decoder.decode().map_err(|error| Error::new(format!("cannot decode the picture: {error:?}")))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| Error::new("the picture has no size"))?;
    if rgb.is_empty() || rgb.len() != width * height * 3 {
        return Err(Error::new(format!(
            "a picture of {width}x{height} was decoded to {} bytes, expected three a pixel",
            rgb.len()
        )));
    }
    Ok(Picture { width, height, rgb })
}

pub(super) fn encode(grey: &[u8], width: usize, height: usize) -> Result<Made, Error> {
    let failed = |what: &dyn core::fmt::Display| Error::new(format!("cannot encode the picture: {what}"));
    let side = |pixels| u16::try_from(pixels).map_err(|error| failed(&error));
    let (width, height) = (side(width)?, side(height)?);
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, QUALITY)
        .encode(grey, width, height, ColorType::Luma)
        .map_err(|error| failed(&error))?;
    Ok(Made { width, height, jpeg })
}
