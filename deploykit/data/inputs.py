"""What a network is shown: images, prepared as its card says, arrays, or seeded noise where those do not fit.

Either is a stream of feeds, one array for each input of the network. Along axis 0 lie the images of a batch; an input
without a batch in it (a fixed first dimension beside free ones) is drawn anew for each run, whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from deploykit.data.archive import archive_hint, prepared_arrays, row_digests, takes
from deploykit.data.dataset import Role, split_roles
from deploykit.data.feeds import joined_feeds, whole_runs
from deploykit.data.images import PreparedImages, open_images
from deploykit.data.noise import can_draw, noise_feeds
from deploykit.data.preparation import Preparation, PreparationFacts, preparation_of, takes_images
from deploykit.errors import UnsupportedGraph, UsageError
from deploykit.host import library_versions
from deploykit.spec import BuildSpec, DataSource, Feed, InputRange, ModelSpec, Signature, Synthetic, TensorSpec
from deploykit.spec.arrays import Array
from deploykit.store.key import cache_key

DEMO = "demo images"
NOISE, SYNTHETIC = "seeded noise", "calibrated on noise: speed only"
PREPARED = "arrays, prepared by whoever made them"
GROUP = 8  # images at a time where only outputs count
FEWEST = 2  # images that a calibration is made of
NOISE_SEEDS = {"calibration": 0x0CA1, "test": 0x7E57}  # added to the seed, so that the two never show the same


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What is on record of inputs: where they come from, how they were prepared, and which images they are."""

    data: str
    preprocessing: PreparationFacts | None
    image_names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    note: str | None = None


class Inputs(Protocol):
    """Seeded inputs of one network, as many as its length says."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what the inputs are made of."""
        ...

    @property
    def source(self) -> str:
        """A description of the inputs, for a table's header."""
        ...

    @property
    def preparation(self) -> str:
        """How the inputs were prepared, for a calibration table."""
        ...

    @property
    def facts(self) -> DataFacts:
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
class ImageInputs:
    """Inputs of a network that takes one image of one or three channels, prepared as `how` says."""

    images: PreparedImages
    input: TensorSpec
    run: int
    how: Preparation
    origin: Path | None

    @property
    def digest(self) -> str:
        return self.images.digest

    @property
    def source(self) -> str:
        if self.images.crops_only:
            return "crops of the demo images"
        whole, more = len(self.images.used), len(self.images) - len(self.images.used)
        return "the given images" if not more else f"the given images ({whole}), and {more} random crops of them"

    @property
    def preparation(self) -> str:
        return str(self.images.preprocessing)

    @property
    def facts(self) -> DataFacts:
        return DataFacts(
            data=DEMO if self.images.crops_only else str(self.origin),
            preprocessing=self.how.facts,
            image_names=tuple(raw.name for raw in self.images.used),
            skipped=self.skipped,
        )

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(map(str, self.images.skipped))

    @property
    def identities(self) -> tuple[str, ...]:
        return tuple(raw.digest for raw in self.images.used)

    def __len__(self) -> int:
        return len(self.images)

    def feeds(self) -> Iterator[Feed]:
        for images in self.images.batches(self.run):
            yield {self.input.name: images.astype(self.input.dtype, copy=False)}


