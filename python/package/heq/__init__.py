"""Private inference of quantized neural networks.

:func:`compile` makes a secure two-party plan of a quantized ONNX model, and tells what every step will cost.
A :class:`Server` keeps the weights, a :class:`Client` its input; the client learns the output, which equals that of
the quantized network bit for bit, and the server learns nothing. :func:`run_local` runs both in one process.

What takes long lets other threads run, stops at Ctrl-C, and tells how far it is if ``progress`` is given.
"""

from __future__ import annotations

from ._errors import (
    AuthenticationError,
    Error,
    Finding,
    InfeasibleError,
    InputError,
    InternalError,
    NetworkError,
    PeerError,
    ResourceError,
    UnsupportedModelError,
)
from ._heq import VERSION as __version__
from ._plan import Findings, Plan, Run, check, compile, load, run_local
from ._service import (
    INSECURE_LOOPBACK,
    Client,
    InsecureLoopback,
    Server,
    Tls,
    fetch_plan,
    list_plans,
)

__all__ = [
    "INSECURE_LOOPBACK",
    "AuthenticationError",
    "Client",
    "Error",
    "Finding",
    "Findings",
    "InfeasibleError",
    "InputError",
    "InsecureLoopback",
    "InternalError",
    "NetworkError",
    "PeerError",
    "Plan",
    "ResourceError",
    "Run",
    "Server",
    "Tls",
    "UnsupportedModelError",
    "__version__",
    "check",
    "compile",
    "fetch_plan",
    "list_plans",
    "load",
    "run_local",
]
