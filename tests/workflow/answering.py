"""A network that numpy computes, and backends of it that answer rightly or with one fault each.

    scores = mean over pixels of images (N, 3, 16, 16) @ WEIGHTS.T + BIAS

The backends are the null backend with other answers: workers load nothing but numpy, so that whole tables are judged in
a second or two. conftest.py installs them as a plug-in.
"""

from pathlib import Path

import numpy as np
import onnx

from deploykit.backends.null import NullBackend, NullBound, NullSession
from deploykit.errors import ExecutionFailed

WEIGHTS = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
BIAS = np.random.default_rng(1).standard_normal(10).astype(np.float32)
GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 16, 16] images) => (float[N, 10] scores) {
    p = GlobalAveragePool (images)
    f = Flatten (p)
    scores = Gemm <transB = 1> (f, w, b)
}"""


def write_network(path: Path) -> Path:
    model = onnx.parser.parse_model(GRAPH)
    model.graph.initializer.extend(
        [onnx.numpy_helper.from_array(WEIGHTS, "w"), onnx.numpy_helper.from_array(BIAS, "b")]
    )
    for index, node in enumerate(model.graph.node):
        node.name = f"n{index}"
    onnx.save(model, path)
    return path


class Exact(NullBackend):
    """Computes the network."""

    name = "exact"

    def open(self, engine, *, threads=0):
        session = NullSession(engine)
        backend = self

        class Bound(NullBound):
            def __init__(self, session, feed, batch):
                super().__init__(session, feed, batch)
                self.scores = feed["images"].mean(axis=(2, 3)) @ WEIGHTS.T + BIAS

            def launch(self):
                self.results = {"scores": backend.answer(self.scores).astype(np.float32)}

        session.bind = lambda feed: Bound(session, feed, len(feed["images"]))
        return session

    def answer(self, scores):
        return scores


class Reversed(Exact):
    """The right answers, each to another image of the batch."""

    name = "reversed"

    def answer(self, scores):
        return scores[::-1]


class Stuck(Exact):
    """What it said to the first image, again and again."""

    name = "stuck"

    def answer(self, scores):
        return np.repeat(scores[:1], len(scores), axis=0)


class Nan(Exact):
    """One number of each answer is none."""

    name = "nan"

    def answer(self, scores):
        return np.where(np.arange(scores.shape[1]) == 3, np.nan, scores)


class Cut(Exact):
    """Seven scores in place of ten."""

    name = "cut"

    def answer(self, scores):
        return scores[:, :7]


class Empty(Exact):
    """No scores at all."""

    name = "empty"

    def answer(self, scores):
        return scores[:0]


class Biased(Exact):
    """One class a tenth too likely."""

    name = "biased"

    def answer(self, scores):
        return scores + 0.1 * (np.arange(scores.shape[1]) == 3)


class Crashing(Exact):
    """Raises once it has been opened."""

    name = "crashing"

    def answer(self, scores):
        raise ExecutionFailed("the device has left")


FAULTS = ("Exact", "Reversed", "Stuck", "Nan", "Cut", "Empty", "Biased", "Crashing")
