"""What `verify`, `bench` and `evaluate` share: their options, the request they become, and how they end."""

from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.answers import present
from deploykit.cli.command import backend, precision
from deploykit.cli.options import ANSWER_OPTIONS, FUSE_BUDGET_OPTIONS, HTML_OPTION, ROW_OPTIONS, STRICT_OPTIONS
from deploykit.cli.requests import ENGINE as ENGINE_GROUPS
from deploykit.cli.requests import Command, EngineKeywords, batch_group, build_spec, keywords, with_options
from deploykit.cli.types import PRECISIONS
from deploykit.spec import BuildSpec, Precision

if TYPE_CHECKING:
    from deploykit.api import Gpu, Report

PRECISION_OPTION = precision(
    "--precision",
    "precisions",
    type=PRECISIONS,
    default="fp32",
    show_default=True,
    common=True,
    help="Precisions to compare, in this order.",
)


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    """The parsed options that `verify`, `bench` and `evaluate` share."""

    spec: BuildSpec
    gpu: "Gpu | None"
    precisions: tuple[Precision, ...]
    backends: tuple[str, ...]
    threads: int
    strict_backend: bool
    store: Path | None
    as_json: bool
    html: Path | None
    fuse_budget: float = 0.0  # of commands that search

    def keywords(self) -> "RowKeywords":
        """All of it as the API takes it, but for the network, its images and --fuse-budget."""
        return {
            **keywords(self.spec, self.gpu, self.store),
            "backends": self.backends,
            "precisions": self.precisions,
            "threads": self.threads,
            "strict": self.strict_backend,
        }


class RowKeywords(EngineKeywords):
    """What the rows of a table are made with, by the names that the API has for it."""

    backends: tuple[str, ...]
    precisions: tuple[Precision, ...]
    threads: int
    strict: bool


def comparison_options(
    command: Command, *, batch: str = "1", batch_default: str | bool = True, search: bool = True
) -> Command:
    """Give `command` the shared options, as one `ComparisonOptions` in front of its own.

    `batch` is the --batch that is not given, and `batch_default` what the help says of it, True: the same. `search`
    says whether it can search for the fusions of least cost.
    """

    shared_names = [field.name for field in fields(ComparisonOptions)]

    @wraps(command)
    def with_shared(**parsed: Any) -> None:
        shared = ComparisonOptions(**{name: parsed.pop(name) for name in shared_names if name in parsed})
        command(shared, **parsed)

    batch_option = backend(
        "--batch",
        default=batch,
        show_default=batch_default,
        common=True,
        metavar="N|MIN:OPT:MAX",
        help="Images per run; engines may be built for min:opt:max.",
    )
    own = (*STRICT_OPTIONS, *(FUSE_BUDGET_OPTIONS if search else ()), HTML_OPTION, *ANSWER_OPTIONS)
    decorated = build_spec(batch_group(batch_option), *ENGINE_GROUPS, search=search)(with_options(*own)(with_shared))
    return with_options(PRECISION_OPTION, *ROW_OPTIONS)(decorated)


def finish(report: "Report", *, as_json: bool, html: Path | None) -> None:
    """Print the report and leave with its exit code."""
    from deploykit.report.table import render_report

    present(report, render_report, as_json=as_json, html=html)
    click.get_current_context().exit(report.failure.exit_code if report.failure else 0)
