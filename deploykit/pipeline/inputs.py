"""What a network is shown: photographs, cut and normalised as its card says, or seeded noise where those do not fit.

Either is a stream of feeds, one array for each input of the network. Along axis 0 lie the images of a batch; an input
without a batch in it (a fixed first dimension beside free ones) is drawn anew for each run, whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deploykit.backends.protocol import Feed
from deploykit.cachekey import cache_key
from deploykit.errors import UnsupportedGraph, UsageError
from deploykit.host import library_versions
from deploykit.images import ImageSet, open_images
from deploykit.loader import read_npz
from deploykit.photographs import Role, array_digest, split_roles
from deploykit.pipeline.values import Exported
from deploykit.spec import BuildSpec, Preprocessing, TensorSpec
from deploykit.zoo import registry
from deploykit.zoo.initialise import calibration_noise

Array = np.ndarray[Any, Any]

FED = ("float16", "float32", "float64")  # element types whose values noise and photographs may stand for
NOISE, SYNTHETIC = "seeded noise", "calibrated on noise: speed only"
PREPARED = "arrays, prepared by whoever made them"
GROUP = 8  # images at a time where only outputs count
FEWEST = 2  # photographs that a calibration is made of
NOISE_SEEDS = {"calibration": 0x0CA1, "test": 0x7E57}  # added to the seed, so that the two never show the same


class Inputs(Protocol):
    """Seeded inputs of one network, as many as its length says."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what the inputs are made of."""
        ...

    @property
    def source(self) -> str:
        """What they are, for a table's header."""
        ...

    @property
    def preparation(self) -> str:
        """How they were made, for a calibration table."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a calibration on them puts on record."""
        ...

    @property
    def skipped(self) -> tuple[str, ...]:
        """Images that were passed over, and why."""
        ...

    @property
    def identities(self) -> tuple[str, ...]:
        """A digest of each image that has a content of its own, so that another set can leave it out."""
        ...

    @property
    def run(self) -> int:
        """How many images go together at the least: 1 where the batch is free."""
        ...

    def __len__(self) -> int:
        """Images in all, a multiple of `run`."""
        ...

    def feeds(self) -> Iterator[Feed]:
        """All of them, one run of `run` images after the other."""
        ...


@dataclass(frozen=True)
class Photographs:
    """For a network that takes one square image of one or three channels."""

    images: ImageSet
    input: TensorSpec
    run: int

    @property
    def digest(self) -> str:
        return self.images.digest

    @property
    def source(self) -> str:
        return "crops of the demo photographs" if self.images.crops_only else "crops of the given images"

    @property
    def preparation(self) -> str:
        return str(self.images.preprocessing)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"photographs": [photograph.name for photograph in self.images.used], "skipped": list(self.skipped)}

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(map(str, self.images.skipped))

    @property
    def identities(self) -> tuple[str, ...]:
        return tuple(photograph.digest for photograph in self.images.used)

    def __len__(self) -> int:
        return len(self.images)

    def feeds(self) -> Iterator[Feed]:
        for images in self.images.batches(self.run):
            yield {self.input.name: images.astype(self.input.dtype, copy=False)}


@dataclass(frozen=True)
class Arrays:
    """Images out of an archive that are prepared already: each goes in as it is, and there are no more than that."""

    path: Path
    array: Array = field(repr=False)
    input: TensorSpec
    run: int
    rows: tuple[int, ...] = field(repr=False)
    identities: tuple[str, ...] = field(repr=False)
    skipped: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return cache_key({"arrays": self.identities, "run": self.run})

    @property
    def source(self) -> str:
        return f"arrays of {self.path.name} as they are"

    @property
    def preparation(self) -> str:
        return PREPARED

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"photographs": [f"{self.path.name}[{row}]" for row in self.rows], "skipped": []}

    def __len__(self) -> int:
        return len(self.rows)

    def feeds(self) -> Iterator[Feed]:
        for start in range(0, len(self.rows), self.run):
            chosen = list(self.rows[start : start + self.run])
            yield {self.input.name: self.array[chosen].astype(self.input.dtype, copy=False)}


