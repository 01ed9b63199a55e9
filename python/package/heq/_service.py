"""The two parties on two machines."""

from __future__ import annotations

import json
import os
from types import TracebackType
from typing import Any, NamedTuple, Sequence, Union

from . import _heq
from ._data import PathLike, Progress, Samples, Value, array, options, shown, source
from ._data import path as as_path
from ._plan import Plan, Run


class Tls(NamedTuple):
    """Who this side is, and whom it trusts. ``heq-run cert`` makes such files."""

    identity: PathLike
    """PEM file of this side's private key, its certificate, and the authorities that it trusts."""

    ca: Sequence[PathLike] = ()
    """PEM files of authorities that the peer's certificate may come from, in the place of those."""

    pin: Sequence[str] = ()
    """Client: accept servers with these keys alone, as ``sha256:HEX``."""

    server_name: str | None = None
    """Client: the name that the server's certificate must have, if not the host's."""


class InsecureLoopback:
    """Both parties are on this machine, and neither encrypt nor authenticate."""

    def __repr__(self) -> str:
        return "heq.INSECURE_LOOPBACK"


INSECURE_LOOPBACK = InsecureLoopback()
"""In the place of :class:`Tls`: both parties are on this machine, and neither encrypt nor authenticate."""

Security = Union[Tls, PathLike, InsecureLoopback, None]


def _identity(tls: Security) -> dict[str, Value]:
    if tls is None:
        return {}
    if isinstance(tls, InsecureLoopback):
        return {"insecure_loopback": True}
    if not isinstance(tls, Tls):
        tls = Tls(tls)
    return {
        "identity": os.fspath(tls.identity),
        "ca": [os.fspath(file) for file in tls.ca] or None,
        "pin": list(tls.pin) or None,
        "server_name": tls.server_name,
    }


class Client:
    """A client of a server: it brings the input and learns the output, and nothing else of the weights than
    what the plan and outputs say.

    ``plan`` is the one that the server serves, a :class:`Plan` or the path of its file; ``address`` is
    ``host:port``. ``tls`` is a :class:`Tls`, the path of an identity, or :data:`INSECURE_LOOPBACK`; without it
    the environment's ``HEQ_IDENTITY`` is taken. ``timeout``: seconds without a sign of the server after which it
    is given up. ``deadline``: seconds that set-up and each inference may take. ``retry``: how often a session is
    tried again if the network fails or the server is busy. ``store``: folder of prepared inferences.
    """

    def __init__(
        self,
        plan: Plan | PathLike,
        address: str,
        *,
        tls: Security = None,
        timeout: int | None = None,
        deadline: int | None = None,
        retry: int = 0,
        store: PathLike | None = None,
        store_key: PathLike | None = None,
    ) -> None:
        from ._plan import load

        self.plan = plan if isinstance(plan, Plan) else load(plan)
        self._options = options(
            {
                "connect": address,
                **_identity(tls),
                "timeout": timeout,
                "deadline": deadline,
                "retry": retry,
                "store": store,
                "store_key": store_key,
            }
        )

    def run(self, x: Samples, *, limit: int | None = None, progress: Progress = False) -> Run:
        """Runs samples in one session; ``x`` and the outputs are as of :meth:`Plan.simulate`.

        Raises :class:`InputError` for samples that are not of the plan, before anything is sent,
        :class:`AuthenticationError` if the server is not who it must be, :class:`NetworkError` if it is not there
        or goes away, :class:`PeerError` if it has another plan or breaks the protocol, :class:`ResourceError` if
        it is busy.
        """
        with shown(progress, "run") as tell:
            npy, stats = _heq.run_client(self.plan._native, source(x), self._options, limit, tell)
        return Run(array(npy), json.loads(stats))


class Server:
    """A server of one plan or several, on threads of this process from now on.

    ``plans``: a :class:`Plan`, or the path of a plan's file or of a folder of them, or a list of these.
    ``weights``: the file of the weights of a single plan, if they did not come with it and are not beside it.
    ``listen``: ``host:port``; port 0 picks one, which :attr:`address` says. ``tls`` is as of :class:`Client`. The
    other keywords are the options of ``heq-run --role server``, whose help explains them; sizes are bytes or text
    such as ``"4GB"``, times seconds.

    A client that does not follow the protocol can extract the model: serve those alone whom you would trust
    with it, and give them a ``quota``.
    """

    def __init__(
        self,
        plans: Plan | PathLike | Sequence[Plan | PathLike],
        weights: PathLike | None = None,
        *,
        listen: str | None = None,
        tls: Security = None,
        clients: PathLike | None = None,
        weight_cache: int | str | None = None,
        max_sessions: int | None = None,
        client_sessions: int | None = None,
        max_memory: int | str | None = None,
        queue: int | None = None,
        quota: int | None = None,
        quota_file: PathLike | None = None,
        deadline: int | None = None,
        drain: int | None = None,
        timeout: int | None = None,
        metrics: str | None = None,
        store: PathLike | None = None,
        store_key: PathLike | None = None,
    ) -> None:
        given = [plans] if isinstance(plans, (Plan, str, os.PathLike)) else plans
        served = [plan._native if isinstance(plan, Plan) else os.fspath(plan) for plan in given]
        values: dict[str, Any] = {
            "listen": listen,
            **_identity(tls),
            "weights": weights,
            "clients": clients,
            "weight_cache": weight_cache,
            "max_sessions": max_sessions,
            "client_sessions": client_sessions,
            "max_memory": max_memory,
            "queue": queue,
            "quota": quota,
            "quota_file": quota_file,
            "deadline": deadline,
            "drain": drain,
            "timeout": timeout,
            "metrics": metrics,
            "store": store,
            "store_key": store_key,
        }
        self._native = _heq.Server(served, as_path(weights), options(values))

    @property
    def address(self) -> str:
        """``host:port`` that it listens on."""
        return self._native.address

    @property
    def metrics_address(self) -> str | None:
        """``host:port`` of ``/metrics`` and ``/health``, if it serves them."""
        return self._native.metrics_address

    def metrics(self) -> str:
        """What it counted, in the text format of Prometheus."""
        return self._native.metrics()

    def reload(self) -> None:
        """Reads certificates, clients and files of plans again, for the sessions to come."""
        self._native.reload()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until it has stopped, for at most so many seconds; says whether it has. Ctrl-C ends the wait."""
        return self._native.wait(seconds)

    def stop(self, *, wait: bool = True) -> None:
        """Takes on nothing more, and waits for the sessions that run, as long as ``drain`` says."""
        self._native.stop()
        if wait:
            self._native.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and not issubclass(kind, Exception):
            # Who pressed Ctrl-C waits for nobody.
            self._native.give_up()
        self.stop()


def fetch_plan(name: str, address: str, *, tls: Security = None) -> Plan:
    """Gets a public plan from a server, by its name there or its digest.

    Look at its report before you give it an input: it says what will be computed and what it discloses.
    """
    return Plan(_heq.fetch_plan(name, options({"connect": address, **_identity(tls)})))


def list_plans(address: str, *, tls: Security = None) -> list[dict[str, Any]]:
    """The plans of a server: ``name``, ``digest``, ``bytes`` and ``model`` of each."""
    found: list[dict[str, Any]] = json.loads(
        _heq.list_plans(options({"connect": address, **_identity(tls)}))
    )
    return found