@dataclass(frozen=True)
class ArrayInputs:
    """Inputs out of an archive that are prepared already: each goes in as it is, and there are no more than that.

    `arrays` has one for each input, by name, with as many rows.
    """

    path: Path
    arrays: Mapping[str, Array] = field(repr=False)
    inputs: tuple[TensorSpec, ...]
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
    def facts(self) -> DataFacts:
        return DataFacts(
            data=str(self.path),
            preprocessing=PreparationFacts(said=PREPARED),
            image_names=tuple(f"{self.path.name}[{row}]" for row in self.rows),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def feeds(self) -> Iterator[Feed]:
        for start in range(0, len(self.rows), self.run):
            chosen = list(self.rows[start : start + self.run])
            yield {spec.name: self.arrays[spec.name][chosen].astype(spec.dtype, copy=False) for spec in self.inputs}


@dataclass(frozen=True)
class NoiseInputs:
    """Seeded numbers for every other network whose inputs can be made up. They say little of accuracy."""

    inputs: tuple[TensorSpec, ...]
    count: int
    seed: int
    run: int
    ranges: tuple[InputRange, ...] = ()
    skipped: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        drawn = {"inputs": self.inputs, "count": self.count, "seed": self.seed, "run": self.run, "ranges": self.ranges}
        return cache_key({"noise": drawn, "libraries": library_versions(["numpy"])})

    @property
    def source(self) -> str:
        return f"seeded noise: the network takes {', '.join(map(str, self.inputs))}"

    @property
    def preparation(self) -> str:
        return f"{NOISE}, seed {self.seed}"

    @property
    def facts(self) -> DataFacts:
        return DataFacts(data=NOISE, preprocessing=None, note=SYNTHETIC)

    def __len__(self) -> int:
        return self.count

    def feeds(self) -> Iterator[Feed]:
        count = self.count // self.run
        return noise_feeds(self.inputs, count=count, batch=self.run, seed=self.seed, ranges=self.ranges)


def inputs_for(network: Signature, role: Role, *, count: int, batch: int, data: DataSource) -> Inputs:
    """`count` images, rounded up to whole batches where the graph takes nothing else.

    They come from the images in `data` (None: the demo images), or are noise where the network does not take
    images. An archive of prepared arrays has as many images as it has: there may be fewer. Nothing is calibrated on
    noise unless `data` asks for it.

    Raises UnsupportedGraph where nothing is there that could fill the network, UsageError for `data` that nothing reads
    or that has too few images to calibrate on, and as `open_images`.
    """
    run = network.run_length(batch, 1)
    count = whole_runs(count, run)
    seed = network.model.seed
    if isinstance(data, Path) and (prepared := prepared_arrays(data, network)) is not None:
        return _rows_of_role(data, prepared[0], network, role, count=count, run=run)
    require_feedable(network)
    if not isinstance(data, Synthetic) and takes_images(network):
        (spec,) = network.inputs
        how = preparation_of(network)
        images = open_images(role, how.recipe, channels=len(how.recipe.mean), count=count, seed=seed, origin=data)
        if role == "calibration":
            _require_several(data, len(images.candidates))
        return ImageInputs(images, spec, run, how, data)
    if isinstance(data, Path):
        raise UsageError(
            f"{network.model.name} takes {takes(network)}, which is not an image input",
            hint=archive_hint(network),
        )
    if data is None and role == "calibration":
        raise UnsupportedGraph(
            f"{network.model.name} takes {takes(network)}: there is nothing to calibrate INT8 on",
            hint=f"{archive_hint(network)}; --data noise gives ranges that are good for speed only",
        )
    return NoiseInputs(network.inputs, count, seed + NOISE_SEEDS[role], run, network.model.input_ranges)


def calibration_inputs(network: Signature, spec: BuildSpec) -> Inputs:
    """What INT8 of `network` is calibrated on. Raises as `inputs_for`."""
    return inputs_for(network, "calibration", count=spec.calibration.images, batch=1, data=spec.data)


def _rows_of_role(
    path: Path, arrays: Mapping[str, Array], network: Signature, role: Role, *, count: int, run: int
) -> ArrayInputs:
    """The rows of one role; equal ones have the same."""
    digests = row_digests(arrays, network)
    roles = split_roles(digests)
    place = {text: number for number, text in enumerate(roles)}
    mine = sorted((row for row, text in enumerate(digests) if roles[text] == role), key=lambda row: place[digests[row]])
    if role == "calibration":
        _require_several(path, len({digests[row] for row in mine}))
    rows = tuple(mine[: min(count, len(mine)) // run * run])
    if not rows:
        raise UsageError(
            f"{path} has {len(mine)} images for {role}, fewer than the batch of {run}", hint=f"give {2 * run} or more"
        )
    return ArrayInputs(path, arrays, network.inputs, run, rows, tuple(digests[row] for row in rows))


def _require_several(data: Path | None, found: int) -> None:
    if found < FEWEST:
        raise UsageError(
            f"{data or 'the demo set'} has {found} image{'' if found == 1 else 's'} to calibrate on",
            hint="half of a set is kept for tests: give 4 different ones or more, some hundred are usual",
        )


def require_feedable(network: Signature, data: DataSource = None) -> None:
    """Raises UnsupportedGraph where nothing is known that could be shown to the network, UsageError for free sizes.

    An archive in `data` may hold what nobody could make up.
    """
    network.require_sizes()
    if not network.inputs:
        raise UnsupportedGraph(
            f"{network.model.name} has no input",
            hint="there is nothing to calibrate or compare: use a network with an input",
        )
    if isinstance(data, Path) and data.suffix == ".npz":
        return
    for spec in network.inputs:
        if not can_draw(spec, network.model.input_ranges):
            ends = "false:true" if spec.dtype == "bool" else "0:1000"
            raise UnsupportedGraph(
                f"{network.model.name}: cannot generate test data for input {spec}: its range of values is unknown",
                hint=f"give the range, --input-range {spec.name}={ends}, or examples, --data FILE.npz with an array "
                f"{spec.name}",
            )
        if not spec.shape and network.model.range_of(spec.name) is None:
            raise UnsupportedGraph(
                f"{network.model.name}: input {spec.name} is a scalar of unknown value",
                hint="make it a constant of the graph",
            )


def unprepared(model: ModelSpec, preparation: str) -> str:
    """The warning where --preprocess was given and arrays or noise are fed, which it does not apply to; else ""."""
    made = preparation == PREPARED or preparation.startswith(NOISE)
    said = f"--preprocess has no effect: the network is shown {preparation}"
    return said if made and model.preprocess is not None else ""


def grouped(inputs: Inputs) -> Iterator[Feed]:
    """All feeds, joined to some images at a time where the batch is free."""
    feeds = inputs.feeds()
    while found := list(islice(feeds, GROUP if inputs.run == 1 else 1)):
        yield joined_feeds(found)
