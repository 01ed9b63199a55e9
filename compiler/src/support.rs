//! What can be imported, from the importer's register: as a table, as JSON and as a page.

use comfy_table::{Table, presets};
use heq_onnx::ops::{OperatorEntry, register};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The page up to its generated table.
const FORMS: &str = "\
# ONNX support

Which models `heqc` compiles. This page is generated: `heqc ops --markdown > docs/onnx-support.md`; a
test keeps it equal to the importer's register. Whether one model is supported, and what each of its
nodes becomes, `heqc check model.onnx` tells, with everything that is not supported at once.

## Forms of quantization

| form | how it is recognized | typical exporters |
|---|---|---|
| QDQ | `QuantizeLinear` and `DequantizeLinear` around float operators | ONNX Runtime `quantize_static`, PyTorch, tf2onnx, TensorRT tools |
| QCDQ | the same, with a `Clip` between the two for fewer than 8 bits | Brevitas |
| QOperator | `QLinearConv`, `QLinearMatMul`, and `QLinearAdd` and others of `com.microsoft` | ONNX Runtime with `QuantFormat.QOperator` |
| QONNX | `Quant`, `BipolarQuant`, `Trunc` of three domains | Brevitas, QKeras, FINN |
| ConvInteger | `ConvInteger`, `MatMulInteger` with scales applied behind them | hand-written and converted models |

Forms may be mixed in one file. Everywhere:

- Activations are quantized per tensor to 1 to 8 bits, with any zero point; weights to 1 to 8 bits, per
  tensor or per output channel, as integers or as floats behind a quantizer.
- Scales and zero points are constants; so is every weight and bias.
- The batch is 1 or symbolic; every other extent is fixed.
- Inputs are real numbers that the network quantizes first, or integers that are dequantized first; a
  first transposition from `[N, H, W, C]` is taken over by the client.
- One input, one output. `Softmax` or `ArgMax` at the end is left to the client, and a note says so.
- Tensors may lie in files beside the model, in its directory and nowhere else.

## Operators
";

/// The page behind the table.
const REFUSED: &str = "
## What is refused, and what to do

| what | why | what to do |
|---|---|---|
| a tensor without a quantizer (HEQ-1004) | the secure run computes on integers of at most 8 bits | quantize every activation that a linear layer, an addition or a pooling reads, and every weight |
| activations or weights of more than 8 bits (HEQ-1003) | the same | quantize to 8 bits or fewer; accumulators may be as wide as they need |
| several scales on one activation (HEQ-1003) | a shared value has one scale | one scale a tensor for activations, one a channel for weights |
| a scale or zero point that is computed at run time (HEQ-1006) | it would depend on the secret input | quantize statically, with calibration data |
| an extent that is not known, other than the batch (HEQ-1005) | the plan fixes every message | export with fixed extents |
| a batch above 1 (HEQ-1003) | one inference runs at a time | export with a batch of 1 or a symbolic one; `heq-run` takes several samples |
| an operator that is not in the tables (HEQ-1002) | nothing is approximated silently | replace it, or compute it outside of the network |
| `Softmax`, `ArgMax` or a reduction in the middle (HEQ-1003) | only the end of a network is left to the client | end the network there |
| external data outside of the model's directory (HEQ-1003) | a model file may not choose what is read | keep the data beside the model |
";

/// The register as a `heq-ops/1` document.
#[must_use]
pub fn to_json() -> Value {
    let operators = register().map(
        |entry| json!({"domain": entry.domain, "operator": entry.operator, "forms": entry.forms}),
    );
    json!({"schema": "heq-ops/1", "operators": operators.collect::<Vec<_>>()})
}

/// The register as a table.
#[must_use]
pub fn to_table() -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(["domain", "operator", "forms"]);
    for entry in register() {
        table.add_row([entry.domain, entry.operator, entry.forms]);
    }
    format!("{table}\n")
}

/// The register as the page docs/onnx-support.md.
#[must_use]
pub fn to_markdown() -> String {
    let mut domains: BTreeMap<&str, Vec<&OperatorEntry>> = BTreeMap::new();
    for entry in register() {
        domains.entry(entry.domain).or_default().push(entry);
    }
    let mut text = FORMS.to_owned();
    for (domain, mut entries) in domains {
        entries.sort_by_key(|entry| entry.operator);
        let _ = write!(text, "\n### `{domain}`\n\n| operator | forms |\n|---|---|\n");
        for entry in entries {
            let forms = entry.forms.replace('|', "\\|");
            let _ = writeln!(text, "| `{}` | {forms} |", entry.operator);
        }
    }
    text + REFUSED
}
