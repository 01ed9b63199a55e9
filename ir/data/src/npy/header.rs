//! The header of an npy file: version, element type, order and shape.
//!
//! After the magic come the version (two bytes), the length of the text (u16 or u32, little-endian)
//! and the text, a Python dictionary such as
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`. Only that form is read: text from
//! a file drives no general expression parser.

use crate::array::MAX_DIMENSIONS;
use crate::error::DataFault;
use crate::npy::{FORMAT, MAGIC};
use std::io::Read;

/// Longest header text in bytes; numpy refuses longer ones, too.
const MAX_TEXT_BYTES: u64 = 10_000;

/// numpy aligns the data to this many bytes.
const ALIGNMENT: usize = 64;

/// Element types of npy files that are plain numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
}

impl Number {
    /// Every type with its kind and size in the file.
    const ALL: [(Self, &'static str); 11] = [
        (Self::Bool, "b1"),
        (Self::I8, "i1"),
        (Self::I16, "i2"),
        (Self::I32, "i4"),
        (Self::I64, "i8"),
        (Self::U8, "u1"),
        (Self::U16, "u2"),
        (Self::U32, "u4"),
        (Self::U64, "u8"),
        (Self::F32, "f4"),
        (Self::F64, "f8"),
    ];

    /// Bytes of one element in the file.
    pub(crate) fn stored_bytes(self) -> u64 {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Bytes of one element in memory.
    pub(crate) fn decoded_bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F32 => 4,
            Self::Bool | Self::I16 | Self::I32 | Self::I64 => 8,
            Self::U16 | Self::U32 | Self::U64 | Self::F64 => 8,
        }
    }
}

/// A parsed header; the shape has not been compared with the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: Number,
    pub(crate) big_endian: bool,
    /// Whether the first index is the fastest, as in Fortran.
    pub(crate) column_major: bool,
    pub(crate) shape: Vec<usize>,
}

/// Reads a header and leaves `reader` at the data.
pub(crate) fn read(reader: &mut impl Read) -> Result<Header, DataFault> {
    let io = |source| DataFault::from_io(FORMAT, source);
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(io)?;
    if !start.starts_with(MAGIC) {
        return Err(malformed("it does not start with \\x93NUMPY"));
    }
    let [.., major, minor] = start;
    let mut length = [0; 4];
    match (major, minor) {
        (1, 0) => reader.read_exact(&mut length[..2]).map_err(io)?,
        (2 | 3, 0) => reader.read_exact(&mut length).map_err(io)?,
        _ => return Err(malformed(format!("version {major}.{minor} is not known"))),
    }
    let length = u64::from(u32::from_le_bytes(length));
    if length > MAX_TEXT_BYTES {
        let what = "the length of the npy header in bytes";
        return Err(DataFault::TooLarge { what, limit: MAX_TEXT_BYTES, found: length });
    }
    let mut text = String::new();
    let found = reader.by_ref().take(length).read_to_string(&mut text).map_err(io)?;
    if found as u64 != length {
        return Err(malformed("it ends within the header"));
    }
    parse(&text)
}

/// Writes a header for little-endian data in row-major order.
pub(crate) fn write(shape: &[usize], number: Number) -> Vec<u8> {
    let order = if number.stored_bytes() == 1 { '|' } else { '<' };
    let kind = Number::ALL.iter().find(|(other, _)| *other == number).map_or("", |(_, kind)| kind);
    let extents: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let mut text = format!(
        "{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': ({}), }}",
        extents.join(" ")
    );
    let prefix = MAGIC.len() + 4;
    let end = (prefix + text.len() + 1).next_multiple_of(ALIGNMENT);
    text.extend(std::iter::repeat_n(' ', end - prefix - text.len() - 1));
    text.push('\n');
    let [low, high, ..] = text.len().to_le_bytes();
    [MAGIC, &[1, 0, low, high], text.as_bytes()].concat()
}

fn malformed(what: impl Into<String>) -> DataFault {
    DataFault::Malformed { format: FORMAT, what: what.into() }
}

fn parse(text: &str) -> Result<Header, DataFault> {
    let mut scanner = Scanner { rest: text };
    let (mut descr, mut column_major, mut shape) = (None, None, None);
    scanner.expect('{')?;
    while !scanner.accept('}') {
        let key = scanner.string()?;
        scanner.expect(':')?;
        match key {
            "descr" => descr = Some(scanner.element_type()?),
            "fortran_order" => column_major = Some(scanner.boolean()?),
            "shape" => shape = Some(scanner.shape()?),
            _ => return Err(malformed(format!("its header has the unknown key `{key}`"))),
        }
        if !scanner.accept(',') {
            scanner.expect('}')?;
            break;
        }
    }
    if !scanner.rest.trim().is_empty() {
        return Err(malformed("its header goes on after the dictionary"));
    }
    let missing = |key: &str| malformed(format!("its header lacks the key `{key}`"));
    let (number, big_endian) = descr.ok_or_else(|| missing("descr"))?;
    Ok(Header {
        number,
        big_endian,
        column_major: column_major.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
    })
}

/// Reads tokens of the dictionary from the front of `rest`.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn accept(&mut self, token: char) -> bool {
        self.rest = self.rest.trim_start();
        let stripped = self.rest.strip_prefix(token);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn expect(&mut self, token: char) -> Result<(), DataFault> {
        if self.accept(token) {
            return Ok(());
        }
        let found: String = self.rest.chars().take(8).collect();
        Err(malformed(format!("its header has `{found}` where `{token}` is due")))
    }

    fn string(&mut self) -> Result<&'a str, DataFault> {
        let quote = if self.accept('"') { '"' } else { '\'' };
        if quote == '\'' {
            self.expect(quote)?;
        }
        let unterminated = || malformed("its header has a string without end");
        let (string, rest) = self.rest.split_once(quote).ok_or_else(unterminated)?;
        self.rest = rest;
        Ok(string)
    }

    /// A word or number up to the next delimiter.
    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn boolean(&mut self) -> Result<bool, DataFault> {
        match self.word() {
            "True" => Ok(true),
            "False" => Ok(false),
            _ => Err(malformed("`fortran_order` in its header is neither True nor False")),
        }
    }

    /// The element type, and whether it is big-endian.
    fn element_type(&mut self) -> Result<(Number, bool), DataFault> {
        if self.accept('[') {
            return Err(DataFault::UnsupportedType { name: "record".to_owned() });
        }
        let name = self.string()?;
        let unsupported = || DataFault::UnsupportedType { name: name.to_owned() };
        let (order, kind) = name.split_at_checked(1).ok_or_else(unsupported)?;
        let &(number, _) =
            Number::ALL.iter().find(|(_, known)| *known == kind).ok_or_else(unsupported)?;
        match order {
            "<" => Ok((number, false)),
            ">" => Ok((number, true)),
            "|" if number.stored_bytes() == 1 => Ok((number, false)),
            _ => Err(unsupported()),
        }
    }

    fn shape(&mut self) -> Result<Vec<usize>, DataFault> {
        let mut shape = Vec::new();
        self.expect('(')?;
        while !self.accept(')') {
            // Python 2 wrote long integers with an L.
            let number = self.word().trim_end_matches('L');
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            let extent = if digits { number.parse().ok() } else { None };
            shape.push(extent.ok_or_else(|| malformed("its shape is not a tuple of sizes"))?);
            if shape.len() > MAX_DIMENSIONS {
                return Err(malformed(format!("it has more than {MAX_DIMENSIONS} dimensions")));
            }
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_parsed() {
        for (text, number, big_endian, column_major, shape) in [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
                "f4",
                false,
                false,
                vec![2, 3],
            ),
            ("{'shape':(7,),'fortran_order':True,'descr':'>i8'}", "i8", true, true, vec![7]),
            (
                "{\"descr\": \"|b1\", 'fortran_order': False, 'shape': ()}",
                "b1",
                false,
                false,
                vec![],
            ),
            (
                "{'descr': '<u1', 'fortran_order': False, 'shape': (1L, 2L)}",
                "u1",
                false,
                false,
                vec![1, 2],
            ),
        ] {
            let header = parse(text).unwrap();
            let (number, _) = Number::ALL.into_iter().find(|(_, kind)| *kind == number).unwrap();
            assert_eq!(header, Header { number, big_endian, column_major, shape }, "{text}");
        }
    }

    #[test]
    fn other_headers_are_refused() {
        for (text, reason) in [
            ("", "where `{` is due"),
            ("{", "where `'` is due"),
            ("{'descr", "string without end"),
            ("{'descr': '<f4'}", "lacks the key `fortran_order`"),
            ("{'fortran_order': False, 'shape': ()}", "lacks the key `descr`"),
            ("{'fortran_order': 1}", "neither True nor False"),
            ("{'shape': (-1,)}", "not a tuple of sizes"),
            ("{'shape': (1 2)}", "where `)` is due"),
            ("{'shape': (99999999999999999999,)}", "not a tuple of sizes"),
            ("{'shape': (((((((((((", "not a tuple of sizes"),
            ("{'shape': 3}", "where `(` is due"),
            ("{'descr': '<c8'}", "type <c8"),
            ("{'descr': '|O'}", "type |O"),
            ("{'descr': '\u{e9}f4'}", "not supported"),
            ("{'descr': [('a', '<f4')]}", "type record"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': ()} x", "goes on"),
            ("{'other': 1}", "unknown key `other`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let many = format!("{{'shape': ({})}}", "1,".repeat(40));
        assert!(parse(&many).is_err());
    }

    #[test]
    fn a_written_header_is_read_back_and_aligned() {
        for shape in [vec![], vec![5], vec![1, 28, 28], vec![usize::MAX; MAX_DIMENSIONS]] {
            for (number, _) in Number::ALL {
                let bytes = write(&shape, number);
                assert_eq!(bytes.len() % ALIGNMENT, 0);
                let header = read(&mut bytes.as_slice()).unwrap();
                assert_eq!((header.shape.as_slice(), header.number), (shape.as_slice(), number));
            }
        }
    }

    #[test]
    fn a_long_header_is_refused_unread() {
        let bytes = [MAGIC, &[2, 0], &u32::MAX.to_le_bytes()].concat();
        assert!(matches!(read(&mut bytes.as_slice()), Err(DataFault::TooLarge { .. })));
    }
}
