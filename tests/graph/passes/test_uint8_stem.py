"""Bytes in, the same logits out; what of the normalization folds, and what has to stay."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.errors import UsageError
from deploykit.graph import optimize
from deploykit.graph.passes.stem import prepend_uint8_stem
from deploykit.spec import Preprocessing

RECIPE = Preprocessing(crop=8, resize=8)
GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 8, 8] x, float[4, 3, 3, 3] w) => (float[N, 4, H, W] y)
{{ y = Conv <pads = [{pad}, {pad}, {pad}, {pad}]> (x, w) }}"""


def normalized(pixels: np.ndarray) -> np.ndarray:
    return (
        (pixels.transpose(0, 3, 1, 2) / 255.0 - np.reshape(RECIPE.mean, (3, 1, 1))) / np.reshape(RECIPE.std, (3, 1, 1))
    ).astype(np.float32)


@pytest.mark.parametrize(
    ("pad", "left"), [(0, ["Cast", "Transpose", "Conv"]), (1, ["Cast", "Transpose", "Sub", "Conv"])]
)
def test_the_stem_folds_as_far_as_padding_allows_and_the_result_stays(build, run, relative_l2, pad, left):
    plain, model = build(GRAPH.format(pad=pad)), build(GRAPH.format(pad=pad))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    wanted = run(plain, x=normalized(pixels))[0]
    prepend_uint8_stem(model, RECIPE)
    optimize(model)
    assert [node.op_type for node in model.graph] == left
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    assert [(value.name, value.dtype) for value in model.graph.inputs] == [("x", ir.DataType.UINT8)]
    assert relative_l2(run(model, x=pixels)[0], wanted) < 1e-6


@pytest.mark.parametrize(
    "signature", ["float[N, 1, 8, 8] x", "float[N, 8] x", "double[N, 3, 8, 8] x", "float[N, 3, 8, 8] x, float[1] z"]
)
def test_what_is_no_batch_of_such_images_is_refused(signature):
    kind = signature.split(" x")[0]
    text = f'<ir_version: 10, opset_import: ["" : 20]> g ({signature}) => ({kind} y) {{ y = Relu (x) }}'
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    with pytest.raises(UsageError, match="images"):
        prepend_uint8_stem(model, RECIPE)
