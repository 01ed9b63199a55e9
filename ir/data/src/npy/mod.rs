//! The npy format of numpy: one array in a file or in an entry of an archive.
//!
//! Source: numpy.lib.format, versions 1.0 to 3.0. The header is parsed by [`header`], which accepts
//! what numpy writes for arrays of plain numbers and nothing else. Lengths are checked before
//! memory is set aside, and the data must end where the header says.

pub(crate) mod header;

use crate::array::ArrayData;
use crate::error::DataFault;
use crate::read::MAX_DECODED_BYTES;
use header::{Header, Number};
use std::io::Read;

/// Name of the format in errors.
const FORMAT: &str = "npy";

/// First bytes of an npy file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads an array up to the end of `reader`.
pub(crate) fn decode(reader: &mut impl Read) -> Result<(Vec<usize>, ArrayData), DataFault> {
    let header = header::read(reader)?;
    let elements = header.shape.iter().try_fold(1_u64, |product, &n| product.checked_mul(n as u64));
    let decoded_bytes = elements.and_then(|n| n.checked_mul(header.number.decoded_bytes()));
    let found = decoded_bytes.unwrap_or(u64::MAX);
    if found > MAX_DECODED_BYTES {
        let what = "the size of the decoded array in bytes";
        return Err(DataFault::TooLarge { what, limit: MAX_DECODED_BYTES, found });
    }
    let stored_bytes = elements.unwrap_or(0) * header.number.stored_bytes();
    let bytes = read_all(reader, stored_bytes)?;
    let data = convert(&bytes, &header)?;
    Ok((header.shape, data))
}

/// Reads exactly `length` bytes, after which `reader` must end.
fn read_all(reader: &mut impl Read, length: u64) -> Result<Vec<u8>, DataFault> {
    let mut bytes = Vec::new();
    let io = |source| DataFault::from_io(FORMAT, source);
    reader.by_ref().take(length.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    let found = bytes.len() as u64;
    if found == length {
        return Ok(bytes);
    }
    let what = if found < length {
        format!("{length} bytes of data are announced, but there are only {found}")
    } else {
        format!("it goes on after the {length} bytes of data that are announced")
    };
    Err(DataFault::Malformed { format: FORMAT, what })
}

/// Decodes the elements in row-major order.
fn convert(bytes: &[u8], header: &Header) -> Result<ArrayData, DataFault> {
    let integers = |values: Vec<i64>| ArrayData::I64(row_major(values, header));
    Ok(match header.number {
        Number::Bool => integers(bytes.iter().map(|&byte| i64::from(byte != 0)).collect()),
        Number::U8 => ArrayData::U8(row_major(bytes.to_vec(), header)),
        Number::I8 => ArrayData::I8(row_major(elements(bytes, header, i8::from_le_bytes), header)),
        Number::I16 => integers(elements(bytes, header, |b| i16::from_le_bytes(b).into())),
        Number::I32 => integers(elements(bytes, header, |b| i32::from_le_bytes(b).into())),
        Number::I64 => integers(elements(bytes, header, i64::from_le_bytes)),
        Number::U16 => integers(elements(bytes, header, |b| u16::from_le_bytes(b).into())),
        Number::U32 => integers(elements(bytes, header, |b| u32::from_le_bytes(b).into())),
        Number::U64 => integers(signed(&elements(bytes, header, u64::from_le_bytes))?),
        Number::F32 => {
            ArrayData::F32(row_major(elements(bytes, header, f32::from_le_bytes), header))
        }
        Number::F64 => {
            ArrayData::F64(row_major(elements(bytes, header, f64::from_le_bytes), header))
        }
    })
}

/// Decodes elements of `N` bytes in the order of the file.
fn elements<const N: usize, T>(
    bytes: &[u8],
    header: &Header,
    from_le_bytes: impl Fn([u8; N]) -> T,
) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    let decode = |&chunk: &[u8; N]| {
        let mut chunk = chunk;
        if header.big_endian {
            chunk.reverse();
        }
        from_le_bytes(chunk)
    };
    chunks.iter().map(decode).collect()
}

/// Converts unsigned integers without loss.
fn signed(values: &[u64]) -> Result<Vec<i64>, DataFault> {
    let signed = |(index, &value): (usize, &u64)| {
        i64::try_from(value).map_err(|_| DataFault::IntegerTooLarge { index, value })
    };
    values.iter().enumerate().map(signed).collect()
}

/// Brings elements that are stored with the first index fastest into row-major order.
fn row_major<T: Copy>(values: Vec<T>, header: &Header) -> Vec<T> {
    if !header.column_major {
        return values;
    }
    let mut index = vec![0; header.shape.len()];
    let mut ordered = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let position = index.iter().zip(&header.shape).rev().fold(0, |sum, (&i, &n)| sum * n + i);
        ordered.push(values[position]);
        for (i, &n) in index.iter_mut().zip(&header.shape).rev() {
            *i += 1;
            if *i < n {
                break;
            }
            *i = 0;
        }
    }
    ordered
}

/// An array as an npy file of version 1.0 in little-endian row-major order.
pub(crate) fn encode(shape: &[usize], data: &ArrayData) -> Vec<u8> {
    let number = match data {
        ArrayData::F32(_) => Number::F32,
        ArrayData::F64(_) => Number::F64,
        ArrayData::U8(_) => Number::U8,
        ArrayData::I8(_) => Number::I8,
        ArrayData::I64(_) => Number::I64,
    };
    let mut bytes = header::write(shape, number);
    match data {
        ArrayData::F32(values) => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        ArrayData::F64(values) => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        ArrayData::U8(values) => bytes.extend_from_slice(values),
        ArrayData::I8(values) => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        ArrayData::I64(values) => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
    }
    bytes
}
