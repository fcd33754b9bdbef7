"""Several batches in one table: the order of its rows, and where images per second saturate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploykit.results.row import Row

SATURATED = 0.95  # of the best images per second of a backend at a precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """The smallest batch whose images per second reach 95 % of the best that this backend and precision measured.

    `largest` is the largest batch measured: where it is the saturating one, a larger might be faster still.
    """

    backend: str
    precision: str
    batch: int
    images_per_second: float
    best_images_per_second: float
    largest: int


def saturation(rows: Iterable[Row]) -> tuple[Saturation, ...]:
    """Of every backend and precision that was measured at several batches."""
    found = []
    for (backend, precision), group in _groups(rows).items():
        speeds = {row.batch: row.images_per_second for row in group if row.images_per_second}
        if len(speeds) < 2:
            continue
        best = max(speeds.values())
        batch = min(each for each, speed in speeds.items() if speed >= SATURATED * best)
        found.append(
            Saturation(
                backend=backend,
                precision=precision,
                batch=batch,
                images_per_second=speeds[batch],
                best_images_per_second=best,
                largest=max(speeds),
            )
        )
    return tuple(found)


def by_backend(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows of batch after batch, with those of one backend and precision together."""
    return tuple(row for group in _groups(rows).values() for row in group)


def _groups(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.backend, row.precision), []).append(row)
    return found
