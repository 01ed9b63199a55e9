//! Protobuf tensors to constant tensors, with every length checked.

use crate::external::External;
use crate::fault::Fault;
use heq_ir::tensor::{IntType, Shape, Tensor, TensorData};
use std::borrow::Cow;
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

/// Most dimensions of a tensor.
pub(crate) const MAX_RANK: usize = 8;

/// Data types of the standard that the protobuf types lack.
const UINT2: i32 = 25;
const INT2: i32 = 26;

/// The tensor that `proto` holds, or whose elements it says to be in a file of `external`.
pub(crate) fn tensor(proto: &TensorProto, external: &External<'_>) -> Result<Tensor, Fault> {
    if proto.segment.is_some() {
        return Err(Fault::form("it is stored in segments", "save it as a whole"));
    }
    let shape = shape(&proto.dims)?;
    let count = shape.element_count();
    let element = element(proto.data_type)?;
    let bits = match element {
        Element::Float => 32,
        Element::Int(ty) => stored_bits(ty),
    };
    let expected = count.saturating_mul(bits).div_ceil(8);
    let is_external = proto.data_location == Some(DataLocation::External as i32);
    let raw = if is_external || !proto.external_data.is_empty() {
        Cow::Owned(external.read(proto, expected)?)
    } else {
        Cow::Borrowed(proto.raw_data.as_slice())
    };
    if !raw.is_empty() {
        check_count(raw.len(), expected)?;
    }
    match element {
        Element::Float => {
            let values = if raw.is_empty() {
                check_count(proto.float_data.len(), count)?;
                proto.float_data.clone()
            } else {
                let (chunks, _) = raw.as_chunks::<4>();
                chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
            };
            Ok(Tensor { shape, data: TensorData::Float(values) })
        }
        Element::Int(ty) => {
            let values =
                if raw.is_empty() { typed(proto, ty, count)? } else { unpack(&raw, ty, count) };
            let range = ty.range();
            if values.iter().any(|value| !(range.lo..=range.hi).contains(value)) {
                return Err(Fault::malformed(format!("an element does not fit its type {ty}")));
            }
            Ok(Tensor::int(shape, ty, values))
        }
    }
}

/// A data type that the graph has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// 32-bit real numbers.
    Float,
    /// Integers; truth values are unsigned integers of 1 bit.
    Int(IntType),
}

/// The element type that an ONNX data type stands for.
pub(crate) fn element(data_type: i32) -> Result<Element, Fault> {
    let unsupported = |name: &str| {
        Err(Fault::form(
            format!("elements of type {name} are not supported"),
            "export with FLOAT and integer tensors",
        ))
    };
    let ty = match (data_type, DataType::try_from(data_type)) {
        (UINT2, _) => return Ok(Element::Int(IntType::unsigned(2))),
        (INT2, _) => return Ok(Element::Int(IntType::signed(2))),
        (24 | 27 | 28, _) => return unsupported("FLOAT8 or FLOAT6"),
        (_, Ok(ty)) => ty,
        (_, Err(_)) => {
            return Err(Fault::malformed(format!("data type {data_type} is not defined")));
        }
    };
    let int = match ty {
        DataType::Float => return Ok(Element::Float),
        DataType::Bool => IntType::unsigned(1),
        DataType::Int4 => IntType::signed(4),
        DataType::Int8 => IntType::signed(8),
        DataType::Int16 => IntType::signed(16),
        DataType::Int32 => IntType::signed(32),
        DataType::Int64 => IntType::signed(64),
        DataType::Uint4 => IntType::unsigned(4),
        DataType::Uint8 => IntType::unsigned(8),
        DataType::Uint16 => IntType::unsigned(16),
        DataType::Uint32 => IntType::unsigned(32),
        DataType::Undefined
        | DataType::String
        | DataType::Float16
        | DataType::Double
        | DataType::Uint64
        | DataType::Complex64
        | DataType::Complex128
        | DataType::Bfloat16
        | DataType::Float8e4m3fn
        | DataType::Float8e4m3fnuz
        | DataType::Float8e5m2
        | DataType::Float8e5m2fnuz
        | DataType::Float4e2m1 => return unsupported(ty.as_str_name()),
    };
    Ok(Element::Int(int))
}

/// Bits that one stored integer takes.
fn stored_bits(ty: IntType) -> usize {
    match ty.bits {
        1 => 8,
        bits => usize::try_from(bits).unwrap_or(64),
    }
}

/// The shape of a constant; all its extents must be positive.
fn shape(dims: &[i64]) -> Result<Shape, Fault> {
    if dims.len() > MAX_RANK {
        return Err(Fault::form(
            format!("it has {} dimensions, at most {MAX_RANK} are supported", dims.len()),
            "use tensors of fewer dimensions",
        ));
    }
    let extents: Option<Vec<usize>> = dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    extents
        .and_then(Shape::new)
        .ok_or_else(|| Fault::malformed(format!("extents {dims:?} are empty or too large")))
}

