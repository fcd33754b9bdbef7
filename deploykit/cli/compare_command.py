"""`deploykit compare BASE.json NEW.json`: what changed between two saved results, and whether that is too much."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.command import Argument, Command, data, measurement, output
from deploykit.cli.given import refuse, require
from deploykit.cli.options import HTML_OPTION, JSON_OPTION
from deploykit.cli.requests import with_options
from deploykit.cli.types import FILE, OUTPUT
from deploykit.errors import UsageError

if TYPE_CHECKING:
    from deploykit.api import GateReport


@click.command("compare", cls=Command)
@click.argument(
    "base", cls=Argument, required=False, type=FILE, metavar="BASE.json", text="What a command printed with --json."
)
@click.argument(
    "new", cls=Argument, required=False, type=FILE, metavar="NEW.json", text="The result to judge, of the same command."
)
@with_options(
    measurement(
        "--fail-on",
        metavar="LIMITS",
        common=True,
        help="Limits on the change from BASE to NEW (NEW - BASE), separated by commas: p50>3%, device>3%, ratio>3%, "
        "kernels>0, mb>1%, engine_mb>5%, activation_mb>5%, sqnr<-1dB, agreement<-0.1, parity, top1<-0.3, top5<-0.3. "
        "device is GPU time, ratio the time over the first row's, mb the memory traffic; top1, top5 and agreement are "
        "in percentage points.",
    ),
    measurement(
        "--across-environments",
        is_flag=True,
        common=True,
        help="Compare times of unlike machines, libraries or threads, too.",
    ),
    measurement("--allow-missing", is_flag=True, common=True, help="Rows and figures that NEW lacks do not fail."),
    data(
        "--last",
        type=click.IntRange(min=1),
        is_flag=False,
        flag_value=1,
        metavar="[N]",
        common=True,
        help="In place of two files: the newest result in --results, and the Nth before it of the same network, "
        "command and machine. Without N: the one before.",
    ),
    data(
        "--results",
        type=FILE,
        default="results",
        show_default=True,
        metavar="DIR",
        common=True,
        help="Folder of bench --save.",
    ),
    output("--markdown", type=OUTPUT, common=True, help="Also write a comment for a pull request."),
    output("--junit", type=OUTPUT, common=True, help="Also write JUnit XML, one test for each limit of each row."),
    HTML_OPTION,
    JSON_OPTION,
)
def command(
    base: Path | None,
    new: Path | None,
    fail_on: str | None,
    across_environments: bool,
    allow_missing: bool,
    last: int | None,
    results: Path,
    markdown: Path | None,
    junit: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Compare two saved results of bench, verify, evaluate, inspect or build, and exit with 3 where a limit fails.

    Times and accuracies fail only where the 95 % interval of the change does not include 0. Times are compared only
    where machine, libraries and threads are the same; plans, parity and accuracy always. The reason for every figure
    that was not compared or is undecided stands below the table.
    """
    from deploykit.api import compare, latest_results
    from deploykit.report.gate import render_gate

    if last is not None:
        refuse({"base", "new"}, "cannot be combined with --last", hint="leave out the files, or --last")
        base, new = latest_results(folder=results, back=last)
    else:
        require({"results"}, "--last")
    if base is None or new is None:
        raise UsageError("compare requires two files", hint="give BASE.json NEW.json, or --last")
    if fail_on is None:
        require({"junit", "allow_missing"}, "--fail-on")
    limits = () if fail_on is None else fail_on
    report = compare(base, new, fail_on=limits, across_environments=across_environments, allow_missing=allow_missing)
    _write(report, {"markdown": markdown, "junit": junit, "html": html}, {base, new})
    if as_json:
        click.echo(report.to_json())
    else:
        render_gate(report)
    click.get_current_context().exit(report.failure.exit_code if report.failure else 0)


def _write(report: "GateReport", wanted: Mapping[str, Path | None], results: Collection[Path]) -> None:
    """Raises UsageError where a file cannot be written, or is one of the results."""
    from deploykit.api.gate import write_report
    from deploykit.report.junit import junit
    from deploykit.report.markdown import markdown

    forms = {"markdown": markdown, "junit": junit, "html": _page}
    for name, path in wanted.items():
        if path is None:
            continue
        if path.resolve() in {each.resolve() for each in results}:
            raise UsageError(f"--{name} {path} is one of the results", hint="give another path")
        write_report(path, forms[name](report))


def _page(report: "GateReport") -> str:
    """Imports what the other forms do without."""
    from deploykit.report.html import html_of

    return html_of(report)
