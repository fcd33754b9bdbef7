"""From options to a request: one decorator gives a command its options, and hands it one `BuildSpec` for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.cli import options as of
from deploykit.cli.given import given, refuse, require
from deploykit.cli.types import SEEDED, TORCHVISION
from deploykit.errors import UsageError
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
    QuantizationPolicy,
    Repair,
    Target,
    parse_factory_args,
)

if TYPE_CHECKING:
    from deploykit.plan.gpus import Gpu

Command = Callable[..., Any]
Decorate = Callable[[Command], Command]
DEFAULT_TARGET = Target(8, 9)


@dataclass(frozen=True, slots=True)
class Group:
    """Options, and how their values, by name, become part of a request."""

    options: Sequence[Decorate]
    read: Callable[..., BuildSpec]

    @property
    def names(self) -> list[str]:
        """The parameters of `read` after the request."""
        return list(signature(self.read).parameters)[1:]


def build_spec(*groups: Group) -> Decorate:
    """Options of MODEL, its fusions, its targets and `groups`; the command gets them as `spec`.

    It also gets `gpu`, the first target where that is a GPU by name: its roofline is the cost of plans.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_spec(
            fusions: Fusions, targets: tuple[str, ...], gpu_table: Path | None, model: ModelSpec, **others: Any
        ) -> Any:
            compiled_for, gpu = read_targets(targets, gpu_table)
            spec = BuildSpec(model=model, fusions=fusions, targets=compiled_for)
            for group in groups:
                spec = group.read(spec, **{name: others.pop(name) for name in group.names})
            return command(spec=spec, gpu=gpu, **others)

        of_groups = [option for group in groups for option in group.options]
        return model_options(_decorated(with_spec, (*of.FUSE_OPTIONS, *of_groups, *of.TARGET_OPTIONS)))

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
        spec = ModelSpec(
            name=model,
            image_size=image_size,
            width_mult=width_mult,
            weights=Path(weights) if weights and weights != SEEDED else None,
            weights_key=weights_key,
            seeded=weights == SEEDED,
            num_classes=num_classes,
            in_channels=in_channels,
            seed=seed,
            input_shape=input_shapes,
            factory_args=parse_factory_args(factory_args) if factory_args else (),
            init_from=init_from,
            preprocess=preprocess,
            input_ranges=input_ranges,
        )
        return command(model=_found(spec), **others)

    return _decorated(with_model, of.MODEL_OPTIONS)


def _found(spec: ModelSpec) -> ModelSpec:
    """`spec` with torchvision's checkpoint where that is asked for. Raises UsageError for a file that is not there."""
    if spec.is_onnx and not Path(spec.name).is_file():
        from deploykit.zoo.misnamed import missing_file
        from deploykit.zoo.registry import cards

        raise missing_file(spec.name, cards())
    if spec.weights is None or str(spec.weights) != TORCHVISION:
        return spec
    from deploykit.weights import published_checkpoint

    if spec.is_factory:
        raise UsageError(f"torchvision has no weights of {spec.name}", hint="give --weights FILE")
    return replace(spec, weights=published_checkpoint(spec.init_from or spec.name), published=True)


def read_targets(targets: Sequence[str], gpu_table: Path | None) -> tuple[tuple[Target, ...], Gpu | None]:
    """What is compiled for, and the first of it where it is a GPU by name. Without any: the GPU here, or sm_89."""
    if not targets:
        require({"gpu_table"}, "--target", hint="add --target NAME with a GPU of the table")
        from deploykit.backends.device import find_gpu

        here = find_gpu()
        return (here.capability if here else DEFAULT_TARGET,), None
    from deploykit.plan.gpus import gpu_for

    found = [gpu_for(text, gpu_table) for text in targets]
    return tuple(dict.fromkeys(target for target, _ in found)), found[0][1]


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
        refuse(images, "cannot be combined with --table", hint="the table has its ranges: leave it out")
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


def _decorated(command: Command, options: Sequence[Decorate]) -> Command:
    """`command` with the options in this order."""
    for decorate in reversed(options):
        command = decorate(command)
    return command


def with_options(*options: Decorate) -> Decorate:
    """Options that a command gets one by one, in this order."""
    return lambda command: _decorated(command, options)
