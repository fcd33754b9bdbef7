"""A row of a table in its three shapes: what was asked for, what was built or why not, and what came out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, Literal

from deploykit.backends import get_backend
from deploykit.backends.protocol import Backend
from deploykit.errors import BackendMissing, BuildFailed, DeploykitError, GateFailed, UnsupportedGraph
from deploykit.parity import GateMissed, Parity
from deploykit.precision.reports import Int8Report
from deploykit.results.build import TypingReport
from deploykit.results.row import Row, RowHead, State, row_label
from deploykit.spec import BuildSpec, Precision
from deploykit.workflow.engine import Built, build_with, lacking
from deploykit.workflow.typed import Typed
from deploykit.workflow.workspace import Workspace


@dataclass(frozen=True, slots=True)
class AskedRow:
    """What was asked for: a backend, under the name that the user gave, at the precision and the batch of `spec`.

    `of_sweep`: at other batches too.
    """

    name: str
    backend: Backend
    spec: BuildSpec
    of_sweep: bool = False

    @property
    def label(self) -> str:
        """Which row of a table it is: `ort fp16`."""
        return row_label(self.name, self.spec.precision, self.spec.batch.optimum if self.of_sweep else None)


@dataclass(frozen=True, slots=True)
class BuiltRow:
    """What was built. It runs here unless its engine has a reason not to."""

    asked: AskedRow
    built: Built

    @property
    def runs(self) -> bool:
        return self.built.engine.reason is None


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """Why there is nothing to run: something is missing, or a compiler or a gate said no. `built` is what there is."""

    asked: AskedRow
    state: Literal["unavailable", "failed"]
    reason: str
    parity: Parity | None = None
    built: Built | None = None

    @property
    def runs(self) -> bool:
        return False


def asked_rows(
    spec: BuildSpec,
    names: Sequence[str],
    precisions: Sequence[Precision],
    *,
    strict: bool,
    of_sweep: bool = False,
) -> tuple[AskedRow, ...]:
    """Every backend at every precision. Raises UnknownName before anything is built."""
    backends = [(name, get_backend(name, strict=strict)) for name in names]
    return tuple(
        AskedRow(name, backend, spec.with_precision(precision), of_sweep)
        for (name, backend), precision in product(backends, precisions)
    )


def build_rows(
    workspace: Workspace, asked: Sequence[AskedRow], *, typed: Typed | None = None
) -> list[BuiltRow | RefusedRow]:
    """Build each row; what a backend lacks or a compiler refuses becomes its state, a wrong request is raised.

    Each backend is asked once whether it can be used. Where `trt` and `trt-rtx` were compiled by the same library they
    are one row, under the name asked for first. `typed` takes the place of the typed graph of our own making.
    """
    missing: dict[str, BackendMissing | None] = {}
    rows: list[BuiltRow | RefusedRow] = []
    for each in asked:
        if each.name not in missing:
            missing[each.name] = lacking(each.backend)
        row = _refused(each, error) if (error := missing[each.name]) else _build(workspace, each, typed)
        twins = {each.name, *(other.asked.name for other in rows if _same_engine(row, other))}
        if not {"trt", "trt-rtx"} <= twins:
            rows.append(row)
    return rows


def _build(workspace: Workspace, asked: AskedRow, typed: Typed | None) -> BuiltRow | RefusedRow:
    try:
        return BuiltRow(asked, build_with(workspace, asked.spec, asked.backend, typed=typed))
    except (BackendMissing, UnsupportedGraph, BuildFailed, GateFailed) as error:
        return _refused(asked, error)


def _refused(asked: AskedRow, error: DeploykitError) -> RefusedRow:
    match error:
        case BackendMissing() | UnsupportedGraph():
            return RefusedRow(asked, "unavailable", str(error))
        case GateFailed():
            return RefusedRow(asked, "failed", str(error), GateMissed(str(error)))
        case _:
            return RefusedRow(asked, "failed", str(error))


def row_of(row: BuiltRow | RefusedRow, *, failure: DeploykitError | None = None, parity: Parity | None = None) -> Row:
    """What came out, apart from figures. `failure` is what ended a row that ran, `parity` the verdict on one that did
    not end so."""
    asked, built = row.asked, row.built
    engine = built.engine if built else None
    state, reason = _outcome(row, failure)
    return Row(
        model=(built.exported.model if built else asked.spec.model).label,
        weights=str(built.exported.weights) if built else "",
        backend=asked.name,
        precision=asked.spec.precision.value,
        batch=asked.spec.batch.optimum,
        of_sweep=asked.of_sweep,
        state=state,
        reason=reason,
        flavour=engine.flavour if engine else "",
        file_bytes=engine.path.stat().st_size if engine and engine.path else None,
        note="; ".join(_notes(row)),
        typed_digest=engine.typed_digest if engine else None,
        export_seconds=built.export_seconds if built else None,
        build_seconds=built.seconds if built else None,
        from_store=built.hit if built else False,
        plan=engine.plan if engine else None,
        parity=row.parity if isinstance(row, RefusedRow) else parity,
    )


def head_of(row: BuiltRow | RefusedRow, *, failure: DeploykitError | None = None) -> dict[str, Any]:
    """The fields of `RowHead`, for a row of a table below the first; `failure` is what ended it there."""
    found = row_of(row, failure=failure)
    return {each.name: getattr(found, each.name) for each in fields(RowHead)}


def _outcome(row: BuiltRow | RefusedRow, failure: DeploykitError | None) -> tuple[State, str]:
    if isinstance(row, RefusedRow):
        return row.state, row.reason
    if failure is not None:
        return ("unavailable" if isinstance(failure, BackendMissing) else "failed"), str(failure)
    reason = row.built.engine.reason
    return ("built", str(reason)) if reason else ("measured", "")


def _notes(row: BuiltRow | RefusedRow) -> Iterator[str]:
    if isinstance(row, BuiltRow):
        yield from filter(None, (row.built.engine.note, *_remarks(row.built, row.asked.spec)))


def _remarks(built: Built, spec: BuildSpec) -> Iterator[str]:
    """What a row must own up to that its name does not say."""
    yield from (f"of the file: {note}" for note in built.exported.facts.notes)
    typed = built.typed
    if typed is None:
        if spec.keep_fp32 and built.engine.precision is Precision.FP16:
            yield "all of it in float16: --keep-fp32 is for the typed graphs of the other backends"
        return
    if typed.report is not None:
        yield from _exceptions(typed.report)
    if built.plan is None and isinstance(typed.report, Int8Report) and (left := typed.report.excluded):
        first = f"{left[0].node}: {left[0].reason}" + (", ..." if len(left) > 1 else "")
        yield f"{len(left)} of {len(left) + len(typed.report.quantized)} layers with weights compute in float ({first})"
    yield from filter(None, (typed.note, typed.calibration.note if typed.calibration else None))


def _exceptions(report: TypingReport) -> Iterator[str]:
    """What the typing left in a wider type for a reason that is not the compiler's."""
    half = report.rest if isinstance(report, Int8Report) else report
    if half and (kept := half.float32):
        first = f"{kept[0].node}: {kept[0].reason}" + (", ..." if len(kept) > 1 else "")
        yield f"{len(kept)} of {len(kept) + half.half_nodes} nodes stay in float32 ({first})"
    if isinstance(report, Int8Report):
        yield from (f"{item.node} is not quantized: {item.reason}" for item in report.floats)


def _same_engine(one: BuiltRow | RefusedRow, other: BuiltRow | RefusedRow) -> bool:
    if not (isinstance(one, BuiltRow) and isinstance(other, BuiltRow)):
        return False
    mine, theirs = one.built.engine, other.built.engine
    return (mine.flavour, mine.precision, mine.typed_digest) == (theirs.flavour, theirs.precision, theirs.typed_digest)
