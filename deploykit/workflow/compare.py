"""Rows side by side: build every backend at every precision, run what runs here, and judge it against float64.

`verify` computes outputs only; `bench` times the same rows in interleaved rounds. Both answer with one `Report`, in
which every requested row has its state and its reason.

Of several batches each has a table of its own, measured after the one before it in its share of the time: rows are
compared at one batch, no more workers are alive at once than for one batch, and a compiler's engine is built for each
batch, which is what it does best there. An engine for a range is asked for as MIN:OPT:MAX.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from deploykit.plan.gpus import Gpu
from deploykit.results.accuracy import AccuracyReport
from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report
from deploykit.results.row import Row
from deploykit.results.sweep import by_backend
from deploykit.spec import BatchRange, BuildSpec, DataSource, Fusions, Precision
from deploykit.spec.weights import NO_WEIGHTS
from deploykit.workflow.adopt import adopt
from deploykit.workflow.against import other_row, replaced_by
from deploykit.workflow.batch import with_batch
from deploykit.workflow.explain import Explainer
from deploykit.workflow.export import Exported, export
from deploykit.workflow.parity_inputs import ParityInputs
from deploykit.workflow.roofs import Roofs
from deploykit.workflow.rows import BuiltRow, RefusedRow, asked_rows, build_rows, row_of
from deploykit.workflow.typed import Typed
from deploykit.workflow.workspace import Workspace

NOT_JUDGED = "parity was not checked: `deploykit verify` does"


@dataclass(frozen=True, slots=True)
class Request:
    """`spec.precision` is replaced by each of `precisions`, its batch by each of `batches` where there are any.

    `gpu` is the one whose figures stand for a GPU that is here. Rows get their share of the `roofline` where that is
    asked for, and the `accuracy` that was measured of the same artifacts.

    `typed` is a typed graph to judge in place of our own. `fusions` says how those of `spec` were decided, where they
    were searched for. `against` is a graph that is judged in place of all rows; backends and precisions are then its
    own. With `explain`, each row's loss is located. Without `parity` nothing is judged.
    """

    spec: BuildSpec
    backends: tuple[str, ...]
    precisions: tuple[Precision, ...]
    settings: BenchSettings
    strict: bool = False
    typed: Path | None = None
    fusions: str = ""
    batches: tuple[BatchRange, ...] = ()
    gpu: Gpu | None = None
    roofline: bool = False
    accuracy: AccuracyReport | None = None
    against: Path | None = None
    explain: bool = False
    parity: bool = True

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
    _require_own_accuracy(workspace, request)
    settings, batches = request.settings, request.batches or (request.spec.batch,)
    machine = fingerprint(threads=settings.worker_threads, seed=settings.seed, tf32=request.spec.tf32)
    share = replace(settings, max_seconds=settings.max_seconds / len(batches))
    roofs = Roofs(workspace, machine, request.gpu)
    rows: list[Row] = []
    said: list[Conditions] = []
    for batch in batches:
        one = replace(request, spec=replace(request.spec, batch=batch), settings=share)
        found, conditions = _at_batch(workspace, one, machine, roofs, timed=timed)
        rows += found
        said.append(conditions)
    _warn_unjoined(workspace, request, rows)
    conditions = replace(Conditions.of_batches(said), cpu_peaks=roofs.cpu)
    environment = ComparisonEnvironment(**machine.facts(), conditions=conditions)
    return Report(environment=environment, rows=by_backend(rows))


def _at_batch(
    workspace: Workspace, request: Request, machine: Machine, roofs: Roofs, *, timed: bool
) -> tuple[Sequence[Row], Conditions]:
    """The rows of one batch, and what they share."""
    settings, progress = request.settings, workspace.progress
    request, lines, said = _lines(workspace, request)
    exported = next((line.built.exported for line in lines if line.built), None)
    if exported is None:
        return list(map(row_of, lines)), _conditions(request, None, None, [], machine)
    lines = _feedable(lines, exported, request.spec.data)
    inputs = ParityInputs(
        workspace, exported, request.spec, request.precisions, timed, settings.seed, judged=request.parity
    )
    jobs = [inputs.job(line) for line in lines if isinstance(line, BuiltRow) and line.runs]
    measurement = run_rows(jobs, settings, progress) if timed and jobs else None
    samples = iter(measurement.rows if measurement else run_outputs(jobs, settings, progress))
    rows = [_finished(line, next(samples) if line.runs else None, inputs) for line in lines]
    if measurement:
        rows = _with_ratios(rows, settings.seed)
    if measurement and request.roofline:
        engines = [line.built for line in lines]
        rows = roofs.marked(list(zip(rows, engines, strict=True)), tf32=request.spec.tf32)
    if request.accuracy is not None:
        weights = exported.weights.digest or None
        rows = [replace(row, accuracy=request.accuracy.accuracy_of(row, weights_digest=weights)) for row in rows]
    if request.explain:
        rows = _explained(request, lines, rows, inputs)
    return rows, replace(_conditions(request, inputs, measurement, jobs, machine), against=said)


def _lines(workspace: Workspace, request: Request) -> tuple[Request, list[BuiltRow | RefusedRow], tuple[str, ...]]:
    """The request with its batch, its rows, and what is to be said of a graph that is judged in their place."""
    if request.against is not None:
        spec, row, other = other_row(workspace, request.spec, request.against)
        return replace(request, spec=spec, precisions=(other.precision,)), [row], other.said
    request = replace(request, spec=with_batch(workspace, request.spec))
    of_sweep = len(request.batches) > 1
    asked = asked_rows(request.spec, request.backends, request.precisions, strict=request.strict, of_sweep=of_sweep)
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


def _require_own_accuracy(workspace: Workspace, request: Request) -> None:
    """Raises UsageError for the accuracy of another network, before anything is built."""
    if request.accuracy is None:
        return
    ours = export(workspace, request.spec.model, request.spec.fusions).model.label
    if (theirs := request.accuracy.conditions.model) != ours:
        raise UsageError(f"the accuracy that was given is of {theirs}, not of {ours}", hint="give that of this network")


def _warn_unjoined(workspace: Workspace, request: Request, rows: Sequence[Row]) -> None:
    """A warning where an accuracy was given and no row is what it was measured of."""
    if request.accuracy is not None and not any(row.accuracy for row in rows):
        workspace.warn_once(
            "no row has the accuracy that was given: it is of other graphs (other weights, calibration images or "
            "fusions) or of other backends"
        )


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
        cold_starts_ms=samples.cold_starts_ms,
        latency_ms=latency(samples.blocks, seed=inputs.seed),
        device_ms=latency(samples.blocks, seed=inputs.seed, device=True),
        images_per_second=samples.throughput and samples.throughput * row.batch,
        memory_bytes=samples.memory.peak if samples.memory else None,
        device_memory_bytes=samples.memory.device if samples.memory else None,
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
        processes=measurement.processes if measurement else 0,
        gave_up=(*(measurement.gave_up if measurement else ()), *(() if request.parity else (NOT_JUDGED,))),
        parity_checked=request.parity,
        disturbance=measurement.disturbance if measurement else None,
    )


def _with_ratios(rows: Sequence[Row], seed: int) -> list[Row]:
    ratios = ratios_to_first([row.blocks if row.state == "measured" else () for row in rows], seed=seed)
    return [replace(row, ratio_to_first=found) for row, found in zip(rows, ratios, strict=True)]
