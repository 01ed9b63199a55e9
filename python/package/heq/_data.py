"""Arrays, options and progress as the extension module takes them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from ._errors import Finding, InputError

Samples = Union[npt.ArrayLike, str, "os.PathLike[str]"]
Outputs = npt.NDArray[Any]
PathLike = Union[str, "os.PathLike[str]"]
Progress = Union[bool, Callable[[float, str], None]]
Value = Union[None, bool, int, float, str, "os.PathLike[str]", "tuple[Any, ...]", "list[Any]"]


def source(samples: Samples) -> bytes | str:
    """An array as an npy file, or the path of a file."""
    if isinstance(samples, (str, os.PathLike)):
        return os.fspath(samples)
    array = np.asarray(samples)
    buffer = io.BytesIO()
    try:
        np.lib.format.write_array(buffer, array, allow_pickle=False)
    except (ValueError, TypeError) as error:
        remedy = "give an array of float32, uint8, int8 or int64"
        finding = Finding("HEQ-2002", "input", f"cannot be used as an array: {error}", remedy)
        raise InputError(f"error[{finding.code}]: input: {finding.what}\n  help: {remedy}", [finding]) from None
    return buffer.getvalue()


def array(npy: bytes) -> Outputs:
    """The array in an npy file."""
    found: Outputs = np.lib.format.read_array(io.BytesIO(npy), allow_pickle=False)
    return found


def path(value: PathLike | None) -> str | None:
    """A path as text."""
    return None if value is None else os.fspath(value)


def options(values: Mapping[str, Value]) -> list[tuple[str, list[str] | None]]:
    """Keywords as options of the command line; those that are ``None`` or ``False`` are not given."""
    given: list[tuple[str, list[str] | None]] = []
    for name, value in values.items():
        option = name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            given.append((option, None))
        elif isinstance(value, (tuple, list)):
            given.append((option, [text(one) for one in value]))
        else:
            given.append((option, [text(value)]))
    return given


def text(value: Any) -> str:
    """A value as a command line has it."""
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


@contextmanager
def shown(progress: Progress, name: str) -> Iterator[Callable[[float, str], None] | None]:
    """What is told of progress: the function that was given, or a bar if ``tqdm`` is there."""
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield None
        return
    with tqdm(total=100, desc=name, bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:

        def show(part: float, words: str) -> None:
            bar.set_postfix_str(words, refresh=False)
            bar.update(max(0.0, round(100 * part, 1) - bar.n))

        yield show
        bar.update(100 - bar.n)
