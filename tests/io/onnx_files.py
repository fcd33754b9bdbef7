"""The ONNX file that the tests of reading damage, and how a refusal looks."""

import resource

import numpy as np
import pytest

from deploykit.errors import UntrustedArtifact
from deploykit.io.loader import read_onnx

HEADER = '<ir_version: 10, opset_import: ["" : 20]>'
TEXT = f"""{HEADER}
g (float[N, 4] x) => (float[N, 4] y) <float[4] w = {{1, 2, 3, 4}}> {{ y = Add (x, w) }}"""
WEIGHT = np.arange(4, dtype=np.float32)
DATA = WEIGHT.tobytes()


def refused(path, message):
    with pytest.raises(UntrustedArtifact, match=message) as caught:
        read_onnx(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
