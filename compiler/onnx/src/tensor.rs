//! Protobuf tensors to constant tensors, with every length checked.

use crate::fault::Fault;
use heq_ir::tensor::{IntType, Shape, Tensor, TensorData};
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

/// The tensor that `proto` holds.
pub(crate) fn tensor(proto: &TensorProto) -> Result<Tensor, Fault> {
    if proto.data_location == Some(DataLocation::External as i32) || !proto.external_data.is_empty()
    {
        return Err(Fault::form(
            "its elements are in another file",
            "save the model with all tensors inside, e.g. onnx.save(onnx.load(file), file)",
        ));
    }
    if proto.segment.is_some() {
        return Err(Fault::form("it is stored in segments", "save it as a whole"));
    }
    let shape = shape(&proto.dims)?;
    let count = shape.element_count();
    match element(proto.data_type)? {
        Element::Float => Ok(Tensor { shape, data: TensorData::Float(floats(proto, count)?) }),
        Element::Int(ty) => {
            let values = ints(proto, ty, count)?;
            let range = ty.range();
            if values.iter().any(|value| !(range.lo..=range.hi).contains(value)) {
                return Err(Fault::malformed(format!("an element does not fit its type {ty}")));
            }
            Ok(Tensor::int(shape, ty, values))
        }
    }
}

/// A data type that the graph has.
pub(crate) enum Element {
    /// 32-bit real numbers.
    Float,
    /// Integers.
    Int(IntType),
}

/// The element type that an ONNX data type stands for.
pub(crate) fn element(data_type: i32) -> Result<Element, Fault> {
    let Ok(ty) = DataType::try_from(data_type) else {
        return Err(Fault::malformed(format!("data type {data_type} is not defined")));
    };
    let int = match ty {
        DataType::Float => return Ok(Element::Float),
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
        | DataType::Bool
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
        | DataType::Float4e2m1 => {
            return Err(Fault::form(
                format!("elements of type {} are not supported", ty.as_str_name()),
                "export with FLOAT and integer tensors",
            ));
        }
    };
    Ok(Element::Int(int))
}

/// The shape of a constant; all its extents must be positive.
fn shape(dims: &[i64]) -> Result<Shape, Fault> {
    let extents: Option<Vec<usize>> = dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    extents
        .and_then(Shape::new)
        .ok_or_else(|| Fault::malformed(format!("extents {dims:?} are empty or too large")))
}

fn floats(proto: &TensorProto, count: usize) -> Result<Vec<f32>, Fault> {
    if proto.raw_data.is_empty() {
        check_count(proto.float_data.len(), count)?;
        return Ok(proto.float_data.clone());
    }
    check_count(proto.raw_data.len(), count.saturating_mul(4))?;
    let (chunks, _) = proto.raw_data.as_chunks::<4>();
    Ok(chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

fn ints(proto: &TensorProto, ty: IntType, count: usize) -> Result<Vec<i64>, Fault> {
    if !proto.raw_data.is_empty() {
        return raw_ints(&proto.raw_data, ty, count);
    }
    let values = match (ty.bits, ty.signed) {
        (64, _) => proto.int64_data.clone(),
        // A value above i64 cannot be of 32 bits; the caller reports it as out of range.
        (32, false) => {
            proto.uint64_data.iter().map(|&v| i64::try_from(v).unwrap_or(i64::MAX)).collect()
        }
        (4, _) => {
            check_count(proto.int32_data.len(), count.div_ceil(2))?;
            let bytes: Vec<u8> =
                proto.int32_data.iter().map(|value| value.to_le_bytes()[0]).collect();
            nibbles(&bytes, ty, count)
        }
        _ => proto.int32_data.iter().map(|&value| i64::from(value)).collect(),
    };
    check_count(values.len(), count)?;
    Ok(values)
}

fn raw_ints(raw: &[u8], ty: IntType, count: usize) -> Result<Vec<i64>, Fault> {
    if ty.bits == 4 {
        check_count(raw.len(), count.div_ceil(2))?;
        return Ok(nibbles(raw, ty, count));
    }
    let width = usize::try_from(ty.bits / 8).unwrap_or(1);
    check_count(raw.len(), count.saturating_mul(width))?;
    let extend = |bytes: &[u8]| {
        let fill =
            if ty.signed && bytes.last().is_some_and(|top| top & 0x80 != 0) { 255 } else { 0 };
        let mut word = [fill; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        i64::from_le_bytes(word)
    };
    Ok(raw.chunks_exact(width).map(extend).collect())
}

/// Two 4-bit integers a byte, the first in the low half.
fn nibbles(bytes: &[u8], ty: IntType, count: usize) -> Vec<i64> {
    let extend = |nibble: u8| {
        let value = i64::from(nibble);
        if ty.signed && value >= 8 { value - 16 } else { value }
    };
    let halves = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
    halves.take(count).map(extend).collect()
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

    fn proto(ty: DataType, dims: &[i64], raw: &[u8]) -> TensorProto {
        TensorProto {
            data_type: ty as i32,
            dims: dims.to_vec(),
            raw_data: raw.to_vec(),
            ..Default::default()
        }
    }

    fn check(proto: &TensorProto, expected: &[i64]) {
        assert_eq!(tensor(proto).unwrap().as_ints().unwrap(), expected, "{proto:?}");
    }

    #[test]
    fn raw_integers() {
        check(&proto(DataType::Int8, &[3], &[1, 0xff, 0x80]), &[1, -1, -128]);
        check(&proto(DataType::Uint8, &[2], &[1, 0xff]), &[1, 255]);
        check(&proto(DataType::Int32, &[], &[0xfe, 0xff, 0xff, 0xff]), &[-2]);
        check(&proto(DataType::Int4, &[3], &[0x8f, 0x07]), &[-1, -8, 7]);
        check(&proto(DataType::Uint4, &[3], &[0x8f, 0x07]), &[15, 8, 7]);
    }

    #[test]
    fn typed_integers() {
        let mut proto = proto(DataType::Uint8, &[2], &[]);
        proto.int32_data = vec![3, 255];
        check(&proto, &[3, 255]);
        proto.int32_data = vec![3, 256];
        assert!(tensor(&proto).is_err());
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for (ty, dims, raw) in [
            (DataType::Float, &[2_i64][..], &[0_u8; 7][..]),
            (DataType::Int8, &[2], &[0; 3]),
            (DataType::Int4, &[2], &[0; 2]),
            (DataType::Int64, &[1 << 40, 1 << 40], &[0; 8]),
            (DataType::Float, &[-1], &[0; 4]),
            (DataType::Float, &[0], &[]),
            (DataType::Double, &[1], &[0; 8]),
        ] {
            assert!(tensor(&proto(ty, dims, raw)).is_err(), "{ty:?} {dims:?}");
        }
    }
}
