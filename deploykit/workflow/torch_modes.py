"""`bench --mode`: one network in eager PyTorch, step after step, as training frameworks are compared.

Mean and standard deviation of `steps` steps behind `burn_in` others, in a worker process of its own. The answer is the
same `Report` as that of a table, with one row.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from deploykit.backends import get_backend
from deploykit.backends.torch import flavour_here
from deploykit.bench import (
    StepSamples,
    StepSettings,
    Workload,
    describe_size,
    fingerprint,
    per_batch,
    step_latency,
    time_steps,
)
from deploykit.bench.environment import Machine
from deploykit.bench.torch_steps import Forward, ForwardBackward, Mode, describe_loss
from deploykit.errors import BackendMissing, DeploykitError, UntrustedArtifact, UsageError
from deploykit.modules.live import taken
from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report
from deploykit.results.row import Row, State
from deploykit.spec import (
    MAX_BATCH,
    ModelSpec,
    Precision,
    Progress,
    WeightsOrigin,
    silent,
)
from deploykit.spec.weights import NO_WEIGHTS
from deploykit.zoo import registry

FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class ModeRequest:
    """`batch` images a step, in float32. Raises UsageError for what cannot be stepped."""

    model: ModelSpec
    mode: Mode
    batch: int
    settings: StepSettings

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= MAX_BATCH:
            raise UsageError(f"batch {self.batch} is not between 1 and {MAX_BATCH}", hint="give --batch 32")
        if self.model.is_onnx:
            raise UsageError(
                f"--mode {self.mode} steps a PyTorch module, and {self.model.name} has none",
                hint="name a network of the zoo, or leave out --mode",
            )
        registry.card_of(self.model)
        if self.mode is Mode.FORWARD_BACKWARD:
            registry.check_training_size(self.model)


def bench_mode(request: ModeRequest, progress: Progress = silent) -> Report:
    """One row. Raises UsageError and UntrustedArtifact for a checkpoint that cannot be used."""
    settings = request.settings
    machine = fingerprint(threads=settings.worker_threads, seed=request.model.seed, tf32=False)
    if reason := get_backend("torch").unavailable():
        row = _row(request, state="unavailable", reason=str(reason))
        return _report(machine, _conditions(request, machine, 0.0, None), row)
    request, weights = _resolved(request)
    flavour, began = flavour_here(), time.perf_counter()
    samples = time_steps(_workload(request, flavour), settings, progress)
    seconds = time.perf_counter() - began
    row = _with_steps(_row(request, *_outcome(samples.failure), weights=str(weights), flavour=flavour), samples)
    return _report(machine, _conditions(request, machine, seconds, weights), row)


def _report(machine: Machine, conditions: Conditions, row: Row) -> Report:
    return Report(environment=ComparisonEnvironment(**machine.facts(), conditions=conditions), rows=(row,))


def _row(request: ModeRequest, state: State, reason: str, *, weights: str = "", flavour: str = "") -> Row:
    return Row(
        model=request.model.label,
        backend="torch",
        precision=Precision.FP32.value,
        batch=request.batch,
        state=state,
        reason=reason,
        mode=request.mode.value,
        weights=weights,
        flavour=flavour,
    )


def _resolved(request: ModeRequest) -> tuple[ModeRequest, WeightsOrigin]:
    """The request with the classes and channels that a checkpoint tells, and where the weights come from.

    Only weights that somebody gave are loaded for that.
    """
    from deploykit.modules.state import state_digest, state_of
    from deploykit.weights import load_network

    model = request.model
    if model.weights is None and not model.is_factory:
        return request, WeightsOrigin(kind="random", seed=model.seed, taken_over=model.init_from or "")
    loaded = load_network(model)
    origin = replace(loaded.origin, digest=state_digest(state_of(loaded.module)))
    return replace(request, model=loaded.model), origin


def _workload(request: ModeRequest, flavour: str) -> Workload:
    kind = Forward if request.mode is Mode.FORWARD else ForwardBackward
    pickled = taken(request.model.live).pickled() if request.model.live else b""
    return kind(request.model, request.batch, flavour, pickled)


def _outcome(failure: DeploykitError | None) -> tuple[State, str]:
    """How the worker's steps ended. A wrong request is raised, as every command does it."""
    match failure:
        case None:
            return "measured", ""
        case UsageError() | UntrustedArtifact():
            raise failure
        case BackendMissing():
            return "unavailable", str(failure)
        case _:
            return "failed", str(failure)


def _with_steps(row: Row, found: StepSamples) -> Row:
    """The row with all its worker's steps, and what they say where all of them were done."""
    row = replace(row, burn_in_ns=found.burn_in_ns, steps_ns=found.samples_ns)
    if row.state != "measured":
        return row
    summary = per_batch(found.samples_ns, burn_in=len(found.burn_in_ns))
    return replace(
        row,
        per_batch_ms=summary,
        latency_ms=step_latency(found.samples_ns),
        images_per_second=1e3 * row.batch / summary.mean,
    )


def _conditions(request: ModeRequest, machine: Machine, seconds: float, weights: WeightsOrigin | None) -> Conditions:
    model, settings = request.model, request.settings
    shape = registry.input_spec(model).at_batch(request.batch)
    size = describe_size(FLOAT32_BYTES * math.prod(shape), machine.cpu.cache_bytes)
    return Conditions(
        model=model.label,
        **(weights.facts() if weights else NO_WEIGHTS),
        batch=request.batch,
        threads=settings.worker_threads,
        tf32=False,
        inputs=f"the same seeded noise images at every step, {size}",
        copies="none inside the timed region (the batch is on the device)",
        seconds=seconds,
        step=request.mode.step,
        loss=describe_loss(model) if request.mode is Mode.FORWARD_BACKWARD else "",
        burn_in=settings.burn_in,
        steps=settings.steps,
    )
