"""Old operators mean what they meant: each change of opset against ONNX Runtime on the file as it came."""

import itertools
from collections import defaultdict

import numpy as np
import onnx
import onnxruntime
import pytest

from deploykit.errors import ExportFailed
from deploykit.graph import check, optimize, parse, serialize
from deploykit.graph.upgrade import CHANGES, TARGET

# By name: the first and the last opset at which the text means this, and the text.
CASES = {
    "Add": (7, 16, "(IMAGES x) => (IMAGES y) <float[3,1,1] w={1,2,3}> { y = Add (x, w) }"),
    "Relu": (6, 16, "(IMAGES x) => (IMAGES y) { y = Relu (x) }"),
    "LeakyRelu": (6, 16, "(IMAGES x) => (IMAGES y) { y = LeakyRelu <alpha=0.3> (x) }"),
    "Elu": (6, 16, "(IMAGES x) => (IMAGES y) { y = Elu (x) }"),
    "Selu": (6, 16, "(IMAGES x) => (IMAGES y) { y = Selu (x) }"),
    "HardSigmoid": (6, 16, "(IMAGES x) => (IMAGES y) { y = HardSigmoid (x) }"),
    "PRelu": (7, 16, "(IMAGES x) => (IMAGES y) <float[3,1,1] w={0.2,0.5,0.7}> { y = PRelu (x, w) }"),
    "Clip attr": (6, 10, "(IMAGES x) => (IMAGES y) { y = Clip <min=-0.5, max=0.7> (x) }"),
    "Clip min": (6, 10, "(IMAGES x) => (IMAGES y) { y = Clip <min=0.0> (x) }"),
    "Clip in": (11, 16, "(IMAGES x) => (IMAGES y) <float a={-0.5}, float b={0.5}> { y = Clip (x, a, b) }"),
    "Dropout": (7, 11, "(IMAGES x) => (IMAGES y) { d = Dropout <ratio=0.5> (x) y = Relu (d) }"),
    "Dropout12": (12, 16, "(IMAGES x) => (IMAGES y) <float r={0.5}> { d = Dropout (x, r) y = Relu (d) }"),
    "BN": (
        7,
        16,
        "(IMAGES x) => (IMAGES y) <float[3] s={1,2,3}, float[3] b={1,2,3}, float[3] m={0.1,0.2,0.3}, float[3] "
        "v={1,2,3}> { y = BatchNormalization <epsilon=0.1> (x,s,b,m,v) }",
    ),
    "BN spatial0": (
        7,
        8,
        "(float[2,3,2] x) => (float[2,3,2] y) <float[3,2] s={1,2,3,4,5,6}, float[3,2] b={1,2,3,4,5,6}, float[3,2] "
        "m={0.1,0.2,0.3,0.4,0.5,0.6}, float[3,2] v={1,2,3,4,5,6}> { y = BatchNormalization <spatial=0> (x,s,b,m,v) }",
    ),
    "Gemm": (
        7,
        16,
        "(float[2,3] x) => (float[2,4] y) <float[3,4] w={1,2,3,4,5,6,7,8,9,10,11,12}, float[4] b={1,2,3,4}> { y = "
        "Gemm <alpha=0.5> (x,w,b) }",
    ),
    "Softmax 1": (1, 16, "(IMAGES x) => (IMAGES y) { y = Softmax <axis=1> (x) }"),
    "Softmax 2": (1, 16, "(IMAGES x) => (IMAGES y) { y = Softmax <axis=2> (x) }"),
    "Softmax 3": (1, 16, "(IMAGES x) => (IMAGES y) { y = Softmax <axis=3> (x) }"),
    "LogSoftmax 1": (1, 16, "(IMAGES x) => (IMAGES y) { y = LogSoftmax <axis=1> (x) }"),
    "LogSoftmax 2": (1, 16, "(IMAGES x) => (IMAGES y) { y = LogSoftmax <axis=2> (x) }"),
    "LogSoftmax 3": (1, 16, "(IMAGES x) => (IMAGES y) { y = LogSoftmax <axis=3> (x) }"),
    "Hardmax 1": (1, 16, "(IMAGES x) => (IMAGES y) { y = Hardmax <axis=1> (x) }"),
    "Hardmax 2": (1, 16, "(IMAGES x) => (IMAGES y) { y = Hardmax <axis=2> (x) }"),
    "Hardmax 3": (1, 16, "(IMAGES x) => (IMAGES y) { y = Hardmax <axis=3> (x) }"),
    "Softmax neg": (11, 16, "(IMAGES x) => (IMAGES y) { y = Softmax <axis=-2> (x) }"),
    "LogSoftmax neg": (11, 16, "(IMAGES x) => (IMAGES y) { y = LogSoftmax <axis=-2> (x) }"),
    "Hardmax neg": (11, 16, "(IMAGES x) => (IMAGES y) { y = Hardmax <axis=-2> (x) }"),
    "Softmax default": (1, 16, "(IMAGES x) => (IMAGES y) { y = Softmax (x) }"),
    "LogSoftmax default": (1, 16, "(IMAGES x) => (IMAGES y) { y = LogSoftmax (x) }"),
    "Hardmax default": (1, 16, "(IMAGES x) => (IMAGES y) { y = Hardmax (x) }"),
    "Softmax N11": (1, 16, "(IMAGES x) => (float[2,3,1,1] y) { p = GlobalAveragePool (x) y = Softmax (p) }"),
    "Softmax 2d": (1, 16, "(float[2,5] x) => (float[2,5] y) { y = Softmax (x) }"),
    "Softmax axis0": (1, 16, "(float[2,5] x) => (float[2,5] y) { y = Softmax <axis=0> (x) }"),
    "Upsample lin": (
        7,
        8,
        '(IMAGES x) => (float[2,3,12,18] y) { y = Upsample <mode="linear", scales=[1.0,1.0,2.0,3.0]> (x) }',
    ),
    "Upsample near": (
        7,
        8,
        '(IMAGES x) => (float[2,3,12,18] y) { y = Upsample <mode="nearest", scales=[1.0,1.0,2.0,3.0]> (x) }',
    ),
    "Upsample frac": (
        7,
        8,
        '(IMAGES x) => (float[2,3,9,9] y) { y = Upsample <mode="nearest", scales=[1.0,1.0,1.5,1.5]> (x) }',
    ),
    "Upsample9 lin": (
        9,
        9,
        '(IMAGES x) => (float[2,3,9,18] y) <float[4] s={1,1,1.5,3}> { y = Upsample <mode="linear"> (x, s) }',
    ),
    "Upsample9 near": (
        9,
        9,
        '(IMAGES x) => (float[2,3,9,18] y) <float[4] s={1,1,1.5,3}> { y = Upsample <mode="nearest"> (x, s) }',
    ),
    "Resize10 linear 2 2": (
        10,
        10,
        '(IMAGES x) => (float[2,3,12,12] y) <float[4] s={1,1,2,2}> { y = Resize <mode="linear"> (x, s) }',
    ),
    "Resize10 linear 1.5 2.5": (
        10,
        10,
        '(IMAGES x) => (float[2,3,9,15] y) <float[4] s={1,1,1.5,2.5}> { y = Resize <mode="linear"> (x, s) }',
    ),
    "Resize10 linear 0.5 0.5": (
        10,
        10,
        '(IMAGES x) => (float[2,3,3,3] y) <float[4] s={1,1,0.5,0.5}> { y = Resize <mode="linear"> (x, s) }',
    ),
    "Resize10 linear 0.7 0.4": (
        10,
        10,
        '(IMAGES x) => (float[2,3,4,2] y) <float[4] s={1,1,0.7,0.4}> { y = Resize <mode="linear"> (x, s) }',
    ),
    "Resize10 linear 2 0.6": (
        10,
        10,
        '(IMAGES x) => (float[2,3,12,3] y) <float[4] s={1,1,2,0.6}> { y = Resize <mode="linear"> (x, s) }',
    ),
    "Resize10 nearest 2 2": (
        10,
        10,
        '(IMAGES x) => (float[2,3,12,12] y) <float[4] s={1,1,2,2}> { y = Resize <mode="nearest"> (x, s) }',
    ),
    "Resize10 nearest 1.5 2.5": (
        10,
        10,
        '(IMAGES x) => (float[2,3,9,15] y) <float[4] s={1,1,1.5,2.5}> { y = Resize <mode="nearest"> (x, s) }',
    ),
    "Resize10 nearest 0.5 0.5": (
        10,
        10,
        '(IMAGES x) => (float[2,3,3,3] y) <float[4] s={1,1,0.5,0.5}> { y = Resize <mode="nearest"> (x, s) }',
    ),
    "Resize10 nearest 0.7 0.4": (
        10,
        10,
        '(IMAGES x) => (float[2,3,4,2] y) <float[4] s={1,1,0.7,0.4}> { y = Resize <mode="nearest"> (x, s) }',
    ),
    "Resize10 nearest 2 0.6": (
        10,
        10,
        '(IMAGES x) => (float[2,3,12,3] y) <float[4] s={1,1,2,0.6}> { y = Resize <mode="nearest"> (x, s) }',
    ),
    "Resize10 dyn": (
        10,
        10,
        '(IMAGES x, float[4] scales) => (float[2,3,a,b] y) { y = Resize <mode="nearest"> (x, scales) }',
    ),
    "Resize11": (
        11,
        16,
        '(IMAGES x) => (float[2,3,12,12] y) <float[0] r={}, float[4] s={1,1,2,2}> { y = Resize <mode="linear"> (x, r, '
        "s) }",
    ),
    "Resize11 ac": (
        11,
        16,
        '(IMAGES x) => (float[2,3,12,12] y) <float[0] r={}, float[4] s={1,1,2,2}> { y = Resize <mode="linear", '
        'coordinate_transformation_mode="align_corners"> (x, r, s) }',
    ),
    "Resize11 near": (
        11,
        16,
        "(IMAGES x) => (float[2,3,9,4] y) <float[0] r={}, float[4] s={1,1,1.5,0.7}> { y = Resize (x, r, s) }",
    ),
    "Resize11 cubic": (
        11,
        16,
        '(IMAGES x) => (float[2,3,12,12] y) <float[0] r={}, float[4] s={1,1,2,2}> { y = Resize <mode="cubic"> (x, r, '
        "s) }",
    ),
    "ReduceMean": (1, 16, "(IMAGES x) => (float[2,3,1,1] y) { y = ReduceMean <axes=[2,3]> (x) }"),
    "ReduceMax": (1, 16, "(IMAGES x) => (float[2,3,1,1] y) { y = ReduceMax <axes=[2,3]> (x) }"),
    "ReduceL2": (1, 16, "(IMAGES x) => (float[2,3,1,1] y) { y = ReduceL2 <axes=[2,3]> (x) }"),
    "ReduceL1": (1, 16, "(IMAGES x) => (float[2,3,1,1] y) { y = ReduceL1 <axes=[2,3]> (x) }"),
    "ReduceMin": (1, 16, "(IMAGES x) => (float[2,3,1,1] y) { y = ReduceMin <axes=[2,3]> (x) }"),
    "ReduceProd": (1, 16, "(IMAGES x) => (float[2,3,1,1] y) { y = ReduceProd <axes=[2,3]> (x) }"),
    "ReduceLogSumExp": (1, 16, "(IMAGES x) => (float[2,3,1,1] y) { y = ReduceLogSumExp <axes=[2,3]> (x) }"),
    "ReduceSumSquare": (1, 16, "(IMAGES x) => (float[2,3,1,1] y) { y = ReduceSumSquare <axes=[2,3]> (x) }"),
    "ReduceSum": (1, 12, "(IMAGES x) => (float[2,3,1,1] y) { y = ReduceSum <axes=[2,3]> (x) }"),
    "ReduceMean all": (1, 16, "(IMAGES x) => (float y) { y = ReduceMean <keepdims=0> (x) }"),
    "Squeeze": (1, 12, "(IMAGES x) => (float[2,3] y) { p = GlobalAveragePool (x) y = Squeeze <axes=[2,3]> (p) }"),
    "Squeeze none": (1, 12, "(IMAGES x) => (float[2,3] y) { p = GlobalAveragePool (x) y = Squeeze (p) }"),
    "Unsqueeze": (1, 12, "(float[2,3] x) => (float[2,1,3,1] y) { y = Unsqueeze <axes=[1,3]> (x) }"),
    "Slice": (1, 9, "(IMAGES x) => (float[2,2,6,4] y) { y = Slice <axes=[1,3], starts=[0,1], ends=[2,-1]> (x) }"),
    "Slice noaxes": (1, 9, "(float[4,4] x) => (float[2,3] y) { y = Slice <starts=[1,0], ends=[3,3]> (x) }"),
    "Slice10": (10, 16, "(float[4,4] x) => (float[2,3] y) <int64[2] s={1,0}, int64[2] e={3,3}> { y = Slice (x,s,e) }"),
    "Split": (2, 12, "(IMAGES x) => (float[2,1,6,6] y, float[2,2,6,6] z) { y, z = Split <axis=1, split=[1,2]> (x) }"),
    "Split equal": (2, 16, "(IMAGES x) => (float[2,3,3,6] y, float[2,3,3,6] z) { y, z = Split <axis=2> (x) }"),
    "Split13": (
        13,
        16,
        "(IMAGES x) => (float[2,1,6,6] y, float[2,2,6,6] z) <int64[2] s={1,2}> { y, z = Split <axis=1> (x, s) }",
    ),
    "Pad": (2, 10, "(IMAGES x) => (float[2,3,8,9] y) { y = Pad <pads=[0,0,1,1,0,0,1,2], value=1.5> (x) }"),
    "Pad reflect": (2, 10, '(IMAGES x) => (float[2,3,8,9] y) { y = Pad <mode="reflect", pads=[0,0,1,1,0,0,1,2]> (x) }'),
    "Pad edge neg": (2, 10, '(IMAGES x) => (float[2,3,6,7] y) { y = Pad <mode="edge", pads=[0,0,1,-1,0,0,-1,2]> (x) }'),
    "Pad11": (
        11,
        16,
        '(IMAGES x) => (float[2,3,8,9] y) <int64[8] p={0,0,1,1,0,0,1,2}> { y = Pad <mode="reflect"> (x, p) }',
    ),
    "TopK": (1, 9, "(float[2,6] x) => (float[2,3] y, int64[2,3] z) { y, z = TopK <axis=1, k=3> (x) }"),
    "TopK10": (
        10,
        16,
        "(float[2,6] x) => (float[2,3] y, int64[2,3] z) <int64[1] k={3}> { y, z = TopK <axis=1> (x, k) }",
    ),
    "Cast": (6, 16, "(IMAGES x) => (int64[2,3,6,6] y) { y = Cast <to=7> (x) }"),
    "Concat": (4, 16, "(IMAGES x) => (float[2,6,6,6] y) { y = Concat <axis=1> (x,x) }"),
    "Reshape1": (1, 4, "(IMAGES x) => (float[2,108] y) { y = Reshape <shape=[0,-1]> (x) }"),
    "Reshape": (5, 16, "(IMAGES x) => (float[2,108] y) <int64[2] s={0,-1}> { y = Reshape (x,s) }"),
    "Flatten": (1, 16, "(IMAGES x) => (float[2,108] y) { y = Flatten (x) }"),
    "MaxPool": (
        1,
        16,
        "(IMAGES x) => (float[2,3,3,3] y) { y = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,0,0]> (x) }",
    ),
    "AveragePool": (
        7,
        16,
        "(IMAGES x) => (float[2,3,3,3] y) { y = AveragePool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,0,0]> (x) }",
    ),
    "AveragePool same": (
        7,
        16,
        "(IMAGES x) => (float[2,3,3,3] y) { y = AveragePool <kernel_shape=[3,3], strides=[2,2], "
        'auto_pad="SAME_LOWER"> (x) }',
    ),
    "AveragePool ceil": (
        10,
        16,
        "(IMAGES x) => (float[2,3,3,3] y) { y = AveragePool <kernel_shape=[3,3], strides=[2,2], ceil_mode=1> (x) }",
    ),
    "LpPool": (2, 16, "(IMAGES x) => (float[2,3,3,3] y) { y = LpPool <kernel_shape=[2,2], strides=[2,2], p=3> (x) }"),
    "Conv": (1, 16, "(IMAGES x, float[2,3,2,2] w) => (float[2,2,5,5] y) { y = Conv <kernel_shape=[2,2]> (x,w) }"),
    "Conv same": (
        1,
        16,
        '(IMAGES x, float[2,3,2,2] w) => (float[2,2,3,3] y) { y = Conv <kernel_shape=[2,2], auto_pad="SAME_UPPER", '
        "strides=[2,2]> (x,w) }",
    ),
    "ConvT same": (
        1,
        16,
        "(IMAGES x, float[3,2,3,3] w) => (float[2,2,12,12] y) { y = ConvTranspose <kernel_shape=[3,3], "
        'auto_pad="SAME_UPPER", strides=[2,2]> (x,w) }',
    ),
    "ConvT lower": (
        1,
        16,
        "(IMAGES x, float[3,2,3,3] w) => (float[2,2,12,12] y) { y = ConvTranspose <kernel_shape=[3,3], "
        'auto_pad="SAME_LOWER", strides=[2,2]> (x,w) }',
    ),
    "ConvT oshape": (
        1,
        16,
        "(IMAGES x, float[3,2,3,3] w) => (float[2,2,12,12] y) { y = ConvTranspose <kernel_shape=[3,3], "
        "output_shape=[12,12], strides=[2,2]> (x,w) }",
    ),
    "ConvT": (
        1,
        16,
        "(IMAGES x, float[3,2,3,3] w) => (float[2,2,12,12] y) { y = ConvTranspose <kernel_shape=[3,3], "
        "output_padding=[1,1], pads=[1,1,1,1], strides=[2,2]> (x,w) }",
    ),
    "LRN": (1, 16, "(IMAGES x) => (IMAGES y) { y = LRN <size=3, alpha=0.1> (x) }"),
    "InstanceNorm": (
        6,
        16,
        "(IMAGES x) => (IMAGES y) <float[3] s={1,2,3}, float[3] b={1,2,3}> { y = InstanceNormalization (x,s,b) }",
    ),
    "Sum": (6, 16, "(IMAGES x) => (IMAGES y) { y = Sum (x,x) }"),
    "Max": (6, 16, "(IMAGES x) => (IMAGES y) { n = Neg (x) y = Max (x,n) }"),
    "ArgMax": (1, 16, "(IMAGES x) => (int64[2,1,6,6] y) { y = ArgMax <axis=1> (x) }"),
    "DepthToSpace": (1, 16, "(float[2,8,3,3] x) => (float[2,2,6,6] y) { y = DepthToSpace <blocksize=2> (x) }"),
    "SpaceToDepth": (1, 16, "(IMAGES x) => (float[2,12,3,3] y) { y = SpaceToDepth <blocksize=2> (x) }"),
    "Gather": (1, 16, "(IMAGES x) => (float[2,2,6,6] y) <int64[2] i={2,0}> { y = Gather <axis=1> (x, i) }"),
    "Scatter": (
        9,
        10,
        "(float[3,3] x) => (float[3,3] y) <int64[2,3] i={1,0,2,0,2,1}, float[2,3] u={1,2,3,4,5,6}> { y = Scatter "
        "(x,i,u) }",
    ),
    "RoiAlign": (
        10,
        16,
        "(IMAGES x) => (float[1,3,2,2] y) <float[1,4] r={0,0,4,4}, int64[1] i={1}> { y = RoiAlign <output_height=2, "
        "output_width=2, sampling_ratio=2> (x,r,i) }",
    ),
    "GridSample": (
        16,
        19,
        "(float[1,1,4,4] x) => (float[1,1,2,2] y) <float[1,2,2,2] r={0.1,0.3,-0.5,0.4,0.9,-1,0,0}> { y = GridSample "
        "(x,r) }",
    ),
    "GridSample b": (
        16,
        19,
        "(float[1,1,4,4] x) => (float[1,1,2,2] y) <float[1,2,2,2] r={0.1,0.3,-0.5,0.4,0.9,-1,0,0}> { y = GridSample "
        '<mode="bicubic"> (x,r) }',
    ),
    "Tile": (6, 16, "(float[2,3] x) => (float[4,3] y) <int64[2] r={2,1}> { y = Tile (x,r) }"),
    "Pow": (7, 16, "(IMAGES x) => (IMAGES y) <float p={2}> { y = Pow (x,p) }"),
    "Equal": (7, 16, "(IMAGES x) => (bool[2,3,6,6] y) { i = Cast <to=7> (x) y = Equal (i,i) }"),
    "LSTM": (
        7,
        16,
        "(float[4,2,3] x, float[1,8,3] w, float[1,8,2] r) => (float[4,1,2,2] y) { y = LSTM <hidden_size=2> (x,w,r) }",
    ),
    "GRU": (
        7,
        16,
        "(float[4,2,3] x, float[1,6,3] w, float[1,6,2] r) => (float[4,1,2,2] y) { y = GRU <hidden_size=2> (x,w,r) }",
    ),
    "If body clip": (
        7,
        10,
        "(IMAGES x, bool c) => (IMAGES y) { y = If (c) <then_branch = t () => (IMAGES a) { a = Clip <min=0.0> (x) }, "
        "else_branch = e () => (IMAGES b) { q = ReduceMean <axes=[2,3]> (x) b = Mul (x, q) }> }",
    ),
    "CumSum": (11, 16, "(IMAGES x) => (IMAGES y) <int64 a={1}> { y = CumSum (x,a) }"),
    "Einsum": (12, 16, '(IMAGES x) => (IMAGES y) { y = Einsum <equation="nchw->nchw"> (x) }'),
    "HardSwish": (14, 16, "(IMAGES x) => (IMAGES y) { y = HardSwish (x) }"),
    "Mean": (6, 16, "(IMAGES x) => (IMAGES y) { n = Abs (x) y = Mean (x,n) }"),
    "NonMax": (
        10,
        16,
        "(float[1,3,4] x, float[1,1,3] s) => (int64[n,3] y) <int64 k={2}, float i={0.5}> { y = NonMaxSuppression "
        "(x,s,k,i) }",
    ),
    "OneHot": (9, 16, "(int64[2] x) => (float[2,4] y) <int64 k={4}, float[2] v={0,1}> { y = OneHot (x,k,v) }"),
    "Where": (9, 16, "(IMAGES x) => (IMAGES y) <float z={0}> { c = Greater (x,z) y = Where (c,x,z) }"),
}


