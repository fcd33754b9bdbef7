"""Fold a scale and shift per channel into the convolutions or matrix products behind it.

    y = W (s x + t) + b   ->   (W s) x + (b + W t)

where s x + t is what an inference-time BatchNorm computes, or Mul, Div, Add and Sub with a constant, or a chain of
them: (x - mean) / std on the images is s = 1 / std, t = -mean / std. `s` scales input channels; W t sums over the input
channels of an output channel's own group and over the taps of its kernel.

The sum over the taps is right only where every tap lies on the image. A convolution pads its input with zeros *behind*
the shift, so at the border some taps see 0 where the folded bias counts t. With padding the fold is therefore exact for
a pure scale only (t = 0), and anything else is refused: padding with -t/s in front of the shift would be exact too, but
takes a Pad, which costs more than the addition, and one number for all channels.

A chain is tried from each of its links to its end, first link first: of (x - mean) / std before a padded convolution
the subtraction stays, with the reason, and the division goes. It goes into all readers or stays, since a reader that
cannot take it would keep it alive. In float16 and int8, images in [0, 255] then reach the convolution as they are, so
their range is the type's to hold.

Skips a site, with the reason, when

1. it lies in the body of an If, Loop or Scan, or one of its readers does,
2. the result is a graph output,
3. something else reads it too, or reads it as a weight or bias (a ConvTranspose sums other taps for each pixel),
4. a Conv pads, by pads or auto_pad, and the shift is not 0 in every channel,
5. a Gemm reads it transposed (transA), so that its channels are not the columns,
6. a weight, bias or statistic is not a constant, or a weight is not a floating-point number,
7. the shape of the input is not known, or a constant broadcasts along another axis than the channels or adds to it,
8. a constant is divided by the input, or the input by zero; the BatchNorm uses the batch's statistics,
9. the result is not finite in the weight's type.
"""

from functools import partial

import numpy as np
import onnx_ir as ir

from deploykit.graph.algebra.affine import ARITHMETIC, Affine, data_operand, read_affine
from deploykit.graph.algebra.linear import Linear, Parameters, read_linear, scale_inputs, write
from deploykit.graph.rewrite import Fusion, Rewrite, Unmet, bypass

ANCHORS = ("BatchNormalization", *ARITHMETIC)
READERS = ("Conv", "Gemm")


def _attempt(first: ir.Node, graph: ir.Graph) -> Rewrite | Unmet | None:
    chain = _chain(first)
    result = chain[-1].outputs[0]
    if data_operand(first) is None or not any(_takes_image(reader, index) for reader, index in result.uses()):
        return None
    if result.is_graph_output():
        return Unmet("the result is a graph output")
    affine = _composed(chain)
    if isinstance(affine, Unmet):
        return affine
    found = []
    for reader, index in result.uses():
        linear = _linear(reader, index, affine, graph)
        if isinstance(linear, Unmet):
            return linear
        parameters = scale_inputs(linear, affine.scale, affine.shift)
        if isinstance(parameters, Unmet):
            return parameters
        found.append((linear, parameters))
    return partial(_rewrite, chain, found, graph)


def _rewrite(chain: list[ir.Node], found: list[tuple[Linear, Parameters]], graph: ir.Graph) -> None:
    for linear, parameters in found:
        write(linear, parameters, graph)
    for node in chain:
        source = data_operand(node)
        if source is not None:
            bypass(node, source, graph)


def _chain(first: ir.Node) -> list[ir.Node]:
    """The links from `first` on, each read by the next alone."""
    chain = [first]
    while (link := _next_link(chain[-1].outputs[0])) is not None:
        chain.append(link)
    return chain


def _next_link(value: ir.Value) -> ir.Node | None:
    readers = [reader for reader, _ in value.uses()]
    if len(readers) != 1 or value.is_graph_output():
        return None
    reader, made_by = readers[0], value.producer()
    same_graph = made_by is not None and reader.graph is made_by.graph
    link = same_graph and not reader.domain and reader.op_type in ANCHORS and data_operand(reader) is value
    return reader if link else None


def _composed(chain: list[ir.Node]) -> Affine | Unmet:
    """The scale and shift of a whole chain, or why a link of it has none."""
    source = data_operand(chain[0])
    shape = source.shape if source is not None else None
    if shape is None or len(shape) < 2 or not isinstance(shape[1], int):
        return Unmet("the shape of its input is not known")
    scale, shift = np.ones(()), np.zeros(())
    for node in chain:
        affine = read_affine(node, rank=len(shape), channels=shape[1])
        if isinstance(affine, Unmet):
            return affine
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found when it is folded
            scale, shift = affine.scale * scale, affine.scale * shift + affine.shift
    return Affine(scale, shift)


def _takes_image(reader: ir.Node, index: int) -> bool:
    return reader.op_type in READERS and not reader.domain and index == 0


def _linear(reader: ir.Node, index: int, affine: Affine, graph: ir.Graph) -> Linear | Unmet:
    """A reader and its parameters, or the first precondition on it that does not hold."""
    if reader.graph is not graph:
        return Unmet("a reader lies in the body of a control-flow node")
    if not _takes_image(reader, index):
        return Unmet(f"a {reader.op_type} reads the result too")
    if reader.attributes.get_int("transA", 0):
        return Unmet("the Gemm after it reads it transposed")
    pads = any(reader.attributes.get_ints("pads") or ())
    pads = pads or reader.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if pads and affine.shift.any():
        return Unmet("the Conv after it pads with zeros, which the shift does not reach")
    return read_linear(reader)


fold_affine_forward = Fusion(
    "fold_affine_forward", "scale and shift into the convolution after them", ANCHORS, _attempt
)
