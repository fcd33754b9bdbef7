"""From options to a request: one decorator gives a command its options, and hands it one `BuildSpec` for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from deploykit.cli import options as of
from deploykit.cli.given import given, refuse, require
from deploykit.cli.progress import StageProgress
from deploykit.spec import (
    BatchRange,
    BuilderOptions,
    BuildSpec,
    Calibration,
    DataSource,
    Fusions,
    InputRange,
    InputShape,
    ModelSpec,
    Precision,
    PreprocessRequest,
    Progress,
    QuantizationPolicy,
    Repair,
    Target,
    parse_factory_args,
)

if TYPE_CHECKING:
    from deploykit.api import Gpu

Command = Callable[..., Any]
Decorate = Callable[[Command], Command]


@dataclass(frozen=True, slots=True)
class Group:
    """Options, and how their values, by name, become part of a request."""

    options: Sequence[Decorate]
    read: Callable[..., BuildSpec]

    @property
    def names(self) -> list[str]:
        """The parameters of `read` after the request."""
        return list(signature(self.read).parameters)[1:]


def build_spec(*groups: Group, search: bool = True) -> Decorate:
    """Options of MODEL, its fusions, its targets and `groups`; the command gets them as `spec`.

    Where it cannot `search` for the fusions of least cost, its help has no auto. It also gets `gpu`, the first target
    where that is a GPU by name: its roofline is the cost of plans.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_spec(
            fusions: Fusions, targets: tuple[str, ...], gpu_table: Path | None, model: ModelSpec, **others: Any
        ) -> Any:
            from deploykit.api.choices import targets_of

            if not targets:
                require({"gpu_table"}, "--target", hint="add --target NAME with a GPU of the table")
            compiled_for, gpu = targets_of(targets, gpu_table)
            spec = BuildSpec(model=model, fusions=fusions, targets=compiled_for)
            for group in groups:
                spec = group.read(spec, **{name: others.pop(name) for name in group.names})
            return command(spec=spec, gpu=gpu, **others)

        of_groups = [option for group in groups for option in group.options]
        fuse = of.FUSE_OPTIONS if search else of.FIXED_FUSE_OPTIONS
        return model_options(_decorated(with_spec, (*fuse, *of_groups, *of.TARGET_OPTIONS)))

    return decorate


def model_options(command: Command) -> Command:
    """MODEL and what changes it; `command` gets all of it as one `ModelSpec` named `model`."""

    @wraps(command)
    def with_model(
        model: str,
        weights: str | None,
        weights_key: str | None,
        num_classes: int | None,
        in_channels: int | None,
        init_from: str | None,
        image_size: int | None,
        width_mult: float | None,
        input_shapes: tuple[InputShape, ...],
        input_ranges: tuple[InputRange, ...],
        preprocess: PreprocessRequest | None,
        factory_args: str | None,
        seed: int,
        **others: Any,
    ) -> Any:
        from deploykit.api.models import from_name

        network = from_name(
            model,
            weights=weights,
            weights_key=weights_key,
            num_classes=num_classes,
            in_channels=in_channels,
            init_from=init_from,
            image_size=image_size,
            width_mult=width_mult,
            input_shape=input_shapes,
            input_range=input_ranges,
            preprocess=preprocess,
            factory_args=dict(parse_factory_args(factory_args)) if factory_args else None,
            seed=seed,
        )
        return command(model=network.spec, **others)

    return _decorated(with_model, of.MODEL_OPTIONS)


def _read_precision(spec: BuildSpec, *, precision: Precision) -> BuildSpec:
    return spec.with_precision(precision)


def _read_batch(spec: BuildSpec, *, batch: str) -> BuildSpec:
    """One that nobody asked for gives way to the network's."""
    return replace(spec, batch=replace(BatchRange.parse(batch), asked=bool(given({"batch"}))))


def _read_types(spec: BuildSpec, *, keep_io: bool, keep_fp32: tuple[str, ...]) -> BuildSpec:
    return replace(spec, keep_io=keep_io, keep_fp32=keep_fp32)


def _read_tf32(spec: BuildSpec, *, tf32: bool) -> BuildSpec:
    return replace(spec, tf32=tf32)


