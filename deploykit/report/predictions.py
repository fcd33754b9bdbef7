"""What `predict` answers, in words: name and value, one a line."""

from __future__ import annotations

from deploykit.data.preparation import describe_preprocessing
from deploykit.report.text import megabytes, with_notes
from deploykit.results.predictions import PredictionResult


def describe_predictions(found: PredictionResult) -> dict[str, str]:
    """The lines."""
    fresh = found.images - found.held
    rate = f": {found.images_per_second:.1f} images/s" if found.images_per_second else ""
    errors = "\n".join((f"{found.errors} of {found.images} images", *found.first_errors)) if found.errors else ""
    held = f", {found.held} of them there before" if found.held else ""
    peak, threads = found.peak_memory_bytes, f"{found.threads} threads, {found.decode_threads} to decode"
    return {
        "model": found.model,
        "weights": with_notes(found.weights, found.weights_notes),
        "engine": f"{found.flavour}, {found.precision}, batch {found.batch}, digest {found.engine_digest[:12]}",
        "preprocessing": describe_preprocessing(found.preprocessing),
        "output": f"{found.output}: {found.images} rows{held}",
        "shard": "" if found.shard == "1/1" else found.shard,
        "rows' model": found.digest[:12],
        "errors": errors,
        "run": f"{fresh} images in {found.seconds:.1f} s{rate}; {threads}",
        "memory": f"{megabytes(peak)} MB at most" if peak is not None else "",
    }
