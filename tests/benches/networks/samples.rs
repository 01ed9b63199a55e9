//! Samples of a network: real images where there are any, else pixels of a fixed seed.

use heq_data::{Array, ArrayData, read_array, write_npy};
use heq_ir::plan::Plan;
use heq_ir::preparation::InputPreparation;
use heq_tests::models;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::path::{Path, PathBuf};

/// Images and what is done to their pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Images {
    file: &'static str,
    preparation: Preparation,
}

/// Mean and deviation of every channel of pixels between 0 and 1; none leaves them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preparation {
    mean: &'static [f64],
    std: &'static [f64],
}

const PIXELS: Preparation = Preparation { mean: &[], std: &[] };

/// What networks for MNIST that are not our example are usually given.
pub(crate) const MNIST_NORMALIZED: Images =
    Images { preparation: Preparation { mean: &[0.1307], std: &[0.3081] }, ..MNIST };

/// Pixels between 0 and 1, as MLPerf's models take them.
pub(crate) const CIFAR_PIXELS: Images = Images { preparation: PIXELS, ..CIFAR };

/// The usual ones of models that were trained on ImageNet, and of ours for CIFAR.
const NORMALIZED: Preparation =
    Preparation { mean: &[0.485, 0.456, 0.406], std: &[0.229, 0.224, 0.225] };

pub(crate) const MNIST: Images = Images { file: "mnist_test_1000.npz", preparation: PIXELS };
pub(crate) const CIFAR: Images = Images { file: "cifar10_test_1000.npz", preparation: NORMALIZED };
pub(crate) const IMAGENET: Images = Images { file: "imagenet_40.npz", preparation: NORMALIZED };

impl Images {
    /// How pixels become the model's input.
    pub(crate) fn preparation(&self) -> InputPreparation {
        let Preparation { mean, std } = self.preparation;
        InputPreparation::new(1.0 / 255.0, mean.to_vec(), std.to_vec()).unwrap()
    }

    /// A file of `limit` images or all that there are, and what they are.
    pub(crate) fn file(
        &self,
        plan: &Plan,
        folder: &Path,
        limit: usize,
    ) -> Result<(PathBuf, &'static str), String> {
        if let Some(path) = models::images(self.file) {
            return Ok((path, "images"));
        }
        let path = folder.join("pixels.npy");
        let shape = plan.spec().input.shape;
        let mut pixels = vec![0; limit * shape.len()];
        ChaCha20Rng::seed_from_u64(2024).fill_bytes(&mut pixels);
        let shape = vec![limit, shape.channels, shape.height, shape.width];
        Array::new("pixels", shape, ArrayData::U8(pixels))
            .and_then(|array| write_npy(&path, &array))
            .map_err(|error| error.to_string())?;
        Ok((path, "random pixels"))
    }

    /// The integers that the network starts from, of at most `limit` samples.
    pub(crate) fn inputs(plan: &Plan, path: &Path, limit: usize) -> Result<Vec<Vec<i64>>, String> {
        let spec = plan.spec();
        let mut inputs = read_array(path, None)
            .and_then(|array| heq_data::to_inputs(&array, &spec.input, &spec.preparation))
            .map_err(|error| error.to_string())?;
        inputs.truncate(limit);
        Ok(inputs)
    }
}