def of_opset(text, opset):
    return onnx.parser.parse_model(
        f'<ir_version: 4, opset_import: ["" : {opset}]> g {text}'.replace("IMAGES", "float[2, 3, 6, 6]")
    )


def feed_of(proto):
    rng = np.random.default_rng(0)
    feed = {}
    for value in proto.graph.input:
        kind = value.type.tensor_type
        shape = [size.dim_value for size in kind.shape.dim]
        if value.name == "scales":
            feed[value.name] = np.array([1, 1, 1.5, 0.7], np.float32)
        elif kind.elem_type == onnx.TensorProto.FLOAT:
            feed[value.name] = (1.2 * rng.standard_normal(shape)).astype(np.float32)
        else:
            feed[value.name] = np.array(True) if kind.elem_type == onnx.TensorProto.BOOL else np.array([1, 3])
    return feed


def run(content, feed):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feed)


def history():
    """Every version of every operator up to TARGET."""
    found = defaultdict(dict)
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain and schema.since_version <= TARGET:
            found[schema.name][schema.since_version] = schema
    return found


def turning_points(text, first, last):
    """The opsets from `first` to `last` at which an operator of the text has a version of its own."""
    proto = of_opset(text, last)
    operators = {node.op_type for node in proto.graph.node}
    versions = {version for operator in operators for version in HISTORY[operator] if first < version <= last}
    return sorted({first, *versions})


