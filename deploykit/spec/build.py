"""One engine: rewrites, builder options, and all of it together."""

# ruff: noqa: RUF009 - the defaults are frozen values
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from deploykit.errors import UnknownName, UsageError
from deploykit.spec.int8 import Calibration, QuantizationPolicy, Repair
from deploykit.spec.network import ModelSpec
from deploykit.spec.types import BatchRange, Precision, Target

# The rewrites of deploykit/graph, in the order they run. The first group is never worse where it applies; the second
# trades bytes, kernels and multiply-accumulates, so it takes part in a cost-based search or is asked for by name.
SAFE_FUSIONS = (
    "remove_no_ops",
    "fold_pad",
    "split_batchnorm",
    "fold_batchnorm",
    "fold_scale",
    "fold_affine_forward",
)
COST_BASED_FUSIONS = (
    "compose_convolutions",
    "merge_depthwise_pointwise",
    "exchange_pool",
    "merge_siblings",
    "dilate_pointwise",
)


@dataclass(frozen=True, slots=True)
class Fusions:
    """Which rewrites a graph gets: `names` in the order they run, all sites of each but those in `without`.

    A site is written `fusion@node`. `auto` stands for a choice that the cost-based search has yet to make.
    """

    names: tuple[str, ...] = SAFE_FUSIONS
    without: tuple[str, ...] = ()
    auto: bool = False

    @classmethod
    def parse(cls, text: str) -> "Fusions":
        """`none` (not even BatchNorm), `safe`, `auto`, or names with commas between, `safe` among them."""
        parts = [part.strip() for part in text.split(",") if part.strip()]
        alone = {"none": cls(()), "auto": cls((*SAFE_FUSIONS, *COST_BASED_FUSIONS), auto=True)}
        if len(parts) == 1 and parts[0] in alone:
            return alone[parts[0]]
        wanted = {name for part in parts for name in (SAFE_FUSIONS if part == "safe" else (part,))}
        known = (*SAFE_FUSIONS, *COST_BASED_FUSIONS)
        for name in parts:
            if name != "safe" and name not in known:
                raise UnknownName("fusion", name, ("none", "safe", "auto", *known))
        if not wanted:
            raise UsageError(
                f"fusions (--fuse) {text!r} names no fusion", hint="write none, safe, auto or names of fusions"
            )
        return cls(tuple(name for name in known if name in wanted))

    def require_decided(self) -> None:
        """Raises UsageError for `auto`: which fusions are beneficial has to be decided before a graph gets them."""
        if self.auto:
            raise UsageError("fusions (--fuse) auto is not decided yet", hint="name the fusions, or give safe")

    def sites_without(self, name: str) -> frozenset[str]:
        """The nodes at which the fusion `name` is left out."""
        prefix = f"{name}@"
        return frozenset(site.removeprefix(prefix) for site in self.without if site.startswith(prefix))

    def __str__(self) -> str:
        if self.auto:
            return "auto"
        named = "safe" if self.names == SAFE_FUSIONS else ",".join(self.names) or "none"
        return f"{named} without {', '.join(self.without)}" if self.without else named


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderOptions:
    """What TensorRT's builder is told beyond the graph; None leaves a setting to TensorRT.

    `max_aux_streams` (0 to 7) lets branches run beside each other on so many further streams; 0 is deploykit's default
    (docs/decisions/builder-options.md): streams cost memory, and whether they save time only a GPU can tell.
    `optimization_level` (0 to 5) is how long kernels are searched for. `workspace_bytes` limits the builder's scratch
    memory; an engine that needs more fails to build.
    """

    max_aux_streams: int | None = 0
    optimization_level: int | None = None
    workspace_bytes: int | None = None

    def __post_init__(self) -> None:
        limits = {"max_aux_streams": (0, 7), "optimization_level": (0, 5), "workspace_bytes": (1, 2**40)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} is {value}", hint=f"give a whole number from {low} to {high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What a backend is told beside its source, which knows its precision.

    That is the batch and the GPUs that an engine is for, whether FP32 products may be rounded to TF32, and the
    builder's options.
    """

    batch: BatchRange = BatchRange()
    targets: tuple[Target, ...] = (Target(8, 9),)
    tf32: bool = False
    options: BuilderOptions = BuilderOptions()


class Synthetic(StrEnum):
    """Data that is made up."""

    NOISE = "noise"


DataSource = Path | Synthetic | None


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """One engine: a network, the precision of its typed graph, and what the compiler may assume.

    `keep_io` leaves the graph's inputs and outputs in float32 whatever the precision inside, and `keep_fp32` names what
    else stays float32: nodes, modules, globs of either, or `op=TYPE`. `tf32` lets FP32
    matrix products round their operands to TF32, TensorRT's default; deploykit's is off, so that FP32 means FP32.
    `data` is where calibration images are (None: the demo images), or noise where that is asked for.
    """

    model: ModelSpec
    precision: Precision = Precision.FP32
    batch: BatchRange = BatchRange()
    targets: tuple[Target, ...] = (Target(8, 9),)
    keep_io: bool = True
    keep_fp32: tuple[str, ...] = ()
    tf32: bool = False
    data: DataSource = None
    calibration: Calibration = Calibration()
    policy: QuantizationPolicy = QuantizationPolicy()
    repair: Repair = Repair()
    fusions: Fusions = Fusions()
    options: BuilderOptions = BuilderOptions()

    @property
    def engine_settings(self) -> EngineSettings:
        """What of it concerns the compiler."""
        return EngineSettings(batch=self.batch, targets=self.targets, tf32=self.tf32, options=self.options)

    def with_precision(self, precision: Precision) -> "BuildSpec":
        """The same engine at another precision."""
        return replace(self, precision=precision)
