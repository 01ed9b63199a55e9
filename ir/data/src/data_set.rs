//! Samples with what is known about them: labels, and the outputs of another program.

use crate::array::Array;
use crate::error::{DataError, DataFault};
use crate::npz::{LABELS, OUTPUTS};
use crate::read::{array_names, read_array};
use std::path::Path;

/// What a file says about a list of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSet {
    /// The samples, as [`read_array`] finds them.
    pub samples: Array,
    /// The class of every sample: the array `labels`, `label`, `y` or `targets`, of shape `[N]`.
    pub labels: Option<Vec<i64>>,
    /// What another program made of them: the array `output`, `outputs` or `logits`.
    pub outputs: Option<Array>,
}

impl DataSet {
    /// Reads the file at `path`; one that is not npz holds samples alone.
    ///
    /// # Errors
    ///
    /// As [`read_array`], and [`DataFault::Labels`] if the labels are not integers.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let names = array_names(path)?;
        let find = |wanted: &[&'static str]| {
            let mut wanted = wanted.iter().copied();
            wanted.find(|wanted| names.iter().any(|name| name == wanted))
        };
        let labels = match find(&LABELS) {
            Some(name) => Some(labels_of(&read_array(path, Some(name))?)?),
            None => None,
        };
        let outputs = find(&OUTPUTS).map(|name| read_array(path, Some(name))).transpose()?;
        Ok(Self { samples: read_array(path, None)?, labels, outputs })
    }
}

/// The outputs in the file at `path`: the array `output`, `outputs` or `logits`, or the only one.
///
/// # Errors
///
/// As [`read_array`].
pub fn read_outputs(path: &Path) -> Result<Array, DataError> {
    let names = array_names(path)?;
    let named = OUTPUTS.into_iter().find(|wanted| names.iter().any(|name| name == wanted));
    read_array(path, named)
}

/// Labels as integers, one a sample.
///
/// # Errors
///
/// [`DataFault::Labels`] if they are not integers in one dimension.
pub fn labels_of(labels: &Array) -> Result<Vec<i64>, DataError> {
    let integers = labels.data().to_integers().filter(|_| labels.shape().len() == 1);
    integers.ok_or_else(|| {
        DataError::new(labels.place(), DataFault::Labels { shape: labels.shape().to_vec() })
    })
}
