"""No call keeps memory: after many repetitions there is as much in use as after a few.

HEQ_REPETITIONS says how many, by default 100 of what is fast and 20 of what is not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import heq

from conftest import EXAMPLE

FEW = 10
MOST_GROWTH = 10e6


def resident() -> int:
    """Memory of this process in bytes."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc/self/statm to read memory from")
@pytest.mark.parametrize(
    "call",
    ["compile", "check", "load", "report", "simulate", "evaluate", "run_local", "client", "server", "refused"],
)
def test_calls_keep_nothing(
    call: str, plan: heq.Plan, model: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "plan.heq"
    plan.save(file)
    plan.save_weights(tmp_path / "plan.server.heq")
    labels = np.load(EXAMPLE / "labels.npy")
    one = samples[:1]

    def refused() -> None:
        with pytest.raises(heq.InputError):
            plan.simulate(np.full((1, 28, 28), np.nan, np.float32))

    def client() -> None:
        heq.Client(file, server.address, tls=heq.INSECURE_LOOPBACK).run(one)

    def serve() -> None:
        with heq.Server(plan, listen="127.0.0.1:0", tls=heq.INSECURE_LOOPBACK):
            pass

    calls: dict[str, tuple[Callable[[], object], int]] = {
        "compile": (lambda: heq.compile(model, no_advice=True), 20),
        "check": (lambda: heq.check(model), 100),
        "load": (lambda: heq.load(file), 100),
        "report": (lambda: plan.report_text("html"), 100),
        "simulate": (lambda: plan.simulate(samples), 100),
        "evaluate": (lambda: plan.evaluate(samples, labels), 100),
        "run_local": (lambda: heq.run_local(plan, one), 20),
        "client": (client, 20),
        "server": (serve, 20),
        "refused": (refused, 100),
    }
    action, repetitions = calls[call]
    repetitions = int(os.environ.get("HEQ_REPETITIONS", repetitions))
    with heq.Server(file, listen="127.0.0.1:0", tls=heq.INSECURE_LOOPBACK) as server:
        for _ in range(FEW):
            action()
        before = resident()
        for _ in range(repetitions):
            action()
        growth = resident() - before
    assert growth < MOST_GROWTH, f"{growth / 1e6:.1f} MB after {repetitions} repetitions"
    print(f"{call}: {growth / 1e6:.2f} MB after {repetitions} repetitions")
