"""The notebook runs from its first cell to its last, and its types are right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

FOLDER = ROOT / "examples/python"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The cells of code as a script; what a notebook shows is left out."""
    cells = json.loads((FOLDER / "lenet.ipynb").read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(texts) > 5
    # Pictures need packages that the tests do without.
    texts = [text for text in texts if not re.search(r"IPython|matplotlib", text)]
    script = tmp_path / "lenet.py"
    script.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return script


def test_cells_run(code: Path) -> None:
    command = [sys.executable, str(code)]
    done = subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, text=True)
    assert "the digit is a 7 and the label says 7" in done.stdout


def test_cells_have_the_right_types(code: Path) -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(code)]
    done = subprocess.run(command, cwd=code.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
