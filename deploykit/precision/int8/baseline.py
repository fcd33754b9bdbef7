"""The independent baseline for INT8: what ONNX Runtime's own quantizer makes of the same graph and images.

With random weights no fixed SQNR means anything, so parity asks for that of `quantize_static` (u8s8, per channel,
min-max, QDQ) minus a margin. Symmetric activations spend one of their eight bits on negative numbers that ReLU removed,
so a symmetric placement has a symmetric baseline (s8s8): on GoogLeNet with seeded weights 16.3 dB, u8s8 19.7.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir

from deploykit.errors import ExecutionFailed, UsageError
from deploykit.spec import Feed


def quantize_static(
    model: ir.Model,
    feeds: Iterable[Feed],
    *,
    symmetric: bool = False,
    seven_bits: bool = False,
    per_channel: bool = True,
    float_bias: bool = False,
    method: str = "MinMax",
) -> bytes:
    """`model`, a float graph, quantized by ONNX Runtime: the serialized ONNX model.

    `feeds` are those given to `collect`; `seven_bits` is for weights, as CPUs without VNNI want them, `float_bias` is
    what TensorRT takes; `method` is one of ONNX Runtime's calibration methods. Nothing is printed or logged, and no
    file is left behind. Raises UsageError without feeds, ExecutionFailed when ONNX Runtime cannot quantize the graph.
    """
    from onnxruntime import quantization

    reader = _Feeds(feeds)
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder, _silence():
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        ir.save(model, source)
        try:
            quantization.quantize_static(
                source,
                target,
                reader,
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QInt8 if symmetric else quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=per_channel,
                reduce_range=seven_bits,
                calibrate_method=quantization.CalibrationMethod[method],
                extra_options={"ActivationSymmetric": symmetric, "QuantizeBias": not float_bias},
            )
        except Exception as error:
            if reader.seen == 0:
                raise UsageError("there are no calibration images", hint="name a folder that holds some") from error
            raise ExecutionFailed(f"ONNX Runtime's quantize_static failed: {error}") from error
        return target.read_bytes()


class _Feeds:
    """Feeds as a `CalibrationDataReader`, which is anything with this method; `seen` counts them."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self.seen = 0
        self._remaining = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        feed = next(self._remaining, None)
        self.seen += feed is not None
        return None if feed is None else dict(feed)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The quantizer advises on the root logger and prints; both would mix with the caller's streams."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
