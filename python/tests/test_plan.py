"""Plans: options, reports, evaluation in the clear, and what is refused."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import signal
import threading
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

import heq
from heq import _heq

from conftest import EXAMPLE


def keywords(function: Callable[..., Any]) -> set[str]:
    found = inspect.signature(function).parameters.values()
    return {one.name.replace("_", "-") for one in found if one.kind is one.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("function", "group", "others"),
    [
        (heq.compile, "compile", {"progress"}),
        (heq.check, "import", set()),
        (heq.Plan.report, "report", set()),
        (heq.Client.__init__, "client", {"tls"}),
        (heq.Server.__init__, "server", {"tls"}),
    ],
)
def test_keywords_are_the_options(function: Callable[..., Any], group: str, others: set[str]) -> None:
    """Every option of the programs is a keyword, and every keyword an option."""
    tls = {"identity", "ca", "pin", "server-name", "insecure-loopback"}
    elsewhere = {
        "report": {"format", "json", "wide"},
        "client": tls | {"listen", "connect"},
        "server": tls | {"connect", "weights"},
    }
    options = set(_heq.option_names(group)) - elsewhere.get(group, set())
    assert keywords(function) - others == options


def test_bad_keywords_are_refused(model: Path) -> None:
    with pytest.raises(heq.InputError, match="HEQ-2003.*network") as caught:
        heq.compile(model, network="carrier pigeon")
    assert caught.value.exit_status == 2
    assert caught.value.code == "HEQ-2003"
    with pytest.raises(heq.InputError, match="calibrated"):
        heq.compile(model, calibration=np.zeros((1, 28, 28), np.float32))
    with pytest.raises(TypeError, match="wings"):
        heq.compile(model, wings=2)  # type: ignore[call-arg]
    with pytest.raises(heq.InputError, match="HEQ-2001"):
        heq.compile("nowhere.onnx")


def test_errors_are_by_blame(model: Path, tmp_path: Path) -> None:
    with pytest.raises(heq.UnsupportedModelError, match="HEQ-1001"):
        heq.compile(b"no model")
    with pytest.raises(heq.InfeasibleError, match="HEQ-4003") as caught:
        heq.compile(model, client_memory="1MB", no_advice=True)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (heq.InfeasibleError, str(caught.value))
    assert again.findings == caught.value.findings
    with pytest.raises(heq.InputError, match="HEQ-3001"):
        heq.load(model)


def test_check_never_raises_for_a_model(model: Path) -> None:
    good = heq.check(model)
    assert good == [] and good.document is not None
    assert good.document["schema"] == "heq-check/1"
    bad = heq.check(b"no model")
    assert bad and bad.document is None
    assert bad[0].code == "HEQ-1001" and bad[0].remedy
    with pytest.raises(heq.InputError):
        heq.check("nowhere.onnx")


def test_plans_are_saved_and_read(plan: heq.Plan, samples: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "plan.heq"
    plan.save(file)
    read = heq.load(file)
    assert (read.digest, bytes(read)) == (plan.digest, bytes(plan))
    assert read.report() == plan.report()
    with pytest.raises(heq.InputError, match="plan.server.heq"):
        read.simulate(samples)
    plan.save_weights(tmp_path / "plan.server.heq")
    np.testing.assert_array_equal(read.simulate(samples), plan.simulate(samples))
    assert plan.input_shape == (1, 28, 28) and plan.output_len == 10
    assert plan.digest[:16] in repr(plan)


def test_weights_of_another_plan_are_refused(plan: heq.Plan, model: Path, tmp_path: Path) -> None:
    other = heq.compile(model, acc_bits="worst-case", no_advice=True)
    other.save_weights(tmp_path / "other.server.heq")
    with pytest.raises(heq.InputError, match="HEQ-3004"):
        plan.simulate(EXAMPLE / "digit.png", weights=tmp_path / "other.server.heq")


def test_outputs_are_the_models(plan: heq.Plan, samples: np.ndarray) -> None:
    expected = np.load(EXAMPLE / "expected.npy").reshape(-1, 10)
    outputs = plan.simulate(samples)
    assert outputs.dtype == np.float32 and outputs.shape == (len(samples), 10)
    np.testing.assert_array_equal(outputs.argmax(1), expected[: len(outputs)].argmax(1))
    found = plan.evaluate(samples, np.load(EXAMPLE / "labels.npy"))
    assert found["samples"] == len(samples) and 0 <= found["top1"] <= len(samples)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 27, 28), np.float32),
        np.full((1, 28, 28), np.nan, np.float32),
        np.full((1, 28, 28), np.inf),
        np.zeros((1, 28, 28), np.complex64),
        np.zeros((0, 1, 28, 28), np.float32),
        np.array([object()]),
        "nowhere.npy",
    ],
    ids=["shape", "nan", "infinite", "complex", "empty", "objects", "no file"],
)
def test_wrong_inputs_are_refused(plan: heq.Plan, wrong: Any) -> None:
    with pytest.raises(heq.InputError, match=r"error\[HEQ-200[12]\]"):
        plan.simulate(wrong)
    with pytest.raises(ValueError, match="HEQ"):
        heq.run_local(plan, wrong)


def test_arrays_of_any_order_are_the_same(plan: heq.Plan, samples: np.ndarray) -> None:
    expected = plan.simulate(samples)
    for same in (
        np.asfortranarray(samples),
        samples.astype(samples.dtype.newbyteorder()),
        np.repeat(samples, 2, axis=0)[::2],
        samples.tolist() if samples.dtype == np.float64 else samples,
    ):
        np.testing.assert_array_equal(plan.simulate(same), expected)


def test_runs_equal_the_clear(plan: heq.Plan, samples: np.ndarray) -> None:
    seen: list[tuple[float, str]] = []
    run = heq.run_local(plan, samples, link="lan", progress=lambda part, text: seen.append((part, text)))
    outputs, stats = run
    np.testing.assert_array_equal(outputs, plan.simulate(samples))
    assert stats["schema"] == "heq-stats/1" and stats["inferences"] == len(samples)
    assert seen and all(0 <= part <= 1 for part, _ in seen)
    report = plan.report(measured=stats)
    assert "measured" in json.dumps(report)


def test_reports(plan: heq.Plan) -> None:
    report = plan.report(network="lan", explain="1")
    assert report["schema"] == "heq-report/1" and "explain" in report
    frame = plan.report_frame()
    assert len(frame) == len(report["layers"]) and "name" in frame.columns
    assert plan.report_text("svg").lstrip().startswith("<svg")
    assert "<iframe" in plan._repr_html_()
    with pytest.raises(heq.InputError, match="nobody"):
        plan.report(explain="nobody")


def test_progress_may_end_the_work(plan: heq.Plan, samples: np.ndarray) -> None:
    class Enough(Exception):
        pass

    def enough(part: float, text: str) -> None:
        raise Enough

    with pytest.raises(Enough):
        heq.run_local(plan, np.repeat(samples[:1], 50, axis=0), link="wan", progress=enough)


def test_ctrl_c_ends_the_work(plan: heq.Plan, samples: np.ndarray) -> None:
    """A run that would take a minute ends within seconds, and so does its thread."""
    many = np.repeat(samples[:1], 100, axis=0)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(1.0, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        heq.run_local(plan, many, link="wan")
    assert time.monotonic() - start < 5


def test_others_run_meanwhile(plan: heq.Plan, samples: np.ndarray) -> None:
    """The interpreter's lock is free while a run waits for its link."""
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    start = time.monotonic()
    heq.run_local(plan, samples[:1], link="wan")
    lasted = time.monotonic() - start
    done.set()
    thread.join()
    assert counted > 50 * lasted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_forked_processes_are_told(plan: heq.Plan, samples: np.ndarray) -> None:
    """They have none of the threads that compute, and would wait for them forever."""
    child = os.fork()
    if child == 0:
        try:
            plan.simulate(samples)
        except heq.ResourceError as error:
            os._exit(42 if "spawn" in str(error) else 1)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
