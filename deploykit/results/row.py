"""One line of a table, with everything that JSON says about it.

    measured     ran here, and was timed or compared
    built        compiled, cannot run here: `reason` says why
    unavailable  not tried: `reason` says what is missing and how to get it
    failed       tried, and broke: `reason` says how

A row is never dropped and never stands for another; figures it does not have are None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from deploykit.bench import Latency, PerBatch, Ratio, TimedBlock
from deploykit.codec import NOT_IN_JSON, shown
from deploykit.parity import Parity
from deploykit.plan.summary import PlanSummary

State = Literal["measured", "built", "unavailable", "failed"]


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty object of JSON."""


@dataclass(frozen=True, slots=True)
class BlockRuns:
    """A block of a row's samples: the round that it was taken in, and how many runs it has."""

    round: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`latency_ms` is host time of a synchronized run, `device_ms` the device's own clock; they are never mixed.

    `cold_ms` is opening plus first run, `build_seconds` the build (of the stored engine when `from_store`).
    `plan` is what was compiled, in figures. `parity` is None where there was nothing to compare: the row
    has no engine, or its command does not compare outputs.

    A row of `bench --mode` names its `mode` and has single steps in place of blocks: `steps_ns`, the `burn_in_ns`
    before them, and what the former say, `per_batch_ms`. Its `images_per_second` is the batch over their mean.

    `file_bytes` is the size of the file that the row opens, an engine or a graph; eager PyTorch opens none.

    JSON has an empty object where there is no plan or no parity.
    """

    JSON_PROPERTIES = shown(
        "samples_ns", "device_samples_ns", plan="plan_or_nothing", parity="parity_or_nothing", blocks="block_runs"
    )

    model: str
    backend: str
    precision: str
    batch: int
    state: State
    weights: str = ""
    flavour: str = ""
    file_bytes: int | None = None
    reason: str = ""
    note: str = ""
    typed_digest: str | None = None
    build_seconds: float | None = None
    from_store: bool = False
    cold_ms: float | None = None
    latency_ms: Latency | None = None
    device_ms: Latency | None = None
    ratio_to_first: Ratio | None = None
    images_per_second: float | None = None
    plan: PlanSummary | None = field(default=None, metadata=NOT_IN_JSON)
    parity: Parity | None = field(default=None, metadata=NOT_IN_JSON)
    blocks: tuple[TimedBlock, ...] = field(default=(), metadata=NOT_IN_JSON)
    mode: str | None = None
    per_batch_ms: PerBatch | None = None
    burn_in_ns: tuple[int, ...] = ()
    steps_ns: tuple[int, ...] = field(default=(), metadata=NOT_IN_JSON)

    @property
    def label(self) -> str:
        """Which row of a table it is: `ort fp16`."""
        return f"{self.backend} {self.precision}"

    def __post_init__(self) -> None:
        if self.state != "measured" and self.latency_ms is not None:
            raise ValueError(f"a row that is {self.state} carries no latency")
        if self.state != "measured" and not self.reason:
            raise ValueError(f"a row that is {self.state} says why")

    @property
    def plan_or_nothing(self) -> PlanSummary | Nothing:
        """The plan as JSON has it."""
        return self.plan or Nothing()

    @property
    def parity_or_nothing(self) -> Parity | Nothing:
        """The parity as JSON has it."""
        return self.parity or Nothing()

    @property
    def block_runs(self) -> tuple[BlockRuns, ...]:
        """How the samples are divided into blocks, whose first samples the statistics leave out."""
        return tuple(BlockRuns(block.round, len(block.samples_ns)) for block in self.blocks)

    @property
    def samples_ns(self) -> tuple[int, ...]:
        """Every sample in the order it was taken. Single steps all count, and `burn_in_ns` holds those before them."""
        return (*self.steps_ns, *(sample for block in self.blocks for sample in block.samples_ns))

    @property
    def device_samples_ns(self) -> tuple[int, ...]:
        """The device's own times of the same runs."""
        return tuple(sample for block in self.blocks for sample in block.device_ns)


def remarks(said: Iterable[tuple[Row, Sequence[str]]]) -> dict[str, list[str]]:
    """Text -> the labels of the rows that it is said of, in the order of the rows."""
    found: dict[str, list[str]] = {}
    for row, texts in said:
        for text in texts:
            found.setdefault(text, []).append(row.label)
    return found
