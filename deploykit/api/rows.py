"""The rows of a table as the API is asked for them, and the request that they become."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING

from deploykit.api.choices import backends_of, precisions_of, require_rows_read
from deploykit.api.workspace import path_of
from deploykit.errors import UsageError
from deploykit.spec import BatchRange, BuildSpec, Precision

if TYPE_CHECKING:
    from deploykit.workflow.compare import Request

Names = str | Iterable[str]
Precisions = str | Precision | Iterable[str | Precision]
ROWS = ("torch", "ort", "trt")


def rows_request(
    spec: BuildSpec,
    backends: Names,
    precisions: Precisions,
    *,
    batches: tuple[BatchRange, ...] = (),
    threads: int,
    strict: bool,
    typed: str | PathLike[str] | None = None,
    against: str | PathLike[str] | None = None,
    explain: bool = False,
) -> Request:
    """Raises UsageError for whatever does not make sense, before any work starts."""
    from deploykit.bench import BenchSettings
    from deploykit.workflow.compare import Request

    if spec.policy.auto:
        raise UsageError("the INT8 policy plan is decided by build and inspect", hint="give the policy that they name")
    rows, types = backends_of(backends), precisions_of(precisions)
    if typed is None and against is None:
        require_rows_read(spec, types)
    return Request(
        spec=spec,
        batches=batches,
        backends=rows,
        precisions=types,
        settings=BenchSettings(threads=threads, seed=spec.model.seed),
        strict=strict,
        typed=None if typed is None else path_of("typed", typed),
        against=None if against is None else path_of("against", against),
        explain=explain,
    )


def require_alone(backends: Names, precisions: Precisions, typed: object) -> None:
    """Raises UsageError for rows that were asked for beside a graph that is judged in their place."""
    if typed is not None or tuple(backends_of(backends)) != ROWS or precisions_of(precisions) != (Precision.FP32,):
        raise UsageError(
            "against judges that graph alone, as it is",
            hint="leave out backends, precisions and typed; its own types decide the limits",
        )
