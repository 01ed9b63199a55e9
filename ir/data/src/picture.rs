//! Pictures: PNG and JPEG with 8 bits per channel become bytes `[C, H, W]`.
//!
//! Grey pictures have one channel, colour pictures three (red, green, blue); palettes are resolved.
//! Pixels are taken as they are stored: orientation tags and colour profiles are not applied.

use crate::array::ArrayData;
use crate::error::DataFault;
use crate::read::MAX_DECODED_BYTES;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use std::io::{BufRead, Seek};

/// Largest width and height in pixels.
pub(crate) const MAX_SIDE: u32 = 1 << 14;

/// The formats with their first bytes.
pub(crate) const MAGICS: [(&[u8], ImageFormat); 2] =
    [(b"\x89PNG\r\n\x1a\n", ImageFormat::Png), (b"\xff\xd8\xff", ImageFormat::Jpeg)];

/// Reads a picture into bytes `[C, H, W]`.
pub(crate) fn decode(
    reader: impl BufRead + Seek,
    format: ImageFormat,
) -> Result<(Vec<usize>, ArrayData), DataFault> {
    let from_image = |error| from_image(format, error);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(reader, format);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(from_image)?;
    let (width, height) = decoder.dimensions();
    for (what, found) in [("the width in pixels", width), ("the height in pixels", height)] {
        if found > MAX_SIDE {
            return Err(DataFault::TooLarge { what, limit: MAX_SIDE.into(), found: found.into() });
        }
    }
    let color = decoder.color_type();
    if color.has_alpha() {
        return Err(DataFault::Alpha);
    }
    if !matches!(color, ColorType::L8 | ColorType::Rgb8) {
        return Err(DataFault::UnsupportedType { name: format!("{color:?}") });
    }
    let channels = usize::from(color.channel_count());
    let pixels = DynamicImage::from_decoder(decoder).map_err(from_image)?.into_bytes();
    let planes = (0..channels).flat_map(|c| pixels.iter().skip(c).step_by(channels).copied());
    Ok((vec![channels, height as usize, width as usize], ArrayData::U8(planes.collect())))
}

fn from_image(format: ImageFormat, error: ImageError) -> DataFault {
    let name = if format == ImageFormat::Png { "PNG" } else { "JPEG" };
    match error {
        ImageError::IoError(source) => DataFault::from_io(name, source),
        ImageError::Limits(_) => DataFault::TooLarge {
            what: "the size of the decoded picture in bytes",
            limit: MAX_DECODED_BYTES,
            found: u64::MAX,
        },
        ImageError::Unsupported(unsupported) => {
            DataFault::UnsupportedType { name: unsupported.to_string() }
        }
        other @ (ImageError::Decoding(_) | ImageError::Encoding(_) | ImageError::Parameter(_)) => {
            DataFault::Malformed { format: name, what: other.to_string() }
        }
    }
}
