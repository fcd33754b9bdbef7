"""Where the loss of a row arises: the first layer at fault, why, and the options that cure it, tried before they are
named.

The typed graph and the network in float64 are compared tensor by tensor (`parity.layers`) on the images with the
largest loss. A layer stands out where what it loses by itself would miss the row's limit, or is far from what its like
lose. What follows from it is proven: options are tried by typing the graph with them, and a graph that somebody else
typed is judged with the layer replaced by the network's own.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from deploykit.backends import get_backend
from deploykit.errors import DeploykitError
from deploykit.graph.rewrite import module_scopes, node_name
from deploykit.parity import LayerError, Parity, ParityResult
from deploykit.parity.constants import unlike_constants, unlike_operators, unlike_scale
from deploykit.parity.layers import LayerErrors, Pairing, pair_by_name, pair_by_place
from deploykit.precision.emulate import ROUNDED, literal_graph
from deploykit.precision.overflow import overflow
from deploykit.precision.reports import Int8Report
from deploykit.results.explanation import Explanation
from deploykit.spec import BuildSpec, Precision
from deploykit.spec.operators import WEIGHTED_OPS
from deploykit.workflow.adopt import Replaced, adopt, other
from deploykit.workflow.engine import Built
from deploykit.workflow.export import traced
from deploykit.workflow.judge import Judge
from deploykit.workflow.probes import probes_of
from deploykit.workflow.transforms import read_graph
from deploykit.workflow.typed import Typed, type_graph

if TYPE_CHECKING:
    import onnx_ir as ir

IMAGES = 2  # runs that the layers are compared on
LIMIT_DB = {Precision.FP32: 80.0, Precision.FP16: 30.0, Precision.INT8: 20.0}  # of a layer by itself
OUTLIER_DB = 20.0  # below the median of the weighted layers
TRIED = (1, 2, 4, 8)  # layers that options name
KEEP, EXCLUDE = "keep-fp32", "int8-exclude"
OVERFLOWING = 4  # runs on which an overflow is looked for


@dataclass
class Explainer:
    """Explains rows that one judge judged. `file` is the graph that somebody else typed, where one is judged: a graph
    of the network (`--typed`), or one of its own (`--against`, `foreign`).
    """

    judge: Judge
    spec: BuildSpec
    file: Path | None = None
    foreign: bool = False
    replaced: Replaced = Replaced()  # noqa: RUF009 - a frozen value

    def explain(self, built: Built, found: Parity | None) -> Explanation | None:
        """None for a row without a typed graph. What keeps it from being told is said in the explanation."""
        if built.typed is None or not isinstance(found, ParityResult):
            return None
        workspace, digest = self.judge.workspace, built.typed.graph.digest
        with workspace.timed(f"explain the {built.engine.precision} graph"):
            said = workspace.once(("explained", digest, found.verdict), lambda: self._graph(built, found))
        if not get_backend(built.engine.backend).compiles or built.plan is None:
            return said
        return replace(said, probes=probes_of(workspace, self.spec, built))

    def _graph(self, built: Built, found: ParityResult) -> Explanation:
        try:
            return _OneGraph(self, built, found).explanation()
        except DeploykitError as error:
            return Explanation(said=f"where the loss arises cannot be told: {error}")


@dataclass
class _OneGraph:
    """One typed graph, and the verdict on a row of it."""

    explainer: Explainer
    built: Built
    found: ParityResult

    def explanation(self) -> Explanation:
        errors, images = self._measured()
        layers = errors.found()
        unpaired = self.pairing.unpaired
        if not layers:
            return Explanation(said="the two graphs share no tensor by name or place", unpaired=unpaired)
        first, out = _standing_out(layers, errors.sources, LIMIT_DB[self.precision])
        found = Explanation(
            said=_sentence(first, out, layers, errors.sources, passes=self.found.verdict == "pass"),
            first=first,
            cause=self._cause(first, errors) if first else "",
            images=images,
            layers=layers,
            unpaired=unpaired,
        )
        if self.found.verdict == "pass":
            return replace(found, cured="no options were tried, since the row passes")
        if elsewhere := self._elsewhere(layers):
            return replace(found, said=elsewhere, first=None, cause="")
        if self.explainer.file is not None:
            return self._replaced(found, out)
        return self._cured(found, out, layers)

    @property
    def typed(self) -> Typed:
        assert self.built.typed is not None  # noqa: S101 - rows without one are not explained
        return self.built.typed

    @cached_property
    def precision(self) -> Precision:
        return self.explainer.judge.precision_of(self.built)

    @cached_property
    def network(self) -> ir.Model:
        """The float graph: of a foreign one's names as the network's file has them, else as it was typed."""
        judge = self.explainer.judge
        if self.explainer.foreign and judge.exported.module is None:
            return traced(judge.workspace, judge.exported.model)
        return read_graph(judge.exported.path)

    @cached_property
    def graph(self) -> ir.Model:
        return read_graph(self.typed.graph.path)

    @cached_property
    def literal(self) -> ir.Model:
        return literal_graph(self.graph, self.precision)

    @cached_property
    def pairing(self) -> Pairing:
        named = pair_by_name(self.network, self.literal, rounded=ROUNDED)
        return pair_by_place(self.network, self.literal, named) if self.explainer.foreign else named

    def _measured(self) -> tuple[LayerErrors, int]:
        """The layers' errors, and the images that they are of."""
        judge, errors = self.explainer.judge, LayerErrors(self.network, self.literal, self.pairing)
        numbers = judge.telling(self.typed, self.precision, IMAGES)
        for number in numbers:
            exact, typed = (judge.run_of(number, specs) for specs in (judge.exported.inputs, self.typed.graph.inputs))
            errors.add(exact, typed)
        return errors, len(numbers) * judge.exported.run_length(judge.batch, 1)

    def _elsewhere(self, layers: Sequence[LayerError]) -> str:
        """Where a loss arises that the typed graph has not; "" for any other."""
        total, own = self.found.worst.total, self.found.worst.precision_loss
        if total and own and own.sqnr_db > total.sqnr_db + OUTLIER_DB:
            return (
                f"the loss is the backend's: the typed graph, run without optimizations, reaches {own.sqnr_db:.1f} dB, "
                f"its engine {total.sqnr_db:.1f} dB"
            )
        loss, least = self.found.worst.loss, min(layer.sqnr_db for layer in layers)
        if loss and least > loss.sqnr_db + OUTLIER_DB:
            return (
                f"no layer loses as much: each is at {least:.1f} dB or more beside the exported graph in float64, and "
                f"the row at {loss.sqnr_db:.1f} dB beside the {self.found.reference}; export it with --fuse none to "
                "see whether a rewrite is at fault"
            )
        return ""

    def _cause(self, first: LayerError, errors: LayerErrors) -> str:
        """What the layer's constants, scales and operators are beside the network's."""
        ours, theirs = _maker(self.network, first.tensor), _maker(self.graph, self._own(first.tensor))
        if ours is None or theirs is None:
            return ""
        layer = _weighted(theirs)
        mine = _weighted(ours)
        if layer is not None and mine is not None:
            read = mine.inputs[0]
            peak = errors.peaks.get(str(read.name), 0.0) if read is not None else 0.0
            if said := unlike_constants(mine, layer) or unlike_scale(layer, peak):
                return f"{node_name(mine)}: {said}"
        reads = set(errors.sources.get(first.tensor, ()))
        said = unlike_operators(_between(ours, reads), _between(theirs, {self._own(name) for name in reads}))
        return f"in front of {node_name(ours)}: {said}" if said else ""

    def _own(self, tensor: str) -> str:
        """What the graph that was typed calls a tensor of the network."""
        return self.pairing.taps[tensor].removesuffix(ROUNDED)

    def _replaced(self, found: Explanation, out: Sequence[LayerError]) -> Explanation:
        """Judge the graph with the first layer at fault as in the network, and where that is not enough with all."""
        for few in ([found.first], list(out[: TRIED[-1]])) if found.first else ():
            layers = [layer for layer in few if layer is not None]
            try:
                verdict = self._with_the_networks(layers)
            except DeploykitError as error:
                return replace(found, cured=f"the layer cannot be replaced to prove it: {error}")
            options = tuple(f"--{kind} {shlex.quote(name)}" for kind, name in map(self._option, layers))
            found = replace(found, options=options, cured=_figure(verdict))
            if verdict.verdict == "pass":
                break
        return found

    def _with_the_networks(self, layers: Sequence[LayerError]) -> ParityResult:
        """The verdict on the graph with some layers as in the network, in float32."""
        judge, file, before = self.explainer.judge, self.explainer.file, self.explainer.replaced
        assert file is not None  # noqa: S101 - a graph of our own is typed anew
        named = [self._option(layer) for layer in layers]
        both = Replaced(
            keep=(*before.keep, *(name for kind, name in named if kind == KEEP)),
            nodes=(*before.nodes, *(name for kind, name in named if kind != KEEP)),
        )
        if self.explainer.foreign:
            typed = other(judge.workspace, file, judge.exported, replaced=both).typed
        else:
            typed = adopt(judge.workspace, file, judge.exported, self.typed.graph.precision, replaced=both)
        return judge.verdict(replace(self.built, typed=typed), None)

    def _option(self, layer: LayerError) -> tuple[str, str]:
        """The option that takes a layer out of the row's precision, and what it calls it."""
        if self.precision is Precision.INT8 and layer.operator in WEIGHTED_OPS:
            return EXCLUDE, layer.node
        return KEEP, _pattern(self.network, layer)

    def _cured(self, found: Explanation, out: Sequence[LayerError], layers: Sequence[LayerError]) -> Explanation:
        """The fewest options, of those that were tried, with which the row passes."""
        if self.precision is Precision.FP32:
            return replace(found, cured="no option cures it: the graph is float32 already")
        if self.precision is Precision.FP16 and (overflowing := self._overflowing()):
            return self._tried(found, KEEP, [overflowing])
        ordered = [*out, *(layer for layer in layers if layer not in out)]
        ordered.sort(key=lambda layer: (layer not in out, layer.own_db))
        if self.precision is Precision.INT8:
            kind, names = EXCLUDE, self._quantized(ordered)
        else:
            kind, names = KEEP, list(dict.fromkeys(_pattern(self.network, layer) for layer in ordered))
        return self._tried(found, kind, [names[:count] for count in TRIED if count <= len(names)])

    def _tried(self, found: Explanation, kind: str, sets: Sequence[Sequence[str]]) -> Explanation:
        """The first of the sets of layers without which the graph passes, as options."""
        judge, spec, last = self.explainer.judge, self.explainer.spec, ""
        placement = get_backend(self.built.engine.backend).placement
        for names in sets:
            if kind == KEEP:
                asked = replace(spec, keep_fp32=(*spec.keep_fp32, *names))
            else:
                asked = replace(spec, policy=replace(spec.policy, exclude=(*spec.policy.exclude, *names)))
            try:
                asked = asked.with_precision(self.typed.graph.precision)
                typed = type_graph(judge.workspace, judge.exported, asked, placement)
                verdict = judge.verdict(replace(self.built, typed=typed), None)
            except DeploykitError as error:
                last = str(error)
                continue
            last = _figure(verdict)
            if verdict.verdict == "pass":
                return replace(found, options=tuple(f"--{kind} {shlex.quote(name)}" for name in names), cured=last)
        return replace(found, cured=f"no option of up to {TRIED[-1]} layers cures it: {last}" if last else "")

    def _overflowing(self) -> tuple[str, ...]:
        """What has to stay float32 so that nothing overflows, where something does."""
        judge = self.explainer.judge
        feeds = judge.feeds(judge.exported.inputs)[:OVERFLOWING]
        found = overflow(read_graph(judge.exported.path), feeds, keep=self.explainer.spec.keep_fp32)
        return found.keep if found else ()

    def _quantized(self, layers: Sequence[LayerError]) -> list[str]:
        """The quantized layers behind the given ones, in that order: a sum has none of its own."""
        report = self.typed.report
        known = set(report.quantized) if isinstance(report, Int8Report) else set()
        found: list[str] = []
        for layer in layers:
            node = _weighted(_maker(self.network, layer.tensor))
            if node is not None and node_name(node) in known:
                found.append(node_name(node))
        return list(dict.fromkeys(found))


