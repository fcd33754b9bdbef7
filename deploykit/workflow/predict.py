"""Every image of some origins through one classifier, into a file of rows that can be gone on with.

Images are read and prepared by threads while a batch runs. Batches are cut by the place of an image among all of them,
broken ones counted, and shards at whole batches: so the rows are the same, to the last digit, whether a run was
interrupted, or divided, or neither. Memory is bounded by the batches that are prepared ahead.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from deploykit.data.sources import Source, Sources
from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.host import usable_cores
from deploykit.io.parquet import Row
from deploykit.io.row_files import Columns, RowFile, open_rows
from deploykit.quote import printable
from deploykit.spec import Progress
from deploykit.spec.arrays import Array
from deploykit.workflow.calibrate import Shard
from deploykit.workflow.predictor import ClassifierSession

DIGITS = 6  # decimals of a probability: below them it differs from machine to machine
DIGEST_SHOWN = 12  # hex digits of a model in each row
NAMED = 3  # errors that are told
NOT_FINITE = "the network's answer is not a number"
STAGE = "predict"


@dataclass(slots=True)
class Tally:
    """What a run did: `rows` in the file, of which `held` were there before, `errors` without a class."""

    rows: int = 0
    held: int = 0
    errors: int = 0
    first_errors: list[str] = field(default_factory=list)

    def add(self, rows: Sequence[Row]) -> None:
        """Count rows that were just written."""
        self.rows += len(rows)
        for name, error, *_ in rows:
            if error is not None:
                self.errors += 1
                if len(self.first_errors) < NAMED:
                    self.first_errors.append(f"{name}: {error}")


@dataclass(frozen=True, slots=True)
class Naming:
    """What stands in every row of one model: the columns are image, error and model, then each class in turn."""

    model: str
    top: int
    labels: tuple[str, ...] | None

    @property
    def columns(self) -> Columns:
        """Column -> its type."""
        found: dict[str, type] = {"image": str, "error": str, "model": str}
        for number in range(1, self.top + 1):
            found |= {f"class_{number}": int, f"probability_{number}": float}
            if self.labels is not None:
                found[f"label_{number}"] = str
        return found

    def row(self, name: str, classes: Sequence[int], probabilities: Sequence[float]) -> Row:
        """An image with its classes."""
        cells: list[str | int | float | None] = [name, None, self.model]
        for number, share in zip(classes, probabilities, strict=True):
            cells += [number, round(share, DIGITS)]
            if self.labels is not None:
                cells.append(self.labels[number])
        return tuple(cells)

    def broken(self, name: str, error: str) -> Row:
        """An image without any."""
        return (name, error, self.model, *(None for _ in range(len(self.columns) - 3)))


def naming_of(session: ClassifierSession, labels: tuple[str, ...] | None) -> Naming:
    """The columns of a classifier's rows."""
    shown = None if labels is None else tuple(map(printable, labels))
    return Naming(session.what.digest[:DIGEST_SHOWN], session.top, shown)


def predict(
    session: ClassifierSession,
    sources: Sources,
    output: Path,
    *,
    naming: Naming,
    shard: Shard,
    decoders: int,
    progress: Progress,
) -> Tally:
    """Write a row for each image of the shard that `output` has not yet, in their order.

    Raises UsageError for a file of other columns, another model or other images, and where it cannot be written.
    """
    batch = session.what.batch.optimum
    mine = shard_of(len(sources), batch, shard)
    with open_rows(output, naming.columns) as file:
        session.open()
        tally = Tally()
        left, kept = _left(file, sources, mine, naming, batch, tally, output)
        progress(STAGE, len(mine) - len(left), len(mine))
        if left:
            file.keep(kept)
            for rows in classified(session, sources.at(left), naming, decoders=decoders):
                file.append(rows)
                tally.add(rows)
                progress(STAGE, len(mine) - len(left) + tally.rows - tally.held, len(mine))
        file.finish()
    return tally


