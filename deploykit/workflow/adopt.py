"""Graphs that somebody else typed, in place of ours: vetted, kept in the store, and compared as they are.

`--typed` takes a graph of the network, with its inputs and outputs. `--against` takes any graph that does the same:
inputs and outputs whose names differ are paired in order. The engine of such a file is the file itself; where names
differ, with those of its inputs and outputs replaced and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.backends.protocol import TypedGraph
from deploykit.data.noise import REAL
from deploykit.errors import UsageError, one_line
from deploykit.spec import Precision, TensorSpec
from deploykit.store import Writer
from deploykit.workflow.export import Exported
from deploykit.workflow.facts import GraphFacts
from deploykit.workflow.networks import digests_of_onnx
from deploykit.workflow.typed import Typed
from deploykit.workflow.workspace import Workspace

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

HALF, QUANTIZED = {"float16", "bfloat16"}, "int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """Layers that are the network's own, in float32, in place of the graph's: patterns of --keep-fp32, and nodes."""

    keep: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keep or self.nodes)

    def __str__(self) -> str:
        return ", ".join((*self.keep, *self.nodes))


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherFacts(GraphFacts):
    """A graph under the network's names. `renamed` pairs those with its own names where they differ."""

    renamed: tuple[tuple[str, str], ...]
    computes_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Other:
    """A graph that is compared with a network: as it is to be judged, the file to be run, and what is to be said."""

    typed: Typed
    precision: Precision
    path: Path
    said: tuple[str, ...]


def adopt(
    workspace: Workspace, path: Path, exported: Exported, precision: Precision, *, replaced: Replaced = Replaced()
) -> Typed:
    """A typed graph of `exported` that somebody else made, checked and copied into the store.

    Layers that are `replaced` are those of `exported`. Raises UntrustedArtifact for a file that is no graph, UsageError
    for one with other inputs or outputs, and as `graft`.
    """

    def make(writer: Writer) -> GraphFacts:
        from deploykit.workflow import transforms

        model = transforms.read_foreign(path)
        if replaced:
            _graft(model, exported, replaced)
        content, facts = transforms.write(model)
        writer.write("typed.onnx", content)
        return facts

    parts = {"file": digests_of_onnx(path), **_key_of(exported, replaced)}
    entry, _ = workspace.get_or_make(
        "adopted", parts, make, request={"file": path.name}, facts=GraphFacts, files=("typed.onnx",)
    )
    facts = entry.facts_as(GraphFacts)
    graph = TypedGraph(
        entry.path("typed.onnx"), entry.files["typed.onnx"].sha256, precision, None, facts.inputs, facts.outputs
    )
    for ours, theirs in ((exported.inputs, graph.inputs), (exported.outputs, graph.outputs)):
        if [(spec.name, spec.shape[1:]) for spec in ours] != [(spec.name, spec.shape[1:]) for spec in theirs]:
            raise UsageError(
                f"{path} is no graph of {exported.model.label}: it has {', '.join(map(str, theirs))}",
                hint=f"expected {', '.join(map(str, ours))}; --against FILE compares any two graphs",
            )
    return Typed(graph, note=f"{replaced} as in the network, in float32" if replaced else "")


def other(workspace: Workspace, path: Path, exported: Exported, *, replaced: Replaced = Replaced()) -> Other:
    """The graph in `path` under the names of `exported`.

    Raises UntrustedArtifact for a file that is no graph, UsageError where inputs or outputs do not match or the file is
    too large to be renamed.
    """

    def make(writer: Writer) -> OtherFacts:
        from deploykit import graph
        from deploykit.io.loader import read_onnx
        from deploykit.workflow import transforms

        file = read_onnx(path)
        model = graph.parse(file)
        inputs, outputs = graph.tensor_specs(model)
        renamed = {
            **_paired("input", exported.inputs, inputs, path, exported.model.label),
            **_paired("output", exported.outputs, outputs, path, exported.model.label),
        }
        for value in (*model.graph.inputs, *model.graph.outputs):
            value.name = renamed.get(str(value.name), value.name)
        if replaced:
            _graft(model, exported, replaced)
        content, facts = transforms.write(model)
        writer.write("typed.onnx", content)
        if renamed:
            writer.write("file.onnx", _renamed(file, renamed, path))
        return OtherFacts(
            inputs=facts.inputs,
            outputs=facts.outputs,
            renamed=tuple((ours, theirs) for theirs, ours in renamed.items()),
            computes_in=tuple(sorted(graph.computing_types(model))),
        )

    parts = {
        "file": digests_of_onnx(path),
        "names": [(spec.name, spec.shape, spec.dtype) for spec in (*exported.inputs, *exported.outputs)],
        **_key_of(exported, replaced),
    }
    entry, _ = workspace.get_or_make(
        "against", parts, make, request={"file": path.name}, facts=OtherFacts, files=("typed.onnx",)
    )
    facts = entry.facts_as(OtherFacts)
    precision, because = _precision(facts.computes_in, exported.facts.computes_in)
    graph = TypedGraph(
        entry.path("typed.onnx"), entry.files["typed.onnx"].sha256, precision, None, facts.inputs, facts.outputs
    )
    said = [f"{path.name}: {because}, so the limits of {precision} apply"]
    if facts.renamed:
        said.append(f"paired in order: {', '.join(f'{ours} = {theirs}' for ours, theirs in facts.renamed)}")
    run = entry.path("file.onnx") if facts.renamed else path.absolute()
    if replaced:
        said.append(f"{replaced} as in the network, in float32")
        run = graph.path
    return Other(Typed(graph), precision, run, tuple(said))


