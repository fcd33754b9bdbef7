"""Whole sets of images through a predictor, into a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from deploykit.api.checked import checked
from deploykit.api.predictor import Predictor
from deploykit.api.workspace import path_of, warn
from deploykit.data.sources import open_sources
from deploykit.errors import UsageError
from deploykit.host import peak_memory_bytes, usable_cores
from deploykit.io.row_files import require_row_file
from deploykit.results.predictions import PredictionResult
from deploykit.spec import Progress, silent
from deploykit.spec.weights import NO_WEIGHTS

Places = str | PathLike[str] | Sequence[str | PathLike[str]]


@checked
def predict(
    predictor: Predictor,
    *,
    images: Places,
    output: str | PathLike[str],
    shard: str | tuple[int, int] = "1/1",
    decode_threads: int = 0,
    progress: Progress | None = None,
) -> PredictionResult:
    """Classify images, and write a row for each: its name, its classes with probabilities, or its error.

    Images are streamed: read and prepared by threads while a batch runs. Where `output` has rows already, those images
    are not done again; a run that was interrupted, in whatever way, leaves whole rows, and after the next one the file
    is the same as if nothing had happened. The rows of all shards, one file after the other, are those of one run.

    Args:
        predictor: The classifier.
        images: Files, folders, `.npz` or `.toml` lists, or Parquet files with a column `image` of bytes or `path`.
        output: A file that ends in `.jsonl`, `.csv` or `.parquet`.
        shard: Which part of the images, `"1/4"` or `(1, 4)`.
        decode_threads: Threads that read and prepare images; 0 is one per core.
        progress: Called with (stage, images done, images in all); None is silent.

    Returns:
        What was done. An image that cannot be read is a row with its error, no exception.

    Raises:
        UsageError: An option is wrong, there are no images, or `output` is of other columns, images or another model.
        BackendMissing: The engine cannot run here, or pyarrow is missing for Parquet.
        UntrustedArtifact: A list of images is damaged.
        ExecutionFailed: The engine failed.
    """
    from deploykit.workflow.calibrate import Shard
    from deploykit.workflow.predict import naming_of
    from deploykit.workflow.predict import predict as predicted

    if not isinstance(predictor, Predictor):
        kind = type(predictor).__name__
        raise UsageError(f"predictor is a {kind}", hint="make a Predictor of it: predict(Predictor(engine), ...)")
    part = Shard.parse(shard if isinstance(shard, str) else "/".join(map(str, shard)))
    if decode_threads < 0:
        raise UsageError(f"decode_threads is {decode_threads}", hint="give 0 or more")
    path, session = require_row_file(path_of("output", output)), predictor.session
    sources = open_sources(places_of(images))
    what, naming = session.what, naming_of(session, predictor.labels)
    if what.preparation.warning:
        warn(what.preparation.warning)
    decoders = decode_threads or usable_cores()
    began = time.perf_counter()
    tally = predicted(session, sources, path, naming=naming, shard=part, decoders=decoders, progress=progress or silent)
    seconds, done = time.perf_counter() - began, tally.rows - tally.held
    return PredictionResult(
        model=what.model,
        **(what.weights.facts() if what.weights else NO_WEIGHTS),
        backend=what.engine.backend,
        flavour=what.engine.flavour,
        precision=what.engine.precision.value,
        batch=what.batch.optimum,
        threads=session.threads,
        decode_threads=decoders,
        preprocessing=what.preparation.facts,
        output=path,
        columns=tuple(naming.columns),
        shard=f"{part.index + 1}/{part.count}",
        images=tally.rows,
        held=tally.held,
        errors=tally.errors,
        first_errors=tuple(tally.first_errors),
        seconds=seconds,
        images_per_second=done / seconds if done else None,
        digest=what.digest,
        engine_digest=what.engine_digest,
        peak_memory_bytes=peak_memory_bytes(),
    )


def places_of(images: Places) -> list[Path]:
    """The paths of one or several. Raises UsageError for what is none."""
    several = [images] if isinstance(images, str | PathLike) or not isinstance(images, Sequence) else images
    return [path_of("images", each) for each in several]


def rows_path(text: str) -> Path:
    """The path of a file of rows to come. Raises as `require_row_file`, before any work is done for it."""
    return require_row_file(Path(text))


def require_places(images: Sequence[Path]) -> None:
    """Raises UsageError for a place that is not there, before any work is done for others."""
    for each in images:
        if not each.exists():
            raise UsageError(f"there is no image or folder {each}", hint="check the path")
