"""One line of a table, with everything that JSON says about it.

    measured     ran here, and was timed or compared
    built        compiled, cannot run here: `reason` says why
    unavailable  not tried: `reason` says what is missing and how to get it
    failed       tried, and broke: `reason` says how

A row is never dropped and never stands for another; figures it does not have are None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deploykit.bench import Latency, PerBatch, Ratio, TimedBlock
from deploykit.codec import NOT_IN_JSON, shown
from deploykit.parity import Parity
from deploykit.parity.accuracy import Share
from deploykit.plan.summary import PlanSummary
from deploykit.results.explanation import Explanation
from deploykit.results.roofline import RooflineShare

State = Literal["measured", "built", "unavailable", "failed"]


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty object of JSON."""


@dataclass(frozen=True, slots=True)
class RowAccuracy:
    """Top-1 on labeled images, and which these are."""

    top1: Share
    data: str


@dataclass(frozen=True, slots=True)
class BlockRuns:
    """A block of a row's samples: round and process that it was taken in, from 0, and how many runs it has."""

    round: int
    runs: int
    process: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowHead:
    """Which row of a table below the first it is, and what became of it."""

    backend: str
    precision: str
    batch: int
    state: State
    reason: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """Which row of a table it is: `ort fp16`."""
        return row_label(self.backend, self.precision, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`latency_ms` is host time of a synchronized run, `device_ms` the device's own clock; they are never mixed.

    `cold_ms` is opening plus first run, the median of `cold_starts_ms`, which has each process; `export_seconds` the
    making of the typed graph, its calibration apart, `build_seconds` the build (of the stored engine when
    `from_store`). `memory_bytes` is the most that the row's worker had resident at once, `device_memory_bytes` what it
    holds on the GPU after its last run, as NVML tells it. `of_sweep` says that its table has the backend and precision
    at other batches too. `roofline` is None where the machine has no known rate for the row's type. `accuracy` is that
    of the same artifact as `evaluate` measured it.

    `plan` is what was compiled, in figures. `parity` is None where there was nothing to compare: the row
    has no engine, or its command does not compare outputs.

    A row of `bench --mode` names its `mode` and has single steps in place of blocks: `steps_ns`, the `burn_in_ns`
    before them, and what the former say, `per_batch_ms`. Its `images_per_second` is the batch over their mean.

    `explanation` is where its loss arises, where that was asked for. `file_bytes` is the size of the file that the row
    opens, an engine or a graph; eager PyTorch opens none.

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
    export_seconds: float | None = None
    build_seconds: float | None = None
    from_store: bool = False
    cold_ms: float | None = None
    cold_starts_ms: tuple[float, ...] = ()
    latency_ms: Latency | None = None
    device_ms: Latency | None = None
    ratio_to_first: Ratio | None = None
    images_per_second: float | None = None
    memory_bytes: int | None = None
    device_memory_bytes: int | None = None
    roofline: RooflineShare | None = None
    accuracy: RowAccuracy | None = None
    plan: PlanSummary | None = field(default=None, metadata=NOT_IN_JSON)
    parity: Parity | None = field(default=None, metadata=NOT_IN_JSON)
    blocks: tuple[TimedBlock, ...] = field(default=(), metadata=NOT_IN_JSON)
    mode: str | None = None
    per_batch_ms: PerBatch | None = None
    burn_in_ns: tuple[int, ...] = ()
    steps_ns: tuple[int, ...] = field(default=(), metadata=NOT_IN_JSON)
    of_sweep: bool = False
    explanation: Explanation | None = None

    @property
    def label(self) -> str:
        """Which row of a table it is: `ort fp16`, with its batch where the table has several."""
        return row_label(self.backend, self.precision, self.batch if self.of_sweep else None)

    def __post_init__(self) -> None:
        if self.state != "measured" and self.latency_ms is not None:
            raise ValueError(f"a row that is {self.state} carries no latency")
        if self.state != "measured" and not self.reason:
            raise ValueError(f"a row that is {self.state} says why")

    @classmethod
    def hidden(cls, properties: Mapping[str, Any]) -> dict[str, object]:
        """Plan, parity and samples, of the properties that JSON has. Raises ValueError where they do not add up."""
        plan, parity = properties.get("plan", Nothing()), properties.get("parity", Nothing())
        samples, blocks = properties.get("samples_ns", ()), properties.get("blocks", ())
        timed = sum(block.runs for block in blocks)
        if timed > len(samples) or any(block.runs < 1 for block in blocks):
            raise ValueError(f"{len(samples)} samples cannot be {len(blocks)} blocks of {timed} runs")
        if min(samples, default=0) < 0:
            raise ValueError("a sample is below 0")
        steps = len(samples) - timed
        return {
            "plan": None if isinstance(plan, Nothing) else plan,
            "parity": None if isinstance(parity, Nothing) else parity,
            "blocks": _blocks(blocks, samples[steps:], properties.get("device_samples_ns", ())),
            "steps_ns": samples[:steps],
        }

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
        return tuple(BlockRuns(block.round, len(block.samples_ns), block.process) for block in self.blocks)

    @property
    def samples_ns(self) -> tuple[int, ...]:
        """Every sample in the order it was taken. Single steps all count, and `burn_in_ns` holds those before them."""
        return (*self.steps_ns, *(sample for block in self.blocks for sample in block.samples_ns))

    @property
    def device_samples_ns(self) -> tuple[int, ...]:
        """The device's own times of the same runs."""
        return tuple(sample for block in self.blocks for sample in block.device_ns)


def row_label(backend: str, precision: str, batch: int | str | None) -> str:
    """`ort fp16`, or `ort fp16 batch 8`."""
    return f"{backend} {precision}" if batch is None else f"{backend} {precision} batch {batch}"


def _blocks(
    blocks: Iterable[BlockRuns], samples: Sequence[int], device_samples: Sequence[int]
) -> tuple[TimedBlock, ...]:
    """Samples of consecutive blocks, those of the device's clock too where there are any."""
    if len(device_samples) not in (0, len(samples)):
        raise ValueError(f"{len(device_samples)} samples of the device's clock for {len(samples)} runs")
    found, start = [], 0
    for block in blocks:
        part = slice(start, start + block.runs)
        found.append(TimedBlock(block.round, tuple(samples[part]), tuple(device_samples[part]), block.process))
        start += block.runs
    return tuple(found)


def remarks(said: Iterable[tuple[Row, Sequence[str]]]) -> dict[str, list[str]]:
    """Text -> the labels of the rows that it is said of, in the order of the rows."""
    found: dict[str, list[Row]] = {}
    for row, texts in said:
        for text in texts:
            found.setdefault(text, []).append(row)
    return {text: labels_of(rows) for text, rows in found.items()}


def labels_of(rows: Iterable[Row]) -> list[str]:
    """Labels, those of one backend and precision at several batches as one: `ort fp16 batch 1/8/32`."""
    batches: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        batches.setdefault((row.backend, row.precision), []).extend([row.batch] if row.of_sweep else [])
    return [
        row_label(backend, precision, "/".join(map(str, found)) if found else None)
        for (backend, precision), found in batches.items()
    ]