def _read_builder(
    spec: BuildSpec, *, max_aux_streams: int | None, optimization_level: int | None, workspace_mb: int | None
) -> BuildSpec:
    options = BuilderOptions(
        max_aux_streams=max_aux_streams,
        optimization_level=optimization_level,
        workspace_bytes=None if workspace_mb is None else workspace_mb * 10**6,
    )
    return replace(spec, options=options)


def _read_data(spec: BuildSpec, *, data: DataSource) -> BuildSpec:
    return replace(spec, data=data)


def _read_table(
    spec: BuildSpec, *, table: Path | None, calibration_images: int, calibration_method: str, percentile: float
) -> BuildSpec:
    if table is not None:
        images = ("calibration_images", "calibration_method", "percentile")
        idle = " and ".join(given(images).rsplit(", ", 1))
        refuse(images, "cannot be combined with --table", hint=f"the table already holds the ranges: leave out {idle}")
    require_percentile(calibration_method, option="--calibration-method")
    calibration = Calibration(images=calibration_images, method=calibration_method, percentile=percentile, table=table)
    return replace(spec, calibration=calibration)


def require_percentile(method: str, *, option: str) -> None:
    """Raises UsageError for a percentile that the method `option` does not read."""
    if method != "percentile":
        require({"percentile"}, f"{option} percentile")


def _read_repair(spec: BuildSpec, *, int8_repair: Repair) -> BuildSpec:
    return replace(spec, repair=int8_repair)


def _read_layers(spec: BuildSpec, *, int8_policy: str, int8_exclude: tuple[str, ...]) -> BuildSpec:
    return replace(spec, policy=QuantizationPolicy.parse(int8_policy, exclude=int8_exclude))


def precision_group(option: Decorate) -> Group:
    """`--precision` of one engine, by the command's own `option`."""
    return Group((option,), _read_precision)


def batch_group(option: Decorate) -> Group:
    """`--batch`, by the command's own `option`."""
    return Group((option,), _read_batch)


BATCH = Group(of.BATCH_OPTIONS, _read_batch)
TYPES = Group(of.TYPE_OPTIONS, _read_types)
TF32 = Group(of.TF32_OPTIONS, _read_tf32)
BUILDER = Group(of.BUILDER_OPTIONS, _read_builder)
DATA = Group(of.DATA_OPTIONS, _read_data)
TABLE = Group(of.TABLE_OPTIONS, _read_table)
REPAIR = Group(of.REPAIR_OPTIONS, _read_repair)
LAYERS = Group(of.LAYER_OPTIONS, _read_layers)
ENGINE = (TYPES, BUILDER, DATA, TABLE, REPAIR, LAYERS)  # what an engine is made with, whatever its batch


class EngineKeywords(TypedDict):
    """What an engine is made with, by the names that the API has for it."""

    batch: BatchRange | None
    target: tuple[Target | Gpu, ...]
    calibration: Calibration
    policy: QuantizationPolicy
    repair: Repair
    fusions: Fusions
    keep_io: bool
    keep_fp32: tuple[str, ...]
    options: BuilderOptions
    store: Path | None
    progress: Progress


def keywords(spec: BuildSpec, gpu: Gpu | None, store: Path | None) -> EngineKeywords:
    """A request as keyword arguments; network, precision, `tf32` and images are left to the command."""
    return {
        "batch": spec.batch,
        "target": (gpu, *spec.targets) if gpu else spec.targets,
        "calibration": spec.calibration,
        "policy": spec.policy,
        "repair": spec.repair,
        "fusions": spec.fusions,
        "keep_io": spec.keep_io,
        "keep_fp32": spec.keep_fp32,
        "options": spec.options,
        "store": store,
        "progress": StageProgress(),
    }


def _decorated(command: Command, options: Sequence[Decorate]) -> Command:
    """`command` with the options in this order."""
    for decorate in reversed(options):
        command = decorate(command)
    return command


def with_options(*options: Decorate) -> Decorate:
    """Options that a command gets one by one, in this order."""
    return lambda command: _decorated(command, options)
