"""Faults that are planted in a network's graphs, and what `verify --explain` and `--against` make of them.

    python benchmarks/explain.py [--network inception_v3] [--networks lenet5,resnet18,...]

The first table has faults in the typed graphs of one network, judged with --typed. The second compares the exported
graph of several networks with what onnxslim and onnxconverter-common's float16 make of it (packages that deploykit does
not need; a column says so where one is missing), and with a copy that has a fault.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import faults
import onnx

import deploykit as dk
from deploykit.host import library_versions
from deploykit.report.text import printable

NETWORKS = "lenet5,resnet18,googlenet,mobilenet,inception_v3"
OTHERS = ("onnxslim", "onnxconverter-common")
LIBRARIES = ("torch", "onnxruntime-gpu", "onnxruntime", "tensorrt-rtx")
FAULTS = (
    ("fp16", faults.scaled_weight, 0.5),
    ("fp16", faults.dropped_bias, 0.3),
    ("fp16", faults.transposed, 0.7),
    ("fp16", faults.bgr, 0.0),
    ("int8", faults.wrong_scale, 0.5),
    ("int8", faults.scaled_weight, 0.2),
)  # precision, fault, and where in the order of the layers that can have it
TYPED = """## Planted in a typed graph

`verify {network} --precision P --typed FILE --explain`. "Pasted" is the verdict of the same command with the options
that it printed, run again."""
AGAINST = """## Against another graph

`verify exported.onnx --against FILE --explain`: the exported graph of each network is the reference, in float64."""
PROBES = """## Probes

