"""Where the taps of a convolution or pooling lie: its attributes with their defaults filled in.

Along one axis, tap t of window i reads the pixel  i s - p + t d  (stride s, padding p before, dilation d).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Window:
    """`pads` lists all beginnings, then all ends, and is zero where `auto_pad` leaves them to the size of the image.

    `auto_pad` is NOTSET, SAME_UPPER or SAME_LOWER: VALID is no padding. An axis with one tap has dilation 1.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str

    @property
    def is_pointwise(self) -> bool:
        return all(size == 1 for size in self.kernel)

    @property
    def is_padded(self) -> bool:
        """It is, or with some image may be."""
        return any(self.pads) or self.auto_pad != "NOTSET"

    def write(self, conv: ir.Node) -> None:
        """Make it the window of a convolution; only one whose padding is given can be written."""
        for name, values in zip(
            ("kernel_shape", "strides", "dilations", "pads"),
            (self.kernel, self.strides, self.dilations, self.pads),
            strict=True,
        ):
            conv.attributes[name] = ir.AttrInt64s(name, values)
        conv.attributes.pop("auto_pad", None)


def read_window(node: ir.Node, kernel: Sequence[int]) -> Window:
    """The window of a Conv, whose `kernel` is its weight's, or of a pooling, whose is its `kernel_shape`."""
    axes = len(kernel)
    given = {name: node.attributes.get_ints(name) for name in ("strides", "dilations", "pads")}
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    spread = zip(kernel, given["dilations"] or (1,) * axes, strict=True)
    return Window(
        kernel=tuple(kernel),
        strides=tuple(given["strides"] or (1,) * axes),
        dilations=tuple(apart if size > 1 else 1 for size, apart in spread),
        pads=tuple((auto_pad == "NOTSET" and given["pads"]) or (0,) * 2 * axes),
        auto_pad="NOTSET" if auto_pad == "VALID" else auto_pad,
    )
