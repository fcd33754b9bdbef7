"""Where a loss arises: every tensor that two graphs share, in float64 and as the typed graph computes it.

Each layer has two figures. `sqnr_db` is how near its tensor is to float64 in the typed graph as a whole, with all that
the layers before it lost. `own_db` is what the layer loses by itself: the graph is cut at every shared tensor, and each
part reads float64's values. A fault shows in one layer's own figure, and in everybody's after it in the other.

Tensors are compared in groups that fit into GROUP_BYTES; those of float64 come one by one (`double_values`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from deploykit.graph.rewrite import bodies, module_scope, node_name
from deploykit.ort_session import compute, open_session
from deploykit.parity.metrics import sqnr_db
from deploykit.parity.reference import double_values
from deploykit.parity.results import LayerError
from deploykit.spec.arrays import Array
from deploykit.spec.operators import WEIGHTED_OPS

if TYPE_CHECKING:
    import onnx_ir as ir

GROUP_BYTES = 256_000_000  # of float64 tensors that are held at a time
LARGE_BYTES = 150_000_000  # of weights, from which on a session is opened for each run: two at a time are too much
EXACT = "deploykit_exact_"  # prefix of an input in place of a shared tensor
REAL_TYPES = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which tensors of a reference graph stand in the other one: name -> the name to look at there, in order.

    `placed` are those that were paired by their place, not by a name.
    """

    taps: Mapping[str, str]
    unpaired: tuple[str, ...] = ()
    placed: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sums:
    """Squares over all that was seen of a tensor."""

    size: float = 0.0
    error: float = 0.0
    own: float = 0.0


@dataclass
class LayerErrors:
    """Measures `typed`, a graph that ONNX Runtime executes as written, against `reference` in float64."""

    reference: ir.Model
    typed: ir.Model
    pairing: Pairing
    sums: dict[str, _Sums] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)  # the largest magnitude of inputs and shared tensors, exact
    _groups: list[_Group] = field(default_factory=list)

    def add(self, exact_feed: Mapping[str, Array], typed_feed: Mapping[str, Array]) -> None:
        """Run both on one feed, each by its own names and types. Raises ExecutionFailed, BuildFailed."""
        taps, held, number = self.pairing.taps, 0, 0
        pending: dict[str, Array] = {}
        alive: dict[str, Array] = {}
        for name, array in exact_feed.items():
            self._note_peak(name, array)
        for name, array in double_values(self.reference, exact_feed):
            if name not in taps:
                continue
            self._note_peak(name, array)
            pending[name], held = array, held + array.nbytes
            if held >= GROUP_BYTES:
                self._compare(number, pending, alive, typed_feed)
                pending, held, number = {}, 0, number + 1
        if pending:
            self._compare(number, pending, alive, typed_feed)

    def _note_peak(self, name: str, array: Array) -> None:
        if array.dtype.kind == "f" and array.size:
            self.peaks[name] = max(self.peaks.get(name, 0.0), float(np.max(np.abs(array))))

    def found(self) -> tuple[LayerError, ...]:
        """The layers in the order of execution."""
        makers = {str(value.name): node for node in self.reference.graph for value in node.outputs}
        return tuple(self._error(makers[name], name, sums) for name, sums in self.sums.items())

    @cached_property
    def sources(self) -> Mapping[str, frozenset[str]]:
        """Of each shared tensor the shared ones that it is computed from, by the reference's names."""
        by_tap = {tap: name for name, tap in self.pairing.taps.items()}
        return {
            by_tap[tap]: frozenset(by_tap[source] for source in found) for tap, found in _sources(self.typed, by_tap)
        }

    def _error(self, node: ir.Node, name: str, sums: _Sums) -> LayerError:
        whole, own = (_decibel(error, sums.size) for error in (sums.error, sums.own))
        return LayerError(
            layer=module_scope(node),
            node=node_name(node),
            operator=node.op_type,
            tensor=name,
            sqnr_db=whole,
            own_db=own,
            broken=not (math.isfinite(sums.error) and math.isfinite(sums.own)),
        )

    def _compare(
        self, number: int, pending: dict[str, Array], alive: dict[str, Array], typed_feed: Mapping[str, Array]
    ) -> None:
        """One group of tensors; `alive` keeps what later groups read, in float32."""
        if number == len(self._groups):
            self._groups.append(_Group(self.typed, self.pairing.taps, list(pending)))
        alive |= {name: array.astype(np.float32) for name, array in pending.items()}
        whole, own = self._groups[number].run(typed_feed, alive)
        for name, exact in pending.items():
            sums = self.sums.setdefault(name, _Sums())
            sums.size += _squared(exact)
            sums.error += _gap(whole[name], exact)
            sums.own += _gap(own[name], exact)
        for name in [name for name in alive if self._read_until.get(name, -1) <= self._place[next(reversed(pending))]]:
            del alive[name]

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.pairing.taps)}

    @cached_property
    def _read_until(self) -> dict[str, int]:
        """The last place at which a shared tensor is read."""
        found: dict[str, int] = {}
        for name, read in self.sources.items():
            for source in read:
                found[source] = max(found.get(source, -1), self._place[name])
        return found


