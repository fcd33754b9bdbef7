"""Two plans side by side, such as one network's INT8 and FP16 engines: totals, kernels, and what became of each node.

Layers are matched by the ONNX nodes that they carry. Take the graph whose vertices are the layers of both plans and
whose edges join layers that share a node: each connected component is a *group*, the smallest part of the network that
both compilers cut along the same borders. Within a group bytes can be compared; nodes that only one plan has (Q/DQ,
casts) ride along. Layers without such a node (transposes, moves, a cast of the input where the other plan quantizes
it) are matched one to one by kind and shapes; what is left over stands in one plan only.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from deploykit.codec import shown
from deploykit.errors import UsageError
from deploykit.plan.model import ELEMENT_SIZE, EnginePlan, PlanLayer

SIZES = ("kernels", "bytes_moved", "macs", "engine_bytes", "weights_bytes", "activation_bytes", "scratch_bytes")

Sides = tuple[list[PlanLayer], list[PlanLayer]]  # layers of the first plan and of the second


@dataclass(frozen=True, slots=True)
class Totals:
    """One plan in figures; sizes in bytes, None where its source keeps quiet about one."""

    compiler: str
    precision: str
    kernels: int
    bytes_moved: int
    macs: int
    engine_bytes: int
    weights_bytes: int | None
    activation_bytes: int | None
    scratch_bytes: int | None


@dataclass(frozen=True, slots=True)
class KernelCount:
    """How many kernels of one kind read one type."""

    kind: str
    reads: str
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class LayerSide:
    """A layer of one of the two plans."""

    name: str
    kind: str
    reads: str
    bytes_moved: int


@dataclass(frozen=True, slots=True)
class GroupDiff:
    """A part of the network that differs: the layers that run `nodes` (those in both plans) here and there.

    `retyped` has the nodes that run in another type, with both types. `fused_differently` says that the nodes are
    spread over layers in another way. `a` or `b` is empty for a layer that stands in one plan only, and `nodes` then
    are that layer's.
    """

    JSON_PROPERTIES = shown("bytes_a", "bytes_b", "bytes_difference")

    nodes: tuple[str, ...]
    a: tuple[LayerSide, ...]
    b: tuple[LayerSide, ...]
    retyped: Mapping[str, tuple[str, str]]
    fused_differently: bool

    @property
    def bytes_a(self) -> int:
        return sum(layer.bytes_moved for layer in self.a)

    @property
    def bytes_b(self) -> int:
        return sum(layer.bytes_moved for layer in self.b)

    @property
    def bytes_difference(self) -> int:
        """b less a."""
        return self.bytes_b - self.bytes_a

    @property
    def differs(self) -> bool:
        return self.fused_differently or bool(self.retyped) or self.bytes_difference != 0


@dataclass(frozen=True, slots=True)
class PlanDiff:
    """`changed`, `only_a` and `only_b` are sorted by bytes, the largest difference first.

    `ratios` are b over a, where both are known and a is not 0. `shared_nodes` is 0 when the plans are of different
    networks; `same` counts the groups that differ in nothing but perhaps their tactic.
    """

    a: Totals
    b: Totals
    batch: int
    ratios: Mapping[str, float]
    kinds: tuple[KernelCount, ...]
    changed: tuple[GroupDiff, ...]
    only_a: tuple[GroupDiff, ...]
    only_b: tuple[GroupDiff, ...]
    shared_nodes: int
    same: int


def diff(a: EnginePlan, b: EnginePlan) -> PlanDiff:
    """Compare two plans of one batch. Raises UsageError when their batches differ: bytes would not compare."""
    if a.batch != b.batch:
        raise UsageError(
            f"one plan is for batch {a.batch}, the other for {b.batch}",
            hint="build both with the same optimum batch (--batch)",
        )
    types_a, types_b = node_types(a), node_types(b)
    shared = types_a.keys() & types_b.keys()
    twins, only_a, only_b = _pair_by_shape(a, b, shared)
    groups = [_group(*sides, types_a, types_b, a.batch) for sides in (*_components(a, b, shared), *twins)]
    changed = [group for group in groups if group.differs]
    totals_a, totals_b = _totals(a), _totals(b)
    return PlanDiff(
        a=totals_a,
        b=totals_b,
        batch=a.batch,
        ratios=_ratios(totals_a, totals_b),
        kinds=_kinds(a, b),
        changed=tuple(sorted(changed, key=lambda group: -abs(group.bytes_difference))),
        only_a=_alone(only_a, a.batch, in_a=True),
        only_b=_alone(only_b, b.batch, in_a=False),
        shared_nodes=len(shared),
        same=len(groups) - len(changed),
    )


def node_types(plan: EnginePlan) -> dict[str, str]:
    """The type that each ONNX node runs in: that of `computes_in`, else the widest that its last layer reads."""
    carried = {node: _widest(layer) for layer in plan.kernels for node in layer.nodes}
    return carried | plan.computes_in()


def _widest(layer: PlanLayer) -> str:
    """Generated code that reads Int8 and Float computes in Float."""
    return max((tensor.dtype for tensor in layer.inputs), key=ELEMENT_SIZE.__getitem__, default="?")


def _components(a: EnginePlan, b: EnginePlan, shared: Container[str]) -> list[Sides]:
    """Connected components of the layers of both plans, joined by shared nodes; in the order of execution in `a`."""
    vertices = [
        (side, layer, [node for node in layer.nodes if node in shared])
        for side, plan in enumerate((a, b))
        for layer in plan.kernels
    ]
    parent = list(range(len(vertices)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with: dict[str, int] = {}
    for index, (_, _, nodes) in enumerate(vertices):
        for node in nodes:
            parent[root(index)] = root(first_with.setdefault(node, index))
    found: dict[int, Sides] = defaultdict(lambda: ([], []))
    for index, (side, layer, nodes) in enumerate(vertices):
        if nodes:
            found[root(index)][side].append(layer)
    return list(found.values())


def _group(
    a: list[PlanLayer], b: list[PlanLayer], types_a: Mapping[str, str], types_b: Mapping[str, str], batch: int
) -> GroupDiff:
    nodes = tuple(
        dict.fromkeys(node for layer in (*a, *b) for node in layer.nodes if node in types_a and node in types_b)
    )
    cuts = [Counter(frozenset(nodes).intersection(layer.nodes) for layer in side) for side in (a, b)]
    return GroupDiff(
        nodes=nodes,
        a=_sides(a, batch),
        b=_sides(b, batch),
        retyped={node: (types_a[node], types_b[node]) for node in nodes if types_a[node] != types_b[node]},
        fused_differently=cuts[0] != cuts[1],
    )


def _sides(layers: Iterable[PlanLayer], batch: int) -> tuple[LayerSide, ...]:
    return tuple(LayerSide(layer.name, layer.kind, layer.reads, layer.bytes_moved(batch)) for layer in layers)


def _pair_by_shape(
    a: EnginePlan, b: EnginePlan, shared: Container[str]
) -> tuple[list[Sides], list[PlanLayer], list[PlanLayer]]:
    """The layers without a shared node: twins of the same kind and shapes, first come first served, and the rest."""
    waiting: dict[tuple[object, ...], list[PlanLayer]] = defaultdict(list)
    for layer in _without_nodes(b, shared):
        waiting[_shapes(layer)].append(layer)
    twins: list[Sides] = []
    only_a = []
    for layer in _without_nodes(a, shared):
        if same := waiting[_shapes(layer)]:
            twins.append(([layer], [same.pop(0)]))
        else:
            only_a.append(layer)
    return twins, only_a, [layer for rest in waiting.values() for layer in rest]


def _without_nodes(plan: EnginePlan, shared: Container[str]) -> list[PlanLayer]:
    return [layer for layer in plan.kernels if not any(node in shared for node in layer.nodes)]


def _shapes(layer: PlanLayer) -> tuple[object, ...]:
    return layer.kind, tuple(t.shape for t in layer.inputs), tuple(t.shape for t in layer.outputs)


def _alone(layers: Iterable[PlanLayer], batch: int, *, in_a: bool) -> tuple[GroupDiff, ...]:
    ordered = sorted(layers, key=lambda layer: -layer.bytes_moved(batch))
    sides = [(layer.nodes, _sides([layer], batch)) for layer in ordered]
    return tuple(GroupDiff(nodes, side if in_a else (), () if in_a else side, {}, False) for nodes, side in sides)


def _totals(plan: EnginePlan) -> Totals:
    return Totals(
        compiler=plan.compiler,
        precision=str(plan.precision),
        kernels=len(plan.kernels),
        bytes_moved=plan.bytes_moved,
        macs=plan.macs,
        engine_bytes=plan.engine_bytes,
        weights_bytes=plan.weights_bytes,
        activation_bytes=plan.activation_bytes,
        scratch_bytes=plan.scratch_bytes,
    )


def _ratios(a: Totals, b: Totals) -> dict[str, float]:
    pairs = {name: (getattr(a, name), getattr(b, name)) for name in SIZES}
    return {name: there / here for name, (here, there) in pairs.items() if here and there is not None}


def _kinds(a: EnginePlan, b: EnginePlan) -> tuple[KernelCount, ...]:
    counts = [Counter((layer.kind, layer.reads) for layer in plan.kernels) for plan in (a, b)]
    return tuple(KernelCount(*key, counts[0][key], counts[1][key]) for key in sorted(counts[0] | counts[1]))
