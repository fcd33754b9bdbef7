"""What `predict` answers: how many images went through, and what it left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploykit.data.preparation import PreparationFacts
from deploykit.errors import DeploykitError, ExecutionFailed
from deploykit.results.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionResult(Document):
    """A file of predictions. `images` are its rows, `held` those that were there before this run, `errors` broken ones.

    `digest` is that of the engine and its preprocessing, whose first twelve digits stand in every row, `engine_digest`
    that of the engine alone. `seconds` and `images_per_second` are of the images of this run, from their bytes on.
    """

    model: str
    weights: str
    weights_digest: str | None
    weights_notes: tuple[str, ...]
    backend: str
    flavour: str
    precision: str
    batch: int
    threads: int
    decode_threads: int
    preprocessing: PreparationFacts
    output: Path
    columns: tuple[str, ...]
    shard: str
    images: int
    held: int
    errors: int
    first_errors: tuple[str, ...]
    seconds: float
    images_per_second: float | None
    digest: str
    engine_digest: str
    peak_memory_bytes: int | None

    @property
    def failure(self) -> DeploykitError | None:
        """The error of a run in which no image had a class; None where one had, or there were none."""
        if not self.images or self.errors < self.images:
            return None
        first = f", the first: {self.first_errors[0]}" if self.first_errors else ""
        return ExecutionFailed(f"none of {self.images} images could be classified{first}")