def _standing_out(
    layers: Sequence[LayerError], sources: Mapping[str, frozenset[str]], limit_db: float
) -> tuple[LayerError | None, list[LayerError]]:
    """The layers whose own loss would miss the limit, else those far from their like; the first in order, and all.

    A tensor that is far off where all that read it are near is another one under its name: it is passed over.
    """
    own = [layer.own_db for layer in layers if layer.operator in WEIGHTED_OPS and abs(layer.own_db) != float("inf")]
    usual = median(own or [layer.own_db for layer in layers])
    for limit in (limit_db, usual - OUTLIER_DB):
        if out := [layer for layer in layers if layer.own_db < limit and _is_off(layer, layers, sources, limit)]:
            return out[0], out
    return None, []


def _is_off(
    layer: LayerError, layers: Sequence[LayerError], sources: Mapping[str, frozenset[str]], limit: float
) -> bool:
    """Whether a layer is off in the whole graph too, and something that reads it."""
    if layer.sqnr_db >= limit:
        return False
    readers = [each for each in layers if layer.tensor in sources.get(each.tensor, ())]
    return not readers or any(each.sqnr_db < limit + OUTLIER_DB for each in readers)


def _sentence(
    first: LayerError | None,
    out: Sequence[LayerError],
    layers: Sequence[LayerError],
    sources: Mapping[str, frozenset[str]],
    *,
    passes: bool,
) -> str:
    worst = min(layers, key=lambda layer: layer.own_db)
    if first is None:
        verb = "loses most by itself" if passes else "loses most, and no layer stands out: the losses add up"
        return f"{worst.layer} ({worst.node}) {verb}: SQNR {worst.own_db:.1f} dB with exact inputs"
    before = [layer.sqnr_db for layer in layers if layer.tensor in sources.get(first.tensor, ())]
    read = f" (its inputs {min(before):.1f} dB)" if before else ""
    more = f"; {len(out) - 1} more stand out after it" if len(out) > 1 else ""
    at = f"{first.layer} ({first.operator} {first.node})"
    if first.broken:
        return f"the loss begins in {at}: its values are NaN or infinite{read}{more}"
    return (
        f"the loss begins in {at}: SQNR {first.sqnr_db:.1f} dB{read}, and {first.own_db:.1f} dB with exact inputs{more}"
    )