/// The integers that lie in the field of their type.
fn typed(proto: &TensorProto, ty: IntType, count: usize) -> Result<Vec<i64>, Fault> {
    let values = match (ty.bits, ty.signed) {
        (64, _) => proto.int64_data.clone(),
        // A value above i64 cannot be of 32 bits; the caller reports it as out of range.
        (32, false) => {
            proto.uint64_data.iter().map(|&v| i64::try_from(v).unwrap_or(i64::MAX)).collect()
        }
        (2 | 4, _) => {
            check_count(proto.int32_data.len(), count.div_ceil(8 / stored_bits(ty)))?;
            let bytes: Vec<u8> =
                proto.int32_data.iter().map(|value| value.to_le_bytes()[0]).collect();
            unpack(&bytes, ty, count)
        }
        _ => proto.int32_data.iter().map(|&value| i64::from(value)).collect(),
    };
    check_count(values.len(), count)?;
    Ok(values)
}

/// Little-endian integers; those below 8 bits lie in bytes, the first in the lowest bits.
fn unpack(raw: &[u8], ty: IntType, count: usize) -> Vec<i64> {
    let bits = stored_bits(ty);
    let extend = |word: u64, bits: usize| {
        let unused = 64_usize.saturating_sub(bits);
        let word = (word << unused).cast_signed();
        if ty.signed { word >> unused } else { (word.cast_unsigned() >> unused).cast_signed() }
    };
    if bits < 8 {
        let parts = raw
            .iter()
            .flat_map(|&byte| (0..8).step_by(bits).map(move |shift| u64::from(byte) >> shift));
        return parts.take(count).map(|part| extend(part, bits)).collect();
    }
    let value = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        extend(u64::from_le_bytes(word), bits)
    };
    raw.chunks_exact(bits / 8).map(value).collect()
}

fn check_count(found: usize, expected: usize) -> Result<(), Fault> {
    if found == expected {
        return Ok(());
    }
    Err(Fault::malformed(format!("{expected} elements or bytes expected, {found} stored")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::external::ExternalData;

    fn proto(ty: i32, dims: &[i64], raw: &[u8]) -> TensorProto {
        TensorProto {
            data_type: ty,
            dims: dims.to_vec(),
            raw_data: raw.to_vec(),
            ..Default::default()
        }
    }

    fn read(proto: &TensorProto) -> Result<Tensor, Fault> {
        tensor(proto, &External::new(ExternalData::None))
    }

    fn check(proto: &TensorProto, expected: &[i64]) {
        assert_eq!(read(proto).unwrap().as_ints().unwrap(), expected, "{proto:?}");
    }

    #[test]
    fn raw_integers() {
        for (ty, dims, raw, expected) in [
            (DataType::Int8 as i32, &[3][..], &[1_u8, 0xff, 0x80][..], &[1_i64, -1, -128][..]),
            (DataType::Uint8 as i32, &[2], &[1, 0xff], &[1, 255]),
            (DataType::Bool as i32, &[2], &[1, 0], &[1, 0]),
            (DataType::Int16 as i32, &[1], &[0xfe, 0xff], &[-2]),
            (DataType::Int32 as i32, &[], &[0xfe, 0xff, 0xff, 0xff], &[-2]),
            (DataType::Int64 as i32, &[], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &[-2]),
            (DataType::Int4 as i32, &[3], &[0x8f, 0x07], &[-1, -8, 7]),
            (DataType::Uint4 as i32, &[3], &[0x8f, 0x07], &[15, 8, 7]),
            (INT2, &[5], &[0b01_10_11_00, 0b10], &[0, -1, -2, 1, -2]),
            (UINT2, &[5], &[0b01_10_11_00, 0b10], &[0, 3, 2, 1, 2]),
        ] {
            check(&proto(ty, dims, raw), expected);
        }
    }

    #[test]
    fn typed_integers() {
        let mut uint8 = proto(DataType::Uint8 as i32, &[2], &[]);
        uint8.int32_data = vec![3, 255];
        check(&uint8, &[3, 255]);
        uint8.int32_data = vec![3, 256];
        assert!(read(&uint8).is_err());
        let mut int2 = proto(INT2, &[5], &[]);
        int2.int32_data = vec![0b01_10_11_00, 0b10];
        check(&int2, &[0, -1, -2, 1, -2]);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for (ty, dims, raw) in [
            (DataType::Float as i32, &[2_i64][..], &[0_u8; 7][..]),
            (DataType::Int8 as i32, &[2], &[0; 3]),
            (DataType::Int4 as i32, &[2], &[0; 2]),
            (INT2, &[4], &[0; 2]),
            (DataType::Int64 as i32, &[1 << 40, 1 << 40], &[0; 8]),
            (DataType::Float as i32, &[-1], &[0; 4]),
            (DataType::Float as i32, &[0], &[]),
            (DataType::Int8 as i32, &[1; 9], &[0]),
            (DataType::Double as i32, &[1], &[0; 8]),
            (99, &[1], &[0; 8]),
        ] {
            assert!(read(&proto(ty, dims, raw)).is_err(), "{ty:?} {dims:?}");
        }
    }
}
