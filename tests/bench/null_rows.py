"""Engines, feeds and jobs of the null backend and of its misbehaving relatives."""

import numpy as np

from deploykit.backends.protocol import Engine
from deploykit.bench import BenchSettings, RowJob
from deploykit.spec import Precision, TensorSpec

INPUTS = (TensorSpec("images", ("batch", 3, 8, 8), "float32"),)
OUTPUTS = (TensorSpec("logits", ("batch", 10), "float32"),)


def make_engine(backend="null", precision=Precision.FP32, note=""):
    return Engine(backend, "test 1.0", precision, INPUTS, OUTPUTS, note=note)


def make_feeds(count=2, batch=4, seed=0):
    random = np.random.default_rng(seed)
    return tuple({"images": random.standard_normal((batch, 3, 8, 8), np.float32)} for _ in range(count))


def make_job(backend="null", label=None, *, parity=(), note="", precision=Precision.FP32):
    return RowJob(label or backend, make_engine(backend, precision, note), make_feeds(), parity)


def quick(**options):
    return BenchSettings(
        **{"threads": 1, "max_seconds": 1.0, "gap_ms": 0.0, "min_rounds": 6, "processes": 1, **options}
    )
