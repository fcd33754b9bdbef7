"""Let a graph take images as cameras and decoders give them: bytes, channels last.

    images uint8 (N, H, W, C)  ->  Cast, Transpose  ->  (x - 255 mean) * 1 / (255 std)  ->  the graph

which is (x / 255 - mean) / std, the recipe of a card. Written in this order, the factor stands next to the first
convolution and folds into its weights whatever the padding; the subtraction folds too where nothing is padded
(`fold_affine_forward`). A quarter of the bytes of float32 then cross the bus, and no host normalizes pixels. The rest
of the recipe, how an image comes to its size and in which order its channels stand, is noted in the file's metadata
under `PREPROCESS`, in the words of `--preprocess`.

Rejects, with a UsageError, a graph that does not have one float32 input of shape (batch, C, H, W), or whose channels
are not those of the recipe.
"""

import numpy as np
import onnx_ir as ir

from deploykit.errors import UsageError
from deploykit.graph.rewrite import new_initializer
from deploykit.spec import Preprocessing

PREPROCESS = "deploykit.preprocess"
STEM = "stem"


def prepend_uint8_stem(model: ir.Model, recipe: Preprocessing) -> None:
    """Change `model` in place; its input keeps its name and gets the type uint8 and the shape (N, H, W, C)."""
    graph = model.graph
    image = _image(graph, recipe)
    batch, channels, height, width = image.shape  # type: ignore[misc]
    inside = (batch, channels, height, width)
    scale = recipe.scale
    offset = new_initializer(graph, f"{STEM}.offset", _per_channel([scale * mean for mean in recipe.mean]))
    factor = new_initializer(graph, f"{STEM}.factor", _per_channel([1 / (scale * std) for std in recipe.std]))
    model.metadata_props[PREPROCESS] = (
        f"bytes,order={recipe.channel_order.lower()},interpolation={recipe.interpolation},pad={recipe.pad},"
        f"resize={recipe.resize if recipe.fit == 'crop' else recipe.fit}"
    )
    pixels = ir.Value(
        name=image.name, shape=ir.Shape((batch, height, width, channels)), type=ir.TensorType(ir.DataType.UINT8)
    )
    readers = list(image.uses())
    graph.inputs[0] = pixels
    image.name = f"{STEM}.unused"
    cast = _node("Cast", [pixels], (batch, height, width, channels), {"to": ir.DataType.FLOAT.value})
    planes = _node("Transpose", [cast.outputs[0]], inside, {"perm": [0, 3, 1, 2]})
    centered = _node("Sub", [planes.outputs[0], offset], inside)
    scaled = _node("Mul", [centered.outputs[0], factor], inside)
    for reader, index in readers:
        reader.replace_input_with(index, scaled.outputs[0])
    graph.insert_before(graph[0], [cast, planes, centered, scaled])


def stem_alone(recipe: Preprocessing) -> ir.Model:
    """The stem in front of nothing: `images`, bytes (N, H, W, C), to the normalized `planes`."""
    shape = ir.Shape(("batch", len(recipe.mean), recipe.height, recipe.width))
    images = ir.Value(name="images", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    planes = ir.Value(name="planes", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Identity", [images], outputs=[planes], name="planes")
    network = ir.Model(ir.Graph([images], [planes], nodes=[node], opset_imports={"": 20}, name=STEM), ir_version=10)
    prepend_uint8_stem(network, recipe)
    return network


def _image(graph: ir.Graph, recipe: Preprocessing) -> ir.Value:
    images = [value for value in graph.inputs if not value.is_initializer()]
    image = images[0] if len(images) == 1 else None
    if image is None or image.dtype != ir.DataType.FLOAT or image.shape is None or len(image.shape) != 4:
        raise UsageError("the graph does not take one float32 batch of images", hint="leave --stem out")
    if image.shape[1] != len(recipe.mean):
        raise UsageError(
            f"the graph's images have {image.shape[1]} channels, the preprocessing {len(recipe.mean)}",
            hint="leave --stem out",
        )
    return image


def _per_channel(numbers: list[float]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.array(numbers, np.float64).astype(np.float32).reshape(-1, 1, 1)


def _node(
    op: str, inputs: list[ir.Value], shape: tuple[object, ...], attributes: dict[str, int | list[int]] | None = None
) -> ir.Node:
    name = f"{STEM}/{op}"
    node = ir.node(op, inputs, attributes=attributes or {}, name=name)
    (output,) = node.outputs
    output.name, output.shape, output.type = name, ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)  # type: ignore[arg-type]
    return node