`verify {network} --precision P --backends trt --explain`: values that TensorRT-RTX's plan writes to memory anyway, all
of them made outputs, and the kernels of both plans."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="inception_v3", help="the one that faults are planted in")
    parser.add_argument("--networks", default=NETWORKS, help="those that are compared with other graphs")
    options = parser.parse_args()
    versions = library_versions((*LIBRARIES, *OTHERS))
    head = (
        "# Located faults\n\nPrinted by `python benchmarks/explain.py`, without a GPU; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items() if version)}; seeded random weights.\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        parts = [head, *_pages(options.network, options.networks.split(","), Path(folder))]
    print("\n".join(parts))


def _pages(network: str, networks: Sequence[str], folder: Path) -> Iterator[str]:
    yield TYPED.format(network=network) + "\n"
    heads = ("precision", "fault", "at", "verdict", "loss begins in", "cause", "paste", "pasted")
    yield _table(heads, _faults(network, folder))
    yield PROBES.format(network=network) + "\n"
    yield _table(("precision", "values", "kernels without", "kernels with", "neutral"), _probes(network, folder))
    yield AGAINST + "\n"
    heads = ("network", "other graph", "nodes", "limits", "parity", "loss begins in", "not paired")
    yield _table(heads, (row for name in networks for row in _against(name, folder)))


def _faults(network: str, folder: Path) -> Iterator[Sequence[str]]:
    exported = dk.export(network, check=False, store=folder / network)
    for number, (precision, fault, place) in enumerate(FAULTS):
        built = dk.build(exported, precision=precision, backend="ort", store=folder / network)
        node = _node_at(built.typed_path, place, needs_bias=fault is faults.dropped_bias)
        file = faults.planted(built.typed_path, folder / f"{number}.onnx", fault, node)
        asked = {"precisions": [precision], "backends": ["ort"], "typed": file, "store": folder / network}
        found = dk.verify(network, explain=True, **asked).rows[0]
        again = dk.verify(network, **asked, **_keywords(found.explanation.options)).rows[0]
        first = found.explanation.first
        yield _said(
            precision,
            fault.__name__.replace("_", " "),
            f"`{node}`",
            _parity(found),
            f"`{first.layer}`" if first else "nowhere",
            found.explanation.cause,
            f"`{' '.join(found.explanation.options)}`",
            _parity(again),
        )


def _probes(network: str, folder: Path) -> Iterator[Sequence[str]]:
    for precision in ("fp32", "fp16", "int8"):
        report = dk.verify(network, precisions=[precision], backends=["trt-rtx"], explain=True, store=folder / network)
        found = report.rows[0].explanation.probes
        counts = (str(found.kernels), str(found.kernels_with_probes)) if found.tensors else (str(found.kernels), "")
        yield _said(precision, str(len(found.tensors)), *counts, "yes" if found.neutral else found.reason)


def _against(network: str, folder: Path) -> Iterator[Sequence[str]]:
    exported = dk.export(network, check=False, store=folder / network)
    source = exported.save(folder / f"{network}.onnx")
    for name, make in OTHER_GRAPHS.items():
        target = folder / f"{network}-other.onnx"
        if reason := make(source, target):
            yield _said(network, name, "", "", reason, "", "")
            continue
        report = dk.verify(source, against=target, explain=True, store=folder / network)
        row = report.rows[0]
        explanation = row.explanation
        nodes = f"{_nodes(source)} / {_nodes(target)}"
        begins = f"`{explanation.first.layer}`: {explanation.cause}" if explanation.first else ""
        unpaired = f"{len(explanation.unpaired)} of {len(explanation.unpaired) + len(explanation.layers)}"
        yield _said(network, name, nodes, row.precision, _parity(row), begins if _fails(row) else "", unpaired)


def _slim(source: Path, target: Path) -> str:
    if find_spec("onnxslim") is None:
        return "onnxslim is not installed"
    import onnxslim

    onnx.save(onnxslim.slim(str(source)), target)
    return ""


def _float16(source: Path, target: Path) -> str:
    if find_spec("onnxconverter_common") is None:
        return "onnxconverter-common is not installed"
    from onnxconverter_common import float16

    onnx.save(float16.convert_float_to_float16(onnx.load(source)), target)
    return ""


def _faulty(source: Path, target: Path) -> str:
    faults.planted(source, target, faults.scaled_weight, _node_at(source, 0.5))
    return ""


OTHER_GRAPHS: dict[str, Callable[[Path, Path], str]] = {
    "onnxslim": _slim,
    "onnxconverter-common, float16": _float16,
    "a weight times 1.2": _faulty,
}


def _node_at(path: Path, place: float, *, needs_bias: bool = False) -> str:
    """The convolution at a place from 0 to 1 in the order of the graph, one with kernels larger than a point."""
    graph = onnx.load(path).graph
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}

    def size(name: str) -> tuple[int, ...]:
        return sizes.get(name) or sizes.get(next(iter(makers[name].input), ""), ()) if name in makers else sizes[name]

    found = [node for node in graph.node if node.op_type == "Conv" and len(set(size(node.input[1])[2:])) == 1]
    found = [node for node in found if max(size(node.input[1])[2:]) > 1 and (not needs_bias or len(node.input) > 2)]
    return found[min(int(place * len(found)), len(found) - 1)].name


def _keywords(options: Sequence[str]) -> dict[str, object]:
    """The printed options as the API takes them."""
    pairs = [option.split(" ", 1) for option in options]
    keep = [name.strip("'") for option, name in pairs if option == "--keep-fp32"]
    left = tuple(name.strip("'") for option, name in pairs if option == "--int8-exclude")
    return {"keep_fp32": keep, "policy": dk.QuantizationPolicy(exclude=left)}


def _parity(row: dk.Row) -> str:
    loss = row.parity.worst.loss
    return f"{loss.sqnr_db:.1f} dB {row.parity.verdict}" if loss else row.parity.verdict


def _fails(row: dk.Row) -> bool:
    return row.parity.verdict != "pass"


def _nodes(path: Path) -> int:
    return len(onnx.load(path, load_external_data=False).graph.node)


def _said(*cells: str) -> Sequence[str]:
    print(" | ".join(cells), flush=True)
    return [printable(cell).replace("|", "/") for cell in cells]


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])


if __name__ == "__main__":
    main()
