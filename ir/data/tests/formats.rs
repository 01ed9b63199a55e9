//! Files of every format that is read, compared with independent writers and readers.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use heq_data::data_set::read_outputs;
use heq_data::error::DataFault;
use heq_data::read::decode_array;
use heq_data::{Array, ArrayData, DataError, DataSet, read_array, write_npy};
use heq_ir::diagnostic::{Code, Diagnostic};
use image::{DynamicImage, ImageFormat};
use npyz::WriterBuilder;
use std::fmt::Debug;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

/// An npy file as the npyz crate writes it.
fn npy<T: npyz::AutoSerialize + Copy>(shape: &[u64], order: npyz::Order, values: &[T]) -> Vec<u8> {
    let dtype = T::default_dtype();
    typed_npy(&dtype, shape, order, values)
}

fn typed_npy<T: npyz::Serialize + Copy>(
    dtype: &npyz::DType,
    shape: &[u64],
    order: npyz::Order,
    values: &[T],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().dtype(dtype.clone()).shape(shape).order(order);
    let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    bytes
}

fn npz(entries: &[(&str, Vec<u8>)], options: SimpleFileOptions) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn decode(bytes: &[u8], entry: Option<&str>) -> Result<Array, DataError> {
    decode_array(Cursor::new(bytes), "file", entry)
}

fn check_read(bytes: &[u8], shape: &[usize], expected: &ArrayData, what: impl Debug) {
    let array = decode(bytes, None).unwrap();
    assert_eq!((array.shape(), array.data()), (shape, expected), "{what:?}");
}

#[test]
fn npy_of_every_type_and_byte_order() {
    fn check<T>(kind: &str, values: &[T], expected: &ArrayData)
    where
        T: npyz::Serialize + Copy,
    {
        let single_byte = kind.ends_with('1');
        for order in if single_byte { &["|"][..] } else { &["<", ">"] } {
            let name = format!("{order}{kind}");
            let dtype = npyz::DType::new_scalar(name.parse().unwrap());
            let shape = [values.len() as u64];
            let bytes = typed_npy(&dtype, &shape, npyz::Order::C, values);
            check_read(&bytes, &[values.len()], expected, name);
        }
    }
    check("f4", &[1.5_f32, -0.0, f32::MAX], &ArrayData::F32(vec![1.5, -0.0, f32::MAX]));
    check("f8", &[1.5_f64, f64::MIN], &ArrayData::F64(vec![1.5, f64::MIN]));
    check("u1", &[0_u8, 255], &ArrayData::U8(vec![0, 255]));
    check("b1", &[true, false], &ArrayData::I64(vec![1, 0]));
    check("i1", &[i8::MIN, i8::MAX], &ArrayData::I8(vec![-128, 127]));
    check("i2", &[i16::MIN, 258], &ArrayData::I64(vec![-32768, 258]));
    check("i4", &[i32::MIN, 258], &ArrayData::I64(vec![i32::MIN.into(), 258]));
    check("i8", &[i64::MIN, 258], &ArrayData::I64(vec![i64::MIN, 258]));
    check("u2", &[u16::MAX, 258], &ArrayData::I64(vec![65535, 258]));
    check("u4", &[u32::MAX, 258], &ArrayData::I64(vec![u32::MAX.into(), 258]));
    check("u8", &[u64::MAX / 2, 258], &ArrayData::I64(vec![i64::MAX, 258]));
}

#[test]
fn npy_in_column_major_order() {
    let values: Vec<i64> = (0..24).collect();
    let bytes = npy(&[2, 3, 4], npyz::Order::Fortran, &values);
    let expected = (0..2)
        .flat_map(|i| (0..3).flat_map(move |j| (0..4).map(move |k| i + 2 * j + 6 * k)))
        .collect();
    check_read(&bytes, &[2, 3, 4], &ArrayData::I64(expected), "column-major");
}

#[test]
fn npy_of_unusual_shapes() {
    check_read(&npy(&[], npyz::Order::C, &[7_u8]), &[], &ArrayData::U8(vec![7]), "scalar");
    let empty = npy::<f32>(&[0, 3], npyz::Order::Fortran, &[]);
    check_read(&empty, &[0, 3], &ArrayData::F32(vec![]), "empty");
}

