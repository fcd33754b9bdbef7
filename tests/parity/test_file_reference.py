"""Of a file, ONNX Runtime's answer on its bytes is right: neither our reading nor the evaluator vouches for itself."""

import numpy as np
import onnx
import onnxruntime
import pytest

from deploykit.errors import ExecutionFailed
from deploykit.graph import parse
from deploykit.parity import Limits, file_reference, judge
from deploykit.parity.file_reference import STAND_IN_FLOOR
from deploykit.spec import Precision

UPSAMPLE = """<ir_version: 4, opset_import: ["" : 9]> g (float[n, 1, 1, 8] x) => (float[n, 1, 1, 16] y)
    <float[4] s = {1, 1, 1, 2}> { y = Upsample <mode = "linear"> (x, s) }"""
X = np.random.default_rng(0).standard_normal((3, 1, 1, 8)).astype(np.float32)


def of(text):
    return onnx.parser.parse_model(text)


def onnx_runtime(proto, feed):
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)


def test_float64_is_believed_where_it_agrees_with_the_file():
    proto = of(UPSAMPLE)
    found = file_reference(proto, parse(proto), [{"x": X}])
    assert found.source == "graph in float64"
    assert found.exact["y"].dtype == np.float64
    assert found.least_floor == 0
    np.testing.assert_array_equal(found.float32["y"], onnx_runtime(proto, {"x": X})[0])


def test_a_wrong_conversion_fails():
    proto = of(UPSAMPLE)
    wrong = parse(proto)
    (resize,) = [node for node in wrong.graph if node.op_type == "Resize"]
    resize.attributes.pop("coordinate_transformation_mode")  # half_pixel, as onnx's own converter has it
    found = file_reference(proto, wrong, [{"x": X}])
    np.testing.assert_array_equal(found.exact["y"], onnx_runtime(proto, {"x": X})[0])
    assert found.source.startswith("ONNX Runtime in float32 on the file as it came: its answer and float64's for y are")
    assert found.least_floor == STAND_IN_FLOOR
    from deploykit.ort_session import compute, open_session

    got = compute(open_session(wrong), ["y"], {"x": X})
    limits = Limits(Precision.FP32, random_weights=False)
    assert judge(got, None, found, limits).verdict == "fail"
    assert judge(found.float32, None, found, limits).verdict == "pass"


def test_an_operator_of_onnx_runtimes_own_is_held_to_onnx_runtime():
    proto = of("""<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
        g (float[n, 4] x) => (float[n, 4] y) { y = com.microsoft.QuickGelu (x) }""")
    x = X.reshape(6, 4)
    found = file_reference(proto, parse(proto), [{"x": x}])
    np.testing.assert_allclose(found.exact["y"], x / (1 + np.exp(-1.702 * x)), rtol=1e-5)
    assert "com.microsoft.QuickGelu" in found.source


def test_what_draws_random_numbers_is_refused():
    proto = of("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 4] x) => (float[n, 4] y) { r = RandomNormalLike (x) y = Add (x, r) }""")
    with pytest.raises(ExecutionFailed, match="draws random numbers"):
        file_reference(proto, parse(proto), [{"x": X.reshape(6, 4)}])


def test_a_file_that_onnx_runtime_does_not_run_says_so():
    proto = of("""<ir_version: 3, opset_import: ["" : 6]> g (float[n, 4] x) => (float[n, 4] y)
        <float[4] w = {1, 2, 3, 4}> { y = Add <broadcast = 1> (x, w) }""")
    x = X.reshape(6, 4)
    found = file_reference(proto, parse(proto), [{"x": x}])
    np.testing.assert_array_equal(found.exact["y"], x + np.arange(1.0, 5))
    assert found.source.startswith("graph in float64, as deploykit reads the file: ONNX Runtime rejects the graph")


def test_an_output_that_a_file_lists_twice_and_whole_numbers():
    proto = of("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 4] x) => (int64[n, 1] k, float[n, 4] y, float[n, 4] y) { k = ArgMax <axis = 1> (x) y = Neg (x) }""")
    found = file_reference(proto, parse(proto), [{"x": X.reshape(6, 4)}])
    assert list(found.exact) == ["k", "y", "y_1"]
    np.testing.assert_array_equal(found.float32["k"][:, 0], X.reshape(6, 4).argmax(1))


def test_float16_is_allowed_its_own_rounding():
    proto = of("""<ir_version: 10, opset_import: ["" : 20]> g (float16[n, 4] x) => (float16[n, 4] y)
        { a = Exp (x) y = Sqrt (a) }""")
    found = file_reference(proto, parse(proto), [{"x": X.reshape(6, 4).astype(np.float16)}])
    assert found.source == "graph in float64"
    assert found.float32["y"].dtype == np.float16
