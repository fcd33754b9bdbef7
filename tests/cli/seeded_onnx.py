"""Real exported graphs with weights that behave: the `light` models of the onnx package, their constants replaced.

As shipped, every weight is a ConstantOfShape of one value and the answer is the same for every input. Here each gets
numbers as `deploykit.zoo.initialize` draws them: variance 2 / fan_in, centered filters, BatchNorm that shifts by 1 and
has the statistics of an image; the head is scaled so that the softmax stays soft.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from deploykit.parity.operators import OPERATORS
from deploykit.spec import TensorSpec
from deploykit.zoo.initialize import calibration_noise

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
SPREAD, BIAS_SPREAD = 0.1, 0.05
SHIFT = 1.0


def write_seeded(name: str, path: Path, *, seed: int = 0) -> Path:
    """light_`name`.onnx with seeded weights as initializers, which are graph inputs too, as IR version 3 demands."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    graph = model.graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes = {name: array.shape for name, array in constants.items() if array.dtype == np.float32}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        shapes[node.output[0]] = tuple(map(int, constants[node.input[0]]))
        value = onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, shapes[node.output[0]])
        graph.input.append(value)
        graph.node.remove(node)
    readers = {name: (node, index) for node in reversed(graph.node) for index, name in enumerate(node.input)}
    random = np.random.default_rng(seed)
    uses = {name: _behind_reshapes(readers, name) for name in shapes if name in readers}
    weights = {name: _drawn(*uses[name], shapes[name], random) for name in uses}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in weights]:
        graph.initializer.remove(tensor)
    weighted = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    (head,) = (name for name, (node, index) in uses.items() if node is weighted[-1] and index == 1)
    _settle(model, weights, head)
    for name, array in weights.items():
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, path)
    return path


def _behind_reshapes(readers: dict[str, tuple[onnx.NodeProto, int]], name: str) -> tuple[onnx.NodeProto, int]:
    """The node that computes with a weight, and as which of its operands."""
    node, index = readers[name]
    return (node, index) if node.op_type not in ("Reshape", "Unsqueeze") else _behind_reshapes(readers, node.output[0])


def _drawn(reader: onnx.NodeProto, index: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if reader.op_type == "BatchNormalization":
        mean, spread = ((0, 0), (1, SPREAD), (SHIFT, SPREAD), (0, 0), (1, 0))[index]
        return (mean + spread * random.standard_normal(shape)).astype(np.float32)
    if index != 1 or len(shape) < 2:
        return (BIAS_SPREAD * random.standard_normal(shape)).astype(np.float32)
    columns = reader.op_type == "Gemm" and not any(item.name == "transB" and item.i for item in reader.attribute)
    fan_in = (0,) if columns else tuple(range(1, len(shape)))
    weight = random.standard_normal(shape, dtype=np.float32)
    weight *= np.float32(np.sqrt(2.0 / np.prod([shape[axis] for axis in fan_in])))
    if len(shape) == 2 or shape[1] > 1:
        weight -= weight.mean(axis=fan_in, keepdims=True)
    return weight


def _settle(model: onnx.ModelProto, weights: dict[str, np.ndarray], head: str) -> None:
    """Set BatchNorm's statistics to those of one image, and scale the head to logits of variance 1."""
    logits = {}

    class BatchNormalization(OpRun):
        op_domain = ""

        def _run(self, x, scale, bias, mean, variance, epsilon=1e-5, **_):
            mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
            weights[self.onnx_node.input[3]], weights[self.onnx_node.input[4]] = mean, variance
            factor = scale / np.sqrt(variance + np.float32(epsilon))
            return ((x - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None],)

    class Softmax(OpRun):
        op_domain = ""

        def _run(self, x, **_):
            logits["std"] = float(x.std())
            return (x,)

    known = {tensor.name for tensor in model.graph.initializer} | set(weights)
    (images,) = (value for value in model.graph.input if value.name not in known)
    spec = TensorSpec(images.name, tuple(size.dim_value for size in images.type.tensor_type.shape.dim), "float32")
    noise = next(calibration_noise(spec, batches=1, batch=1, seed=1))
    ReferenceEvaluator(model, new_ops=[*OPERATORS, BatchNormalization, Softmax]).run(
        None, {images.name: noise, **weights}
    )
    weights[head] *= np.float32(1.0 / logits.get("std", 1.0))
