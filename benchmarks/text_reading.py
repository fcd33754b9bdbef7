"""RapidOCR reads drawn pages with its own graphs, and with deploykit's typed ones in their place.

The package rapidocr-onnxruntime holds three graphs of PaddleOCR (opset 11 and 12, free sizes): a text detector, a
classifier of turned lines and a recognizer. Half of the pages are for calibration, the other half is read. What counts
is what its user sees: boxes found and characters read.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deploykit.backends import get_backend
from deploykit.bench import BenchSettings
from deploykit.codec import encode
from deploykit.results.row import Row
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision, PreprocessRequest, parse_input_shape
from deploykit.workflow.compare import Request, verify
from deploykit.workflow.export import export
from deploykit.workflow.typed import type_graph
from deploykit.workflow.workspace import Workspace

WORDS = [
    *("deploy", "tensor", "engine", "kernel", "latency", "precision", "batch", "scale", "weight", "image", "graph"),
    *("export", "verify", "bench", "table", "INT8", "FP16", "2026", "shipping", "invoice", "total", "amount", "street"),
]
SIDE, PAGES, SEED = 640, 24, 0
OVERLAP = 0.5  # intersection over union from which a box counts as found
PREPROCESS = "mean=0.5/0.5/0.5,std=0.5/0.5/0.5,order=bgr"
Box = tuple[float, float, float, float]
Page = tuple[Path, list[tuple[str, Box]]]


@dataclass(frozen=True, slots=True)
class Graph:
    """One of RapidOCR's: its file, RapidOCR's keyword for it, its images, and its sizes as fixed and as RapidOCR has
    them."""

    file: str
    keyword: str
    images: str
    resize: str
    fixed: str
    used: str


GRAPHS = {
    "detector": Graph(
        "ch_PP-OCRv4_det_infer.onnx",
        "det_model_path",
        "pages",
        "letterbox",
        "3,640,640",
        "x=batchx3x[320:736:960]x[320:736:960]",
    ),
    "classifier": Graph(
        "ch_ppocr_mobile_v2.0_cls_infer.onnx", "cls_model_path", "lines", "stretch", "3,48,192", "3,48,192"
    ),
    "recognizer": Graph(
        "ch_PP-OCRv4_rec_infer.onnx",
        "rec_model_path",
        "lines",
        "stretch",
        "x=batchx3x48x320",
        "x=batchx3x48x[48:320:640]",
    ),
}
TEXT = """## Text in pictures