HISTORY = history()


@pytest.mark.parametrize("name", CASES)
def test_the_converted_graph_computes_what_onnx_runtime_computes_on_the_file(name):
    first, last, text = CASES[name]
    for opset in turning_points(text, first, last):
        proto = of_opset(text, opset)
        feed = feed_of(proto)
        model = parse(proto)
        assert model.opset_imports[""] == TARGET if opset < 17 else opset
        optimize(model)
        check(model)
        for got, wanted in zip(run(serialize(model), feed), run(proto.SerializeToString(), feed), strict=True):
            assert got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5, err_msg=f"opset {opset}")


# What ONNX Runtime runs no more, by the words of the standard of its day.
X = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
W = np.array([0.2, 0.5, 0.7], np.float32)
BEFORE_ONNX_RUNTIME = {
    "broadcast from axis 1": (6, "y = Add <broadcast = 1, axis = 1> (x, w)", X + W[:, None, None]),
    "broadcast from axis -3": (6, "y = Mul <broadcast = 1, axis = -3> (x, w)", X * W[:, None, None]),
    "broadcast from axis 1 and scale": (
        1,
        "a = Sub <broadcast = 1, axis = 1> (x, w) y = Div <broadcast = 1, axis = 1> (a, w)",
        (X - W[:, None, None]) / W[:, None, None],
    ),
    "a slope for each channel": (6, "y = PRelu (x, w)", np.where(X < 0, X * W[:, None, None], X)),
    "batch norm in test mode": (
        6,
        "y = BatchNormalization <is_test = 1, epsilon = 0.1> (x, w, w, w, w)",
        ((X - W[:, None, None]) / np.sqrt(W[:, None, None] + 0.1)) * W[:, None, None] + W[:, None, None],
    ),
    "hints for computing in place": (1, "y = Relu <consumed_inputs = [0]> (x)", np.maximum(X, 0)),
    "padding by opset 1": (
        1,
        "y = Pad <paddings = [0, 0, 1, 0, 0, 0, 0, 0]> (x)",
        np.pad(X, [(0, 0)] * 2 + [(1, 0), (0, 0)]),
    ),
    "a cast by name": (1, 'a = Cast <to = "INT32"> (x) y = Cast <to = "FLOAT"> (a)', np.trunc(X)),
    "concat without an axis": (1, "y = Concat (x, x)", np.concatenate([X, X], 1)),
    "upsample by two sides": (
        1,
        'y = Upsample <mode = "nearest", height_scale = 2.0, width_scale = 3.0> (x)',
        X.repeat(2, 2).repeat(3, 3),
    ),
    "gemm with a vector": (
        6,
        "f = Flatten (x) t = Transpose (f) y = Gemm <broadcast = 1> (t, f, row)",
        X.reshape(2, -1).T @ X.reshape(2, -1) + np.arange(60, dtype=np.float32),
    ),
}


