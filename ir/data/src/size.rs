//! Sizes as users write them.

/// Units and their bytes; the longest names first.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Bytes: a whole number, or one followed by a unit.
///
/// # Errors
/// What may be given, in words.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let unit = UNITS.iter().find_map(|&(name, unit)| Some((text.strip_suffix(name)?, unit)));
    let (number, unit) = unit.unwrap_or((text, 1));
    let number = number.trim_end();
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { number.parse::<u64>().ok() } else { None };
    let size = number.and_then(|number| number.checked_mul(unit));
    size.ok_or_else(|| "give a whole number with B, kB, MB, GB, KiB, MiB or GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17 B", Some(17)),
            ("3kB", Some(3000)),
            ("4KiB", Some(4096)),
            ("256MB", Some(256_000_000)),
            ("2 GB", Some(2_000_000_000)),
            ("1GiB", Some(1 << 30)),
            ("", None),
            ("MB", None),
            ("1.5GB", None),
            ("-1", None),
            ("+1", None),
            ("1 mb", None),
            ("4 TB", None),
            ("99999999999999 GB", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
    }
}
