//! Input preparation: how 8-bit pixels become the real-valued input of a model.
//!
//! A model is trained on `x = (pixel * scale - mean[c]) / std[c]`; the plan carries these constants
//! so that images can be given as they are. Inputs that are already floating-point need none.
//! Invariants: every constant is finite, `scale` and every `std[c]` are positive, and `mean` and
//! `std` each have no element or one per channel.

use serde::{Deserialize, Serialize};

/// The checked constants of `x = (pixel * scale - mean[c]) / std[c]`.
///
/// Deserializing checks them too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Constants", into = "Constants")]
pub struct InputPreparation {
    constants: Constants,
}

/// The constants as they are stored; unchecked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Constants {
    scale: f64,
    mean: Vec<f64>,
    std: Vec<f64>,
}

/// Why constants cannot prepare an input.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreparationError {
    /// The scale is not a positive finite number.
    #[error("the pixel scale is {scale}, but must be positive and finite")]
    Scale {
        /// The scale that was given.
        scale: f64,
    },
    /// A mean is not finite.
    #[error("the mean of channel {channel} is {mean}, but must be finite")]
    Mean {
        /// Index of the channel.
        channel: usize,
        /// The mean that was given.
        mean: f64,
    },
    /// A standard deviation is not a positive finite number.
    #[error(
        "the standard deviation of channel {channel} is {std}, but must be positive and finite"
    )]
    Std {
        /// Index of the channel.
        channel: usize,
        /// The standard deviation that was given.
        std: f64,
    },
    /// There is neither no constant nor one per channel.
    #[error("there are {found} {what}, but {expected} channels")]
    Channels {
        /// "means" or "standard deviations".
        what: &'static str,
        /// Number of channels.
        expected: usize,
        /// Number of constants.
        found: usize,
    },
}

impl InputPreparation {
    /// Checks the constants. `mean` and `std` may be empty, which stands for 0 and 1; otherwise
    /// they have one element per channel.
    ///
    /// # Errors
    ///
    /// [`PreparationError`] with the first constant that breaks a rule of this module.
    pub fn new(scale: f64, mean: Vec<f64>, std: Vec<f64>) -> Result<Self, PreparationError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(scale) {
            return Err(PreparationError::Scale { scale });
        }
        if let Some((channel, &mean)) = mean.iter().enumerate().find(|(_, mean)| !mean.is_finite())
        {
            return Err(PreparationError::Mean { channel, mean });
        }
        if let Some((channel, &std)) = std.iter().enumerate().find(|&(_, &std)| !positive(std)) {
            return Err(PreparationError::Std { channel, std });
        }
        if !mean.is_empty() && !std.is_empty() && mean.len() != std.len() {
            let (expected, found) = (mean.len(), std.len());
            return Err(PreparationError::Channels { what: STDS, expected, found });
        }
        Ok(Self { constants: Constants { scale, mean, std } })
    }

    /// The factor that multiplies a pixel.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.constants.scale
    }

    /// The mean of every channel, or nothing.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.constants.mean
    }

    /// The standard deviation of every channel, or nothing.
    #[must_use]
    pub fn std(&self) -> &[f64] {
        &self.constants.std
    }

    /// Checks that the constants fit an input of `channels` channels.
    ///
    /// # Errors
    ///
    /// [`PreparationError::Channels`].
    pub fn check_channels(&self, channels: usize) -> Result<(), PreparationError> {
        for (what, found) in [(MEANS, self.mean().len()), (STDS, self.std().len())] {
            if found != 0 && found != channels {
                return Err(PreparationError::Channels { what, expected: channels, found });
            }
        }
        Ok(())
    }

    /// The model's input for `pixel` in `channel`, in `f64`.
    #[must_use]
    pub fn prepare(&self, pixel: u8, channel: usize) -> f64 {
        let mean = self.mean().get(channel).copied().unwrap_or(0.0);
        let std = self.std().get(channel).copied().unwrap_or(1.0);
        (f64::from(pixel) * self.scale() - mean) / std
    }
}

const MEANS: &str = "means";
const STDS: &str = "standard deviations";

impl Default for InputPreparation {
    /// Pixels 0 to 255 become 0 to 1.
    fn default() -> Self {
        let constants = Constants { scale: 1.0 / 255.0, mean: Vec::new(), std: Vec::new() };
        Self { constants }
    }
}

impl TryFrom<Constants> for InputPreparation {
    type Error = PreparationError;

    fn try_from(Constants { scale, mean, std }: Constants) -> Result<Self, PreparationError> {
        Self::new(scale, mean, std)
    }
}

impl From<InputPreparation> for Constants {
    fn from(preparation: InputPreparation) -> Self {
        preparation.constants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_numpys_division_by_255() {
        let preparation = InputPreparation::default();
        for pixel in 0..=u8::MAX {
            #[expect(clippy::cast_possible_truncation, reason = "rounding is what is tested")]
            let found = preparation.prepare(pixel, 0) as f32;
            assert_eq!(found.to_bits(), (f32::from(pixel) / 255.0).to_bits(), "{pixel}");
        }
    }

    #[test]
    fn wrong_constants_are_refused() {
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = InputPreparation::new(scale, vec![], vec![]).unwrap_err();
            assert!(matches!(error, PreparationError::Scale { .. }), "{error}");
        }
        for std in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = InputPreparation::new(1.0, vec![], vec![1.0, std]).unwrap_err();
            assert!(matches!(error, PreparationError::Std { channel: 1, .. }), "{error}");
        }
        let error = InputPreparation::new(1.0, vec![f64::NAN], vec![]).unwrap_err();
        assert!(matches!(error, PreparationError::Mean { channel: 0, .. }), "{error}");
        let error = InputPreparation::new(1.0, vec![0.0], vec![1.0; 3]).unwrap_err();
        assert!(matches!(error, PreparationError::Channels { .. }), "{error}");
    }

    #[test]
    fn constants_fit_their_channels_only() {
        let preparation = InputPreparation::new(1.0, vec![0.0; 3], vec![]).unwrap();
        assert!(preparation.check_channels(3).is_ok());
        assert!(preparation.check_channels(1).is_err());
        assert!(InputPreparation::default().check_channels(7).is_ok());
    }

    #[test]
    fn decoding_checks_the_constants() {
        let config = bincode::config::standard();
        let good = InputPreparation::new(0.5, vec![0.1], vec![2.0]).unwrap();
        let bytes = bincode::serde::encode_to_vec(&good, config).unwrap();
        let (decoded, _) =
            bincode::serde::decode_from_slice::<InputPreparation, _>(&bytes, config).unwrap();
        assert_eq!(decoded, good);
        let bad = Constants { scale: -1.0, mean: vec![], std: vec![] };
        let bytes = bincode::serde::encode_to_vec(&bad, config).unwrap();
        assert!(bincode::serde::decode_from_slice::<InputPreparation, _>(&bytes, config).is_err());
    }
}
