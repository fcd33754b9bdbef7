"""`--against`: one row for a graph in a file, compared with the network as any row is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploykit.backends import get_backend
from deploykit.spec import BatchRange, BuildSpec
from deploykit.workflow.adopt import Other, Replaced, narrowed, other
from deploykit.workflow.engine import Built, require_usable
from deploykit.workflow.export import export
from deploykit.workflow.rows import AskedRow, BuiltRow
from deploykit.workflow.workspace import Workspace

BACKEND = "ort"


def other_row(workspace: Workspace, spec: BuildSpec, path: Path) -> tuple[BuildSpec, BuiltRow, Other]:
    """The request as it then is (a graph of one batch sets it), the row, and what is to be said of the file.

    Raises as `adopt.other`, UsageError for a batch that one of the two does not take, BackendMissing.
    """
    backend = get_backend(BACKEND)
    require_usable(backend)
    exported = export(workspace, spec.model, spec.fusions)
    found = other(workspace, path, exported, replaced=replaced_by(spec))
    both = narrowed(exported, found.typed.graph)
    fixed = both.fixed_batch
    if not spec.batch.asked:
        spec = replace(spec, batch=BatchRange(fixed, fixed, fixed) if fixed else replace(spec.batch, asked=True))
    both.require_batch(spec.batch)
    spec = spec.with_precision(found.precision)
    file = replace(found.typed.graph, path=found.path)
    engine = backend.build(file, spec.engine_settings)
    built = Built(both, found.typed, engine, entry=None, hit=False, seconds=None)
    return spec, BuiltRow(AskedRow(BACKEND, backend, spec), built), found


def replaced_by(spec: BuildSpec) -> Replaced:
    """The layers of a given graph that a request wants to be the network's own."""
    return Replaced(keep=spec.keep_fp32, nodes=spec.policy.exclude)
