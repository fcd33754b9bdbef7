"""Rows side by side: build every backend at every precision, run what runs here, and judge it against float64.

`verify` computes outputs only; `bench` times the same rows in interleaved rounds. Both answer with one `Report`, in
which every requested row has its state and its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploykit.bench import (
    BenchSettings,
    Measurement,
    RowJob,
    RowSamples,
    fingerprint,
    latency,
    ratios_to_first,
    run_outputs,
    run_rows,
)
from deploykit.bench.environment import Machine
from deploykit.data.inputs import require_feedable
from deploykit.errors import UnsupportedGraph, UsageError
from deploykit.parity import ParityResult
from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report
from deploykit.results.row import Row
from deploykit.spec import BuildSpec, DataSource, Fusions, Precision
from deploykit.spec.weights import NO_WEIGHTS
from deploykit.workflow.adopt import adopt
from deploykit.workflow.against import other_row, replaced_by
from deploykit.workflow.batch import with_batch
from deploykit.workflow.explain import Explainer
from deploykit.workflow.export import Exported, export
from deploykit.workflow.parity_inputs import ParityInputs
from deploykit.workflow.rows import BuiltRow, RefusedRow, asked_rows, build_rows, row_of
from deploykit.workflow.typed import Typed
from deploykit.workflow.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Request:
    """`spec.precision` is replaced by each of `precisions`. `typed` is a typed graph to judge in place of our own.

    `fusions` says how those of `spec` were decided, where they were searched for. `against` is a graph that is judged
    in place of all rows; backends and precisions are then its own. With `explain`, each row's loss is located.
    """

    spec: BuildSpec
    backends: tuple[str, ...]
    precisions: tuple[Precision, ...]
    settings: BenchSettings
    strict: bool = False
    typed: Path | None = None
    fusions: str = ""
    against: Path | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        if self.typed is not None and len(self.precisions) != 1:
            raise UsageError(
                "--typed verifies one graph, of one precision", hint="give the --precision that it was made for"
            )


def verify(workspace: Workspace, request: Request) -> Report:
    """Parity of every row; nothing is timed."""
    return _compare(workspace, request, timed=False)


def bench(workspace: Workspace, request: Request) -> Report:
    """Parity and speed of every row."""
    return _compare(workspace, request, timed=True)


def _compare(workspace: Workspace, request: Request, *, timed: bool) -> Report:
    request.spec.fusions.require_decided()
    settings, progress = request.settings, workspace.progress
    request, lines, said = _lines(workspace, request)
    machine = fingerprint(threads=settings.worker_threads, seed=settings.seed, tf32=request.spec.tf32)
    exported = next((line.built.exported for line in lines if line.built), None)
    if exported is None:
        return _report(machine, _conditions(request, None, None, [], machine), map(row_of, lines))
    lines = _feedable(lines, exported, request.spec.data)
    inputs = ParityInputs(workspace, exported, request.spec, request.precisions, timed, settings.seed)
    jobs = [inputs.job(line) for line in lines if isinstance(line, BuiltRow) and line.runs]
    measurement = run_rows(jobs, settings, progress) if timed and jobs else None
    samples = iter(measurement.rows if measurement else run_outputs(jobs, settings, progress))
    rows = [_finished(line, next(samples) if line.runs else None, inputs) for line in lines]
    if measurement:
        rows = _with_ratios(rows, settings.seed)
    if request.explain:
        rows = _explained(request, lines, rows, inputs)
    conditions = replace(_conditions(request, inputs, measurement, jobs, machine), against=said)
    return _report(machine, conditions, rows)


def _lines(workspace: Workspace, request: Request) -> tuple[Request, list[BuiltRow | RefusedRow], tuple[str, ...]]:
    """The request with its batch, its rows, and what is to be said of a graph that is judged in their place."""
    if request.against is not None:
        spec, row, other = other_row(workspace, request.spec, request.against)
        return replace(request, spec=spec, precisions=(other.precision,)), [row], other.said
    request = replace(request, spec=with_batch(workspace, request.spec))
    asked = asked_rows(request.spec, request.backends, request.precisions, strict=request.strict)
    return request, build_rows(workspace, asked, typed=_adopted(workspace, request)), ()


def _explained(
    request: Request, lines: Sequence[BuiltRow | RefusedRow], rows: Sequence[Row], inputs: ParityInputs
) -> list[Row]:
    """The rows with what is known of where their losses arise; nothing is known where none was judged."""
    if not any(isinstance(row.parity, ParityResult) for row in rows):
        return list(rows)
    explainer = Explainer(
        inputs.judge,
        request.spec,
        file=request.against or request.typed,
        foreign=request.against is not None,
        replaced=replaced_by(request.spec),
    )
    return [
        replace(row, explanation=explainer.explain(line.built, row.parity)) if line.built else row
        for line, row in zip(lines, rows, strict=True)
    ]


def _report(machine: Machine, conditions: Conditions, rows: Iterable[Row]) -> Report:
    return Report(environment=ComparisonEnvironment(**machine.facts(), conditions=conditions), rows=tuple(rows))


def _adopted(workspace: Workspace, request: Request) -> Typed | None:
    """The typed graph that is judged in place of our own, where there is one."""
    if request.typed is None:
        return None
    (precision,) = request.precisions
    exported = export(workspace, request.spec.model, request.spec.fusions)
    return adopt(workspace, request.typed, exported, precision, replaced=replaced_by(request.spec))


def _feedable(lines: list[BuiltRow | RefusedRow], exported: Exported, data: DataSource) -> list[BuiltRow | RefusedRow]:
    """A network that nothing can be shown to is only compiled: rows that would run say so instead.

    Raises UnsupportedGraph where no row is left.
    """
    try:
        require_feedable(exported, data)
    except UnsupportedGraph as error:
        left = [
            RefusedRow(line.asked, "unavailable", str(error), built=line.built) if line.runs else line for line in lines
        ]
        if not any(isinstance(line, BuiltRow) for line in left):
            raise
        return left
    return lines


def _finished(line: BuiltRow | RefusedRow, samples: RowSamples | None, inputs: ParityInputs) -> Row:
    """The row with what its worker gave, judged. A row that was only compiled is judged by its typed graph."""
    if isinstance(line, RefusedRow):
        return row_of(line)
    if samples is None:
        return row_of(line, parity=inputs.parity(line.built, None))
    if samples.failure is not None:
        return row_of(line, failure=samples.failure)
    row = row_of(line, parity=inputs.parity(line.built, samples))
    return replace(
        row,
        note="; ".join(filter(None, (row.note, samples.remark))),
        cold_ms=samples.cold_ms,
        latency_ms=latency(samples.blocks, seed=inputs.seed),
        device_ms=latency(samples.blocks, seed=inputs.seed, device=True),
        images_per_second=samples.throughput and samples.throughput * row.batch,
        blocks=samples.blocks,
    )


def _conditions(
    request: Request,
    inputs: ParityInputs | None,
    measurement: Measurement | None,
    jobs: Sequence[RowJob],
    machine: Machine,
) -> Conditions:
    spec, settings = request.spec, request.settings
    said = str(spec.fusions) if spec.fusions != Fusions() else ""
    model, weights = (inputs.exported.model, inputs.exported.weights.facts()) if inputs else (spec.model, NO_WEIGHTS)
    return Conditions(
        model=model.label,
        **weights,
        batch=spec.batch.optimum,
        threads=settings.worker_threads,
        tf32=spec.tf32,
        fusions=request.fusions or said,
        inputs=inputs.describe(jobs, machine.cpu.cache_bytes) if inputs else "",
        preprocessing=inputs.preparation if inputs else "",
        calibration=inputs.int8 if inputs else "",
        copies="none inside the timed region (inputs and outputs are bound)" if measurement else "",
        stopped_by=measurement.stopped_by if measurement else "",
        rounds=measurement.rounds if measurement else 0,
        seconds=measurement.seconds if measurement else 0.0,
    )


def _with_ratios(rows: Sequence[Row], seed: int) -> list[Row]:
    ratios = ratios_to_first([row.blocks if row.state == "measured" else () for row in rows], seed=seed)
    return [replace(row, ratio_to_first=found) for row, found in zip(rows, ratios, strict=True)]
