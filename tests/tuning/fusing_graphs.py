"""ONNX files on which rewrites have a cost: what TensorRT-RTX does not do by itself, and what costs it more."""

import numpy as np
import onnx

BRANCHES = """
    a{n} = Conv(t{i}, wa{n}, ba{n})
    b{n} = Conv(t{i}, wb{n}, bb{n})
    c{n} = Conv<pads=[1, 1, 1, 1]>(b{n}, wc{n}, bc{n})
    j{n} = Concat<axis=1>(a{n}, c{n})
    t{o} = Relu(j{n})
"""


def write(path, body, weights, *, channels, side, output):
    """One image input `x`, one output `y`; nodes are called after what they make."""
    declared = ", ".join(f"float[{','.join(map(str, array.shape))}] {name}" for name, array in weights.items())
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 20]> g (float[N, {channels}, {side}, {side}] x) => ({output}) '
        f"<{declared}> {{{body}}}"
    )
    for name, array in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    for node in proto.graph.node:
        node.name = node.output[0]
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    return path


def scaled_residual(path, *, blocks=2):
    """Convolutions whose result is scaled, shifted and added to their input, as in Inception-ResNet."""
    random = np.random.default_rng(0)
    weights, body = {}, "t0 = Relu(x)"
    for n in range(blocks):
        weights[f"w{n}"] = random.standard_normal((32, 32, 3, 3)) / 17
        weights[f"b{n}"] = random.standard_normal(32)
        weights[f"s{n}"] = random.uniform(0.1, 0.2, (1, 32, 1, 1))
        body += f"""
            c{n} = Conv<pads=[1, 1, 1, 1]>(t{n}, w{n}, b{n})
            m{n} = Mul(c{n}, s{n})
            a{n} = Add(m{n}, t{n})
            t{n + 1} = Relu(a{n})"""
    body += f" y = Relu(t{blocks})"
    return write(path, body, weights, channels=32, side=16, output="float[N, 32, 16, 16] y")


def siblings(path):
    """Two 1x1 convolutions on one input, the second of which feeds a 3x3, as in GoogLeNet: twice.

    `a0` and `b0` see large images of few channels, where splitting a merged result costs more than one reading of the
    input saves; `a1` and `b1` small images of many channels.
    """
    random = np.random.default_rng(0)
    shapes = {"we": (256, 64, 1, 1)}
    for n, channels in enumerate((64, 256)):
        shapes |= {f"wa{n}": (32, channels, 1, 1), f"wb{n}": (32, channels, 1, 1), f"wc{n}": (32, 32, 3, 3)}
    weights = {name: random.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    weights |= {f"b{name}{n}": random.standard_normal(32) for n in range(2) for name in "abc"}
    between = "p = AveragePool<kernel_shape=[8, 8], strides=[8, 8]>(t1) e = Conv(p, we) t2 = Relu(e)"
    body = f"t0 = Relu(x) {BRANCHES.format(n=0, i=0, o=1)} {between} {BRANCHES.format(n=1, i=2, o=3)} y = Relu(t3)"
    return write(path, body, weights, channels=64, side=32, output="float[N, 64, 4, 4] y")
