"""Sessions on a real GPU against ONNX Runtime; without one they are skipped, and the reason is deploykit's own."""

import importlib.util
import sys
from pathlib import Path

import pytest

from deploykit.backends.device import find_gpu, why_no_gpu

sys.path.insert(0, str(Path(__file__).parents[1] / "backends_trt"))


def missing() -> str:
    if find_gpu() is None:
        return str(why_no_gpu())
    return "" if importlib.util.find_spec("pycuda") else "pycuda is not installed; pip install 'deploykit[gpu]'"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))
