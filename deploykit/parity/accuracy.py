"""Accuracy on labeled images, and whether two rows differ in it: counts first, then what they allow to be said.

Both intervals are of 95 %. One row's accuracy has Wilson's score interval (JASA 22, 1927). Two rows that saw the same
images are compared by the images on which they disagree: with b right in the first row only, c right in the second
only, of n, the drop is (b - c) / n. Its interval is Wald's with half an image added to each of the four cells (Agresti
and Min, Statistics in Medicine 24, 2005), which does not shrink to nothing where no image flips; p is that of the exact
McNemar test, two-sided.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploykit.codec import NOT_IN_JSON, shown
from deploykit.spec.arrays import Array

Z = 1.959963984540054  # the 97.5 % point of the standard normal distribution
TOP = 5


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one row said of n labeled images: its `classes` (n,), and how many classes it preferred to the label."""

    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    preferred: NDArray[np.int64]

    @classmethod
    def of(cls, logits: Array, labels: NDArray[np.int64]) -> "Predictions":
        """The predictions of logits (n, classes). Of equal scores the lowest class is first; a row with NaN is wrong.

        `labels` are from 0 to the number of classes less one.
        """
        scores = logits.astype(np.float64)
        own = scores[np.arange(len(labels)), labels][:, None]
        earlier = np.arange(scores.shape[1])[None, :] < labels[:, None]
        preferred = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
        preferred[np.isnan(scores).any(axis=1)] = scores.shape[1]
        return cls(labels, scores.argmax(axis=1), preferred)

    @classmethod
    def joined(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """The predictions of all batches, one after the other."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "classes", "preferred"))
        )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each label is the first choice, (n,)."""
        found: NDArray[np.bool_] = self.preferred == 0
        return found

    def within(self, top: int) -> int:
        """How many images have their label among the first `top` choices."""
        return int((self.preferred < top).sum())


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `n`, and the 95 % interval of the share (0 to 1)."""

    JSON_PROPERTIES = shown("value", ci95="interval")

    hits: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.n or not self.n:
            raise ValueError(f"{self.hits} of {self.n} is no share")

    @property
    def value(self) -> float:
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        center = (self.hits + Z**2 / 2) / (self.n + Z**2)
        half = Z / (self.n + Z**2) * math.sqrt(self.hits * (self.n - self.hits) / self.n + Z**2 / 4)
        return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True, slots=True)
class Flips:
    """Two rows on the same `n` images: `lost` were right in the first only, `gained` in the second only.

    `swaps` counts images whose class changed at all, by (class before, class after).
    """

    JSON_PROPERTIES = shown("p", drop_points="drop", ci95_points="interval", changed="most_common_swaps")

    n: int
    lost: int
    gained: int
    swaps: Counter[tuple[int, int]] = field(metadata=NOT_IN_JSON)

    def __post_init__(self) -> None:
        if min(self.lost, self.gained) < 0 or self.lost + self.gained > self.n or not self.n:
            raise ValueError(f"{self.lost} lost and {self.gained} gained of {self.n} is impossible")

    @classmethod
    def between(cls, first: Predictions, second: Predictions) -> "Flips":
        """Raises ValueError where the two did not see the same images."""
        if not np.array_equal(first.labels, second.labels):
            raise ValueError("the rows did not see the same images")
        lost, gained = int((first.right & ~second.right).sum()), int((second.right & ~first.right).sum())
        changed = first.classes != second.classes
        pairs = zip(first.classes[changed].tolist(), second.classes[changed].tolist(), strict=True)
        return cls(len(first), lost, gained, Counter(pairs))

    @classmethod
    def hidden(cls, properties: Mapping[str, Any]) -> dict[str, object]:
        """What JSON does not have, of the properties that it has."""
        return {"swaps": Counter({(before, after): count for before, after, count in properties["changed"]})}

    @property
    def drop(self) -> float:
        """Points (hundredths) that the second row lost."""
        return 100 * (self.lost - self.gained) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `drop`, in points."""
        lost, gained, n = self.lost + 0.5, self.gained + 0.5, self.n + 2
        center = (lost - gained) / n
        half = Z * math.sqrt(lost + gained - (lost - gained) ** 2 / n) / n
        return 100 * (center - half), 100 * (center + half)

    @property
    def most_common_swaps(self) -> tuple[tuple[int, int, int], ...]:
        """Class before, class after, how many images."""
        return tuple((before, after, count) for (before, after), count in self.swaps.most_common())

    @property
    def p(self) -> float:
        """The chance of flips at least as one-sided, were either direction as likely."""
        discordant, fewer = self.lost + self.gained, min(self.lost, self.gained)
        tail = sum(math.comb(discordant, count) for count in range(fewer + 1))
        return (
            min(1.0, float(2 * tail / 2**discordant))
            if discordant <= 1000
            else _normal(self.lost - self.gained, discordant)
        )


def _normal(difference: int, discordant: int) -> float:
    """The same by the normal approximation, for more flips than a float's range can count."""
    return math.erfc(max(0, abs(difference) - 1) / math.sqrt(2 * discordant))
