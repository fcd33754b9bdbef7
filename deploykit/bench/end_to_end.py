"""From the bytes of an image file to class numbers: what each stage of that way takes, in each row's own process.

| stage | does |
|---|---|
| decode | reads the file and decodes it to RGB, 8 bits |
| resize | brings it to the input's size, as the network's recipe says |
| normalize | (pixel / scale - mean) / std in the input's type, and the images of a batch together |
| copy | what `Session.run` does around the run: binds the input, copies it and the answer where that is needed |
| infer | the run, synchronized |
| top-k | the highest scores in order, and their softmax |

One image after the other is prepared on one thread, as a plain serving loop does it; the run has the row's threads.
Files are read before they are timed, so their bytes come from the page cache. Rows take turns, some images a block, in
an order that is reversed from round to round; every row sees the same images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from operator import itemgetter
from typing import Literal, get_args

import numpy as np

from deploykit.backends.protocol import Engine, Session
from deploykit.bench.process import WorkerProcess
from deploykit.bench.settings import BenchSettings
from deploykit.bench.statistics import TimedBlock
from deploykit.bench.worker import Do, Open
from deploykit.data.dataset import RawImage
from deploykit.data.images import fitted, normalize
from deploykit.errors import DeploykitError
from deploykit.spec import Preprocessing, Progress, TensorSpec
from deploykit.spec.arrays import Array

Stage = Literal["decode", "resize", "normalize", "copy", "infer", "top-k"]
STAGES: tuple[Stage, ...] = get_args(Stage)
BLOCK_IMAGES = 8  # at least
FEWEST_BATCHES = 3  # of a block: its first one is flagged


@dataclass(frozen=True, slots=True)
class Recipe:
    """How images become the `input` of a network, `batch` at a time, and its answer the `top` first classes.

    `output` names the scores; with `top` 0 nothing is ranked.
    """

    how: Preprocessing
    input: TensorSpec
    batch: int
    output: str = ""
    top: int = 0


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """A task for a worker: whole batches of images, from their bytes on."""

    images: tuple[RawImage, ...]
    recipe: Recipe

    def run(self, session: Session) -> list[dict[Stage, int]]:
        """Nanoseconds an image of every stage, batch by batch."""
        size = self.recipe.batch
        return [self._batch(session, self.images[at : at + size]) for at in range(0, len(self.images), size)]

    def _batch(self, session: Session, images: Sequence[RawImage]) -> dict[Stage, int]:
        recipe, clock = self.recipe, _Clock()
        decoded = [image.read() for image in images]
        clock.lap("decode")
        sized = [fitted(image, recipe.how) for image in decoded]
        clock.lap("resize")
        channels = len(recipe.how.mean)
        ready = np.stack([normalize(image, recipe.how, channels) for image in sized])
        feed = {recipe.input.name: ready.astype(recipe.input.dtype, copy=False)}
        clock.lap("normalize")
        bound = session.bind(feed)
        clock.lap("copy")
        bound.launch()
        bound.synchronize()
        clock.lap("infer")
        answer = bound.fetch()
        clock.lap("copy")
        if recipe.top:
            top_classes(answer[recipe.output], recipe.top)
            clock.lap("top-k")
        return {stage: taken // len(images) for stage, taken in clock.taken.items()}


@dataclass(slots=True)
class _Clock:
    """Nanoseconds since the last lap, added up by stage."""

    last: int = field(default_factory=time.perf_counter_ns)
    taken: dict[Stage, int] = field(default_factory=dict)

    def lap(self, stage: Stage) -> None:
        now = time.perf_counter_ns()
        self.taken[stage] = self.taken.get(stage, 0) + now - self.last
        self.last = now


def top_classes(scores: Array, count: int) -> tuple[Array, Array]:
    """The `count` highest classes of each image, the highest first, and their share of the softmax: (n, count) each."""
    values = scores.astype(np.float32, copy=False)
    count = min(count, values.shape[1])
    found = np.argpartition(values, -count, axis=1)[:, -count:]
    order = np.argsort(-np.take_along_axis(values, found, axis=1), axis=1, kind="stable")
    classes = np.take_along_axis(found, order, axis=1)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return classes, np.take_along_axis(powers, classes, axis=1) / powers.sum(axis=1, keepdims=True)


@dataclass(frozen=True, slots=True)
class StageSamples:
    """What a row's worker gave: blocks of every stage, and of all together. `failure` ended the row, if anything."""

    failure: DeploykitError | None
    stages: dict[Stage, tuple[TimedBlock, ...]]
    total: tuple[TimedBlock, ...]


