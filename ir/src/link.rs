//! Links between the two parties: bandwidth and round-trip time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Bandwidth and round-trip time of a link that is alike in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkProfile {
    /// At least 1.
    bits_per_second: u64,
    /// At most [`LinkProfile::MAX_RTT`].
    rtt: Duration,
}

/// A link profile that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The bandwidth is zero.
    #[error("the bandwidth of a link must be at least 1 bit per second")]
    NoBandwidth,
    /// The round-trip time exceeds [`LinkProfile::MAX_RTT`].
    #[error("the round-trip time of a link must be at most {:?}", LinkProfile::MAX_RTT)]
    RttTooLong,
    /// The text is neither a preset nor a bandwidth and a time.
    #[error(
        "`{text}` is not a link profile: write lan, wan, mobile, or a bandwidth (bit, kbit, Mbit, \
         Gbit) and a round-trip time (ns, us, ms, s) such as 100Mbit,20ms"
    )]
    Syntax {
        /// The text that was given.
        text: String,
    },
}

impl LinkProfile {
    /// The longest round-trip time.
    pub const MAX_RTT: Duration = Duration::from_secs(60);

    /// Local network: 3 Gbit/s, 0.3 ms round trip.
    pub const LAN: Self = Self::preset(3_000_000_000, 300);

    /// Wide area network: 400 Mbit/s, 40 ms round trip.
    pub const WAN: Self = Self::preset(400_000_000, 40_000);

    /// Mobile network: 50 Mbit/s, 60 ms round trip.
    pub const MOBILE: Self = Self::preset(50_000_000, 60_000);

    const fn preset(bits_per_second: u64, rtt_us: u64) -> Self {
        Self { bits_per_second, rtt: Duration::from_micros(rtt_us) }
    }

    /// A profile from its two quantities.
    ///
    /// # Errors
    ///
    /// [`ProfileError::NoBandwidth`] and [`ProfileError::RttTooLong`].
    pub fn new(bits_per_second: u64, rtt: Duration) -> Result<Self, ProfileError> {
        if bits_per_second == 0 {
            return Err(ProfileError::NoBandwidth);
        }
        if rtt > Self::MAX_RTT {
            return Err(ProfileError::RttTooLong);
        }
        Ok(Self { bits_per_second, rtt })
    }

    /// Bandwidth of one direction in bits per second.
    #[must_use]
    pub fn bits_per_second(self) -> u64 {
        self.bits_per_second
    }

    /// Round-trip time.
    #[must_use]
    pub fn rtt(self) -> Duration {
        self.rtt
    }

    /// How long `wire_bytes` occupy one direction, without latency.
    #[must_use]
    pub fn transmission_time(self, wire_bytes: u64) -> Duration {
        let nanos = u128::from(wire_bytes) * 8 * 1_000_000_000 / u128::from(self.bits_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl FromStr for LinkProfile {
    type Err = ProfileError;

    /// Reads a preset's name, or a bandwidth and a round-trip time such as `100Mbit,20ms`.
    fn from_str(text: &str) -> Result<Self, ProfileError> {
        match text {
            "lan" => return Ok(Self::LAN),
            "wan" => return Ok(Self::WAN),
            "mobile" => return Ok(Self::MOBILE),
            _ => {}
        }
        let syntax = || ProfileError::Syntax { text: text.to_owned() };
        let (bandwidth, rtt) = text.split_once(',').ok_or_else(syntax)?;
        let bits = parse_quantity(bandwidth, &[("kbit", 3), ("Mbit", 6), ("Gbit", 9), ("bit", 0)]);
        let nanos = parse_quantity(rtt, &[("ns", 0), ("us", 3), ("ms", 6), ("s", 9)]);
        Self::new(bits.ok_or_else(syntax)?, Duration::from_nanos(nanos.ok_or_else(syntax)?))
    }
}

impl fmt::Display for LinkProfile {
    /// Writes the profile in a form that can be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bandwidth =
            in_largest_unit(self.bits_per_second.into(), ["bit", "kbit", "Mbit", "Gbit"]);
        let rtt = in_largest_unit(self.rtt.as_nanos(), ["ns", "us", "ms", "s"]);
        write!(f, "{bandwidth},{rtt}")
    }
}

/// Writes `value` in the largest of `units`, each 1000 of the one before, that keeps it whole.
fn in_largest_unit(mut value: u128, units: [&str; 4]) -> String {
    let mut unit = 0;
    while unit + 1 < units.len() && value > 0 && value.is_multiple_of(1000) {
        value /= 1000;
        unit += 1;
    }
    format!("{value}{}", units[unit])
}

/// Reads a decimal number with one of `units`, each a name and its power of ten; exact.
fn parse_quantity(text: &str, units: &[(&str, u32)]) -> Option<u64> {
    let text = text.trim();
    let (number, exponent) =
        units.iter().find_map(|&(unit, exponent)| Some((text.strip_suffix(unit)?, exponent)))?;
    let number = number.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || number.ends_with('.') || !digits(whole) || !digits(fraction) {
        return None;
    }
    let missing = exponent.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    format!("{whole}{fraction}").parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(missing)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(bits_per_second: u64, rtt_us: u64) -> LinkProfile {
        LinkProfile::new(bits_per_second, Duration::from_micros(rtt_us)).unwrap()
    }

    #[test]
    fn profiles_are_parsed_exactly() {
        for (text, expected) in [
            ("lan", profile(3_000_000_000, 300)),
            ("wan", profile(400_000_000, 40_000)),
            ("mobile", profile(50_000_000, 60_000)),
            ("3Gbit,0.3ms", LinkProfile::LAN),
            ("100Mbit,20ms", profile(100_000_000, 20_000)),
            ("1.5kbit, 1s", profile(1500, 1_000_000)),
            ("9 bit,0us", profile(9, 0)),
        ] {
            let parsed: LinkProfile = text.parse().unwrap();
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(parsed.to_string().parse(), Ok(expected), "{parsed}");
        }
        assert_eq!(LinkProfile::LAN.to_string(), "3Gbit,300us");
    }

    #[test]
    fn wrong_profiles_are_refused() {
        for text in [
            "",
            "LAN",
            "100Mbit",
            ",",
            "100,20",
            "Mbit,ms",
            "1.Mbit,1ms",
            ".5Mbit,1ms",
            "-1Mbit,1ms",
            "1e3Mbit,1ms",
            "0.5bit,1ms",
            "1Mbit,0.1ns",
            "99999999999999999999bit,1ms",
            "1Mbit,1m",
            "99999999999Gbit,1ms",
            "1Mbit,1ms,1",
            "\u{661}Mbit,1ms",
        ] {
            let error = text.parse::<LinkProfile>().unwrap_err();
            assert_eq!(error, ProfileError::Syntax { text: text.to_owned() });
        }
        assert_eq!("0bit,1ms".parse::<LinkProfile>(), Err(ProfileError::NoBandwidth));
        assert_eq!("1bit,61s".parse::<LinkProfile>(), Err(ProfileError::RttTooLong));
    }

    #[test]
    fn extreme_transmission_times_do_not_overflow() {
        assert_eq!(profile(1, 0).transmission_time(u64::MAX), Duration::from_nanos(u64::MAX));
        assert_eq!(profile(u64::MAX, 0).transmission_time(1), Duration::ZERO);
    }
}
