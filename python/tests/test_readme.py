"""What the README says of Python works as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, script


def test_the_snippet_works_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## From Python\n")[1].split("\n## ")[0]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    [commands] = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    [snippet] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    certificates = re.findall(r"heq-run (cert \w+ ?\w*)", commands)
    assert len(certificates) == 2
    for command in certificates:
        script("heq-run", *command.split(), "--dir", tmp_path / "pki")
    printed = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert printed.split()[-2] == (ROOT / "examples/onnx/lenet_mnist/label.txt").read_text().strip()
