import numpy as np
import onnx
import onnx.parser
import onnx.shape_inference
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch.nn import functional

from deploykit.parity import coordinate_noise, distance

RESIZE = """<ir_version: 8, opset_import: ["" : 18]>
g (float[1, 3, 96, 96] x) => (float[1, 3, {side}, {side}] y)
<float[4] scales = {{1.0, 1.0, {scale}, {scale}}}>
{{ y = Resize <mode = "{mode}", coordinate_transformation_mode = "{places}"> (x, , scales) }}"""


def model(scale, mode="cubic", places="half_pixel"):
    text = RESIZE.format(side=int(96 * scale), scale=float(scale), mode=mode, places=places)
    return onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))


@pytest.mark.parametrize(
    ("scale", "mode", "places", "side"),
    [
        (1.5, "cubic", "half_pixel", 96),
        (1.5, "linear", "pytorch_half_pixel", 96),
        (2.0, "linear", "align_corners", 96),
        (2.0, "linear", "half_pixel", 0),
        (0.5, "cubic", "half_pixel", 0),
        (1.5, "nearest", "half_pixel", 0),
    ],
)
def test_only_places_that_are_rounded_count(scale, mode, places, side):
    assert coordinate_noise(ir.from_proto(model(scale, mode, places))) == side * 2.0**-24


@pytest.mark.parametrize(("mode", "torchs"), [("cubic", "bicubic"), ("linear", "bilinear")])
def test_onnx_runtime_and_torch_stray_by_no_more_and_by_more_than_a_rounding(mode, torchs):
    x = np.random.default_rng(0).standard_normal((1, 3, 96, 96)).astype(np.float32)
    resize = model(1.5, mode)
    exact = functional.interpolate(torch.from_numpy(x).double(), scale_factor=1.5, mode=torchs).numpy()
    if mode == "cubic":
        resize.graph.node[0].attribute.append(onnx.helper.make_attribute("cubic_coeff_a", -0.75))
    session = onnxruntime.InferenceSession(resize.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    noise = coordinate_noise(ir.from_proto(resize))
    assert 2.0**-21 < distance(found, exact).relative_l2 < noise
