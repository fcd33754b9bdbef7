"""Graphs of old operators, for `test_upgrade`."""

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
