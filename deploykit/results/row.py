"""One line of a table, with everything that JSON says about it.

    measured     ran here, and was timed or compared
    built        compiled, cannot run here: `reason` says why
    unavailable  not tried: `reason` says what is missing and how to get it
    failed       tried, and broke: `reason` says how

A row is never dropped and never stands for another; figures it does not have are None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from deploykit.bench import Interval, Latency, PerBatch, Ratio, TimedBlock
from deploykit.parity import Parity

State = Literal["measured", "built", "unavailable", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`latency_ms` is host time of a synchronized run, `device_ms` the device's own clock; they are never mixed.

    `cold_ms` is opening plus first run, `build_seconds` the build (of the stored engine when `cache_hit`).
    `plan` is what that stage says of itself (`as_dict()`). `parity` is None where there was nothing to compare: the row
    has no engine, or its command does not compare outputs.

    A row of `bench --mode` names its `mode` and has single steps in place of blocks: `steps_ns`, the `burn_in_ns`
    before them, and what the former say, `per_batch_ms`. Its `images_per_second` is the batch over their mean.
    """

    model: str
    backend: str
    precision: str
    batch: int
    state: State
    weights: str = ""
    flavour: str = ""
    reason: str = ""
    note: str = ""
    typed_digest: str | None = None
    build_seconds: float | None = None
    cache_hit: bool = False
    cold_ms: float | None = None
    latency_ms: Latency | None = None
    device_ms: Latency | None = None
    ratio_to_first: Ratio | None = None
    images_per_second: float | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    parity: Parity | None = None
    blocks: tuple[TimedBlock, ...] = ()
    mode: str | None = None
    per_batch_ms: PerBatch | None = None
    burn_in_ns: tuple[int, ...] = ()
    steps_ns: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """Which row of a table it is: `ort fp16`."""
        return f"{self.backend} {self.precision}"

    def __post_init__(self) -> None:
        if self.state != "measured" and self.latency_ms is not None:
            raise ValueError(f"a row that is {self.state} carries no latency")
        if self.state != "measured" and not self.reason:
            raise ValueError(f"a row that is {self.state} says why")

    def as_json(self) -> dict[str, Any]:
        """The row of the documented JSON shape.

        `samples_ns` holds every sample in the order it was taken; `blocks` its division into blocks, whose first
        samples the statistics leave out. Single steps all count, and `burn_in_ns` holds those before them.
        """
        return {
            "model": self.model,
            "weights": self.weights,
            "backend": self.backend,
            "flavour": self.flavour,
            "precision": self.precision,
            "batch": self.batch,
            "mode": self.mode,
            "state": self.state,
            "reason": self.reason,
            "note": self.note,
            "typed_digest": self.typed_digest,
            "build_seconds": self.build_seconds,
            "cache_hit": self.cache_hit,
            "cold_ms": self.cold_ms,
            "latency_ms": _latency(self.latency_ms),
            "device_ms": _latency(self.device_ms),
            "per_batch_ms": asdict(self.per_batch_ms) if self.per_batch_ms else None,
            "ratio_to_first": _ratio(self.ratio_to_first),
            "images_per_second": self.images_per_second,
            "plan": dict(self.plan),
            "parity": self.parity.as_dict() if self.parity else {},
            "blocks": [{"round": block.round, "runs": len(block.samples_ns)} for block in self.blocks],
            "samples_ns": [*self.steps_ns, *(sample for block in self.blocks for sample in block.samples_ns)],
            "burn_in_ns": list(self.burn_in_ns),
            "device_samples_ns": [sample for block in self.blocks for sample in block.device_ns],
        }


def remarks(said: Iterable[tuple[Row, Sequence[str]]]) -> dict[str, list[str]]:
    """Text -> the labels of the rows that it is said of, in the order of the rows."""
    found: dict[str, list[str]] = {}
    for row, texts in said:
        for text in texts:
            found.setdefault(text, []).append(row.label)
    return found


def _latency(found: Latency | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "median": found.median,
        "ci95": _pair(found.ci95),
        "p90": found.p90,
        "p95": found.p95,
        "p99": found.p99,
        "n": found.n,
        "flagged": found.flagged,
        "outliers": found.outliers,
    }


def _ratio(found: Ratio | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"value": found.value, "ci95": _pair(found.ci95), "within_noise": found.within_noise, "rounds": found.rounds}


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
