"""What `bench --end-to-end` answers beside its table: the way from an image file to class numbers, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.bench import Latency
from deploykit.bench.end_to_end import Stage
from deploykit.errors import DeploykitError
from deploykit.results.failure import failed_below
from deploykit.results.row import RowHead


@dataclass(frozen=True, slots=True)
class StageTime:
    """Milliseconds an image in one stage, and the stage's `share` of all of them (0 to 1, of the sums)."""

    stage: Stage
    ms: Latency
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEndRow(RowHead):
    """One row; what did not run has nothing but its state and the reason.

    `total_ms` is an image's whole way, `images_per_second` what one loop over the images reaches, one batch after the
    other.
    """

    stages: tuple[StageTime, ...] = ()
    total_ms: Latency | None = None
    images_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """The second table. Of `files` in `data` `used` were read, and those in `undecodable` passed over.

    `timed_images` is how many images each row was timed on, repeats among them. `decoder` is the library that decodes
    and resizes. `top` is the length of the ranking, 0 where the network is no classifier.
    """

    data: str
    files: int
    used: int
    undecodable: tuple[str, ...]
    preprocessing: str
    decoder: str
    top: int
    timed_images: int
    rounds: int
    seconds: float
    stopped_by: str
    rows: tuple[EndToEndRow, ...]

    @property
    def failure(self) -> DeploykitError | None:
        """The error of the first row that failed; None where none did."""
        return failed_below(self.rows, "end to end")
