"""Results that were saved: what a command printed with `--json`, by its path."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from deploykit.api.workspace import path_of
from deploykit.errors import UsageError

if TYPE_CHECKING:
    from deploykit.results.accuracy import AccuracyReport


def evaluation_of(given: str | PathLike[str] | AccuracyReport | None, model: str) -> AccuracyReport | None:
    """What `evaluate` answered of the network `model`. Raises UsageError, and UntrustedArtifact as `read_results`."""
    if given is None:
        return None
    from deploykit.results.accuracy import AccuracyReport
    from deploykit.results.saved import kind_of, read_results

    if isinstance(given, AccuracyReport):
        found, named = given, "accuracy"
    else:
        path = path_of("accuracy", given, hint="give what evaluate printed with --json, or returned")
        named = str(path)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"cannot read the accuracy {path}: {error.strerror}", hint="give what evaluate printed with --json"
            ) from error
        read = read_results(text, what=f"accuracy {path}")
        if not isinstance(read, AccuracyReport):
            raise UsageError(f"{path} is of {kind_of(read)}, not of evaluate", hint="give what evaluate printed")
        found = read
    if found.conditions.model != model:
        raise UsageError(f"{named} is of {found.conditions.model}, not of {model}", hint="give that of this network")
    return found
