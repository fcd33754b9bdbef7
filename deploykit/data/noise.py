"""Seeded numbers for inputs that nothing else is there for.

Real inputs get noise; bytes are drawn from 0 to 255; whole numbers and booleans are drawn from the range that somebody
stated, for what a number means there (a word, a class, a length) only its maker knows.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deploykit.errors import UsageError
from deploykit.spec import InputRange, TensorSpec
from deploykit.spec.arrays import Array
from deploykit.zoo.initialize import calibration_noise

Feed = Mapping[str, Array]

REAL = ("float16", "float32", "float64")
BYTE, WHITE = "uint8", 256
SPREAD = 64.0  # of the bytes that noise becomes, around gray


def can_draw(spec: TensorSpec, ranges: Sequence[InputRange] = ()) -> bool:
    """Whether test data can be generated for this input."""
    return spec.dtype in (*REAL, BYTE) or _range_of(spec, ranges) is not None


def noise_feeds(
    inputs: Sequence[TensorSpec], *, count: int, batch: int, seed: int, ranges: Sequence[InputRange] = ()
) -> Iterator[Feed]:
    """`count` runs: 1/f noise for what is shaped like images (batch, channels, height, width), else standard normal.

    Inputs with a range are drawn from it evenly. Raises UsageError for one that needs a range and has none.
    """
    streams = [
        _stream(spec, (rows(spec, batch), *spec.at_batch(batch)[1:]), count, _seed(seed, position), ranges)
        for position, spec in enumerate(inputs)
    ]
    for arrays in zip(*streams, strict=True):
        yield {spec.name: array.astype(spec.dtype, copy=False) for spec, array in zip(inputs, arrays, strict=True)}


def white_noise(
    inputs: Sequence[TensorSpec], *, count: int, run: int, seed: int, ranges: Sequence[InputRange] = ()
) -> Feed:
    """Standard normal numbers for `count` images, in runs of `run`; inputs that are not real as in `noise_feeds`."""
    random = np.random.default_rng(seed)
    found = {}
    for spec in inputs:
        shape = (count // run * rows(spec, run), *spec.at_batch(run)[1:])
        drawn = _drawn(spec, shape, random, ranges)
        found[spec.name] = random.standard_normal(shape).astype(np.float32) if drawn is None else drawn
    return {spec.name: found[spec.name].astype(spec.dtype) for spec in inputs}


def rows(spec: TensorSpec, batch: int) -> int:
    """How many rows of axis 0 a run of `batch` images takes."""
    return spec.at_batch(batch)[0]


def _seed(seed: int, position: int) -> int:
    """The seed of an input's own stream; that of the first input is `seed` itself."""
    return int(np.random.SeedSequence([seed, position]).generate_state(1)[0]) if position else seed


def _range_of(spec: TensorSpec, ranges: Sequence[InputRange]) -> InputRange | None:
    return next((span for span in ranges if span.name == spec.name), None)


def _stream(
    spec: TensorSpec, shape: tuple[int, ...], count: int, seed: int, ranges: Sequence[InputRange]
) -> Iterator[Array]:
    stated = _range_of(spec, ranges) is not None
    if len(shape) == 4 and not stated and spec.dtype in (*REAL, BYTE):
        images = calibration_noise(TensorSpec(spec.name, shape, spec.dtype), batches=count, batch=shape[0], seed=seed)
        for image in images:
            yield np.clip(np.rint(image * SPREAD + WHITE / 2), 0, WHITE - 1) if spec.dtype == BYTE else image
        return
    random = np.random.default_rng(seed)
    for _ in range(count):
        drawn = _drawn(spec, shape, random, ranges)
        yield random.standard_normal(shape).astype(np.float32) if drawn is None else drawn


def _drawn(
    spec: TensorSpec, shape: tuple[int, ...], random: np.random.Generator, ranges: Sequence[InputRange]
) -> Array | None:
    """Even numbers of the input's range; None for real inputs without one."""
    span = _range_of(spec, ranges)
    if span is None and spec.dtype in REAL:
        return None
    if spec.dtype == "bool" and span is not None:
        return random.integers(0, 2, shape).astype(bool)
    if span is None and spec.dtype == BYTE:
        return random.integers(0, WHITE, shape)
    if span is None:
        raise UsageError(
            f"the range of values of input {spec} is unknown", hint=f"give it: --input-range {spec.name}=low:high"
        )
    if spec.dtype in REAL and span.kind == "real":
        return random.uniform(span.low, span.high, shape)
    return random.integers(int(span.low), int(span.high), shape)
