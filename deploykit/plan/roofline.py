"""A lower bound on the time of a plan: no kernel beats the arithmetic peak, none beats the memory bus.

For each kernel (Williams, Waterman, Patterson, "Roofline", CACM 2009), in microseconds:

    compute = 2 * MACs / peak(type it reads)      memory = bytes / bandwidth      bound = max(compute, memory)

Kernels run one after the other, so the bounds add up. It is a bound and no prediction: kernels reach some share of
either, launches cost time, and pointwise arithmetic is left out. Two things can undercut it: a cache that keeps a
tensor from one kernel to the next, which then never crosses the bus, and branches that run beside each other on further
streams. It compares plans of one network on one GPU; it is never to be printed as a time that anything takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deploykit.codec import json_name, shown
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan, PlanLayer

COMPUTE, MEMORY = "compute", "memory"
ASSUMES = "a roofline: every tensor crosses the memory bus, kernels follow each other, nothing was measured"


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One kernel's bound. `compute_us` is None where the GPU's table has no peak for the type that it reads."""

    JSON_PROPERTIES = shown("us", "binds", "intensity")

    name: str
    kind: str
    reads: str
    macs: int
    bytes_moved: int
    compute_us: float | None
    memory_us: float

    @property
    def us(self) -> float:
        """The lower bound, microseconds."""
        return max(self.compute_us or 0.0, self.memory_us)

    @property
    def binds(self) -> str:
        """What the bound comes from, `compute` or `memory`."""
        return COMPUTE if (self.compute_us or 0.0) > self.memory_us else MEMORY

    @property
    def intensity(self) -> float:
        """FLOP per byte moved; 0 for a kernel that moves nothing."""
        return 2 * self.macs / self.bytes_moved if self.bytes_moved else 0.0


@dataclass(frozen=True, slots=True)
class Roofline:
    """The bounds of a plan's kernels on one GPU, in the order of execution.

    `has_macs` is False when the plan was never told its MACs: its times then come from bytes alone. `ridges` is, per
    type that a product of this plan reads, the intensity (FLOP/byte) from which on compute binds.
    """

    JSON_PROPERTIES = shown(
        "assumes", "memory_bound_us", "binds", lower_bound_us="total_us", without_peak="without_peak_names"
    )

    gpu: Gpu
    tf32: bool
    batch: int
    layers: tuple[LayerTime, ...]
    has_macs: bool
    ridges: Mapping[str, float] = field(metadata=json_name("ridges_flop_per_byte"))

    @property
    def total_us(self) -> float:
        """The lower bound for one batch, microseconds."""
        return sum(layer.us for layer in self.layers)

    @property
    def memory_bound_us(self) -> float:
        """The part of `total_us` in kernels that memory binds."""
        return sum(layer.us for layer in self.layers if layer.binds == MEMORY)

    @property
    def memory_share(self) -> float:
        """`memory_bound_us` over `total_us`, 0 to 1."""
        return self.memory_bound_us / self.total_us if self.total_us else 0.0

    @property
    def binds(self) -> str:
        """What binds most of the time."""
        return MEMORY if self.memory_share >= 0.5 else COMPUTE

    @property
    def without_peak(self) -> tuple[LayerTime, ...]:
        """Products in a type that the GPU's table has no peak for: memory alone bounds them here."""
        return tuple(layer for layer in self.layers if layer.macs and layer.compute_us is None)

    @property
    def without_peak_names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.without_peak)

    @property
    def assumes(self) -> str:
        """What the bound takes for granted."""
        return ASSUMES


def roofline(plan: EnginePlan, gpu: Gpu, *, tf32: bool = False) -> Roofline:
    """The lower bound of every kernel of `plan` on `gpu`; `tf32` lets Float products take the TF32 peak."""
    layers = tuple(_bound(layer, plan.batch, gpu, tf32) for layer in plan.kernels)
    peaks = {layer.reads: gpu.peak(layer.reads, tf32=tf32) for layer in layers if layer.macs}
    return Roofline(
        gpu=gpu,
        tf32=tf32,
        batch=plan.batch,
        layers=layers,
        has_macs=plan.macs > 0 or not plan.weighted,
        ridges={dtype: 1e3 * peak / gpu.bandwidth_gbs for dtype, peak in sorted(peaks.items()) if peak is not None},
    )


def _bound(layer: PlanLayer, batch: int, gpu: Gpu, tf32: bool) -> LayerTime:
    peak = gpu.peak(layer.reads, tf32=tf32)
    moved = layer.bytes_moved(batch)
    return LayerTime(
        name=layer.name,
        kind=layer.kind,
        reads=layer.reads,
        macs=layer.macs,
        bytes_moved=moved,
        compute_us=0.0 if not layer.macs else None if peak is None else 2 * layer.macs / (peak * 1e6),
        memory_us=moved / (gpu.bandwidth_gbs * 1e3),
    )