def _pattern(network: ir.Model, layer: LayerError) -> str:
    """What --keep-fp32 calls a layer: its module where that holds nothing else, else the node."""
    if not any(layer.layer in module_scopes(node) for node in network.graph):
        return layer.node
    inside = [node for node in network.graph if layer.layer in module_scopes(node)]
    alone = all(module_scopes(node)[-1] == layer.layer for node in inside)
    return layer.layer if alone and len(inside) == 1 else layer.node


def _maker(model: ir.Model, tensor: str) -> ir.Node | None:
    return next((node for node in model.graph if any(str(value.name) == tensor for value in node.outputs)), None)


def _weighted(node: ir.Node | None) -> ir.Node | None:
    """The nearest node with weights at or above this one, along first operands."""
    steps = 0
    while node is not None and node.op_type not in WEIGHTED_OPS and steps < 8:
        value = node.inputs[0] if node.inputs else None
        node, steps = (value.producer() if value is not None else None), steps + 1
    return node


def _between(node: ir.Node, sources: set[str]) -> list[str]:
    """The operators of a node and of what lies between it and the tensors in `sources`, about in their order."""
    found: list[str] = []
    waiting, seen = [node], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        found.append(each.op_type)
        for value in each.inputs:
            maker = value.producer() if value is not None else None
            if maker is not None and str(value.name) not in sources:  # type: ignore[union-attr]
                waiting.append(maker)
    return found[::-1]


def _figure(found: ParityResult) -> str:
    loss = found.worst.loss
    return f"{loss.sqnr_db:.1f} dB, {found.verdict}" if loss else found.verdict
