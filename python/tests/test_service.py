"""Server and client: over TLS, refused, killed, and what is told of them."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import heq

SERVE = """
import sys, heq
plan, identity = sys.argv[1:]
with heq.Server(plan, listen="127.0.0.1:0", tls=identity) as server:
    print(server.address, flush=True)
    server.wait()
"""

RUN = """
import sys, heq, numpy as np
plan, address, identity, samples, outputs = sys.argv[1:]
client = heq.Client(plan, address, tls=heq.Tls(identity, server_name="localhost"))
np.save(outputs, client.run(samples).outputs)
"""


@pytest.fixture(scope="session")
def served(plan: heq.Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("served") / "lenet.heq"
    plan.save(file)
    plan.save_weights(file.with_suffix(".server.heq"))
    return file


@contextmanager
def server_process(plan: Path, identity: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", SERVE, str(plan), str(identity)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_two_processes_over_tls(
    plan: heq.Plan, served: Path, pki: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", samples)
    with server_process(served, pki / "ours/server.pem") as (server, address):
        files = [served, address, pki / "ours/alice.pem", tmp_path / "x.npy", tmp_path / "y.npy"]
        subprocess.run([sys.executable, "-c", RUN, *map(str, files)], check=True, timeout=120)
        server.send_signal(signal.SIGINT)
        assert server.wait(30) != 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), plan.simulate(samples))


@pytest.mark.parametrize(
    "tls",
    [
        heq.Tls("theirs/alice.pem", server_name="localhost"),
        heq.Tls("ours/alice.pem", ca=["theirs/ca.pem"], server_name="localhost"),
        heq.Tls("ours/alice.pem", pin=["sha256:" + "00" * 32], server_name="localhost"),
        heq.Tls("ours/alice.pem", server_name="elsewhere.example"),
        heq.INSECURE_LOOPBACK,
    ],
    ids=["client of others", "server of others", "another key", "another name", "no TLS"],
)
def test_wrong_certificates(
    plan: heq.Plan, pki: Path, samples: np.ndarray, tls: heq.Tls | heq.InsecureLoopback
) -> None:
    if isinstance(tls, heq.Tls):
        tls = tls._replace(identity=pki / tls.identity, ca=[pki / ca for ca in tls.ca])
    with heq.Server(plan, listen="127.0.0.1:0", tls=pki / "ours/server.pem") as server:
        client = heq.Client(plan, server.address, tls=tls)
        with pytest.raises(heq.AuthenticationError) as caught:
            client.run(samples[:1])
    assert caught.value.exit_status == 6


def test_a_server_in_this_process(plan: heq.Plan, pki: Path, samples: np.ndarray) -> None:
    identity = pki / "ours/alice.pem"
    with heq.Server(
        plan, listen="localhost:0", tls=pki / "ours/server.pem", metrics="127.0.0.1:0"
    ) as server:
        tls = heq.Tls(identity, server_name="localhost")
        [listed] = heq.list_plans(server.address, tls=tls)
        assert listed["digest"] == plan.digest
        fetched = heq.fetch_plan(listed["name"], server.address, tls=tls)
        assert bytes(fetched) == bytes(plan)
        outputs, stats = heq.Client(fetched, server.address, tls=tls).run(samples)
        np.testing.assert_array_equal(outputs, plan.simulate(samples))
        assert stats["inferences"] == len(samples)
        with urllib.request.urlopen(f"http://{server.metrics_address}/metrics") as answer:
            assert b"heq_" in answer.read()
        assert "heq_" in server.metrics()
        server.reload()
        address = server.address
    with pytest.raises(heq.NetworkError):
        heq.Client(plan, address, tls=tls, timeout=10).run(samples)


def test_wrong_inputs_are_refused_before_anything_is_sent(plan: heq.Plan) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        host, port = listener.getsockname()
        client = heq.Client(plan, f"{host}:{port}", tls=heq.INSECURE_LOOPBACK)
        for wrong in (
            np.zeros((1, 27, 28), np.float32),
            np.full((1, 28, 28), np.nan, np.float32),
            np.zeros((1, 28, 28), np.complex64),
        ):
            with pytest.raises(heq.InputError, match="HEQ-2002"):
                client.run(wrong)
        with pytest.raises(socket.timeout):
            listener.accept()


def test_a_killed_server_is_noticed(served: Path, pki: Path, samples: np.ndarray) -> None:
    """At once if it is killed, within the timeout if it stands still."""
    tls = heq.Tls(pki / "ours/alice.pem", server_name="localhost")
    many = np.repeat(samples[:1], 400, axis=0)
    for how, limit in ((signal.SIGKILL, 5.0), (signal.SIGSTOP, 20.0)):
        with server_process(served, pki / "ours/server.pem") as (server, address):
            killed: list[float] = []

            def kill(part: float, text: str) -> None:
                if not killed and part > 0.01:
                    server.send_signal(how)
                    killed.append(time.monotonic())

            client = heq.Client(served, address, tls=tls, timeout=10)
            with pytest.raises(heq.NetworkError, match="HEQ-5001"):
                client.run(many, progress=kill)
            assert time.monotonic() - killed[0] < limit


def test_no_identity_is_an_error(plan: heq.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEQ_IDENTITY", raising=False)
    with pytest.raises(heq.InputError, match="nothing says who this side is"):
        heq.Server(plan, listen="127.0.0.1:0")
    with pytest.raises(heq.AuthenticationError):
        heq.Server(plan, listen="0.0.0.0:0", tls=heq.INSECURE_LOOPBACK)


def test_another_plan_is_refused(plan: heq.Plan, model: Path, samples: np.ndarray) -> None:
    other = heq.compile(model, acc_bits="worst-case", no_advice=True)
    with heq.Server(plan, listen="127.0.0.1:0", tls=heq.INSECURE_LOOPBACK) as server:
        assert re.fullmatch(r"127\.0\.0\.1:\d+", server.address)
        with pytest.raises(heq.PeerError, match="HEQ-7001"):
            heq.Client(other, server.address, tls=heq.INSECURE_LOOPBACK).run(samples)
