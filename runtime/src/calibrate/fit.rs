//! Coefficients of a linear model from measurements: least squares, none of them negative.

/// Passes of the descent, far more than a handful of coefficients takes.
const PASSES: usize = 2000;

/// A measurement: how often each coefficient counts, and the sum that was measured.
pub(super) struct Sample<const K: usize> {
    pub(super) counts: [f64; K],
    pub(super) sum: f64,
}

/// The coefficients, none negative, for which the sum of the squares of relative errors is least.
/// Coordinate descent, which converges since the problem is convex.
pub(super) fn fit<const K: usize>(samples: &[Sample<K>]) -> [f64; K] {
    let mut coefficients = [0.0; K];
    let rows: Vec<[f64; K]> = samples
        .iter()
        .filter(|sample| sample.sum > 0.0)
        .map(|sample| sample.counts.map(|count| count / sample.sum))
        .collect();
    for _ in 0..PASSES {
        for k in 0..K {
            let (mut along, mut square) = (0.0, 0.0);
            for row in &rows {
                let explained: f64 = row.iter().zip(&coefficients).map(|(a, b)| a * b).sum();
                along += row[k] * (1.0 - explained);
                square += row[k] * row[k];
            }
            if square > 0.0 {
                coefficients[k] = (coefficients[k] + along / square).max(0.0);
            }
        }
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_are_found_and_never_negative() {
        let samples = |of: [f64; 3]| {
            let counts = [[1.0, 5.0, 2.0], [7.0, 1.0, 3.0], [2.0, 2.0, 9.0], [4.0, 8.0, 1.0]];
            counts.map(|counts| Sample {
                counts,
                sum: counts.iter().zip(of).map(|(count, of)| count * of).sum(),
            })
        };
        let found = fit(&samples([3.0, 0.5, 2.0]));
        for (found, expected) in found.into_iter().zip([3.0, 0.5, 2.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let found = fit(&samples([3.0, -0.1, 2.0]));
        assert!(found[1] == 0.0 && found[0] > 2.5 && found[2] > 1.5, "{found:?}");
        assert_eq!(fit::<2>(&[]).to_vec(), [0.0; 2]);
    }
}
