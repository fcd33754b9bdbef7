"""Float32 noise that one float32 run does not show: the places that an interpolating Resize reads from.

It reads at x = (i + 0.5) / scale - 0.5, computed in float32, and each runtime rounds that in its own way. At side L the
place is wrong by up to L * 2^-24 pixels, and what is read there by as much of the difference between neighbors: 2e-6 at
33 pixels, 1.3e-5 at 224 (bicubic times 1.5 on noise: eager PyTorch 1.3e-6 and 9.7e-6 relative L2, ONNX Runtime 1.0e-6
and 6.2e-6). Behind it, an average over places may take that away in one runtime and not in another, so that eager
float32 alone is no floor. Scales of a power of two make no such error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

UNIT = 2.0**-24
INTERPOLATING = ("linear", "cubic")
EXACT_PLACES = ("half_pixel", "pytorch_half_pixel", "asymmetric")  # at scales of a power of two


def coordinate_noise(model: ir.Model) -> float:
    """Relative L2 that float32's places may cost: that of the largest side that is interpolated by no power of two.

    0.0 where there is none; sides that are free count for nothing.
    """
    sides = [0]
    for node in model.graph:
        if node.op_type == "Resize" and node.attributes.get_string("mode", "nearest") in INTERPOLATING:
            places = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
            sides += _rounded_sides(node, exact=places in EXACT_PLACES)
    return max(sides) * UNIT


def _rounded_sides(node: ir.Node, *, exact: bool) -> list[int]:
    """The sides of the input along which the places are rounded."""
    read, made = node.inputs[0], node.outputs[0]
    if read is None or read.shape is None or made.shape is None:
        return []
    pairs = zip(read.shape, made.shape, strict=False)
    return [
        before
        for before, after in pairs
        if isinstance(before, int) and isinstance(after, int) and before != after
        if not (exact and before and math.frexp(after / before)[0] == 0.5)
    ]
