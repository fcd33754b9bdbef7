"""What typing and repair say of a graph: values without a framework, so that the store can give them back."""

from dataclasses import dataclass

from deploykit.spec.reports import SkippedNode


@dataclass(frozen=True, slots=True)
class Clamped:
    """A constant `value` beyond float16's range: `exact` at first, `stored` now, and why that changes nothing.

    `stored` is text, for JSON has no infinity.
    """

    value: str
    node: str
    exact: float
    stored: str
    why: str


@dataclass(frozen=True, slots=True)
class Float16Report:
    """Constants rounded: `flushed` elements became zero, `subnormal` ones lie below 2**-14 and lose bits.

    `kept` names the constants that stay float32 because their operator defines them so. Of the nodes that compute in
    floating point `half_nodes` do in float16; the rest stays float32, and `float32` has each with its reason. `clamped`
    lists the constants beyond 65504 that could be stored as another number without effect.
    """

    tensors: int
    elements: int
    flushed: int
    subnormal: int
    kept: tuple[str, ...]
    half_nodes: int = 0
    float32: tuple[SkippedNode, ...] = ()
    clamped: tuple[Clamped, ...] = ()


@dataclass(frozen=True, slots=True)
class Int8Report:
    """`quantized` names the weighted nodes that read int8, `excluded` those that stay in float, with the reason.

    `pairs` counts activations behind a Q/DQ pair; weights and biases are stored as integers behind a DQ alone. `floats`
    are activations that have no pair for what they hold: parts of unlike size. `rest` is what became of the rest where
    that is float16.
    """

    placement: str
    quantized: tuple[str, ...]
    excluded: tuple[SkippedNode, ...]
    pairs: int
    floats: tuple[SkippedNode, ...] = ()
    rest: Float16Report | None = None


@dataclass(frozen=True, slots=True)
class CorrectionReport:
    """`corrected` names layers; `largest` is the largest shift of a channel, in its own units.

    `kept` is False where the graph's outputs were further from the float graph's afterwards: nothing was changed then.
    `error_before` and `error_after` are the mean squared errors of all outputs over the calibration images.
    """

    corrected: tuple[str, ...]
    skipped: tuple[SkippedNode, ...]
    largest: float
    kept: bool
    error_before: float
    error_after: float


@dataclass(frozen=True, slots=True)
class EqualizationReport:
    """`pairs` are the layers between which channels were evened out, `largest_factor` the largest ratio of two."""

    pairs: tuple[str, ...]
    skipped: tuple[SkippedNode, ...]
    largest_factor: float
