"""A classifier that numpy computes, as an `.onnx` file, and images of one color each, of which it sees the color."""

from pathlib import Path

import numpy as np
import onnx
from PIL import Image

CLASSES, SIDE = 10, 16
WEIGHTS = np.random.default_rng(0).normal(scale=4, size=(CLASSES, 3)).astype(np.float32)
BIAS = np.random.default_rng(1).normal(size=CLASSES).astype(np.float32)
GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 16, 16] images) => (float[N, 10] scores) {{
    p = GlobalAveragePool (images)
    f = Flatten (p)
    {ending}
}}"""
LOGITS = "scores = Gemm <transB = 1> (f, w, b)"
SOFTMAX = "s = Gemm <transB = 1> (f, w, b) scores = Softmax (s)"


def write_classifier(path: Path, *, ending: str = LOGITS, bias: np.ndarray = BIAS) -> Path:
    model = onnx.parser.parse_model(GRAPH.format(ending=ending))
    model.graph.initializer.extend(
        [onnx.numpy_helper.from_array(WEIGHTS, "w"), onnx.numpy_helper.from_array(bias, "b")]
    )
    onnx.save(model, path)
    return path


def write_images(folder: Path, count: int, *, sizes: tuple[tuple[int, int], ...] = ((16, 16), (40, 30))) -> list[Path]:
    """Images of mixed sizes and formats, sorted."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(7)
    found = []
    for number in range(count):
        path = folder / f"{number:04}.{('png', 'bmp')[number % 2]}"
        Image.new("RGB", sizes[number % len(sizes)], tuple(random.integers(0, 256, 3).tolist())).save(path)
        found.append(path)
    return found


def expected(paths: list[Path], top: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes and probabilities by numpy, in float64; pixels are divided by 255."""
    colors = np.array([np.asarray(Image.open(path).convert("RGB"))[0, 0] for path in paths]) / 255
    scores = colors @ WEIGHTS.T.astype(np.float64) + BIAS
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    order = np.argsort(-shares, axis=1)[:, :top]
    return order, np.take_along_axis(shares, order, axis=1)
