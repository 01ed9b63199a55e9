"""The programs ``heqc`` and ``heq-run``."""

from __future__ import annotations

import signal
import sys

from . import _heq


def heqc() -> int:
    """Compiles models: see ``heqc --help``."""
    return _run("heqc")


def heq_run() -> int:
    """Runs plans: see ``heq-run --help``."""
    return _run("heq-run")


def _run(name: str) -> int:
    # As of any program: Python would only look for Ctrl-C afterwards.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _heq.program(name, [name, *sys.argv[1:]])
