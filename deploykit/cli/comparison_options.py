"""What `verify` and `bench` share: their options, the request they become, and how they end."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.idle import require_rows
from deploykit.cli.options import (
    budget_option,
    builder_options,
    data_option,
    fuse_option,
    int8_options,
    io_option,
    json_option,
    keep_option,
    model_options,
    parse_backends,
    parse_batch,
    parse_precisions,
    store_option,
    strict_option,
    target_options,
)
from deploykit.errors import UsageError
from deploykit.spec import (
    BuilderOptions,
    BuildSpec,
    Calibration,
    DataSource,
    Fusions,
    ModelSpec,
    QuantizationPolicy,
    Repair,
    Target,
)

if TYPE_CHECKING:
    from deploykit.plan.gpus import Gpu
    from deploykit.results.document import Report
    from deploykit.workflow.compare import Request
    from deploykit.workflow.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    """The parsed options of either command."""

    model: ModelSpec
    fusions: Fusions
    fuse_budget: float
    backends: str
    precision: str
    batch: str
    threads: int
    targets: tuple[Target, ...]
    gpu: "Gpu | None"
    keep_io: bool
    keep_fp32: tuple[str, ...]
    options: BuilderOptions
    data: DataSource
    calibration: Calibration
    policy: QuantizationPolicy
    repair: Repair
    strict_backend: bool
    store: Path | None
    as_json: bool

    def request(self, *, max_seconds: float = 60.0, throughput: bool = False, typed: Path | None = None) -> "Request":
        """Raises UsageError for whatever does not make sense, before any work starts."""
        from deploykit.bench import BenchSettings
        from deploykit.workflow.compare import Request

        if self.policy.auto:
            raise UsageError(
                "--int8-policy plan is decided by `build` and `inspect`", hint="give the policy that they name"
            )
        precisions = parse_precisions(self.precision)
        spec = BuildSpec(
            model=self.model,
            batch=parse_batch(self.batch),
            targets=self.targets,
            keep_io=self.keep_io,
            keep_fp32=self.keep_fp32,
            data=self.data,
            calibration=self.calibration,
            policy=self.policy,
            repair=self.repair,
            fusions=self.fusions,
            options=self.options,
        )
        backends = parse_backends(self.backends)
        require_rows(spec, precisions, backends)
        settings = BenchSettings(
            threads=self.threads, max_seconds=max_seconds, seed=self.model.seed, throughput=throughput
        )
        return Request(
            spec=spec,
            backends=backends,
            precisions=precisions,
            settings=settings,
            strict=self.strict_backend,
            typed=typed,
        )

    def decided(self, workspace: "Workspace", request: "Request") -> "Request":
        """`request` with the fusions that --fuse auto comes to."""
        from deploykit.tuning.fusions import decided_for_rows

        return decided_for_rows(workspace, request, gpu=self.gpu, budget_seconds=self.fuse_budget)


def comparison_options(command: Callable[..., None], *, batch_default: str = "1") -> Callable[..., None]:
    """Give `command` the shared options, as one `ComparisonOptions` in front of its own.

    `batch_default` is what the help says of a --batch that is not given; its value is 1.
    """

    @wraps(command)
    def with_shared(**parsed: Any) -> None:
        shared = ComparisonOptions(**{field.name: parsed.pop(field.name) for field in fields(ComparisonOptions)})
        command(shared, **parsed)

    decorated: Callable[..., None] = with_shared
    for decorate in reversed(
        (
            model_options,
            fuse_option,
            budget_option,
            click.option("--backends", default="torch,ort,trt", show_default=True, help="Rows, in this order."),
            click.option("--precision", default="fp32", show_default=True, help="fp32, fp16, int8; commas between."),
            click.option("--batch", default="1", show_default=batch_default, help="Images a run, or min:opt:max."),
            click.option("--threads", type=int, default=0, help="CPU threads of each row. Default: one per core."),
            target_options,
            io_option,
            keep_option,
            builder_options,
            data_option,
            int8_options,
            strict_option,
            store_option,
            json_option,
        )
    ):
        decorated = decorate(decorated)
    return decorated


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
