"""What `bench --scenario` answers beside its table: how rows answer the queries of MLPerf's load generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploykit.bench.loadgen import ScenarioResult
from deploykit.codec import shown
from deploykit.errors import DeploykitError, ExecutionFailed
from deploykit.results.row import State

LABEL = "not a verified MLPerf result"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRow:
    """One row, and what LoadGen found in each scenario; what did not run has nothing but its state and the reason."""

    backend: str
    precision: str
    batch: int
    state: State
    reason: str = ""
    note: str = ""
    results: tuple[ScenarioResult, ...] = ()

    @property
    def label(self) -> str:
        """Which row of a table it is: `ort fp16`."""
        return f"{self.backend} {self.precision}"


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
        broken: Sequence[ScenarioRow] = [row for row in self.rows if row.state == "failed"]
        return ExecutionFailed(f"{broken[0].label} failed under LoadGen: {broken[0].reason}") if broken else None
