"""What `verify`, `bench` and `evaluate` share: their options, the request they become, and how they end."""

from dataclasses import dataclass, fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.answers import present
from deploykit.cli.command import backend, precision
from deploykit.cli.given import given
from deploykit.cli.options import ANSWER_OPTIONS, FUSE_BUDGET_OPTIONS, HTML_OPTION, ROW_OPTIONS, STRICT_OPTIONS
from deploykit.cli.requests import ENGINE as ENGINE_GROUPS
from deploykit.cli.requests import Command, EngineKeywords, build_spec, keywords, with_options
from deploykit.cli.types import BATCH, BATCHES, PRECISIONS
from deploykit.spec import BatchRange, BuildSpec, Precision

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
    """The parsed options that `verify`, `bench` and `evaluate` share. `spec` has the first of the batches."""

    spec: BuildSpec
    batch: tuple[BatchRange, ...]
    gpu: "Gpu | None"
    precisions: tuple[Precision, ...]
    backends: tuple[str, ...]
    threads: int
    strict_backend: bool
    store: Path | None
    as_json: bool
    html: Path | None
    fuse_budget: float = 0.0  # of commands that search

    @property
    def batches(self) -> tuple[int, ...]:
        """Several batches, each with rows of its own; () where there is one."""
        return tuple(each.optimum for each in self.batch) if len(self.batch) > 1 else ()

    def keywords(self) -> "RowKeywords":
        """All of it as the API takes it, but for the network, its images, several batches and --fuse-budget."""
        return {
            **keywords(self.spec, self.gpu, self.store),
            "batch": None if self.batches else self.spec.batch,
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
    command: Command,
    *,
    batch: str = "1",
    batch_default: str | bool = True,
    several: bool = True,
    search: bool = True,
) -> Command:
    """Give `command` the shared options, as one `ComparisonOptions` in front of its own.

    `batch` is the --batch that is not given, and `batch_default` what the help says of it, True: the same. `several`
    batches may be listed, or only one given. `search` says whether it can search for the fusions of least cost.
    """

    shared_names = [field.name for field in fields(ComparisonOptions)]

    @wraps(command)
    def with_shared(**parsed: Any) -> None:
        first = replace(parsed["batch"][0], asked=bool(given({"batch"})))
        parsed["spec"] = replace(parsed["spec"], batch=first)
        shared = ComparisonOptions(**{name: parsed.pop(name) for name in shared_names if name in parsed})
        command(shared, **parsed)

    batch_option = backend(
        "--batch",
        default=batch,
        show_default=batch_default,
        common=True,
        type=BATCHES if several else BATCH,
        help="Images per run; engines may be built for min:opt:max."
        + (" Several, such as 1,8,32, have rows and engines of their own." if several else ""),
    )
    own = (*STRICT_OPTIONS, *(FUSE_BUDGET_OPTIONS if search else ()), HTML_OPTION, *ANSWER_OPTIONS)
    decorated = build_spec(*ENGINE_GROUPS, search=search)(with_options(batch_option, *own)(with_shared))
    return with_options(PRECISION_OPTION, *ROW_OPTIONS)(decorated)


def finish(report: "Report", *, as_json: bool, html: Path | None, percentiles: bool = False) -> None:
    """Print the report and leave with its exit code."""
    from deploykit.report.table import render_report

    present(report, partial(render_report, percentiles=percentiles), as_json=as_json, html=html)
    click.get_current_context().exit(report.failure.exit_code if report.failure else 0)
