"""Results that were saved: what a command printed with `--json`, by its path."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from deploykit.api.workspace import path_of
from deploykit.errors import UsageError

if TYPE_CHECKING:
    from deploykit.results.accuracy import AccuracyReport


def evaluation_of(given: str | PathLike[str] | AccuracyReport | None) -> AccuracyReport | None:
    """What `evaluate` answered. Raises UsageError, and UntrustedArtifact as `read_results`."""
    if given is None:
        return None
    from deploykit.results.accuracy import AccuracyReport
    from deploykit.results.saved import kind_of
    from deploykit.workflow.saved import load

    if isinstance(given, AccuracyReport):
        return given
    hint = "give what evaluate printed with --json"
    path = path_of("accuracy", given, hint=f"{hint}, or returned")
    found = load(path)
    if not isinstance(found, AccuracyReport):
        raise UsageError(f"{path} is of {kind_of(found)}, not of evaluate", hint=hint)
    return found