@pytest.mark.parametrize("name", BEFORE_ONNX_RUNTIME)
def test_operators_that_no_runtime_has_any_more(name):
    opset, body, wanted = BEFORE_ONNX_RUNTIME[name]
    shape = ", ".join(map(str, wanted.shape))
    proto = of_opset(f"(float[2, 3, 4, 5] x) => (float[{shape}] y) {{ {body} }}", opset)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(60, dtype=np.float32), "row"))
    model = parse(proto)
    optimize(model)
    check(model)
    np.testing.assert_allclose(run(serialize(model), {"x": X})[0], wanted, rtol=1e-4, atol=1e-5)


REFUSED = {
    "BatchNormalization": (6, "y = BatchNormalization (x, w, w, w, w)", "statistics of its batch"),
    "Tile": (1, "t = Shape (x) y = Tile (x, w, w)", "along one axis"),
    "Dropout": (7, "d, y = Dropout (x)", "its output 'y' is for training only"),
    "LpPool": (1, "y = LpPool <kernel_shape = [2, 2], p = 1.5> (x)", "p is 1.5"),
}


@pytest.mark.parametrize("operator", REFUSED)
def test_what_has_no_equivalent_is_refused_by_name(operator):
    opset, body, why = REFUSED[operator]
    proto = of_opset(f"(float[2, 3, 4, 5] x, float[3] w) => (float y) {{ {body} }}", opset)
    proto.graph.node[-1].name = "the_node"
    with pytest.raises(
        ExportFailed, match=rf"node 'the_node' \({operator}\) has no equivalent in a newer opset: .*{why}"
    ):
        parse(proto)


def differs(old, new):
    """Whether a node of the old version may mean something else, or nothing, when it is read as the new one."""
    if new.deprecated or new.min_input > old.min_input or new.max_input < old.max_input:
        return True
    if new.max_output < old.max_output or new.min_output > old.min_output:
        return True
    for name, attribute in old.attributes.items():
        now = new.attributes.get(name)
        if now is None or now.type != attribute.type or (now.required and not attribute.required):
            return True
        if now.default_value.type and now.default_value != attribute.default_value:
            return True
    return False


# A default that was a misprint; an operand that opset 2 took away and 13 gave back; what the change at 12 takes off.
HARMLESS = {("GRU", 3), ("Split", 2), ("Dropout", 7)}


def test_every_change_in_onnxs_history_has_a_function():
    missing = []
    for name, versions in HISTORY.items():
        ordered = sorted(versions)
        for before, after in itertools.pairwise(ordered):
            old, new = versions[before], versions[after]
            only_hint = set(old.attributes) - set(new.attributes) == {"consumed_inputs"}
            known = any(since == after for since, _ in CHANGES.get(name, ()))
            if differs(old, new) and not known and not only_hint and (name, after) not in HARMLESS:
                missing.append((name, before, after))
    assert not missing
