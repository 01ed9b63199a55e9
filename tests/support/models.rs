//! Models that benches measure: the example, files that are kept outside the repository, and networks
//! that `examples/onnx/generate.py` writes.
//!
//! The folder that the environment variable `HEQ_MODELS` names holds the files; images may lie there,
//! or in a folder `data` beside it.

use crate::{lenet, root};
use std::path::PathBuf;
use std::process::Command;

/// Names the folder of models.
pub const MODELS: &str = "HEQ_MODELS";

/// Where a model comes from.
#[derive(Clone, Copy, Debug)]
pub enum Model {
    /// The LeNet that is part of the repository.
    Example,
    /// A file in the folder of models, by its name without `.onnx`.
    File(&'static str),
    /// A network with random weights.
    Generated(Generated),
}

/// What the generator is told.
#[derive(Clone, Copy, Debug)]
pub struct Generated {
    /// One of its architectures.
    pub architecture: &'static str,
    /// Widths of weights and activations in bits.
    pub bits: u32,
    /// Which scales there are.
    pub scales: Scales,
}

/// Scales of a generated network.
#[derive(Clone, Copy, Debug)]
pub enum Scales {
    /// Any, weights one a channel.
    Float,
    /// Powers of two.
    PowersOfTwo,
}

impl Model {
    /// The name that rows show.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Example => "lenet_mnist".to_owned(),
            Self::File(name) => name.to_owned(),
            Self::Generated(Generated { architecture, bits, scales }) => {
                let suffix = match scales {
                    Scales::Float => "",
                    Scales::PowersOfTwo => "_po2",
                };
                format!("{architecture}_w{bits}a{bits}{suffix}")
            }
        }
    }

    /// The ONNX file.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn bytes(self) -> Result<Vec<u8>, String> {
        let path = match self {
            Self::Example => lenet("model.onnx"),
            Self::File(name) => folder()?.join(format!("{name}.onnx")),
            Self::Generated(generated) => return generated.bytes(),
        };
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Generated {
    fn bytes(self) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().join("model.onnx");
        let bits = self.bits.to_string();
        let scales = match self.scales {
            Scales::Float => "float",
            Scales::PowersOfTwo => "po2",
        };
        let output = Command::new("python3")
            .arg(root().join("examples/onnx/generate.py"))
            .args([self.architecture, "--weight-bits", &bits, "--activation-bits", &bits])
            .args(["--scales", scales, "-o"])
            .arg(&path)
            .output()
            .map_err(|error| format!("python3: {error}"))?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let last = message.lines().last().unwrap_or("no message");
            return Err(format!("generate.py: {last}"));
        }
        std::fs::read(&path).map_err(|error| error.to_string())
    }
}

/// The folder of models.
fn folder() -> Result<PathBuf, String> {
    let folder = std::env::var_os(MODELS).map(PathBuf::from);
    folder.ok_or_else(|| format!("{MODELS} names no folder of models"))
}

/// A file of images, if there is one.
#[must_use]
pub fn images(file: &str) -> Option<PathBuf> {
    let models = folder().ok()?;
    [models.join(file), models.join("../data").join(file)].into_iter().find(|path| path.exists())
}