#[test]
fn written_files_are_read_back_by_both_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("array.npy");
    for data in [
        ArrayData::F32(vec![0.1, -2.5, f32::MIN_POSITIVE, 3.0, 4.0, 5.0]),
        ArrayData::F64(vec![0.1, -2.5, f64::MIN_POSITIVE, 3.0, 4.0, 5.0]),
        ArrayData::I64(vec![i64::MIN, -1, 0, 1, 2, i64::MAX]),
        ArrayData::U8(vec![0, 1, 2, 3, 4, 255]),
        ArrayData::I8(vec![0, 1, 2, -3, -128, 127]),
    ] {
        let array = Array::new(path.display().to_string(), vec![2, 3], data.clone()).unwrap();
        write_npy(&path, &array).unwrap();
        assert_eq!(read_array(&path, None).unwrap(), array);

        let file = npyz::NpyFile::new(Cursor::new(std::fs::read(&path).unwrap())).unwrap();
        assert_eq!(file.shape(), [2, 3]);
        let found = match data {
            ArrayData::F32(_) => ArrayData::F32(file.into_vec().unwrap()),
            ArrayData::F64(_) => ArrayData::F64(file.into_vec().unwrap()),
            ArrayData::I64(_) => ArrayData::I64(file.into_vec().unwrap()),
            ArrayData::U8(_) => ArrayData::U8(file.into_vec().unwrap()),
            ArrayData::I8(_) => ArrayData::I8(file.into_vec().unwrap()),
        };
        assert_eq!(&found, array.data());
    }
}

#[test]
fn npz_entries_are_chosen_and_named() {
    let entries = [
        ("labels.npy", npy(&[2], npyz::Order::C, &[3_i64, 4])),
        ("images.npy", npy(&[1], npyz::Order::C, &[9_u8])),
        ("notes.txt", b"not an array".to_vec()),
    ];
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let bytes = npz(&entries, SimpleFileOptions::default().compression_method(method));
        let images = decode(&bytes, None).unwrap();
        assert_eq!((images.place(), images.data()), ("file[images]", &ArrayData::U8(vec![9])));
        let labels = decode(&bytes, Some("labels")).unwrap();
        assert_eq!(labels.data(), &ArrayData::I64(vec![3, 4]));
        let error = decode(&bytes, Some("other")).unwrap_err().to_string();
        assert!(error.contains("`other`") && error.contains("labels, images"), "{error}");
    }
}

#[test]
fn data_sets_hold_samples_labels_and_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let read = |entries: &[(&str, Vec<u8>)]| {
        std::fs::write(&path, npz(entries, SimpleFileOptions::default())).unwrap();
        DataSet::read(&path)
    };
    let pixels = || npy(&[2], npyz::Order::C, &[9_u8, 8]);
    let labels = || npy(&[2], npyz::Order::C, &[3_i64, 4]);
    let logits = || npy(&[2, 1], npyz::Order::C, &[0.5_f32, 1.5]);
    let all = read(&[("y.npy", labels()), ("a.npy", pixels()), ("logits.npy", logits())]).unwrap();
    assert_eq!(all.samples.data(), &ArrayData::U8(vec![9, 8]));
    assert_eq!(all.labels, Some(vec![3, 4]));
    assert_eq!(all.outputs.unwrap().data(), &ArrayData::F32(vec![0.5, 1.5]));
    assert_eq!(read_outputs(&path).unwrap().shape(), [2, 1]);
    let alone = read(&[("x.npy", pixels())]).unwrap();
    assert_eq!((alone.labels, alone.outputs), (None, None));
    let error = read(&[("x.npy", pixels()), ("labels.npy", logits())]).unwrap_err();
    assert!(matches!(error.fault(), DataFault::Labels { .. }), "{error}");
    std::fs::write(&path, pixels()).unwrap();
    assert_eq!(DataSet::read(&path).unwrap().samples.shape(), [2]);
}

#[test]
fn a_compressed_entry_may_not_grow_beyond_its_header() {
    let mut entry = npy(&[4], npyz::Order::C, &[0_u8; 4]);
    entry.resize(entry.len() + (64 << 20), 0);
    let bytes = npz(&[("input.npy", entry)], SimpleFileOptions::default());
    assert!(bytes.len() < 1 << 20);
    let error = decode(&bytes, None).unwrap_err();
    assert!(error.to_string().contains("goes on after the 4 bytes"), "{error}");
}

#[test]
fn pictures_become_planes() {
    let folder = tempfile::tempdir().unwrap();
    let grey = image::GrayImage::from_raw(3, 2, vec![0, 50, 100, 150, 200, 250]).unwrap();
    let colour = image::RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
    for (picture, shape, expected) in [
        (DynamicImage::from(grey), [1, 2, 3], vec![0, 50, 100, 150, 200, 250]),
        (colour.into(), [3, 1, 2], vec![1, 4, 2, 5, 3, 6]),
    ] {
        // The name claims another format; the content decides.
        let path = folder.path().join("picture.npy");
        picture.save_with_format(&path, ImageFormat::Png).unwrap();
        let array = read_array(&path, None).unwrap();
        assert_eq!((array.shape(), array.data()), (&shape[..], &ArrayData::U8(expected)));

        picture.save_with_format(&path, ImageFormat::Jpeg).unwrap();
        assert_eq!(read_array(&path, None).unwrap().shape(), shape);
    }
}

