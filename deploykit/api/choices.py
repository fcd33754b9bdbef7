"""Plain values of the API as values of `deploykit.spec`: `"fp16"`, `(1, 8, 32)`, `"sm_89"`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from deploykit.backends import backend_names as backend_names
from deploykit.errors import UsageError
from deploykit.plan.gpus import Gpu, gpu_for
from deploykit.plan.gpus import gpu_names as gpu_names
from deploykit.spec import (
    BatchRange,
    BuilderOptions,
    BuildSpec,
    Calibration,
    DataSource,
    Fusions,
    ModelSpec,
    Precision,
    QuantizationPolicy,
    Repair,
    Synthetic,
    Target,
)

DEFAULT_TARGET = Target(8, 9)
Batch = int | str | tuple[int, int, int] | BatchRange | None
TargetName = str | Target | Gpu
Targets = TargetName | Sequence[TargetName] | None
Data = str | PathLike[str] | Synthetic | None


def batch_range(batch: Batch, default: int) -> BatchRange:
    """None is `default`, which gives way to the batch that a network fixes. Raises UsageError."""
    match batch:
        case None:
            return replace(BatchRange.parse(str(default)), asked=False)
        case BatchRange():
            return batch
        case bool():
            raise UsageError(f"batch {batch} is not a number of images", hint="give 8 or (1, 8, 32)")
        case int() | str():
            return BatchRange.parse(str(batch))
        case (int(), int(), int()):
            return BatchRange(*batch)
    raise UsageError(f"cannot read batch {batch!r}", hint="give one number (8) or (min, opt, max): (1, 8, 32)")


def targets_of(target: Targets, gpu_table: str | PathLike[str] | None) -> tuple[tuple[Target, ...], Gpu | None]:
    """What is compiled for, and the first of them where it is a GPU by name, whose roofline then prices plans.

    None is the GPU that is here, else sm_89. Raises UnknownName, UsageError.
    """
    given: Sequence[TargetName] = (target,) if isinstance(target, str | Target | Gpu) else tuple(target or ())
    if not given:
        if gpu_table is not None:
            raise UsageError("a GPU table describes the GPU that the target names", hint="give a target, too")
        from deploykit.backends.device import find_gpu

        here = find_gpu()
        return (here.capability if here else DEFAULT_TARGET,), None
    table = None if gpu_table is None else Path(gpu_table)
    found = [(each.target, each) if isinstance(each, Gpu) else gpu_for(str(each), table) for each in given]
    return tuple(dict.fromkeys(capability for capability, _ in found)), found[0][1]


def data_source(data: Data) -> DataSource:
    """A place, or generated noise; a folder of that name is written ./noise."""
    if data is None or isinstance(data, Synthetic):
        return data
    return Synthetic.NOISE if data == Synthetic.NOISE.value else Path(data)


def precisions_of(several: str | Precision | Iterable[str | Precision]) -> tuple[Precision, ...]:
    """In the order given, each once. Raises UnknownName; UsageError for none."""
    return tuple(dict.fromkeys(Precision.parse(each) for each in _listed(several, "precisions")))


def backends_of(several: str | Iterable[str]) -> tuple[str, ...]:
    """In the order given, each once and known. Raises UnknownName; UsageError for none."""
    from deploykit.backends import get_backend

    names = tuple(dict.fromkeys(name.lower() for name in _listed(several, "backends")))
    for name in names:
        get_backend(name)
    return names


def compiles(backend: str) -> bool:
    """Whether a backend makes engine files. Raises UnknownName."""
    from deploykit.backends import get_backend

    return get_backend(backend).compiles


def fusions_of(fusions: str | Fusions) -> Fusions:
    """Raises UnknownName, UsageError."""
    return Fusions.parse(fusions) if isinstance(fusions, str) else fusions


def build_spec(
    model: ModelSpec,
    *,
    precision: Precision,
    batch: BatchRange,
    targets: tuple[Target, ...],
    data: Data = None,
    calibration: Calibration | str | PathLike[str] | None = None,
    policy: str | QuantizationPolicy = "all",
    repair: str | Repair = "none",
    fusions: str | Fusions = "safe",
    keep_io: bool = True,
    keep_fp32: str | Sequence[str] = (),
    tf32: bool = False,
    options: BuilderOptions | None = None,
) -> BuildSpec:
    """All of it as one value. Raises UsageError."""
    return BuildSpec(
        model=model,
        precision=precision,
        batch=batch,
        targets=targets,
        keep_io=keep_io,
        keep_fp32=(keep_fp32,) if isinstance(keep_fp32, str) else tuple(keep_fp32),
        tf32=tf32,
        data=data_source(data),
        calibration=calibration_of(calibration),
        policy=QuantizationPolicy.parse(policy) if isinstance(policy, str) else policy,
        repair=Repair.parse(repair) if isinstance(repair, str) else repair,
        fusions=fusions_of(fusions),
        options=options or BuilderOptions(),
    )


def calibration_of(calibration: Calibration | str | PathLike[str] | None) -> Calibration:
    """How INT8 gets its ranges; a path is that of a table."""
    if calibration is None or isinstance(calibration, Calibration):
        return calibration or Calibration()
    return Calibration(table=Path(calibration))


def require_read(spec: BuildSpec, precisions: Collection[Precision]) -> None:
    """Raises UsageError for what none of `precisions` reads: nothing that is asked for is passed over in silence."""
    policy, int8 = spec.policy, Precision.INT8 in precisions
    half = Precision.FP16 in precisions or (int8 and (policy.rest is Precision.FP16 or policy.auto))
    if spec.keep_fp32 and not half:
        raise UsageError("keep_fp32 requires fp16, or int8 with the policy rest=fp16", hint="leave it out")
    if policy.exclude and not int8:
        raise UsageError("excluded layers require int8", hint="leave them out; keep_fp32 names what fp16 excludes")


def _listed(several: str | Iterable[str], what: str) -> list[str]:
    parts = several.split(",") if isinstance(several, str) else list(several)
    found = [str(part).strip() for part in parts if str(part).strip()]
    if not found:
        raise UsageError(f"no {what} are given", hint="give one or more names")
    return found