def narrowed(exported: Exported, typed: TypedGraph) -> Exported:
    """`exported` with the sizes that either graph fixes: what both can be shown."""
    ours, theirs = exported.inputs, {spec.name: spec for spec in typed.inputs}
    return replace(exported, inputs=tuple(_narrow(spec, theirs[spec.name]) for spec in ours))


def _narrow(ours: TensorSpec, theirs: TensorSpec) -> TensorSpec:
    shape = tuple(
        size if isinstance(size, int) else other if isinstance(other, int) else size
        for size, other in zip(ours.shape, theirs.shape, strict=True)
    )
    left = {size for size in shape if isinstance(size, str)}
    return replace(ours, shape=shape, ranges=tuple(span for span in ours.ranges if span[0] in left))


def _key_of(exported: Exported, replaced: Replaced) -> dict[str, object]:
    return {"network": exported.digest, "replaced": replaced} if replaced else {}


def _graft(model: ir.Model, exported: Exported, replaced: Replaced) -> None:
    from deploykit.precision.graft import graft
    from deploykit.workflow.transforms import read_graph

    graft(model, read_graph(exported.path), keep=replaced.keep, nodes=replaced.nodes)


def _precision(computes_in: Sequence[str], network: Sequence[str]) -> tuple[Precision, str]:
    """Whose limits a graph is held to, and what in it, or in the network, says so."""
    if QUANTIZED in computes_in:
        return Precision.INT8, "it has quantized nodes"
    if half := HALF.intersection(computes_in):
        return Precision.FP16, f"it computes in {' and '.join(sorted(half))}"
    if half := HALF.intersection(network):
        return Precision.FP16, f"the network computes in {' and '.join(sorted(half))}"
    return Precision.FP32, "nothing in it is quantized or float16"


def _paired(
    what: str, ours: Sequence[TensorSpec], theirs: Sequence[TensorSpec], path: Path, label: str
) -> dict[str, str]:
    """Their name -> ours, where those differ. Raises UsageError in one line for what does not match."""
    if len(ours) != len(theirs):
        raise UsageError(
            f"{path.name} has {len(theirs)} {what}{'' if len(theirs) == 1 else 's'} and {label} {len(ours)}: "
            f"{', '.join(map(str, theirs)) or 'none'} beside {', '.join(map(str, ours)) or 'none'}",
            hint="compare graphs of one network",
        )
    known = {spec.name for spec in ours}
    by_name = {spec.name: spec for spec in theirs if spec.name in known}
    rest = iter([spec for spec in theirs if spec.name not in by_name])
    pairs = [(spec, by_name.get(spec.name) or next(rest)) for spec in ours]
    for mine, other in pairs:
        if fault := _unlike(mine, other):
            raise UsageError(
                f"{what} {other} of {path.name} does not match {mine} of {label}: {fault}",
                hint="compare graphs of one network, with the same inputs and outputs in the same order",
            )
    return {other.name: mine.name for mine, other in pairs if mine.name != other.name}


def _unlike(ours: TensorSpec, theirs: TensorSpec) -> str:
    if len(ours.shape) != len(theirs.shape):
        return f"{len(theirs.shape)} dimensions, not {len(ours.shape)}"
    if any(a != b for a, b in zip(ours.shape, theirs.shape, strict=True) if isinstance(a, int) and isinstance(b, int)):
        return "another shape"
    if _kind(ours.dtype) != _kind(theirs.dtype):
        return f"{theirs.dtype}, not {ours.dtype}"
    return ""


def _kind(dtype: str) -> str:
    """Real numbers are fed in either type, and so are indices of either width; bytes are bytes."""
    if dtype in REAL:
        return "real"
    return "index" if dtype in ("int32", "int64") else dtype


def _renamed(file: onnx.ModelProto, names: Mapping[str, str], path: Path) -> bytes:
    """The file with other names for some values, in bodies too; a value that has such a name already gets another."""
    copy = type(file)()
    copy.CopyFrom(file)
    moved = {ours: f"{ours}_of_the_file" for ours in names.values() if ours not in names}
    _rename(copy.graph, {**moved, **names})
    try:
        return bytes(copy.SerializeToString())
    except Exception as error:  # protobuf's error classes differ between its implementations
        raise UsageError(
            f"{path.name} is too large to be run under other names: {one_line(error)}",
            hint=f"name its inputs and outputs {', '.join(names.values())}",
        ) from error


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
        for attribute in node.attribute:
            for body in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                _rename(body, names)
