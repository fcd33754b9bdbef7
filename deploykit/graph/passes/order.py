"""The passes that a network goes through, in order, and the ledger of what each of them did.

Clean-up comes first, whatever is asked for; then the fusions that are wanted, in the order of `spec.build`, since some
make room for others: a BatchNorm that was split behind a Concat is folded branch by branch, and a scale reaches a
convolution only when the BatchNorm between them is gone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import onnx_ir as ir

from deploykit.errors import DeploykitError, one_line
from deploykit.graph.passes.cleanup import CLEAN_UP
from deploykit.graph.passes.compose_convolutions import compose_convolutions
from deploykit.graph.passes.dilate_pointwise import dilate_pointwise
from deploykit.graph.passes.exchange_pool import exchange_pool
from deploykit.graph.passes.fold_affine_forward import fold_affine_forward
from deploykit.graph.passes.fold_batchnorm import fold_batchnorm
from deploykit.graph.passes.fold_pad import fold_pad
from deploykit.graph.passes.fold_scale import fold_scale
from deploykit.graph.passes.merge_depthwise_pointwise import merge_depthwise_pointwise
from deploykit.graph.passes.merge_siblings import merge_siblings
from deploykit.graph.passes.naming import separate_values
from deploykit.graph.passes.remove_no_ops import remove_no_ops
from deploykit.graph.passes.split_batchnorm import split_batchnorm
from deploykit.graph.rewrite import Fusion, GraphPass, PassResult
from deploykit.graph.verify import Interface, breach_of, verify, verify_names
from deploykit.spec import COST_BASED_FUSIONS, SAFE_FUSIONS, Fusions
from deploykit.spec.reports import PassLedger, PassRecord

_BY_NAME = {
    fusion.name: fusion
    for fusion in (
        compose_convolutions,
        dilate_pointwise,
        exchange_pool,
        fold_affine_forward,
        fold_batchnorm,
        fold_pad,
        fold_scale,
        merge_depthwise_pointwise,
        merge_siblings,
        remove_no_ops,
        split_batchnorm,
    )
}
FUSIONS: Mapping[str, Fusion] = {name: _BY_NAME[name] for name in (*SAFE_FUSIONS, *COST_BASED_FUSIONS)}
Observe = Callable[[str, ir.Model], None]


def cnn_passes(fusions: Fusions = Fusions()) -> tuple[GraphPass, ...]:  # noqa: B008 - a frozen value
    """Clean-up and the fusions asked for. Raises UsageError for `auto`, which has to be decided before."""
    fusions.require_decided()
    return (*CLEAN_UP, *fusion_passes(fusions))


def fusion_passes(fusions: Fusions) -> tuple[GraphPass, ...]:
    """The fusions alone, for a graph that is cleaned already."""
    return tuple(partial(FUSIONS[name], without=fusions.sites_without(name)) for name in fusions.names)


CNN_PASSES = cnn_passes()


def optimize(
    model: ir.Model, *, passes: Sequence[GraphPass] = CNN_PASSES, observe: Observe | None = None
) -> PassLedger:
    """Run `passes` over `model`, in place, and verify the graph before the first and after each.

    Names are made unique at each of these points. `observe` sees the graph after every pass, with the pass's name, and
    must leave it alone. Raises DeploykitError, naming the pass, when one fails or leaves a broken graph; naming none
    when the graph was broken before.
    """
    separate_values(model)
    if breach := breach_of(model):
        raise DeploykitError(f"the graph is broken before any pass has seen it: {breach}")
    interface = Interface.of(model)
    records = []
    for graph_pass in passes:
        records.append(_record(graph_pass, model, interface))
        if observe:
            observe(records[-1].name, model)
    if records:
        verify_names(model, after=records[-1].name)
    return PassLedger(tuple(records))


def _record(graph_pass: GraphPass, model: ir.Model, interface: Interface) -> PassRecord:
    nodes_before, started = len(model.graph), time.perf_counter()
    result = _run(graph_pass, model)
    separate_values(model)
    verify(model, interface, after=result.name)
    return PassRecord(
        name=result.name,
        rewritten=tuple(result.rewritten),
        skipped=tuple(result.skipped),
        nodes_before=nodes_before,
        nodes_after=len(model.graph),
        seconds=time.perf_counter() - started,
    )


def _run(graph_pass: GraphPass, model: ir.Model) -> PassResult:
    try:
        return graph_pass(model)
    except DeploykitError:
        raise
    except Exception as error:  # a library's pass on a foreign graph may raise anything
        named = graph_pass.func if isinstance(graph_pass, partial) else graph_pass
        name = getattr(named, "name", None) or getattr(named, "__name__", repr(named))
        cause = error.__cause__ or error
        raise DeploykitError(f"graph pass {name} failed: {type(cause).__name__}: {one_line(cause)}") from error
