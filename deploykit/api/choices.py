"""Plain values of the API as values of `deploykit.spec`: `"fp16"`, `(1, 8, 32)`, `"sm_89"`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.api.workspace import warn
from deploykit.backends import backend_names as backend_names
from deploykit.errors import UnreadOption, UsageError
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

if TYPE_CHECKING:
    from deploykit.backends.protocol import Backend

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
        case (int() as low, int() as best, int() as high):
            return BatchRange(low, best, high)
    raise UsageError(f"cannot read batch {batch!r}", hint="give one number (8) or (min, opt, max): (1, 8, 32)")


def batches_of(batch: Batch, batches: Sequence[int]) -> tuple[BatchRange, ...]:
    """One batch, of which None is 1, or each of `batches` in its place. Raises UsageError."""
    if isinstance(batches, str) or not isinstance(batches, Sequence):
        raise UsageError(f"batches {batches!r} is not a list of numbers", hint="give [1, 8, 32]")
    if not batches:
        return (batch_range(batch, 1),)
    if batch is not None:
        raise UsageError("batch and batches cannot be combined", hint="leave one of them out")
    if wrong := [each for each in batches if isinstance(each, bool) or not isinstance(each, int)]:
        raise UsageError(f"batches {wrong[0]!r} is not a number of images", hint="give [1, 8, 32]")
    return tuple(dict.fromkeys(batch_range(each, 1) for each in batches))


def targets_of(target: Targets, gpu_table: str | PathLike[str] | None) -> tuple[tuple[Target, ...], Gpu | None]:
    """What is compiled for, and the first of them where it is a GPU by name, whose roofline bounds plans.

    None is the GPU that is here, else sm_89. Raises UnknownName, UsageError.
    """
    given: Sequence[TargetName] = (target,) if isinstance(target, str | Target | Gpu) else tuple(_several(target))
    if not given:
        if gpu_table is not None:
            raise UsageError("a GPU table describes the GPU that the target names", hint="give a target, too")
        from deploykit.backends.device import find_gpu

        here = find_gpu()
        return (here.capability if here else DEFAULT_TARGET,), None
    table = None if gpu_table is None else Path(gpu_table)
    found = [(each.target, each) if isinstance(each, Gpu) else gpu_for(str(each), table) for each in given]
    return tuple(dict.fromkeys(capability for capability, _ in found)), found[0][1]


def _several(target: Sequence[TargetName] | None) -> Sequence[TargetName]:
    if target is not None and not isinstance(target, list | tuple):
        raise UsageError(f"target {target!r} is not a compute capability", hint='write "sm_89" or "rtx4090"')
    return target or ()


def data_source(data: Data) -> DataSource:
    """A place, or generated noise; a folder of that name is written ./noise."""
    if data is None or isinstance(data, Synthetic):
        return data
    if not isinstance(data, str | PathLike):
        raise UsageError(f"data is a {type(data).__name__}, not a path", hint="give a folder, an .npz file or noise")
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
    return backend_of(backend).compiles


def fusions_of(fusions: str | Fusions) -> Fusions:
    """Raises UnknownName, UsageError."""
    return fusions if isinstance(fusions, Fusions) else Fusions.parse(_text(fusions, "fusions", "safe"))


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
        policy=policy
        if isinstance(policy, QuantizationPolicy)
        else QuantizationPolicy.parse(_text(policy, "policy", "all")),
        repair=repair if isinstance(repair, Repair) else Repair.parse(_text(repair, "repair", "bias")),
        fusions=fusions_of(fusions),
        options=options or BuilderOptions(),
    )


def calibration_of(calibration: Calibration | str | PathLike[str] | None) -> Calibration:
    """How INT8 gets its ranges; a path is that of a table."""
    if calibration is None or isinstance(calibration, Calibration):
        return calibration or Calibration()
    if not isinstance(calibration, str | PathLike):
        kind = type(calibration).__name__
        raise UsageError(f"calibration is a {kind}", hint="give what calibrate returned, a path, or a Calibration")
    return Calibration(table=Path(calibration))


def precision_of(precision: str | Precision) -> Precision:
    """Raises UnknownName; UsageError for what is not text."""
    return Precision.parse(_text(precision, "precision", "fp16"))


def backend_of(name: str, *, strict: bool = False) -> Backend:
    """Raises UnknownName; UsageError for what is not text."""
    from deploykit.backends import get_backend

    return get_backend(_text(name, "backend", "trt-rtx"), strict=strict)


def require_read(spec: BuildSpec, precisions: Collection[Precision]) -> None:
    """Raises UsageError for what none of `precisions` reads: nothing that is asked for is passed over in silence."""
    policy, int8 = spec.policy, Precision.INT8 in precisions
    half = Precision.FP16 in precisions or (int8 and (policy.rest is Precision.FP16 or policy.auto))
    if spec.keep_fp32 and not half:
        raise UsageError("keep_fp32 requires fp16, or int8 with the policy rest=fp16", hint="leave it out")
    if policy.exclude and not int8:
        raise UsageError("excluded layers require int8", hint="leave them out; keep_fp32 names what fp16 excludes")


def require_rows_read(spec: BuildSpec, precisions: Collection[Precision]) -> None:
    """Raises UsageError for options that no row of a table reads."""
    require_read(spec, precisions)
    for names, precision, _ in _unread(spec, precisions):
        verb = "require" if "," in names else "requires"
        raise UsageError(f"{names} {verb} {precision}", hint=f"add {precision} to the precisions, or leave it out")


def warn_unread(spec: BuildSpec, precisions: Collection[Precision]) -> None:
    """Warn of options that an engine at `precisions` does not read (UnreadOption)."""
    for names, _, why in _unread(spec, precisions):
        verb = "have" if "," in names else "has"
        warn(f"{names} {verb} no effect: {why} at {spec.precision}", UnreadOption)
    if spec.data is not None and set(precisions) == {Precision.FP32}:
        warn(f"data has no effect: no input data is used at {spec.precision}", UnreadOption)


def _unread(spec: BuildSpec, precisions: Collection[Precision]) -> Iterator[tuple[str, str, str]]:
    """The options, the precision that reads them, and why none of `precisions` does."""
    unasked = BuildSpec(model=spec.model)
    if Precision.INT8 not in precisions:
        names = ("calibration", "policy", "repair")
        if given := [name for name in names if getattr(spec, name) != getattr(unasked, name)]:
            yield ", ".join(given), "int8", "nothing is quantized"
    if not spec.keep_io and Precision.FP16 not in precisions:
        yield "keep_io", "fp16", "inputs and outputs stay float32"


def _text(value: object, what: str, such_as: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{what} {value!r} is not text", hint=f'write "{such_as}"')
    return value


def _listed(several: str | Iterable[str], what: str) -> list[str]:
    if not isinstance(several, Iterable):
        raise UsageError(f"{what} {several!r} is not a list of names", hint="give one or more names")
    parts = several.split(",") if isinstance(several, str) else list(several)
    found = [str(part).strip() for part in parts if str(part).strip()]
    if not found:
        raise UsageError(f"no {what} are given", hint="give one or more names")
    return found