#[test]
fn pictures_of_other_kinds_are_refused() {
    let encode = |picture: DynamicImage| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let alpha = decode(&encode(DynamicImage::new_rgba8(1, 1)), None).unwrap_err();
    assert!(matches!(alpha.fault(), DataFault::Alpha));
    let deep = decode(&encode(DynamicImage::new_luma16(1, 1)), None).unwrap_err();
    assert!(matches!(deep.fault(), DataFault::UnsupportedType { name } if name == "L16"), "{deep}");
    let wide = decode(&encode(DynamicImage::new_luma8(16_385, 1)), None).unwrap_err();
    assert_eq!(wide.fault().code(), Code::TooLarge);
}

#[test]
fn unusable_files_are_diagnosed() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.npy");
    let diagnostic = Diagnostic::from(read_array(&missing, None).unwrap_err());
    assert_eq!(
        (diagnostic.code, diagnostic.place),
        (Code::FileAccess, missing.display().to_string())
    );
    let directory = Diagnostic::from(read_array(folder.path(), None).unwrap_err());
    assert_eq!(directory.code, Code::FileAccess);
    let array = Array::new("memory", vec![1], ArrayData::U8(vec![1])).unwrap();
    let unwritable = write_npy(&folder.path().join("no/folder.npy"), &array).unwrap_err();
    assert_eq!(unwritable.fault().code(), Code::FileAccess);

    let byte = npy(&[1], npyz::Order::C, &[1_u8]);
    let mut complex = byte.clone();
    let descr = byte.windows(5).position(|window| window == b"'|u1'").unwrap();
    complex[descr..descr + 5].copy_from_slice(b"'<c8'");
    for (bytes, entry, reason) in [
        (Vec::new(), None, "neither npy, npz, PNG nor JPEG"),
        (b"GIF89a".to_vec(), None, "neither npy, npz, PNG nor JPEG"),
        (byte.clone(), Some("input"), "not an npz archive"),
        (byte[..byte.len() - 1].to_vec(), None, "there are only 0"),
        ([byte.clone(), vec![0]].concat(), None, "goes on after"),
        (complex, None, "type <c8"),
        (npy(&[1], npyz::Order::C, &[u64::MAX]), None, "exceeds the largest"),
        (npz(&[], SimpleFileOptions::default()), None, "holds no array"),
    ] {
        let error = decode(&bytes, entry).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.fault().code(), Code::WrongInput);
        assert!(error.to_string().starts_with("file: "));
    }
}

#[test]
fn announced_sizes_beyond_the_limit_are_refused_unread() {
    for shape in ["(1073741825,)", "(65536, 65536)", "(18446744073709551615, 2)"] {
        let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = u16::try_from(text.len()).unwrap().to_le_bytes();
        let bytes = [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes()].concat();
        assert_eq!(decode(&bytes, None).unwrap_err().fault().code(), Code::TooLarge, "{shape}");
    }
}

/// Small files of every format.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let array = npy(&[2, 3], npyz::Order::Fortran, &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let entries = [("input.npy", array.clone()), ("labels.npy", array.clone())];
    let picture = DynamicImage::new_rgb8(9, 7);
    let encode = |format| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    vec![
        ("npy", array),
        ("npz", npz(&entries, SimpleFileOptions::default())),
        ("png", encode(ImageFormat::Png)),
        ("jpeg", encode(ImageFormat::Jpeg)),
    ]
}

#[test]
fn truncated_files_never_panic() {
    for (format, bytes) in samples() {
        for length in 0..bytes.len() {
            let result = decode(&bytes[..length], None);
            if matches!(format, "npy" | "npz") {
                assert!(result.is_err(), "{format} cut off after {length} bytes");
            }
        }
    }
}

#[test]
fn mutated_files_never_panic() {
    let mut state: u64 = 11;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    for (_, bytes) in samples() {
        for _ in 0..3000 {
            let mut mutated = bytes.clone();
            for _ in 0..=random() % 4 {
                let position = random() % mutated.len();
                mutated[position] = match random() % 3 {
                    0 => 0,
                    1 => 255,
                    _ => random().to_le_bytes()[0],
                };
            }
            let _any = decode(&mutated, None);
        }
    }
}