@dataclass(frozen=True, slots=True)
class EndToEndMeasurement:
    """The rows in the order of their engines. `images` is how many each row was timed on, repeats among them."""

    rows: tuple[StageSamples, ...]
    images: int
    rounds: int
    seconds: float
    stopped_by: str


@dataclass(slots=True)
class _Lane:
    label: str
    worker: WorkerProcess
    failure: DeploykitError | None = None
    blocks: list[list[dict[Stage, int]]] = field(default_factory=list)

    def ask(self, block: ImageBlock, *, timed: bool) -> None:
        """An error ends this row and its worker, and no other."""
        if self.failure is not None:
            return
        try:
            found = self.worker.ask(Do(block))
        except DeploykitError as error:
            self.failure = error
            self.worker.kill()
            return
        if timed:
            self.blocks.append(found)

    def samples(self) -> StageSamples:
        stages = [stage for stage in STAGES if self.blocks and stage in self.blocks[0][0]]
        return StageSamples(
            self.failure,
            {stage: self._timed(itemgetter(stage)) for stage in stages},
            self._timed(lambda batch: sum(batch.values())),
        )

    def _timed(self, value: Callable[[dict[Stage, int]], int]) -> tuple[TimedBlock, ...]:
        return tuple(TimedBlock(number, tuple(map(value, block))) for number, block in enumerate(self.blocks))


def run_end_to_end(
    engines: Sequence[tuple[str, Engine]],
    images: Sequence[RawImage],
    recipe: Recipe,
    settings: BenchSettings,
    progress: Progress,
) -> EndToEndMeasurement:
    """Time every engine, by its label, on `images`, which can all be decoded.

    The rounds end when all images have had their turn, and there were `settings.min_rounds`, or at the time limit.
    """
    blocks = image_blocks(images, recipe)
    with ExitStack() as open_workers:
        lanes = []
        for label, engine in engines:
            progress(f"open {label} for images", 0, 1)
            lanes.append(_opened(label, engine, blocks[0], settings, open_workers))
            progress(f"open {label} for images", 1, 1)
        began = time.perf_counter()
        stopped_by, rounds = _rounds(lanes, blocks, settings, progress)
        seconds = time.perf_counter() - began
    shown = sum(len(blocks[number % len(blocks)].images) for number in range(rounds))
    return EndToEndMeasurement(tuple(lane.samples() for lane in lanes), shown, rounds, seconds, stopped_by)


def _rounds(
    lanes: Sequence[_Lane], blocks: Sequence[ImageBlock], settings: BenchSettings, progress: Progress
) -> tuple[str, int]:
    """Block after block, each shown to every row: what ended it, and the rounds done."""
    stage, wanted = "time images from their bytes on", max(len(blocks), settings.min_rounds)
    began, number, stopped_by = time.perf_counter(), 0, ""
    while not stopped_by:
        progress(stage, min(number, wanted - 1), wanted)
        round_began = time.perf_counter()
        for lane in lanes if number % 2 == 0 else reversed(lanes):
            lane.ask(blocks[number % len(blocks)], timed=True)
            time.sleep(settings.gap_ms / 1e3)
        number += 1
        now = time.perf_counter()
        late = now - began + now - round_began > settings.max_seconds
        if all(lane.failure is not None for lane in lanes):
            stopped_by = "every row failed"
        elif number >= wanted:
            stopped_by = "all images have had their turn"
        elif late:
            stopped_by = f"the time limit of {settings.max_seconds:g} s"
    progress(stage, wanted, wanted)
    return stopped_by, number


def image_blocks(images: Sequence[RawImage], recipe: Recipe) -> list[ImageBlock]:
    """All images in whole blocks of whole batches; the last block is filled up with the first images again."""
    batches = max(FEWEST_BATCHES, -(-BLOCK_IMAGES // recipe.batch))
    size = batches * recipe.batch
    count = -(-len(images) // size)
    turns = cycle(images)
    return [ImageBlock(tuple(islice(turns, size)), recipe) for _ in range(count)]


def _opened(label: str, engine: Engine, first: ImageBlock, settings: BenchSettings, workers: ExitStack) -> _Lane:
    """A row whose engine is open and has seen the first block once, untimed."""
    threads = settings.worker_threads
    worker = workers.enter_context(WorkerProcess(threads=threads, answer_seconds=settings.answer_seconds))
    lane = _Lane(label, worker)
    try:
        worker.ask(Open(engine, threads, ()))
    except DeploykitError as error:
        lane.failure = error
        worker.kill()
    lane.ask(first, timed=False)
    return lane
