"""OpenVINO without deploykit: NNCF's INT8 of an ONNX file, and a bare loop over one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from deploykit.spec import Feed


def quantized_by_nncf(onnx: Path, feeds: Sequence[Feed], target: Path) -> Path:
    """What `nncf.quantize` makes of `onnx` by its defaults, on `feeds`, as OpenVINO's IR at `target`."""
    import nncf
    import openvino

    (name,) = feeds[0]
    model = openvino.Core().read_model(str(onnx))
    dataset = nncf.Dataset(list(feeds), lambda feed: {name: feed[name]})
    openvino.save_model(nncf.quantize(model, dataset, subset_size=len(feeds)), str(target), compress_to_fp16=False)
    return target


def compiled(path: Path, shape: Sequence[int], threads: int) -> Any:
    """For one shape and the best latency, float32 where it is not INT8: what the rows of deploykit have, too."""
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape({model.input(0).any_name: openvino.PartialShape(list(shape))})
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return core.compile_model(model, "CPU", hints)


@dataclass(frozen=True)
class RawOpenVino:
    """A workload of `run_rows`: one request for each feed, run in turns."""

    path: Path
    feeds: tuple[Feed, ...]

    def prepare(self, *, threads: int) -> RawLoop:
        import openvino

        (name,) = self.feeds[0]
        model = compiled(self.path, self.feeds[0][name].shape, threads)
        requests = []
        for feed in self.feeds:
            request = model.create_infer_request()
            request.set_tensor(name, openvino.Tensor(feed[name], shared_memory=True))
            requests.append(request)
        return RawLoop(cycle(requests), self.feeds)


class RawLoop:
    """`infer`, and nothing around it. `feeds` lie where the requests read them: a shared tensor does not keep them."""

    def __init__(self, requests: Any, feeds: Sequence[Feed]) -> None:
        self.requests, self.feeds = requests, feeds

    def launch(self) -> None:
        next(self.requests).infer(share_outputs=True)

    def synchronize(self) -> None:
        """Everything is done when `launch` returns."""

    def device_ms(self) -> float | None:
        return None
