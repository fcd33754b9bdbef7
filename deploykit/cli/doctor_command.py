"""`deploykit doctor`: what is installed and loads, what does not, and how to fix it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.command import Command, backend
from deploykit.cli.options import JSON_OPTION, STORE_OPTION
from deploykit.cli.types import BACKEND
from deploykit.errors import BackendMissing

if TYPE_CHECKING:
    from deploykit.api import Finding


@click.command("doctor", cls=Command)
@backend(
    "--for",
    "wanted",
    type=BACKEND,
    common=True,
    help="Show what matters to one backend alone, and exit with 4 where it cannot work here: run where there is a GPU, "
    "without one compile (trt, trt-rtx) or run on the CPU.",
)
@STORE_OPTION
@JSON_OPTION
def command(wanted: str | None, store: Path | None, as_json: bool) -> None:
    """Show what is installed, what is missing, and how to fix it.

    The exit code is 0 also where something is missing: few machines have everything. With --for it is 4 where that
    backend cannot work.
    """
    from deploykit.api import doctor
    from deploykit.results.document import SCHEMA_VERSION, to_json

    findings = doctor(backend=wanted, store=store)
    if as_json:
        click.echo(to_json({"schema_version": SCHEMA_VERSION, "findings": findings}))
    else:
        _print(findings)
    if wanted and findings[-1].state != "ok":
        raise BackendMissing(f"{wanted} cannot work here: {findings[-1].detail}", hint=findings[-1].fix)


def _print(findings: "Sequence[Finding]") -> None:
    state = max(len(finding.state) for finding in findings)
    subject = max(len(finding.subject) for finding in findings)
    for finding in findings:
        click.echo(f"{finding.state:<{state}}  {finding.subject:<{subject}}  {finding.detail}")
        if finding.fix:
            click.echo(f"{'':<{state}}  {'':<{subject}}  fix: {finding.fix}")
