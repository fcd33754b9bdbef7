"""What `verify`, `bench` and `evaluate` share: their options, the request they become, and how they end."""

from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.command import backend, precision
from deploykit.cli.idle import require_rows
from deploykit.cli.options import ANSWER_OPTIONS, FUSE_BUDGET_OPTIONS, ROW_OPTIONS, STRICT_OPTIONS
from deploykit.cli.requests import ENGINE as ENGINE_GROUPS
from deploykit.cli.requests import Command, batch_group, build_spec, with_options
from deploykit.cli.types import PRECISIONS
from deploykit.errors import UsageError
from deploykit.spec import BuildSpec, Precision

if TYPE_CHECKING:
    from deploykit.plan.gpus import Gpu
    from deploykit.results.document import Report
    from deploykit.workflow.compare import Request
    from deploykit.workflow.workspace import Workspace

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
    fuse_budget: float
    store: Path | None
    as_json: bool

    def request(self, *, max_seconds: float = 60.0, throughput: bool = False, typed: Path | None = None) -> "Request":
        """Raises UsageError for whatever does not make sense, before any work starts."""
        from deploykit.bench import BenchSettings
        from deploykit.workflow.compare import Request

        if self.spec.policy.auto:
            raise UsageError(
                "--int8-policy plan is decided by `build` and `inspect`", hint="give the policy that they name"
            )
        require_rows(self.spec, self.precisions, self.backends)
        settings = BenchSettings(
            threads=self.threads, max_seconds=max_seconds, seed=self.spec.model.seed, throughput=throughput
        )
        return Request(
            spec=self.spec,
            backends=self.backends,
            precisions=self.precisions,
            settings=settings,
            strict=self.strict_backend,
            typed=typed,
        )

    def decided(self, workspace: "Workspace", request: "Request") -> "Request":
        """`request` with the fusions that --fuse auto comes to."""
        from deploykit.tuning.fusions import decided_for_rows

        return decided_for_rows(workspace, request, gpu=self.gpu, budget_seconds=self.fuse_budget)


def comparison_options(command: Command, *, batch: str = "1", batch_default: str = "1") -> Command:
    """Give `command` the shared options, as one `ComparisonOptions` in front of its own.

    `batch` is the --batch that is not given, and `batch_default` what the help says of it.
    """

    @wraps(command)
    def with_shared(**parsed: Any) -> None:
        shared = ComparisonOptions(**{field.name: parsed.pop(field.name) for field in fields(ComparisonOptions)})
        command(shared, **parsed)

    batch_option = backend(
        "--batch",
        default=batch,
        show_default=batch_default,
        common=True,
        metavar="N|MIN:OPT:MAX",
        help="Images per run; engines may be built for min:opt:max.",
    )
    own = (*STRICT_OPTIONS, *FUSE_BUDGET_OPTIONS, *ANSWER_OPTIONS)
    decorated = build_spec(batch_group(batch_option), *ENGINE_GROUPS)(with_options(*own)(with_shared))
    return with_options(PRECISION_OPTION, *ROW_OPTIONS)(decorated)


def finish(report: "Report", *, as_json: bool) -> None:
    """Print the report and leave with its exit code."""
    from deploykit.report.table import render_report
    from deploykit.results.document import to_json
    from deploykit.workflow.rows import exit_code

    if as_json:
        click.echo(to_json(report.as_json()))
    else:
        render_report(report)
    click.get_current_context().exit(exit_code(report.rows))
