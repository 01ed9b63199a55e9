//! Reads grey pictures in the PGM format and draws them with characters.
//!
//! Source: the netpbm format `P5`, with one byte a pixel.

/// Characters from dark to bright.
const SHADES: &[u8] = b" .:-=+*#%@";

/// A grey picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    width: usize,
    brightest: u8,
    pixels: Vec<u8>,
}

impl Picture {
    /// Reads a picture; `None` if the bytes are not a PGM file of one byte a pixel.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(b"P5")?;
        let mut number = || {
            let (value, tail) = next_number(rest)?;
            rest = tail;
            Some(value)
        };
        let (width, height) = (number()?, number()?);
        let brightest = u8::try_from(number()?).ok().filter(|&brightest| brightest > 0)?;
        let pixels = rest.get(1..)?.to_vec();
        let expected = width.checked_mul(height)?;
        (width > 0 && pixels.len() == expected).then_some(Self { width, brightest, pixels })
    }

    /// The picture as lines of text, two characters a pixel, without empty lines at either end.
    pub(crate) fn draw(&self) -> String {
        let shade = |&pixel: &u8| {
            let step = usize::from(pixel.min(self.brightest)) * (SHADES.len() - 1);
            char::from(SHADES[step / usize::from(self.brightest)])
        };
        let lines: Vec<String> = self
            .pixels
            .chunks(self.width)
            .map(|row| row.iter().flat_map(|pixel| [shade(pixel); 2]).collect::<String>())
            .map(|line| line.trim_end().to_owned())
            .collect();
        lines.join("\n").trim_matches('\n').to_owned() + "\n"
    }
}

/// The next decimal number after white space and comments, and what follows its last digit.
fn next_number(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    loop {
        let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
        bytes = &bytes[start..];
        if bytes[0] != b'#' {
            break;
        }
        bytes = &bytes[bytes.iter().position(|&byte| byte == b'\n')?..];
    }
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let value = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    Some((value, &bytes[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_draws() {
        let picture =
            Picture::parse(b"P5\n# a comment\n3 2\n255\n\x00\x80\xff\xff\x00\x00").unwrap();
        assert_eq!(picture.draw(), "  ==@@\n@@\n");
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [
            b"P2\n1 1\n255\n0".as_slice(),
            b"P5\n1 1\n255\n",
            b"P5\n1 1\n255\n00",
            b"P5\n1 1\n0\n0",
            b"P5\n1 1\n65535\n00",
            b"P5\n99999999999999999999 1\n255\n0",
            b"P5\n4611686018427387904 4\n255\n",
            b"P5 # no end",
            b"P5",
        ] {
            assert_eq!(Picture::parse(bytes), None, "{bytes:?}");
        }
    }
}
