"""`deploykit doctor`: what is installed, what is missing, and how to fix it."""

from dataclasses import asdict
from pathlib import Path

import click

from deploykit.cli.command import Command
from deploykit.cli.options import JSON_OPTION, STORE_OPTION


@click.command("doctor", cls=Command)
@STORE_OPTION
@JSON_OPTION
def command(store: Path | None, as_json: bool) -> None:
    """Show what is installed, what is missing, and how to fix it.

    The exit code is 0 also where something is missing: few machines have everything.
    """
    from deploykit.api import doctor
    from deploykit.results.document import SCHEMA_VERSION, to_json

    findings = doctor(store=store)
    if as_json:
        found = [asdict(finding) for finding in findings]
        click.echo(to_json({"schema_version": SCHEMA_VERSION, "findings": found}))
        return
    state = max(len(finding.state) for finding in findings)
    subject = max(len(finding.subject) for finding in findings)
    for finding in findings:
        click.echo(f"{finding.state:<{state}}  {finding.subject:<{subject}}  {finding.detail}")
        if finding.fix:
            click.echo(f"{'':<{state}}  {'':<{subject}}  fix: {finding.fix}")
