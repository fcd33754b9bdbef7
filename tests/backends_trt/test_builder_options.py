"""The builder's options reach TensorRT-RTX's real builder, and its plan shows them."""

from dataclasses import replace

import pytest
import small_graphs
from small_graphs import spec

from deploykit.backends.nvinfer import compile_engine
from deploykit.errors import BuildFailed, UsageError
from deploykit.plan.rtx_log import parse_layers
from deploykit.spec import BuilderOptions, Precision

trt = pytest.importorskip("tensorrt_rtx")

BRANCHES = """
g (float[batch, 32, 28, 28] x) => (float[batch, 128, 28, 28] y)
  <float[32, 32, 3, 3] w1, float[32, 32, 3, 3] w2, float[32, 32, 3, 3] w3, float[32, 32, 3, 3] w4> {
    [conv1] a = Conv <kernel_shape=[3, 3], pads=[1, 1, 1, 1]> (x, w1)
    [conv2] b = Conv <kernel_shape=[3, 3], pads=[1, 1, 1, 1]> (x, w2)
    [conv3] c = Conv <kernel_shape=[3, 3], pads=[1, 1, 1, 1]> (x, w3)
    [conv4] d = Conv <kernel_shape=[3, 3], pads=[1, 1, 1, 1]> (x, w4)
    [concat] y = Concat <axis=1> (a, b, c, d)
}
"""


def compiled(folder, **options):
    wanted = spec()
    typed = small_graphs.write(folder, BRANCHES, Precision.FP32)
    wanted = replace(wanted, options=BuilderOptions(**options))
    return compile_engine(trt, typed, wanted, targets=wanted.targets, verbose=True)


def waits(found):
    return sum(layer.kind in ("signal", "wait") for layer in parse_layers(found.log))


def test_further_streams_are_used_only_where_they_are_allowed(tmp_path):
    assert waits(compiled(tmp_path)) == 0
    assert waits(compiled(tmp_path, max_aux_streams=0)) == 0
    assert waits(compiled(tmp_path, max_aux_streams=3)) > 0
    assert waits(compiled(tmp_path, max_aux_streams=None)) > 0


def test_too_small_a_workspace_is_refused_by_the_compiler(tmp_path):
    with pytest.raises(BuildFailed, match="could not build"):
        compiled(tmp_path, workspace_bytes=1)
    assert compiled(tmp_path, workspace_bytes=1 << 28, optimization_level=5).content


@pytest.mark.parametrize(
    "options",
    [{"max_aux_streams": 8}, {"max_aux_streams": -1}, {"optimization_level": 6}, {"workspace_bytes": 0}],
    ids=str,
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match=f"{next(iter(options))} is .*; give a whole number from"):
        BuilderOptions(**options)