def shard_of(count: int, batch: int, shard: Shard) -> range:
    """The places of a shard's images: whole batches of all of them, one after the other, as even as batches allow."""
    batches = math.ceil(count / batch)
    start, stop = (batches * number // shard.count * batch for number in (shard.index, shard.index + 1))
    return range(min(start, count), min(stop, count))


def _left(
    file: RowFile, sources: Sources, mine: range, naming: Naming, batch: int, tally: Tally, output: Path
) -> tuple[Sequence[int], int]:
    """The places that have no row yet, and how many rows of the file stay.

    Where the rows are those of the first images, the part of a batch at their end is done again. Where images came in
    between, all rows stay, and the new ones follow.
    """
    names = islice(sources.names(), mine.start, mine.stop)
    errors, in_order = bytearray(), True
    for row in file.held():
        _require_model(row, naming, output)
        in_order = in_order and row[0] == next(map(printable, names), None)
        errors.append(row[1] is not None)
    kept = len(errors)
    if in_order:
        kept -= kept % batch if kept < len(mine) else 0
        left: Sequence[int] = mine[kept:]
    else:
        known = {row[0] for row in file.held()}
        all_names = islice(sources.names(), mine.start, mine.stop)
        left = [place for place, name in zip(mine, all_names, strict=True) if printable(name) not in known]
        if len(left) == len(mine):
            raise UsageError(
                f"{output} has rows of other images: {next(iter(known))} and others",
                hint="give another path, or the same images and --shard",
            )
    tally.rows = tally.held = kept
    tally.errors = sum(errors[:kept])
    return left, kept


def _require_model(row: Row, naming: Naming, output: Path) -> None:
    if row[2] != naming.model:
        raise UsageError(
            f"{output} has rows of another model: its digest is {row[2]}, that of this engine and its preprocessing "
            f"{naming.model}",
            hint="give another path",
        )


def classified(
    session: ClassifierSession, images: Iterator[Source], naming: Naming, *, decoders: int = 0
) -> Iterator[list[Row]]:
    """The rows of images, a batch at a time; `decoders` threads (0: one per core) prepare the next ones meanwhile."""
    decoders = decoders or usable_cores()
    batch = session.what.batch.optimum
    ahead = 1 + math.ceil(2 * decoders / batch)
    pool = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
    windows = iter(lambda: list(islice(images, batch)), [])
    waiting: deque[_Window] = deque()
    with warnings.catch_warnings():  # those filters that the readers of several threads restore may be each other's
        try:
            waiting.extend(_Window(session, window, pool) for window in islice(windows, ahead))
            while waiting:
                ready = waiting.popleft()
                ready.wait()
                waiting.extend(_Window(session, window, pool) for window in islice(windows, 1))
                yield ready.rows(session, naming)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Window:
    """Images that run together, while they are prepared."""

    def __init__(self, session: ClassifierSession, images: Sequence[Source], pool: ThreadPoolExecutor) -> None:
        spec = session.what.input
        self.names = [printable(image.name) for image in images]
        self.errors: list[str | None] = [None] * len(images)
        self.ready: Array = np.empty(spec.at_batch(len(images)), spec.dtype)
        self._parts: list[Future[None]] = [
            pool.submit(self._prepare, session, image, place) for place, image in enumerate(images)
        ]

    def _prepare(self, session: ClassifierSession, image: Source, place: int) -> None:
        try:
            self.ready[place] = session.prepare(image.read())
        except (UntrustedArtifact, UsageError) as error:
            self.errors[place] = printable(error.message)
        except MemoryError:
            self.errors[place] = "there is not enough memory for it"

    def wait(self) -> None:
        """Raises whatever is a defect of ours."""
        for part in self._parts:
            part.result()

    def rows(self, session: ClassifierSession, naming: Naming) -> list[Row]:
        sound = [place for place, error in enumerate(self.errors) if error is None]
        if sound:
            ready = self.ready if len(sound) == len(self.errors) else self.ready[sound]
            classes, shares = session.classify(ready)
            answers = iter(zip(classes.tolist(), shares.tolist(), strict=True))
        found: list[Row] = []
        for name, error in zip(self.names, self.errors, strict=True):
            if error is not None:
                found.append(naming.broken(name, error))
                continue
            numbers, probabilities = next(answers)
            finite = all(map(math.isfinite, probabilities))
            found.append(naming.row(name, numbers, probabilities) if finite else naming.broken(name, NOT_FINITE))
        return found