The three graphs of rapidocr-onnxruntime {version} (PaddleOCR's, trained; opset 11 and 12; dynamic height and width),
and {pages} drawn pages of {side} by {side} pixels, half of them for calibration. As a command, for each:

{commands}

SQNR against the file as it came, in float64, dB, and the verdict:

{parity}

What matters is what is read. RapidOCR runs on the other half of the pages, {lines} lines of text, with typed graphs in
place of its own. There the detector's and the recognizer's sizes are ranges, `{ranges}`.
All rows run deploykit's typed graphs in ONNX Runtime; no TensorRT engine ran.

{reading}

INT8 is held to 20 dB whatever follows the network, so a row can fail that reads nearly every character: its map of
probabilities is coarser, its boxes are there. Judge a network by its own task, as here, before INT8 is given up.
"""


def page(workspace: Workspace, folder: Path) -> Iterator[str]:
    """The section of the results, as Markdown."""
    import rapidocr_onnxruntime

    pages = draw(folder)
    models = Path(rapidocr_onnxruntime.__file__).parent / "models"
    known, shown = pages[: PAGES // 2], pages[PAGES // 2 :]
    cut_lines(known, folder / "lines")
    yield TEXT.format(
        version=version_of_rapidocr(),
        pages=PAGES,
        side=SIDE,
        lines=sum(len(text) for _, text in shown),
        ranges="` and `".join(graph.used for graph in GRAPHS.values() if "[" in graph.used),
        commands="\n".join(f"    {command(graph)}" for graph in GRAPHS.values()),
        parity="\n".join(parity(workspace, models, folder)),
        reading="\n".join(reading(workspace, models, folder, shown)),
    )


def version_of_rapidocr() -> str:
    from importlib.metadata import version

    return version("rapidocr-onnxruntime")


def command(graph: Graph) -> str:
    return (
        f"deploykit verify {graph.file} --input-shape {graph.fixed} --data {graph.images} "
        f"--preprocess {PREPROCESS},resize={graph.resize} --precision fp32,fp16,int8 --backends ort,trt"
    )


def spec_of(graph: Graph, models: Path, folder: Path, shape: str) -> BuildSpec:
    model = ModelSpec(
        str(models / graph.file),
        input_shape=(parse_input_shape(shape),),
        preprocess=PreprocessRequest.parse(f"{PREPROCESS},resize={graph.resize}"),
    )
    return BuildSpec(model, batch=BatchRange.parse("1"), data=folder / graph.images)


def parity(workspace: Workspace, models: Path, folder: Path) -> Iterator[str]:
    """One line a graph, one column a row, and below it why one did not pass."""
    reasons = []
    for number, (name, graph) in enumerate(GRAPHS.items()):
        spec = spec_of(graph, models, folder, graph.fixed)
        rows = verify(workspace, Request(spec, ("ort", "trt"), tuple(Precision), BenchSettings())).rows
        if not number:
            yield f"| graph | input | {' | '.join(row.label for row in rows)} |"
            yield "|---|---|" + "---:|" * len(rows)
        yield f"| {name} | {graph.fixed} | {' | '.join(map(_cell, rows))} |"
        reasons += [f"- {name}, {row.label}: {row.parity.reason}" for row in rows if row.parity and row.parity.reason]
    yield from ("", *reasons)


def _cell(row: Row) -> str:
    parity = encode(row.parity) if row.parity else {}
    return f"{parity['sqnr_db']:.1f} {parity['verdict']}" if parity.get("sqnr_db") is not None else row.state


def reading(workspace: Workspace, models: Path, folder: Path, shown: list[Page]) -> Iterator[str]:
    """How many boxes and characters RapidOCR finds with its own graphs, and with typed ones."""
    yield "| graphs | boxes found | boxes too many | characters read |"
    yield "|---|---:|---:|---:|"
    yield f"| as they came | {' | '.join(read(shown, {}))} |"
    for precision, backend in ((Precision.FP16, "ort"), (Precision.INT8, "ort"), (Precision.INT8, "trt")):
        typed = {
            name: typed_graph(workspace, spec_of(graph, models, folder, graph.used), precision, backend)
            for name, graph in GRAPHS.items()
        }
        label = f"{precision}" if precision is Precision.FP16 else f"{precision}, {backend} scheme"
        for name, path in typed.items():
            yield f"| {name} {label} | {' | '.join(read(shown, {GRAPHS[name].keyword: str(path)}))} |"
        together = {GRAPHS[name].keyword: str(path) for name, path in typed.items()}
        yield f"| all three {label} | {' | '.join(read(shown, together))} |"


def typed_graph(workspace: Workspace, spec: BuildSpec, precision: Precision, backend: str) -> Path:
    exported = export(workspace, spec.model, spec.fusions)
    typed = type_graph(workspace, exported, spec.with_precision(precision), get_backend(backend).placement)
    return typed.graph.path


def read(shown: list[Page], models: Mapping[str, str]) -> tuple[str, str, str]:
    """Boxes found, boxes too many and characters read, each of how many."""
    from rapidocr_onnxruntime import RapidOCR

    ocr = RapidOCR(**models)
    found = extra = lines = read_characters = characters = 0
    for path, text in shown:
        answer, _ = ocr(np.asarray(Image.open(path))[..., ::-1])  # BGR
        boxes = [(hull(corners), said) for corners, said, _ in answer or []]
        for line, box in text:
            wanted = line.replace(" ", "")
            lines, characters = lines + 1, characters + len(wanted)
            if hit := next((said for other, said in boxes if overlap(other, box) > OVERLAP), None):
                found += 1
                read_characters += in_common(wanted, hit.replace(" ", ""))
        extra += max(0, len(boxes) - len(text))
    return f"{found} of {lines}", str(extra), f"{read_characters} of {characters}"


def in_common(wanted: str, said: str) -> int:
    return sum(match.size for match in difflib.SequenceMatcher(None, wanted, said).get_matching_blocks())


def hull(corners: list[list[float]]) -> Box:
    across, down = zip(*corners, strict=True)
    return min(across), min(down), max(across), max(down)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width, height = (min(one[axis + 2], other[axis + 2]) - max(one[axis], other[axis]) for axis in (0, 1))
    common = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (areas - common)


def draw(folder: Path) -> list[Page]:
    """Pages with lines of text in Pillow's own font, and where each line stands; half of them in `folder`/pages."""
    random = np.random.default_rng(SEED)
    pages = []
    for number in range(PAGES):
        place = folder / ("pages" if number < PAGES // 2 else "shown")
        place.mkdir(exist_ok=True)
        image = Image.new("RGB", (SIDE, SIDE), tuple(map(int, random.integers(200, 256, 3))))
        text = write_lines(image, random)
        image.save(place / f"{number:02}.png")
        pages.append((place / f"{number:02}.png", text))
    return pages


def write_lines(image: Image.Image, random: np.random.Generator) -> list[tuple[str, Box]]:
    canvas, text, top = ImageDraw.Draw(image), [], 20
    while top < SIDE - 80:
        font = ImageFont.load_default(int(random.integers(22, 44)))
        words, left = " ".join(random.choice(WORDS, random.integers(1, 4))), int(random.integers(10, 120))
        box = canvas.textbbox((left, top), words, font=font)
        if box[2] < SIDE - 10:
            canvas.text((left, top), words, font=font, fill=tuple(map(int, random.integers(0, 90, 3))))
            text.append((words, box))
        top = int(box[3]) + int(random.integers(14, 40))
    return text


def cut_lines(pages: list[Page], folder: Path) -> None:
    """Each line of text by itself, with a margin of 4 pixels."""
    folder.mkdir()
    for path, text in pages:
        image = Image.open(path)
        for number, (_, box) in enumerate(text):
            image.crop((box[0] - 4, box[1] - 4, box[2] + 4, box[3] + 4)).save(folder / f"{path.stem}_{number}.png")
