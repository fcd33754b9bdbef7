"""What people bring, end to end: small networks of many kinds, and the three graphs that RapidOCR reads text with.

    python benchmarks/own_networks.py [--networks detector,u_net,...] [--skip-reading] [--output FILE.md]

The networks are those of `small_networks.py`; each goes through `verify` in FP32, FP16 and INT8. The graphs are inside
the package rapidocr-onnxruntime, where that is installed: see `text_reading.py`. Needs no GPU. The page in
docs/results/own-networks.md is what it prints.
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sources import footer

from deploykit.bench import BenchSettings, fingerprint
from deploykit.codec import encode
from deploykit.results.row import Row
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision, Synthetic, parse_input_shape
from deploykit.store import Store
from deploykit.workflow.compare import Request, verify
from deploykit.workflow.workspace import Workspace

NETWORKS = {  # function of small_networks -> its inputs as the command line has them
    "detector": ("3,64,64",),
    "detector_of_three_maps": ("3,64,64",),
    "u_net": ("3,48,64",),
    "u_net_labels": ("3,48,64",),
    "text_reader": ("1,32,96",),
    "image_and_figures": ("image=batchx3x32x32", "meta=batchx6"),
    "segmentation": ("3,96,96",),
    "autoencoder": ("3,32,32",),
}
BACKENDS = ("torch", "ort", "trt")
LIBRARIES = ("torch", "onnxruntime-gpu", "tensorrt-rtx")
SMALL = """## Small networks of many kinds

`deploykit verify small_networks:NAME --input-shape SHAPE --precision fp32,fp16,int8 --backends torch,ort,trt` in
`benchmarks/`. The figure is the signal-to-quantization-noise ratio against the network in float64, dB, of the worst
output, or the share of whole numbers that agree. For trt it is that of the typed graph: without a GPU the engine is
compiled and does not run. No network here was trained; their weights count as given ones, so INT8 is held to 20 dB.
The network of two inputs is calibrated and tested on noise (`--data noise`), all others on the demo images."""
ABSENT = "The package rapidocr-onnxruntime is not installed here: this part was not run."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--skip-reading", action="store_true", help="leave RapidOCR's graphs out")
    parser.add_argument("--output", type=Path, help="Markdown file to write; default: stdout")
    options = parser.parse_args()
    text = "\n".join(page(options.networks.split(","), reading=not options.skip_reading))
    if options.output:
        options.output.write_text(text + footer("own-networks.md"))
    else:
        print(text)


def page(names: list[str], *, reading: bool) -> Iterator[str]:
    machine = fingerprint(threads=2, seed=0, tf32=False)
    gpu = machine.gpu.name if machine.gpu else "no GPU"
    versions = [f"{name} {machine.libraries[name]}" for name in LIBRARIES if name in machine.libraries]
    where = f"{machine.cpu.model}, {machine.cpu.cores} cores, {gpu}; {', '.join(versions)}"
    yield from ("# Networks from elsewhere", "", f"Printed by `python benchmarks/own_networks.py` on {where}.", "")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Store.open(Path(folder) / "store"))
        yield from (SMALL, "", *small(workspace, names), "")
        if reading and importlib.util.find_spec("rapidocr_onnxruntime") is None:
            yield from ("## Text in pictures", "", ABSENT, "")
        elif reading:
            import text_reading

            yield from text_reading.page(workspace, Path(folder))


def small(workspace: Workspace, names: list[str]) -> Iterator[str]:
    """One line a network, one column a row; what a row remarks of itself follows below."""
    columns = [f"{backend} {precision}" for backend in BACKENDS for precision in Precision]
    columns.remove("torch int8")  # there is none
    yield f"| network | input | {' | '.join(columns)} |"
    yield "|---|---|" + "---:|" * len(columns)
    remarks = []
    for name in names:
        model = ModelSpec(f"small_networks:{name}", input_shape=tuple(map(parse_input_shape, NETWORKS[name])))
        data = Synthetic.NOISE if len(NETWORKS[name]) > 1 else None  # images fill one input only
        spec = BuildSpec(model, batch=BatchRange.parse("1"), data=data)
        found = verify(workspace, Request(spec, BACKENDS, tuple(Precision), BenchSettings())).rows
        rows = {row.label: row for row in found}
        yield f"| {name} | {'; '.join(NETWORKS[name])} | {' | '.join(cell(rows[column]) for column in columns)} |"
        remarks += [f"- {name}, {label}: {said}" for label in columns if (said := remark(rows[label]))]
        print(name, *(f"{label} {row.state}" for label, row in rows.items()), flush=True, file=sys.stderr)
    yield from ("", *remarks)


def cell(row: Row) -> str:
    """A row's figure and verdict."""
    parity = encode(row.parity) if row.parity else {}
    if row.state == "failed" or not parity:
        return row.state
    if agreement := parity.get("agreement"):
        return f"{100 * agreement['share']:.1f} % {parity['verdict']}"
    figure = parity.get("sqnr_db")
    return f"{figure:.1f} {parity['verdict']}" if isinstance(figure, float) else str(parity["verdict"])


def remark(row: Row) -> str:
    """What the row remarks of itself that is of this network, and why it did not pass."""
    said = [part for part in row.note.split("; ") if part and not part.startswith("computed in float32")]
    if row.state in ("failed", "unavailable"):
        said.append(row.reason)
    if row.parity is not None and row.parity.verdict != "pass":
        said.append(row.parity.reason)
    return "; ".join(said)


if __name__ == "__main__":
    main()
