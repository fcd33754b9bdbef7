"""The other side of `processes.py`: loads native libraries in a process that may crash or hang over it.

    python -P probe.py QUESTION [ARGUMENT...] [-- SKIPPED...]

A question is a series of steps by name. Before each a line of JSON says `begin`, and after it another has its answer,
or as `fault` what it raised; so whoever reads knows which step took the process down, and can ask again without it.
Nothing but Python's own library is imported until a step needs it.
"""

import ctypes
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

Found: TypeAlias = dict[str, Any]
Steps: TypeAlias = Iterator[tuple[str, Callable[[], Found]]]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
LONGEST = 20_000  # bytes of what a library printed
# Where pip packages have their libraries, below the folders that Python searches.
LIBRARY_FOLDERS = ("nvidia/*/lib", "nvidia/*/bin", "tensorrt_libs")
# y[1,1,4,4] = Conv(x[1,1,4,4], w[1,1,3,3]) with pads of 1: an ONNX file of opset 13
CONVOLUTION = bytes.fromhex(
    "08083a7e"
    "0a220a01780a01771201792204436f6e762a110a04706164734001400140014001a00107"
    "120167"  # model, node
    "5a1b0a017812160a14080112100a0208010a0208010a0208040a020804"  # x
    "5a1b0a017712160a14080112100a0208010a0208010a0208030a020803"  # w
    "621b0a017912160a14080112100a0208010a0208010a0208040a020804"  # y
    "4202100d"  # opset
)


def gpus() -> Steps:
    """Every GPU of this machine, or what is missing."""
    yield "gpus", _gpus


def _gpus() -> Found:
    from deploykit.backends import device

    first = device.find_gpu()
    if first is None:
        return asdict(device.why_no_gpu())
    cuda = ctypes.CDLL(device.LIBRARY)
    name, major, minor = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
    found = []
    for index in range(first.count):
        cuda.cuDeviceGetName(name, len(name), index)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), device.COMPUTE_CAPABILITY_MAJOR, index)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), device.COMPUTE_CAPABILITY_MINOR, index)
        found.append({"name": name.value.decode(errors="replace"), "target": f"sm_{major.value}{minor.value}"})
    return {"gpus": found, "cuda": first.driver}


def providers() -> Steps:
    """Which provider computes a convolution when it is asked of each that ONNX Runtime advertises, the CPU's first."""
    import onnxruntime

    names = onnxruntime.get_available_providers()
    for name in sorted(names, key=lambda each: (each != CPU, each != CUDA, each)):
        yield name, partial(_convolve, onnxruntime, name)


def _convolve(onnxruntime: Any, provider: str) -> Found:
    """`ran` names the providers whose kernels ran, `printed` is what ONNX Runtime said meanwhile."""
    import numpy as np

    before = _printed_so_far()
    if provider != CPU and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(CONVOLUTION, options, providers=[provider])
        session.run(None, {"x": np.ones((1, 1, 4, 4), np.float32), "w": np.ones((1, 1, 3, 3), np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = {event["args"]["provider"] for event in events if event.get("args", {}).get("provider")}
    return {"loaded": session.get_providers(), "ran": sorted(ran), "printed": _printed_since(before)}


def torch() -> Steps:
    """The CUDA that PyTorch is built for, and whether it computes on the GPU."""
    yield "import", _torch
    yield "gpu", _torch_on_gpu


def _torch() -> Found:
    torch: Any = import_module("torch")
    return {"version": torch.__version__, "cuda": torch.version.cuda or ""}


def _torch_on_gpu() -> Found:
    torch: Any = import_module("torch")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        return {"computes": False, "why": _one_line(caught[0].message) if caught else ""}
    image = torch.ones(1, 1, 4, 4, device="cuda")
    torch.nn.functional.conv2d(image, image).cpu()
    return {"computes": True, "why": ""}


def tensorrt(module: str) -> Steps:
    """The release of `tensorrt` or `tensorrt_rtx`, the GPUs that it compiles for, and whether it makes a builder."""
    yield "import", partial(_tensorrt, module)
    yield "builder", partial(_builder, module)


def _tensorrt(module: str) -> Found:
    trt = import_module(module)
    names = [name for name in dir(getattr(trt, "ComputeCapability", None)) if name.startswith("SM")]
    return {"version": trt.__version__, "targets": sorted(names, key=lambda name: int(name[2:]))}


def _builder(module: str) -> Found:
    trt: Any = import_module(module)
    trt.Builder(trt.Logger(trt.Logger.ERROR))
    return {}


def pycuda() -> Steps:
    """Whether pycuda loads: it is linked to the driver's library."""
    yield "import", _pycuda


def _pycuda() -> Found:
    import_module("pycuda.driver")
    return {}


def libraries(*names: str) -> Steps:
    """Where each shared library is loaded from; the fault is what the system's loader says."""
    for name in names:
        yield name, partial(_load, name)


def _load(name: str) -> Found:
    """From the system, else from a pip package; where neither has all of it, the fault is the last one's."""
    places = [name, *(str(path) for entry in sys.path for path in _in_packages(Path(entry), name))]
    for place in places[:-1]:
        try:
            ctypes.CDLL(place)
        except OSError:
            continue
        return {"path": place}
    ctypes.CDLL(places[-1])
    return {"path": places[-1]}


def _in_packages(site: Path, name: str) -> list[Path]:
    return [path for folder in LIBRARY_FOLDERS for path in site.glob(f"{folder}/{name}")]


def plugins(*names: str) -> Steps:
    """Why each of these backends, which other packages add, is unavailable; empty where it is not."""
    for name in names:
        yield name, partial(_plugin, name)


def _plugin(name: str) -> Found:
    from deploykit.backends import get_backend
    from deploykit.backends.plugin import PluginBackend

    backend = get_backend(name)
    reason = backend.unavailable()
    if isinstance(backend, PluginBackend) and backend.fault:
        return {"fault": backend.fault.what}
    return asdict(reason) if reason else {}


def _printed_so_far() -> int:
    sys.stdout.flush()
    return os.fstat(2).st_size


def _printed_since(before: int) -> str:
    """What Python and C++ have printed: `main` joins both streams, and stderr is a file."""
    sys.stdout.flush()
    os.lseek(2, before, os.SEEK_SET)
    text = os.read(2, LONGEST).decode(errors="replace")
    os.lseek(2, 0, os.SEEK_END)
    return text


def _one_line(what: object) -> str:
    return " ".join(str(what).split())


QUESTIONS: dict[str, Callable[..., Steps]] = {
    each.__name__: each for each in (gpus, providers, torch, tensorrt, pycuda, libraries, plugins)
}


def _tried(step: Callable[[], Found]) -> Found:
    try:
        return step()
    except Exception as error:  # noqa: BLE001 - whatever a library raises is the answer
        return {"fault": _one_line(error) or type(error).__name__}


def main(arguments: Sequence[str]) -> None:
    words, skipped = list(arguments), set[str]()
    if "--" in words:
        words, skipped = words[: words.index("--")], {*words[words.index("--") + 1 :]}
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        for name, step in QUESTIONS[words[0]](*words[1:]):
            if name not in skipped:
                print(json.dumps({"begin": name}), file=answers, flush=True)
                print(json.dumps({"step": name, **_tried(step)}), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
