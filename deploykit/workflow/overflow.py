"""Does float16 hold what the network computes? Asked of a few images when an engine of float16 is built."""

from __future__ import annotations

from dataclasses import replace

from deploykit.data.inputs import inputs_for, unprepared
from deploykit.errors import DeploykitError, ExecutionFailed, UnsupportedGraph, UsageError
from deploykit.results.build import OverflowResult
from deploykit.spec import BuildSpec, Precision
from deploykit.store import Writer
from deploykit.workflow.export import Exported
from deploykit.workflow.workspace import Workspace

IMAGES = 4  # what overflows does so on most images, and each costs a run of the graph


def overflow_result(workspace: Workspace, exported: Exported, spec: BuildSpec) -> OverflowResult | None:
    """What overflows on a few images, and the option that cures it; None where nothing becomes float16.

    Where the graph cannot be fed, `note` says why nothing was looked at. Raises UsageError for images that the user
    names and that nothing reads.
    """
    beside = spec.precision is Precision.INT8 and spec.policy.rest is Precision.FP16 and not exported.quantized
    if spec.precision is not Precision.FP16 and not beside:
        return None
    try:
        inputs = inputs_for(exported, "test", count=IMAGES, batch=1, data=spec.data)
    except (UnsupportedGraph, UsageError) as error:
        if spec.data is not None and not isinstance(error, UnsupportedGraph):
            raise
        return _not_looked_for(error)

    workspace.warn_once(unprepared(exported.model, inputs.preparation))

    def make(_: Writer) -> OverflowResult:
        from deploykit.precision.overflow import cure, overflow
        from deploykit.workflow.transforms import read_graph

        with workspace.timed("look for float16 overflow"):
            try:
                found = overflow(read_graph(exported.path), list(inputs.feeds()), keep=spec.keep_fp32)
            except ExecutionFailed as error:
                return _not_looked_for(error)
        return OverflowResult(
            images=len(inputs),
            first=str(found.first) if found else None,
            keep_fp32=found.keep if found else (),
            cure=cure(found.keep) if found else None,
            note="",
        )

    parts = {"graph": exported.digest, "data": inputs.digest, "keep_fp32": spec.keep_fp32}
    request = {"model": exported.model, "data": spec.data}
    entry, _ = workspace.get_or_make("overflow", parts, make, request=request, facts=OverflowResult)
    found, facts = entry.facts_as(OverflowResult), inputs.facts  # of this request: equal images may have other names
    note = found.note or f"on {len(inputs)} images: {inputs.source}"
    return replace(found, note=note, data=facts.data, preprocessing=facts.preprocessing)


def _not_looked_for(error: DeploykitError) -> OverflowResult:
    return OverflowResult(images=0, first=None, keep_fp32=(), cure=None, note=f"overflow was not looked for: {error}")