@dataclass(frozen=True)
class Noise:
    """For every other network whose inputs are all real numbers. What it says of accuracy is little."""

    inputs: tuple[TensorSpec, ...]
    count: int
    seed: int
    run: int
    skipped: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        drawn = {"inputs": self.inputs, "count": self.count, "seed": self.seed, "run": self.run}
        return cache_key({"noise": drawn, "libraries": library_versions(["numpy"])})

    @property
    def source(self) -> str:
        return f"seeded noise: the network takes {', '.join(map(describe, self.inputs))}"

    @property
    def preparation(self) -> str:
        return f"{NOISE}, seed {self.seed}"

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"photographs": [], "skipped": [], "note": SYNTHETIC}

    def __len__(self) -> int:
        return self.count

    def feeds(self) -> Iterator[Feed]:
        return noise_feeds(self.inputs, count=self.count // self.run, batch=self.run, seed=self.seed)


def inputs_for(exported: Exported, role: Role, *, count: int, batch: int, data: Path | None) -> Inputs:
    """`count` images, rounded up to whole batches where the graph takes nothing else.

    They come from the photographs in `data` (None: the demo photographs), or are noise where photographs cannot fill
    the network. An archive of prepared arrays has as many images as it has: there may be fewer.

    Raises UnsupportedGraph where noise cannot fill the network either, UsageError for `data` that nothing reads or that
    has too few images to calibrate on, and as `open_images`.
    """
    require_feedable(exported)
    run = exported.run_length(batch, 1)
    count = whole_runs(count, run)
    seed = exported.model.seed
    if data is not None and (prepared := prepared_arrays(data, exported)) is not None:
        return _half(data, prepared[0], exported.inputs[0], role, count=count, run=run)
    if photographs_fit(exported):
        (spec,) = exported.inputs
        recipe, channels = preprocessing_of(exported), spec.shape[1]
        assert isinstance(channels, int)  # noqa: S101 - photographs_fit has just said so
        images = open_images(role, recipe, channels=channels, count=count, seed=seed, origin=data)
        if role == "calibration":
            _require_several(data, len(images.candidates))
        return Photographs(images, spec, run)
    if data is not None:
        takes = ", ".join(map(describe, exported.inputs))
        raise UsageError(
            f"{exported.model.name} takes {takes}: photographs cannot fill that",
            hint="leave out --data; it is shown seeded noise",
        )
    return Noise(exported.inputs, count, seed + NOISE_SEEDS[role], run)


def calibration_inputs(exported: Exported, spec: BuildSpec) -> Inputs:
    """What INT8 of `exported` is calibrated on. Raises as `inputs_for`."""
    return inputs_for(exported, "calibration", count=spec.calibration.images, batch=1, data=spec.data)


def prepared_arrays(path: Path, exported: Exported) -> tuple[Array, Array | None] | None:
    """The images of an archive that are arrays for the network's one input, and its labels if it has any.

    None where `path` is no such archive. Raises UsageError where they do not fit it or hold NaN or infinity,
    UntrustedArtefact as `read_npz`.
    """
    if path.suffix != ".npz":
        return None
    arrays = read_npz(path)
    images = arrays.get("images")
    if images is None or images.dtype == np.uint8:
        return None  # photographs, or what they complain of
    first, *others = exported.inputs
    fits = not others and images.dtype.kind == "f" and images.ndim and images.shape[1:] == first.shape[1:]
    if not fits or not len(images):
        raise UsageError(
            f"{path}: images are {images.dtype}{list(images.shape)}",
            hint=f"{exported.model.label} takes {', '.join(map(describe, exported.inputs))}; photographs are uint8",
        )
    if not np.isfinite(images).all():
        row = int(np.flatnonzero(~np.isfinite(images.reshape(len(images), -1)).all(axis=1))[0])
        raise UsageError(f"{path}: image {row} holds NaN or infinity", hint="check how the images were prepared")
    return images, arrays.get("labels")


def _half(path: Path, images: Array, spec: TensorSpec, role: Role, *, count: int, run: int) -> Arrays:
    """The images of one role; equal ones have the same."""
    digests = [array_digest(image) for image in images]
    roles = split_roles(digests)
    place = {text: number for number, text in enumerate(roles)}
    mine = sorted((row for row, text in enumerate(digests) if roles[text] == role), key=lambda row: place[digests[row]])
    if role == "calibration":
        _require_several(path, len({digests[row] for row in mine}))
    rows = tuple(mine[: min(count, len(mine)) // run * run])
    if not rows:
        raise UsageError(f"{path} has {len(mine)} images for {role}, a run takes {run}", hint=f"give {2 * run} or more")
    return Arrays(path, images, spec, run, rows, tuple(digests[row] for row in rows))


def _require_several(data: Path | None, found: int) -> None:
    if found < FEWEST:
        raise UsageError(
            f"{data or 'the demo set'} has {found} image{'' if found == 1 else 's'} to calibrate on",
            hint="half of a set is kept for tests: give 4 different ones or more, some hundred are usual",
        )


def require_feedable(exported: Exported) -> None:
    """Raises UnsupportedGraph where nothing is known that could be shown to the network, UsageError for free sizes."""
    exported.require_sizes()
    if not exported.inputs:
        raise UnsupportedGraph(f"{exported.model.name} has no input", hint="it always answers the same")
    for spec in exported.inputs:
        if spec.dtype not in FED:
            raise UnsupportedGraph(
                f"{exported.model.name}: input {describe(spec)} cannot be made up: which values it may take is unknown",
                hint=f"inputs of {', '.join(FED)} are fed; cast in front of the network, or make it a constant",
            )
        if not spec.shape:
            raise UnsupportedGraph(
                f"{exported.model.name}: input {spec.name} is a single number, and which one is unknown",
                hint="make it a constant of the graph",
            )


def photographs_fit(exported: Exported) -> bool:
    match exported.inputs:
        case (TensorSpec(shape=(_, 1 | 3, int(height), int(width))),):
            return height == width
        case _:
            return False


def preprocessing_of(exported: Exported) -> Preprocessing:
    """The card's recipe, or ImageNet's for an `.onnx` file that photographs fit."""
    if not exported.model.is_onnx:
        return registry.preprocessing(exported.model)
    _, channels, height, _ = exported.inputs[0].shape
    assert isinstance(channels, int)  # noqa: S101 - the caller has asked photographs_fit
    assert isinstance(height, int)  # noqa: S101
    return Preprocessing.without_card(channels=channels, size=height)


def noise_feeds(inputs: Sequence[TensorSpec], *, count: int, batch: int, seed: int) -> Iterator[Feed]:
    """`count` runs: 1/f noise for what is shaped like images (batch, channels, height, width), else standard normal."""
    streams = [
        _stream(spec, (_rows(spec, batch), *spec.at_batch(batch)[1:]), count, _seed(seed, position))
        for position, spec in enumerate(inputs)
    ]
    for arrays in zip(*streams, strict=True):
        yield {spec.name: array.astype(spec.dtype, copy=False) for spec, array in zip(inputs, arrays, strict=True)}


def white_noise(inputs: Sequence[TensorSpec], *, count: int, run: int, seed: int) -> Feed:
    """Standard normal numbers for `count` images, in runs of `run`."""
    random = np.random.default_rng(seed)
    shapes = {spec: (count // run * _rows(spec, run), *spec.at_batch(run)[1:]) for spec in inputs}
    return {
        spec.name: random.standard_normal(shape).astype(np.float32).astype(spec.dtype) for spec, shape in shapes.items()
    }


def runs(feed: Feed, inputs: Sequence[TensorSpec], size: int) -> list[Feed]:
    """What lies one after the other along axis 0, as runs of `size` images in the types of `inputs`."""
    rows = {spec.name: _rows(spec, size) for spec in inputs}
    count = max(-(-len(feed[name]) // taken) for name, taken in rows.items())
    return [
        {
            spec.name: feed[spec.name][number * rows[spec.name] : (number + 1) * rows[spec.name]].astype(spec.dtype)
            for spec in inputs
        }
        for number in range(count)
    ]


def joined_feeds(feeds: Sequence[Feed]) -> Feed:
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def grouped(inputs: Inputs) -> Iterator[Feed]:
    """All feeds, joined to some images at a time where the batch is free."""
    feeds = inputs.feeds()
    while found := list(islice(feeds, GROUP if inputs.run == 1 else 1)):
        yield joined_feeds(found)


def whole_runs(count: int, run: int) -> int:
    """`count`, rounded up to a multiple of `run`."""
    return -(-count // run) * run


def _seed(seed: int, position: int) -> int:
    """Of an input's own stream; the first input's is `seed` itself."""
    return int(np.random.SeedSequence([seed, position]).generate_state(1)[0]) if position else seed


def describe(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]"


def _rows(spec: TensorSpec, batch: int) -> int:
    """How many rows of axis 0 a run of `batch` images takes."""
    return spec.at_batch(batch)[0]


def _stream(spec: TensorSpec, shape: tuple[int, ...], count: int, seed: int) -> Iterator[Array]:
    if len(shape) == 4:
        yield from calibration_noise(TensorSpec(spec.name, shape, spec.dtype), batches=count, batch=shape[0], seed=seed)
        return
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield random.standard_normal(shape).astype(np.float32)
