"""What `calibrate` answers, and what INT8's ranges of an engine come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploykit.data.inputs import DataFacts
from deploykit.data.preparation import PreparationFacts
from deploykit.results.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSource(DataFacts):
    """The method of a calibration table and what it was made of; `table` is the file where the user gave one."""

    method: str
    images: int
    table: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult(Document):
    """A calibration table. What is said of the network and of the images is None where it was merged from shards."""

    model: str | None = None
    weights: str | None = None
    weights_digest: str | None = None
    weights_notes: tuple[str, ...] = ()
    table: Path | None
    method: str
    images: int
    activations: int
    graph_digest: str
    data_digest: str
    image_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] | None = None
    data: str | None = None
    preprocessing: PreparationFacts | None
    note: str | None = None
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult(Document):
    """One part of a calibration: which of how many, and what has been counted in it."""

    shard: str
    file: Path
    batches: int
    images: int
    activations: int
    peak_memory_bytes: int | None
