//! Quantities in short, with units: three digits, which is what a table has room for.

const KILO: f64 = 1000.0;

/// `value` with three digits in the largest of `units`, each 1000 of the one before, that it reaches.
fn scaled(value: f64, units: &[&str]) -> String {
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 999.5 && unit + 1 < units.len() {
        value /= KILO;
        unit += 1;
    }
    format!("{} {}", digits(value), units.get(unit).unwrap_or(&""))
}

/// `value` with three digits, all that are before the point included.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Bytes in units of powers of 1000.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1000 { format!("{bytes} B") } else { bytes_f64(bytes as f64) }
}

/// Bytes as [`bytes`]; empty if there are none.
pub(crate) fn some_bytes(number: u64) -> String {
    if number == 0 { String::new() } else { bytes(number) }
}

/// Bytes that need not be whole, as [`bytes`].
pub(crate) fn bytes_f64(bytes: f64) -> String {
    if bytes == 0.0 {
        return "0 B".to_owned();
    }
    scaled(bytes, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Bytes more or less, with their sign.
pub(crate) fn bytes_change(from: u64, to: u64) -> String {
    match from.cmp(&to) {
        std::cmp::Ordering::Equal => "0".to_owned(),
        std::cmp::Ordering::Less => format!("+{}", bytes(to - from)),
        std::cmp::Ordering::Greater => format!("-{}", bytes(from - to)),
    }
}

/// A time in seconds.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds == 0.0 { "0 s".to_owned() } else { scaled(seconds * 1e6, &["us", "ms", "s"]) }
}

/// A time more or less, with its sign.
pub(crate) fn seconds_change(change: f64) -> String {
    let sign = if change > 0.0 { "+" } else { "" };
    if change.abs() < 5e-7 { "0".to_owned() } else { format!("{sign}{}", seconds(change)) }
}

/// `part` of `whole`; nothing of nothing.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A share as a percentage without decimals.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent <= 0.0 => "0 %".to_owned(),
        percent if percent < 0.5 => "<1 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

/// A relative change as a percentage with its sign.
pub(crate) fn percent_change(change: f64) -> String {
    let percent = change * 100.0;
    if percent.abs() < 0.05 { "0 %".to_owned() } else { format!("{percent:+.1} %") }
}

/// `2^log2` as a power of two.
pub(crate) fn power_of_two(log2: f64) -> String {
    format!("2^{log2:.1}")
}

/// A number of things with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `numbers` as `a`, `a and b`, or `a to b`.
pub(crate) fn range(numbers: impl IntoIterator<Item = u32>) -> Option<String> {
    let mut numbers: Vec<u32> = numbers.into_iter().collect();
    numbers.sort_unstable();
    numbers.dedup();
    match numbers[..] {
        [] => None,
        [one] => Some(one.to_string()),
        [one, other] => Some(format!("{one} and {other}")),
        [first, .., last] => Some(format!("{first} to {last}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_digits() {
        for (number, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (99_940, "99.9 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
        for (time, expected) in [
            (0.0, "0 s"),
            (0.000_001_5, "1.50 us"),
            (0.045_67, "45.7 ms"),
            (1.0, "1.00 s"),
            (12_345.0, "12345 s"),
        ] {
            assert_eq!(seconds(time), expected);
        }
    }

    #[test]
    fn changes_have_signs() {
        assert_eq!(
            [bytes_change(5, 5), bytes_change(5, 7), bytes_change(7000, 5000)],
            ["0", "+2 B", "-2.00 kB"]
        );
        assert_eq!(
            [seconds_change(0.0), seconds_change(0.01), seconds_change(-2.0)],
            ["0", "+10.0 ms", "-2.00 s"]
        );
        assert_eq!([percent(0.0), percent(0.001), percent(0.5)], ["0 %", "<1 %", "50 %"]);
        assert_eq!([percent_change(0.0), percent_change(-0.25)], ["0 %", "-25.0 %"]);
    }

    #[test]
    fn ranges_name_both_ends() {
        assert_eq!(range([]), None);
        assert_eq!(range([4, 4]).unwrap(), "4");
        assert_eq!(range([8, 4]).unwrap(), "4 and 8");
        assert_eq!(range([5, 9, 4]).unwrap(), "4 to 9");
    }
}
