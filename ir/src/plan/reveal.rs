//! What of the output a plan opens to the client.

use super::{LayerKind, Plan};
use crate::geometry::Chw;
use crate::protocol::top::{MAX_TOP, MAX_VALUES};
use std::str::FromStr;

/// What the client learns. The server learns nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reveal {
    /// All values.
    #[default]
    Logits,
    /// The indices of the `k` largest values, the best first, and no value; of equal ones the lower
    /// index comes first.
    Top {
        /// Number of indices.
        k: u32,
    },
}

impl Reveal {
    /// Whether values of `shape` can be revealed like this.
    ///
    /// # Errors
    /// A sentence that says what of the values does not fit.
    pub fn check(self, shape: Chw) -> Result<(), String> {
        let Self::Top { k } = self else { return Ok(()) };
        let values = shape.channels;
        if [shape.height, shape.width] != [1, 1] {
            return Err(format!("the output is {shape}, and only channels can be ranked"));
        }
        if k as usize >= values {
            return Err(format!("the output has {values} values, which is not more than {k}"));
        }
        if values > MAX_VALUES {
            return Err(format!("the output has {values} values, more than {MAX_VALUES}"));
        }
        Ok(())
    }
}

impl std::fmt::Display for Reveal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Logits => f.write_str("logits"),
            Self::Top { k: 1 } => f.write_str("argmax"),
            Self::Top { k } => write!(f, "top-{k}"),
        }
    }
}

impl FromStr for Reveal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = |text: &str| text.parse().ok().filter(|k| (1..=MAX_TOP).contains(k));
        match text {
            "logits" => Ok(Self::Logits),
            "argmax" => Ok(Self::Top { k: 1 }),
            _ => {
                text.strip_prefix("top-").and_then(count).map(|k| Self::Top { k }).ok_or_else(
                    || format!("give logits, argmax, or top-K with K from 1 to {MAX_TOP}"),
                )
            }
        }
    }
}

impl Plan {
    /// What of the output the client learns.
    #[must_use]
    pub fn reveal(&self) -> Reveal {
        match self.ranking().map(|index| &self.layers()[index].kind) {
            Some(&LayerKind::Top { k }) => Reveal::Top { k },
            _ => Reveal::Logits,
        }
    }

    /// Number of values of the model's output, whatever of them the client learns.
    #[must_use]
    pub fn classes(&self) -> usize {
        let ranked = self.ranking().and_then(|index| self.operands(index).first().copied());
        ranked.map_or(self.output_len(), |operand| operand.shape.len() / self.batch())
    }

    /// The step that ranks what the last step opens.
    fn ranking(&self) -> Option<usize> {
        let opened = self.layers().last()?.operands.first()?.0.checked_sub(1)?;
        let layer = self.layers().get(opened)?;
        matches!(layer.kind, LayerKind::Top { .. }).then_some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_they_are_written() {
        for (text, expected) in [
            ("logits", Reveal::Logits),
            ("argmax", Reveal::Top { k: 1 }),
            ("top-5", Reveal::Top { k: 5 }),
            ("top-16", Reveal::Top { k: 16 }),
        ] {
            assert_eq!(text.parse(), Ok(expected));
            assert_eq!(expected.to_string(), text);
        }
        assert_eq!("top-1".parse(), Ok(Reveal::Top { k: 1 }));
        for text in ["", "top", "top-0", "top-17", "top-x", "Argmax", "top--1", "top-99999999999"] {
            assert!(text.parse::<Reveal>().unwrap_err().contains("top-K"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_ranked_is_refused() {
        for (k, shape, refused) in [
            (1, (2, 1, 1), None),
            (9, (10, 1, 1), None),
            (1, (1, 1, 1), Some("has 1 values")),
            (10, (10, 1, 1), Some("not more than 10")),
            (1, (10, 2, 1), Some("only channels")),
            (1, (1, 1, 10), Some("only channels")),
            (1, (1 << 17, 1, 1), Some("more than 65536")),
        ] {
            let checked = Reveal::Top { k }.check(Chw::new(shape.0, shape.1, shape.2));
            match refused {
                None => assert_eq!(checked, Ok(())),
                Some(what) => assert!(checked.unwrap_err().contains(what), "{k} of {shape:?}"),
            }
        }
        assert_eq!(Reveal::Logits.check(Chw::new(1, 5, 5)), Ok(()));
    }
}
