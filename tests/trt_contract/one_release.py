"""One release of TensorRT's bindings, in a process of its own: what they are and how deploykit's code fits them.

Reads {"module": name, "sources": {name: [text, whether it holds TensorRT's objects]}} from stdin, prints JSON:
`tensorrt_releases.ask` starts it. With TensorRT-RTX the library itself is there, so nothing is expected to be refused.
"""

import ast
import inspect
import json
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from pybind_signatures import signatures
from tensorrt_uses import HOLDERS, Uses

from deploykit.backends import nvinfer
from deploykit.backends.nvinfer_session import inspect_engine
from deploykit.errors import DeploykitError
from deploykit.spec import Target

TESTS = Path(__file__).parents[1]
DTYPES = ("FLOAT", "HALF", "INT8", "INT32", "INT64", "UINT8", "BOOL")


def main() -> None:
    asked = json.load(sys.stdin)
    trt = import_module(asked["module"])
    answer = {
        "version": trt.__version__,
        "uses": {
            name: Uses(trt, text, HOLDERS if holds else {}).report() for name, (text, holds) in asked["sources"].items()
        },
        "callbacks": {name: arguments(getattr(trt, name)) for name in callbacks()},
        "own_callbacks": callbacks(),
        "fakes": [fault for fake, real in fakes(trt) for fault in differences(fake, real)],
        "dtypes": {name: np.dtype(trt.nptype(getattr(trt.DataType, name))).name for name in DTYPES},
        "log": logged(trt),
        "host_code": describe_host_code(trt),
        "profile": [str(each) for each in signatures(trt.IOptimizationProfile.set_shape)],
        "refusals": {} if asked["module"] == "tensorrt_rtx" else refusals(trt),
    }
    json.dump(answer, sys.stdout)


def callbacks() -> dict[str, dict[str, int]]:
    """Of each class that deploykit derives from TensorRT's: its methods, with the number of their arguments."""
    tree = ast.parse(Path(nvinfer.__file__).read_text())
    return {
        node.bases[0].attr: {
            each.name: len(each.args.args) - 1 for each in node.body if isinstance(each, ast.FunctionDef)
        }
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.bases and isinstance(node.bases[0], ast.Attribute)
    }


def arguments(base: type) -> dict[str, int]:
    """The methods that a class of TensorRT's leaves to be written, with the number of their arguments."""
    return {
        name: len(signatures(found)[0].names)
        for name, found in inspect.getmembers(base)
        if not name.startswith("_") and signatures(found)
    }


def fakes(trt: ModuleType) -> list[tuple[type, type]]:
    sys.path.insert(0, str(TESTS / "cuda_shim"))
    import fake_tensorrt

    return [
        (fake_tensorrt.FakeRuntime, trt.Runtime),
        (fake_tensorrt.FakeEngine, trt.ICudaEngine),
        (fake_tensorrt.FakeExecutionContext, trt.IExecutionContext),
        (fake_tensorrt.FakeEngineInspector, trt.EngineInspector),
    ]


def differences(fake: type, real: type) -> list[str]:
    """What a fake has that the real class has not, or takes otherwise."""
    found = []
    for name, member in inspect.getmembers(fake):
        if name.startswith("_"):
            continue
        if not hasattr(real, name):
            found.append(f"{fake.__name__}.{name} is not in TensorRT")
        elif not inspect.isfunction(member):
            if not isinstance(inspect.getattr_static(real, name), property):
                found.append(f"{fake.__name__}.{name} is no property in TensorRT")
        else:
            own = tuple(inspect.signature(member).parameters)[1:]
            known = [one.names for one in signatures(getattr(real, name))]
            if not any(names[: len(own)] == own for names in known):
                found.append(f"{fake.__name__}.{name}{own} is not one of {known}")
    return found


def logged(trt: ModuleType) -> dict[str, object]:
    """What deploykit's own logger, derived from this release's, makes of two lines."""
    log = nvinfer.new_log(trt)
    log.log(trt.ILogger.VERBOSE, "too fine")
    log.log(trt.ILogger.ERROR, "no\n  memory")
    log.log(trt.ILogger.INFO, "done")
    return {"lines": log.lines, "complaint": log.complaint()}


def describe_host_code(trt: ModuleType) -> bool:
    return trt.Runtime.engine_host_code_allowed.fset is not None


def refusals(trt: ModuleType) -> dict[str, str]:
    """What deploykit's code raises where the library makes nothing: the bindings are real, what they call is not."""
    sys.path.insert(0, str(TESTS / "backends_trt"))
    import small_graphs

    with tempfile.TemporaryDirectory() as folder:
        typed = small_graphs.write(Path(folder), small_graphs.FLOAT)
        return {
            "build": raised(lambda: nvinfer.compile_engine(trt, typed, small_graphs.spec())),
            "open": raised(lambda: inspect_engine(trt, b"an engine")),
            "targets": raised(lambda: nvinfer._set_targets(trt, None, (Target(8, 9),))),
        }


def raised(call: Callable[[], object]) -> str:
    try:
        call()
    except DeploykitError as error:
        return f"{type(error).__name__}: {error.message}"
    return ""


if __name__ == "__main__":
    main()
