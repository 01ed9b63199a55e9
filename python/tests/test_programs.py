"""The package gives what the programs give, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import heq

from conftest import EXAMPLE, script

MODELS = os.environ.get("HEQ_MODELS")

# Name, model, samples, options of the compilation.
CASES = [
    ("lenet", EXAMPLE / "model.onnx", EXAMPLE / "input.npy", {}),
    (
        "argmax",
        EXAMPLE / "model.onnx",
        EXAMPLE / "input.npy",
        {"reveal": "argmax", "acc_bits": "worst-case", "network": "lan", "objective": "bytes"},
    ),
    (
        "calibrated",
        EXAMPLE / "model.onnx",
        EXAMPLE / "input.npy",
        {"acc_bits": "calibrated", "calibration": EXAMPLE / "input.npy", "margin": 2, "batch": 2},
    ),
    ("mlp_tfc_mnist_w2a2_qonnx", None, "mnist_test_1000.npz", {}),
    ("resnet8_cifar10_int8_qdq", None, "cifar10_test_1000.npz", {}),
    ("resnet20_cifar10_w4a4_qcdq", None, "cifar10_test_1000.npz", {"network": "lan"}),
]


@pytest.mark.parametrize(("name", "model", "data", "options"), CASES, ids=[case[0] for case in CASES])
def test_files_reports_and_results_are_the_same(
    programs: Path,
    tmp_path: Path,
    name: str,
    model: Path | None,
    data: Path | str,
    options: dict[str, object],
) -> None:
    if model is None:
        if MODELS is None:
            pytest.skip("HEQ_MODELS names no folder of models")
        model, data = Path(MODELS) / f"{name}.onnx", Path(MODELS).parent / "data" / data
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()

    def program(name: str, *arguments: object) -> str:
        command = [str(programs / name), *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    program("heqc", "compile", model, "-o", theirs / "plan.heq", *words)
    plan = heq.compile(model, **options)  # type: ignore[arg-type]
    plan.save(ours / "plan.heq")
    plan.save_weights(ours / "plan.server.heq")
    for file in ("plan.heq", "plan.server.heq", "plan.choices.json"):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file

    # From here on one set of files.
    read = heq.load(theirs / "plan.heq")
    for form in ("table", "json", "html", "svg"):
        printed = program("heqc", "report", theirs / "plan.heq", "--format", form)
        assert read.report_text(form) == printed, form
    assert read.report() == json.loads(program("heqc", "report", theirs / "plan.heq", "--json"))
    limit = ("--limit", 2)
    program(
        "heqc", "simulate", theirs / "plan.heq", "--input", data, *limit, "--output", tmp_path / "y.npy"
    )
    expected = parts(np.load(tmp_path / "y.npy"))
    assert parts(read.simulate(data, limit=2)) == expected
    program(
        "heq-run", "--plan", theirs / "plan.heq", "--role", "local", "--input", data, *limit,
        "--output", tmp_path / "z.npy",
    )  # fmt: skip
    assert parts(np.load(tmp_path / "z.npy")) == expected
    assert parts(heq.run_local(read, data, limit=2).outputs) == expected
    evaluated = json.loads(
        program("heqc", "evaluate", theirs / "plan.heq", "--data", data, *limit, "--json")
    )
    samples, labels = arrays(data)
    assert read.evaluate(samples, labels, limit=2) == evaluated


def arrays(data: Path | str) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples and labels of a file."""
    found = np.load(data)
    if isinstance(found, np.ndarray):
        return found, None
    images = next(found[key] for key in ("images", "x", "data") if key in found)
    return images, found["labels"]


def parts(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    """Type, shape and bytes."""
    return array.dtype.str, array.shape, array.tobytes()


def test_the_package_has_the_programs(programs: Path) -> None:
    for name in ("heqc", "heq-run"):
        command = [str(programs / name), "--help"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert script(name, "--help") == printed
        assert heq.__version__ in script(name, "--version")
