"""What the tests share: the example model, its plan, certificates, and the programs to compare with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import heq

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/onnx/lenet_mnist"


@pytest.fixture(scope="session")
def model() -> Path:
    return EXAMPLE / "model.onnx"


@pytest.fixture(scope="session")
def samples() -> np.ndarray:
    found: np.ndarray = np.load(EXAMPLE / "input.npy")
    return found


@pytest.fixture(scope="session")
def plan(model: Path) -> heq.Plan:
    return heq.compile(model, no_advice=True)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority with a server and a client, and another authority with both."""
    folder = tmp_path_factory.mktemp("pki")
    for name in ("ours", "theirs"):
        script("heq-run", "cert", "init", "--dir", folder / name, "--host", "localhost")
        script("heq-run", "cert", "client", "alice", "--dir", folder / name)
    return folder


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the programs that cargo builds, to compare with."""
    folder = Path(os.environ.get("HEQ_PROGRAMS", ROOT / "target/release"))
    if not all((folder / name).exists() for name in ("heqc", "heq-run")):
        pytest.skip(f"no programs in {folder}: cargo build --release, or set HEQ_PROGRAMS")
    return folder


def script(name: str, *arguments: object) -> str:
    """Runs a script of the package; returns what it prints."""
    of = {"heqc": "heqc", "heq-run": "heq_run"}[name]
    code = f"import sys; from heq import _programs; sys.exit(_programs.{of}())"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
