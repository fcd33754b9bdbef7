"""Two results beside each other: what changed, and whether that is more than is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.api.checked import checked
from deploykit.api.workspace import path_of
from deploykit.errors import UsageError
from deploykit.results.gate import GateReport

if TYPE_CHECKING:
    from deploykit.results.accuracy import AccuracyReport
    from deploykit.results.comparison import Report
    from deploykit.results.saved import Results

RESULTS_FOLDER = "results"


@checked
def compare(
    base: Results | str | PathLike[str],
    new: Results | str | PathLike[str],
    *,
    fail_on: str | Sequence[str] = (),
    across_environments: bool = False,
    allow_missing: bool = False,
) -> GateReport:
    """Compare two results of one command on one network, row by row and figure by figure.

    A time fails a limit only where the 95 % intervals of both results leave out that nothing changed, an accuracy only
    where the interval of the difference does. Times of unlike machines, libraries or threads are not compared; plans,
    parity and accuracy are. A row that `base` has and `new` lacks fails, and so does such a figure that has a limit.

    Args:
        base: What `bench`, `verify`, `evaluate`, `inspect` or `build` answered, or a file of what it printed with
            `--json`.
        new: The same, later.
        fail_on: Limits on changes, `"p50>3%,sqnr<-1dB,kernels>0"`. Without any, nothing fails.
        across_environments: Compare times of unlike environments, too.
        allow_missing: Rows and figures that `new` lacks do not fail.

    Returns:
        The rows with their checks; `raise_if_failed` raises what fails.

    Raises:
        UsageError: A limit cannot be read, or no row has its figure; the results are of two commands or networks.
        UntrustedArtifact: A file is not a result of this schema version.
    """
    from deploykit.gate.compare import compare_results
    from deploykit.gate.terms import parse_terms

    text = fail_on if isinstance(fail_on, str) else ",".join(fail_on)
    terms = parse_terms(text) if isinstance(fail_on, str) or fail_on else ()
    sides = [_result(name, given) for name, given in (("base", base), ("new", new))]
    return compare_results(
        sides[0][0],
        sides[1][0],
        terms,
        sources=(sides[0][1], sides[1][1]),
        across_environments=across_environments,
        allow_missing=allow_missing,
    )


def load_results(path: str | PathLike[str]) -> Results:
    """Read back what a command printed with `--json`.

    Args:
        path: A file with the JSON of `bench`, `verify`, `evaluate`, `inspect` or `build`.

    Returns:
        The typed result: `Report`, `AccuracyReport`, `BuildResult`, or what an `Inspection` says without its plan.

    Raises:
        UsageError: There is no such file.
        UntrustedArtifact: The file is not such a result, is cut short or of another schema version.
    """
    from deploykit.workflow.saved import load

    return load(path_of("the path of a result", path))


def save_results(report: Report | AccuracyReport, *, folder: str | PathLike[str] = RESULTS_FOLDER) -> Path:
    """Write a report as JSON under a name of network, date and machine; no file is ever overwritten.

    Args:
        report: What `bench`, `bench_steps`, `verify` or `evaluate` answered.
        folder: Where to; it is made.

    Returns:
        The file, for `compare` and `latest_results`.

    Raises:
        UsageError: The folder cannot be written into.
    """
    from deploykit.workflow.saved import save

    return save(report, path_of("folder", folder))


@checked
def latest_results(*, folder: str | PathLike[str] = RESULTS_FOLDER, back: int = 1) -> tuple[Path, Path]:
    """The newest result in a folder of `save_results`, and an earlier one of the same network, command and machine.

    Args:
        folder: The folder.
        back: How many results earlier: 1 is the one before.

    Returns:
        The earlier file, then the newest.

    Raises:
        UsageError: There are too few such results.
    """
    from deploykit.workflow.saved import latest

    if back < 1:
        raise UsageError(f"back is {back}", hint="1 is the result before the newest")
    return latest(path_of("folder", folder), back)


def write_report(path: Path, text: str) -> None:
    """Write a report that is text, whole or not at all. Raises UsageError."""
    from deploykit.io.files import write_text

    write_text(path, text)


def require_results_folder(folder: Path) -> None:
    """Raises UsageError where nothing can be saved, before any work is done for it."""
    from deploykit.io.files import require_folder

    require_folder(folder)


def _result(name: str, given: Results | str | PathLike[str]) -> tuple[Results, str]:
    from typing import get_args

    from deploykit.results.saved import Results

    if isinstance(given, str | PathLike):
        return load_results(given), str(path_of(name, given))
    if not isinstance(given, get_args(Results)):
        raise UsageError(
            f"{name} is a {type(given).__name__}, not a result", hint="give what bench, verify or evaluate answered"
        )
    return given, ""
