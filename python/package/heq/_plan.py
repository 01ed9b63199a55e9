"""Plans: compiled, read, reported, evaluated, run between two parties of this process."""

from __future__ import annotations

import html
import json
import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Sequence, Union

from . import _heq
from ._data import Outputs, PathLike, Progress, Samples, array, options, path, shown, source
from ._errors import Finding

if TYPE_CHECKING:
    import pandas

Model = Union[str, "os.PathLike[str]", bytes]
Document = dict[str, Any]


class Plan:
    """A secure two-party plan. It is public: it has the network's shape, not its weights.

    :func:`compile`, :func:`load` and :func:`fetch_plan` make plans. One that was compiled has its weights
    with it until it is gone; one that was read looks for ``PLAN.server.heq`` beside its file when weights are
    needed.
    """

    def __init__(self, native: _heq.Plan) -> None:
        self._native = native

    @property
    def digest(self) -> str:
        """What both parties must agree on, 64 hexadecimal digits."""
        return self._native.digest

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._native.model

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape ``(C, H, W)`` of a sample."""
        return self._native.input_shape

    @property
    def output_len(self) -> int:
        """Values of an output; indices, if the plan reveals no more."""
        return self._native.output_len

    @property
    def notes(self) -> list[str]:
        """What a user should know of the model, in sentences."""
        return self._native.notes

    def __repr__(self) -> str:
        return f"<heq.Plan {self.model!r} {self.digest[:16]}>"

    def __bytes__(self) -> bytes:
        return self._native.to_bytes()

    def save(self, plan: PathLike) -> None:
        """Writes the plan, and beside it why it is as it is (``PLAN.choices.json``) if that is known.

        The file is that of ``heqc compile``, byte for byte.
        """
        self._native.save(os.fspath(plan))

    def save_weights(self, weights: PathLike) -> None:
        """Writes the weights, which stay with the server; ``PLAN.server.heq`` is where they are looked for."""
        self._native.save_weights(os.fspath(weights))

    def report(
        self,
        *,
        network: str | None = None,
        profile: PathLike | None = None,
        threads: int | None = None,
        measured: Document | PathLike | None = None,
        explain: str | None = None,
        sort: Literal["order", "bytes", "time"] | None = None,
    ) -> Document:
        """What every step will cost: the ``heq-report/1`` document of ``heqc report --json``.

        ``network`` is ``lan``, ``wan``, ``mobile`` or such as ``100Mbit,20ms``, ``profile`` a file of
        ``heq-run calibrate``, ``threads`` those of each party, ``measured`` the statistics of a run, which are
        then beside the prediction, ``explain`` the name or number of a layer whose candidates are wanted.
        Bytes are bytes on the wire, times seconds.
        """
        found = self._report("json", network, profile, threads, measured, explain, sort)
        document: Document = json.loads(found)
        return document

    def report_text(
        self,
        form: Literal["table", "json", "html", "svg"] = "table",
        *,
        network: str | None = None,
        profile: PathLike | None = None,
        threads: int | None = None,
        measured: Document | PathLike | None = None,
        explain: str | None = None,
        sort: Literal["order", "bytes", "time"] | None = None,
    ) -> str:
        """The same as a table for a terminal, as JSON, as a page of its own, or as its charts alone."""
        return self._report(form, network, profile, threads, measured, explain, sort)

    def report_frame(
        self,
        *,
        network: str | None = None,
        profile: PathLike | None = None,
        threads: int | None = None,
        measured: Document | PathLike | None = None,
    ) -> pandas.DataFrame:
        """The same with a row for every step; needs ``pandas``."""
        import pandas

        found = self.report(network=network, profile=profile, threads=threads, measured=measured)
        return pandas.json_normalize(found["layers"])

    def _report(
        self,
        form: str,
        network: str | None,
        profile: PathLike | None,
        threads: int | None,
        measured: Document | PathLike | None,
        explain: str | None,
        sort: str | None,
    ) -> str:
        run = json.dumps(measured) if isinstance(measured, dict) else None
        given = options(
            {
                "format": form,
                "network": network,
                "profile": profile,
                "threads": threads,
                "measured": None if isinstance(measured, dict) else measured,
                "explain": explain,
                "sort": sort,
            }
        )
        return self._native.report(given, run)

    def _repr_html_(self) -> str:
        page = html.escape(self.report_text("html"), quote=True)
        style = "width:100%;height:40em;border:1px solid #ccc"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'

    def simulate(
        self, x: Samples, *, weights: PathLike | None = None, limit: int | None = None
    ) -> Outputs:
        """Evaluates the integer network in the clear: what a secure run gives, bit for bit.

        ``x`` has one sample ``(C, H, W)`` or ``(H, W, C)``, or ``N`` of them, as 8-bit pixels, which are
        prepared as the plan says, as float32, which is taken as it is, or as the model's own integers; or it is
        the path of an image, ``.npy`` or ``.npz`` file. Returns ``(N, output_len)``: float32 values, or int64
        indices if the plan reveals those alone.
        """
        return array(self._native.simulate(source(x), path(weights), limit))

    def evaluate(
        self,
        images: Samples,
        labels: Samples | None = None,
        *,
        weights: PathLike | None = None,
        limit: int | None = None,
        progress: Progress = False,
    ) -> Document:
        """Measures accuracy on ``images`` (as :meth:`simulate` takes them) with their classes ``labels``, ``(N,)``.

        Returns a ``heq-evaluate/1`` document: ``samples``, how many of them are right (``top1``, ``top5``),
        ``overflows``, and for every accumulator the bits that it has and those that were used.
        """
        classes = None if labels is None else source(labels)
        with shown(progress, "evaluate") as tell:
            found = self._native.evaluate(source(images), classes, path(weights), limit, tell)
        document: Document = json.loads(found)
        return document


def compile(
    model: Model,
    *,
    network: str | None = None,
    objective: str | None = None,
    acc_bits: Literal["weight-aware", "worst-case", "calibrated"] | None = None,
    calibration: Samples | None = None,
    margin: int | None = None,
    packing: Literal["auto", "within-channel", "cross-channel", "none"] | None = None,
    preset: Literal["cheetah", "naive-quant", "hequant", "best"] | None = None,
    ot: str | None = None,
    error_budget: str | None = None,
    rounding: str | None = None,
    reveal: str | None = None,
    batch: int | None = None,
    profile: PathLike | None = None,
    threads: int | None = None,
    inferences: int | None = None,
    client_memory: int | str | None = None,
    server_memory: int | str | None = None,
    max_bytes: int | str | None = None,
    max_latency: float | None = None,
    multiplier_bits: int | str | None = None,
    branch_quantizers: Literal["auto", "keep", "elide"] | None = None,
    input_layout: Literal["nchw", "nhwc"] | None = None,
    input_scale: float | None = None,
    input_mean: Sequence[float] | None = None,
    input_std: Sequence[float] | None = None,
    no_advice: bool = False,
    compare_fixed: bool = False,
    progress: Progress = False,
) -> Plan:
    """Compiles a quantized ONNX model, a path or the file's bytes, into a plan. Writes nothing.

    The keywords are the options of ``heqc compile``, whose help explains them; those that are not given are
    as there: a plan for ``wan`` with the least latency, widths that the weights allow. ``calibration`` is an
    array of typical samples, or a file. Sizes are bytes, or text such as ``"100MB"``; times are seconds.

    Raises :class:`UnsupportedModelError` with everything in the model that is not supported,
    :class:`InfeasibleError` if no plan keeps the limits, :class:`InputError` for keywords that contradict each
    other.
    """
    given = options(
        {
            "network": network,
            "objective": objective,
            "acc_bits": acc_bits,
            "margin": margin,
            "packing": packing,
            "preset": preset,
            "ot": ot,
            "error_budget": error_budget,
            "rounding": rounding,
            "reveal": reveal,
            "batch": batch,
            "profile": profile,
            "threads": threads,
            "inferences": inferences,
            "client_memory": client_memory,
            "server_memory": server_memory,
            "max_bytes": max_bytes,
            "max_latency": max_latency,
            "multiplier_bits": multiplier_bits,
            "branch_quantizers": branch_quantizers,
            "input_layout": input_layout,
            "input_scale": input_scale,
            "input_mean": None if input_mean is None else list(input_mean),
            "input_std": None if input_std is None else list(input_std),
            "no_advice": no_advice,
            "compare_fixed": compare_fixed,
        }
    )
    samples = None if calibration is None else source(calibration)
    with shown(progress, "compile") as tell:
        return Plan(_heq.compile(_model(model), given, samples, tell))


def load(plan: PathLike) -> Plan:
    """Reads and checks a plan that :meth:`Plan.save` or ``heqc compile`` wrote."""
    return Plan(_heq.load(os.fspath(plan)))


class Findings(list[Finding]):
    """What of a model is not supported: empty if it can be compiled."""

    document: Document | None
    """The ``heq-check/1`` document of a model that can be compiled: a row for every layer."""

    notes: list[str]
    """What a user should know of the model, in sentences."""

    def __init__(
        self, found: Sequence[Finding], document: Document | None, notes: list[str]
    ) -> None:
        super().__init__(found)
        self.document = document
        self.notes = notes


def check(
    model: Model,
    *,
    multiplier_bits: int | str | None = None,
    branch_quantizers: Literal["auto", "keep", "elide"] | None = None,
    input_layout: Literal["nchw", "nhwc"] | None = None,
) -> Findings:
    """Tells what of a model is not supported, all of it at once, without compiling it.

    Raises nothing for a model that is not supported, and :class:`InputError` for a file that cannot be read.
    """
    given = options(
        {
            "multiplier_bits": multiplier_bits,
            "branch_quantizers": branch_quantizers,
            "input_layout": input_layout,
        }
    )
    document, found, notes = _heq.check(_model(model), given)
    return Findings(found, None if document is None else json.loads(document), notes)


class Run(NamedTuple):
    """What a run gave."""

    outputs: Outputs
    """``(N, output_len)``: float32 values, or int64 indices if the plan reveals those alone."""

    stats: Document
    """The ``heq-stats/1`` document: bytes, flights and seconds of every step."""


def run_local(
    plan: Plan,
    x: Samples,
    *,
    link: str | None = None,
    weights: PathLike | None = None,
    limit: int | None = None,
    progress: Progress = False,
) -> Run:
    """Runs both parties in this process, over memory or a simulated ``link`` (``lan``, ``wan``, …).

    ``x`` and the outputs are as of :meth:`Plan.simulate`. ``progress`` is a function of how far the run is
    (0 to 1) and a few words, or ``True`` for a bar if ``tqdm`` is there.
    """
    with shown(progress, "run") as tell:
        npy, stats = plan._native.run_local(source(x), path(weights), link, limit, tell)
    return Run(array(npy), json.loads(stats))


def _model(model: Model) -> bytes | str:
    return model if isinstance(model, bytes) else os.fspath(model)
