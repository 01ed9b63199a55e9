"""What can go wrong, one class for each party that can do something about it."""

from __future__ import annotations

from typing import NamedTuple, Sequence


class Finding(NamedTuple):
    """One thing that is wrong."""

    code: str
    """``HEQ-nnnn``, the same as of the programs ``heqc`` and ``heq-run``."""
    place: str
    """Where: a node of the model, a layer, a file, an option."""
    what: str
    """What is wrong there."""
    remedy: str
    """What to do about it."""


class Error(Exception):
    """Something is wrong; the classes below it say whose it is to mend.

    The text is that of the programs. Options are called there as on a command line: ``--acc-bits`` is the
    keyword ``acc_bits``.
    """

    exit_status: int = 70
    """Exit status of the programs for the same fault."""

    findings: tuple[Finding, ...]
    """All that was found, at least one."""

    def __init__(self, text: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(text)
        self.findings = tuple(findings) or (Finding("HEQ-9001", "heq", text, "report this fault"),)

    def __reduce__(self) -> tuple[type[Error], tuple[str, tuple[Finding, ...]]]:
        return type(self), (str(self), self.findings)

    @property
    def code(self) -> str:
        """``HEQ-nnnn`` of the first finding."""
        return self.findings[0].code

    @property
    def place(self) -> str:
        """Where the first finding is."""
        return self.findings[0].place

    @property
    def remedy(self) -> str:
        """What to do about the first finding."""
        return self.findings[0].remedy


class InputError(Error, ValueError):
    """A value, a file or an array that was given cannot be used. Nothing was sent."""

    exit_status = 2


class UnsupportedModelError(Error):
    """The model has something that is not supported."""

    exit_status = 3


class InfeasibleError(Error):
    """No plan keeps the limits that were given."""

    exit_status = 4


class NetworkError(Error, ConnectionError):
    """The peer cannot be reached, went away, or did not answer in time."""

    exit_status = 5


class AuthenticationError(Error):
    """The peer is not who it must be, or this side is not who the peer admits."""

    exit_status = 6


class PeerError(Error):
    """The peer has another plan or version, or broke the protocol. There is no result."""

    exit_status = 7


class ResourceError(Error):
    """A limit was reached: of the server, of a file's size, of the operating system."""

    exit_status = 8


class InternalError(Error):
    """A fault of heq: please report it."""

    exit_status = 70


for _class in (
    Finding,
    Error,
    InputError,
    UnsupportedModelError,
    InfeasibleError,
    NetworkError,
    AuthenticationError,
    PeerError,
    ResourceError,
    InternalError,
):
    # Tracebacks name what users import.
    _class.__module__ = "heq"
