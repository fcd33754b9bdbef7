"""One row of a table while it comes into being: built, or why not; and what its end means for the exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploykit.backends import get_backend
from deploykit.bench import RowSamples
from deploykit.errors import BackendMissing, BuildFailed, GateFailed, UnsupportedGraph
from deploykit.parity import GateMissed
from deploykit.results.row import Row
from deploykit.spec import BuildSpec, Precision
from deploykit.workflow.engine import Built, build
from deploykit.workflow.typed import Typed
from deploykit.workflow.workspace import Workspace

FAILED, PARITY_FAILED, NOTHING_AVAILABLE = 1, GateFailed.exit_code, BackendMissing.exit_code


@dataclass
class Line:
    """`samples` is what its worker gave, if it ran."""

    row: Row
    built: Built | None = None
    samples: RowSamples | None = None

    @property
    def runs(self) -> bool:
        """Whether there is an engine that can run here."""
        return self.built is not None and self.built.engine.reason is None


def build_line(workspace: Workspace, spec: BuildSpec, name: str, *, strict: bool, typed: Typed | None = None) -> Line:
    """Build one row; what a backend lacks or a compiler refuses becomes its state, a wrong request is raised.

    `typed` takes the place of the typed graph of our own making.
    """
    row = Row(
        model=spec.model.label,
        backend=name,
        precision=spec.precision.value,
        batch=spec.batch.optimum,
        state="measured",
    )
    try:
        built = build(workspace, spec, get_backend(name, strict=strict), typed=typed)
    except (BackendMissing, UnsupportedGraph) as error:
        return Line(replace(row, state="unavailable", reason=str(error)))
    except BuildFailed as error:
        return Line(replace(row, state="failed", reason=str(error)))
    except GateFailed as error:
        return Line(replace(row, state="failed", reason=str(error), parity=GateMissed(str(error))))
    engine = built.engine
    shown = replace(
        row,
        model=built.exported.model.label,
        weights=str(built.exported.weights),
        state="built" if engine.reason else "measured",
        reason=str(engine.reason or ""),
        flavour=engine.flavour,
        note="; ".join(filter(None, (engine.note, *_remarks(built, spec)))),
        typed_digest=engine.typed_digest,
        build_seconds=built.seconds,
        cache_hit=built.hit,
        plan=engine.plan,
    )
    return Line(shown, built)


def without_twins(lines: Sequence[Line]) -> list[Line]:
    """Where `trt` and `trt-rtx` were compiled by the same library they are one row, under the name asked for first."""
    kept: list[Line] = []
    for line in lines:
        twins = {line.row.backend, *(other.row.backend for other in kept if _same_engine(line.row, other.row))}
        if not {"trt", "trt-rtx"} <= twins:
            kept.append(line)
    return kept


def exit_code(rows: Sequence[Row], *, compared: bool = True) -> int:
    """1 when a row failed, 3 when parity or another gate did not hold, 4 when nothing was available, else 0.

    A verdict that is missing did not hold either, where rows are `compared` with the reference: those that were built
    or measured have one each.
    """
    if any(row.state == "failed" and row.parity is None for row in rows):
        return FAILED
    if any(not _holds(row, compared=compared) for row in rows):
        return PARITY_FAILED
    return NOTHING_AVAILABLE if {row.state for row in rows} == {"unavailable"} else 0


def _holds(row: Row, *, compared: bool) -> bool:
    """Whether a row's verdict is a pass, or it needs none: it has no engine, or steps that nothing is compared with."""
    if row.parity is not None:
        return row.parity.verdict == "pass"
    return not compared or row.mode is not None or row.state not in ("measured", "built")


def _remarks(built: Built, spec: BuildSpec) -> Iterator[str]:
    """What a row must own up to that its name does not say."""
    yield from (f"of the file: {note}" for note in built.exported.facts.get("notes", ()))
    if built.typed is None:
        if spec.keep_fp32 and built.engine.precision is Precision.FP16:
            yield "all of it in float16: --keep-fp32 is for the typed graphs of the other backends"
        return
    report = built.typed.facts.get("report") or {}
    yield from _exceptions(report)
    if built.plan is None and (left := report.get("left")):  # a plan says it of what was compiled
        first = f"{left[0]['node']}: {left[0]['reason']}" + (", ..." if len(left) > 1 else "")
        yield f"{len(left)} of {len(left) + len(report['quantized'])} weighted layers compute in float ({first})"
    if note := built.typed.facts.get("note"):
        yield note
    if note := built.typed.facts.get("calibration", {}).get("note"):
        yield note


def _exceptions(report: Mapping[str, Any]) -> Iterator[str]:
    """What the typing left in a wider type for a reason that is not the compiler's."""
    half = report.get("rest") or report
    if kept := half.get("float32", ()):
        first = f"{kept[0]['node']}: {kept[0]['reason']}" + (", ..." if len(kept) > 1 else "")
        yield f"{len(kept)} of {len(kept) + half['half_nodes']} nodes stay in float32 ({first})"
    yield from (f"{item['node']} is not quantized: {item['reason']}" for item in report.get("floats", ()))


def _same_engine(one: Row, other: Row) -> bool:
    return bool(one.flavour) and (one.flavour, one.precision, one.typed_digest) == (
        other.flavour,
        other.precision,
        other.typed_digest,
    )
