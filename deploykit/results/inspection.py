"""What `inspect` answers: one compiled plan, audited, bounded on a GPU, diagnosed, and beside another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from deploykit.codec import NOT_IN_JSON
from deploykit.plan.audit import Audit, Conversion
from deploykit.plan.diagnosis import Diagnosis
from deploykit.plan.diff import PlanDiff
from deploykit.plan.model import EnginePlan, PlanLayer
from deploykit.plan.roofline import LayerTime, Roofline
from deploykit.plan.summary import PlanSummary
from deploykit.results.calibration import CalibrationSource
from deploykit.results.document import Document


@dataclass(frozen=True, slots=True)
class KernelGroup:
    """The kernels of one kind that read one type; `bytes_moved` for one batch."""

    kind: str
    reads: str
    kernels: int
    bytes_moved: int


@dataclass(frozen=True, slots=True)
class ConversionGroup:
    """The kernels that do nothing but one kind of conversion; `largest` names the one that moves the most bytes."""

    what: str
    kernels: int
    bytes_moved: int
    largest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel of the plan. `bytes_moved` (bytes) and `macs` (multiply-accumulates) are for one batch.

    `us` (the least time, microseconds), `binds` and `intensity` (FLOP/byte) are the roofline's, None without one.
    """

    name: str
    kind: str
    reads: str
    writes: str
    format: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bytes_moved: int
    macs: int
    nodes: tuple[str, ...]
    modules: tuple[str, ...]
    tactic: str
    us: float | None
    binds: str | None
    intensity: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionDocument(Document):
    """What `inspect` says of a plan, as JSON has it.

    `layers` has the kernels in the order of execution; `diff` compares with the plan called `beside`.
    """

    title: str
    weights: str | None
    weights_digest: str | None
    weights_notes: tuple[str, ...]
    calibration: CalibrationSource | None
    compiler: str
    source: str
    precision: str
    batch: int
    targets: tuple[str, ...]
    summary: PlanSummary
    kernels_by_type: tuple[KernelGroup, ...]
    conversions_by_kind: tuple[ConversionGroup, ...]
    layers: tuple[Kernel, ...]
    audit: Audit
    roofline: Roofline | None
    diagnoses: tuple[Diagnosis, ...]
    beside: str | None
    diff: PlanDiff | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection(InspectionDocument):
    """The same beside the `plan` that all of it is said of; JSON leaves that out."""

    plan: EnginePlan = field(metadata=NOT_IN_JSON, repr=False)


def kernel_groups(plan: EnginePlan) -> Iterator[KernelGroup]:
    """The kernels by kind and type, the group that moves the most bytes first."""
    kernels: Counter[tuple[str, str]] = Counter()
    moved: Counter[tuple[str, str]] = Counter()
    for layer in plan.kernels:
        kernels[layer.kind, layer.reads] += 1
        moved[layer.kind, layer.reads] += layer.bytes_moved(plan.batch)
    for (kind, reads), size in moved.most_common():
        yield KernelGroup(kind, reads, kernels[kind, reads], size)


def conversion_groups(audit: Audit) -> Iterator[ConversionGroup]:
    """The kernels that convert, by what they convert."""
    groups: dict[str, list[Conversion]] = defaultdict(list)
    for conversion in audit.conversions:
        groups[conversion.what].append(conversion)
    for what, group in groups.items():
        largest = max(group, key=lambda conversion: conversion.bytes_moved)
        moved = sum(conversion.bytes_moved for conversion in group)
        yield ConversionGroup(what, len(group), moved, largest.layer)


def kernels_of(plan: EnginePlan, bounds: Roofline | None) -> Iterator[Kernel]:
    """Every kernel of a plan, with its bound."""
    times = bounds.layers if bounds else (None,) * len(plan.kernels)
    for layer, time in zip(plan.kernels, times, strict=True):
        yield _kernel(layer, time, plan.batch)


def _kernel(layer: PlanLayer, time: LayerTime | None, batch: int) -> Kernel:
    return Kernel(
        name=layer.name,
        kind=layer.kind,
        reads=layer.reads,
        writes=layer.outputs[0].dtype if layer.outputs else "?",
        format=layer.inputs[0].format if layer.inputs else "",
        inputs=tuple(tensor.name for tensor in layer.inputs),
        outputs=tuple(tensor.name for tensor in layer.outputs),
        bytes_moved=layer.bytes_moved(batch),
        macs=layer.macs,
        nodes=layer.nodes,
        modules=layer.modules,
        tactic=layer.tactic,
        us=time.us if time else None,
        binds=time.binds if time else None,
        intensity=time.intensity if time else None,
    )
