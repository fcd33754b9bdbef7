"""What `bench --scenario` answers beside its table: how rows answer the queries of MLPerf's load generator."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.bench.loadgen import ScenarioResult
from deploykit.codec import shown
from deploykit.errors import DeploykitError
from deploykit.results.failure import failed_below
from deploykit.results.row import RowHead

LABEL = "not a verified MLPerf result"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRow(RowHead):
    """One row, and what LoadGen found in each scenario; what did not run has nothing but its state and the reason."""

    results: tuple[ScenarioResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenarios:
    """The rows, each in a process of its own, one after the other. `seconds` is the least time of a scenario.

    `samples` different inputs of `sample_images` images were drawn on, described in `inputs`. `label` is to stand
    wherever the figures do.
    """

    JSON_PROPERTIES = shown("label")

    loadgen: str
    seconds: float
    samples: int
    sample_images: int
    inputs: str
    rows: tuple[ScenarioRow, ...]

    @property
    def label(self) -> str:
        """What the figures are not."""
        return LABEL

    @property
    def failure(self) -> DeploykitError | None:
        """The error of the first row that failed; None where none did."""
        return failed_below(self.rows, "under LoadGen")