class _Group:
    """The typed graph with some of the shared tensors among its outputs, as it is and cut at every shared tensor."""

    def __init__(self, typed: ir.Model, taps: Mapping[str, str], wanted: Sequence[str]) -> None:
        self.wanted = {name: taps[name] for name in wanted}
        probed, parted, self.read = typed.clone(), typed.clone(), {}
        _show(probed, list(self.wanted.values()))
        self.read = _cut(parted, taps, list(self.wanted.values()))
        self.probed, self.parted = _Opened(probed), _Opened(parted)

    def run(self, feed: Mapping[str, Array], exact: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """The tensors, by the reference's names, in the whole graph and computed from exact operands."""
        fed = {given: exact[name] for given, name in self.read.items()}
        return self._named(self.probed, feed), self._named(self.parted, {**feed, **fed})

    def _named(self, opened: _Opened, feed: Mapping[str, Array]) -> dict[str, Array]:
        found = opened(list(dict.fromkeys(self.wanted.values())), feed)
        return {name: found[tap] for name, tap in self.wanted.items()}


class _Opened:
    """A session that is fed no more than it reads; one with many weights is not kept from run to run."""

    def __init__(self, model: ir.Model) -> None:
        stored = [value.const_value for value in model.graph.initializers.values()]
        self.model = model
        self.session: Any = None
        self.large = sum(tensor.nbytes for tensor in stored if tensor is not None) > LARGE_BYTES

    def __call__(self, names: Sequence[str], feed: Mapping[str, Array]) -> dict[str, Array]:
        session: Any = self.session or open_session(self.model, optimize=False)
        self.session = None if self.large else session
        read = {each.name for each in session.get_inputs()}
        return compute(session, names, {name: array for name, array in feed.items() if name in read})


def pair_by_name(reference: ir.Model, typed: ir.Model, *, rounded: str = "") -> Pairing:
    """The real tensors that nodes of both graphs make, under one name and of one rank.

    `rounded` is the suffix of a value after it was rounded, where `typed` has such: that one is looked at.
    """
    known = {str(value.name): value for value in _made(typed)}
    varying = _varying(reference)
    taps, unpaired = {}, []
    for value in _made(reference):
        name = str(value.name)
        if value not in varying or value.dtype is None or value.dtype.name not in REAL_TYPES:
            continue
        there = known.get(f"{name}{rounded}") or known.get(name)
        if there is None or there.dtype is None or there.dtype.name not in REAL_TYPES or not _alike(value, there):
            unpaired.append(name)
            continue
        taps[name] = str(there.name)
    return Pairing(taps, tuple(unpaired))


def pair_by_place(reference: ir.Model, typed: ir.Model, named: Pairing) -> Pairing:
    """`named`, and the results of weighted nodes without a pair: in order, where both graphs have as many left, each of
    the same operator and shape."""
    ours, theirs = (_weighted_results(model) for model in (reference, typed))
    left = [value for value in ours if str(value.name) not in named.taps]
    free = [value for value in theirs if str(value.name) not in named.taps.values()]
    pairs = list(zip(left, free, strict=False))
    fits = len(left) == len(free) and all(_same_operator(one, other) and _alike(one, other) for one, other in pairs)
    placed = {str(one.name): str(other.name) for one, other in pairs} if fits else {}
    both = {**named.taps, **placed}
    order = [str(value.name) for value in _made(reference)]
    return Pairing(
        {name: both[name] for name in order if name in both},
        tuple(name for name in named.unpaired if name not in placed),
        tuple(placed),
    )


def _weighted_results(model: ir.Model) -> list[ir.Value]:
    return [node.outputs[0] for node in model.graph if node.op_type in WEIGHTED_OPS]


def _same_operator(one: ir.Value, other: ir.Value) -> bool:
    makers = one.producer(), other.producer()
    return all(makers) and makers[0].op_type == makers[1].op_type  # type: ignore[union-attr]


def _alike(one: ir.Value, other: ir.Value) -> bool:
    """Whether the shapes agree where both are known."""
    if one.shape is None or other.shape is None:
        return True
    sizes = zip(one.shape, other.shape, strict=False)
    fixed = ((a, b) for a, b in sizes if isinstance(a, int) and isinstance(b, int))
    return len(one.shape) == len(other.shape) and all(a == b for a, b in fixed)


def _made(model: ir.Model) -> Iterator[ir.Value]:
    for node in model.graph:
        yield from (value for value in node.outputs if value.name)


def _varying(model: ir.Model) -> set[ir.Value]:
    """What is computed from the network's inputs."""
    found = set(model.graph.inputs)
    for node in model.graph:
        if any(value in found for value in _read(node)):
            found.update(node.outputs)
    return found


def _read(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, its bodies included."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        for body in bodies(attribute):
            for inner in body.all_nodes():
                yield from (value for value in inner.inputs if value is not None)


def _show(model: ir.Model, names: Sequence[str]) -> None:
    """Make the values the graph's only outputs, in place, and drop what only others need."""
    import onnx_ir.passes.common as common

    by_name = {str(value.name): value for value in _made(model)}
    model.graph.outputs.clear()
    model.graph.outputs.extend(by_name[name] for name in dict.fromkeys(names))
    common.RemoveUnusedNodesPass()(model)


def _cut(model: ir.Model, taps: Mapping[str, str], wanted: Sequence[str]) -> dict[str, str]:
    """Let readers of shared tensors read new inputs, in place; input -> the reference's name of what it takes."""
    import onnx_ir as ir

    by_name = {str(value.name): value for value in _made(model)}
    made: dict[str, tuple[ir.Value, str]] = {}
    for number, (name, tap) in enumerate(taps.items()):
        value = by_name[tap]
        given = ir.Value(name=f"{EXACT}{number}", shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
        source = given
        if value.dtype not in (None, ir.DataType.FLOAT):
            source = ir.Value(name=f"{EXACT}{number}_typed", shape=value.shape, type=ir.TensorType(value.dtype))
            cast = ir.node("Cast", [given], {"to": value.dtype}, outputs=[source], name=f"{EXACT}{number}_cast")
            model.graph.insert_before(model.graph[0], cast)
        uses = [(use.node, use.idx) for use in value.uses()]
        for node, index in uses:
            node.replace_input_with(index, source)
        made[str(given.name)] = given, name
        model.graph.inputs.append(given)
    _show(model, wanted)
    for given, _ in made.values():
        if not given.uses():
            model.graph.inputs.remove(given)
    return {text: name for text, (given, name) in made.items() if given.uses()}


def _sources(model: ir.Model, taps: Mapping[str, str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each shared tensor with the nearest shared ones before it."""
    before: dict[ir.Value, frozenset[str]] = {}
    for node in model.graph:
        reached: frozenset[str] = frozenset()
        for value in _read(node):
            name = str(value.name)
            reached |= {name} if name in taps and value.producer() is not None else before.get(value, frozenset())
        for value in node.outputs:
            before[value] = reached
            if str(value.name) in taps:
                yield str(value.name), reached


def _squared(array: Array) -> float:
    flat = np.where(np.isfinite(array), array, 0.0).astype(np.float64, copy=False).ravel()
    return float(np.dot(flat, flat))


def _gap(found: Array, exact: Array) -> float:
    """The squared error; infinite where the shapes differ or something is not finite that is in float64."""
    if found.shape != exact.shape:
        return math.inf
    with np.errstate(invalid="ignore", over="ignore"):
        gap = found.astype(np.float64) - exact
    endless = ~np.isfinite(exact)
    if endless.any():
        gap = np.where(endless & (found == exact), 0.0, gap)
    total = float(np.dot(gap.ravel(), gap.ravel()))
    return total if math.isfinite(total) else math.inf


def _decibel(error: float, size: float) -> float:
    if not math.isfinite(error):
        return -math.inf
    if error == 0.0:
        return math.inf
    return sqnr_db(math.sqrt(error / size)) if size > 0.0 else -math.inf
