"""How a backend wants INT8 written into the graph: data, no code."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Placement:
    """How a backend wants INT8 written into the graph (see docs/decisions/int8-placement.md).

    `symmetric` activations are int8 with zero-point 0; otherwise uint8 with a zero-point that maps 0.0 exactly.
    `int32_bias` quantizes biases with scale s_x * s_w; otherwise they stay float.
    `quantize_outputs` puts Q/DQ behind every operator; otherwise only on the inputs of weighted ones.
    `residual_branch_only` quantizes the shortcut of a residual addition and leaves the other operand to fuse.
    Weights lie within +/- `weight_limit`: 64, seven bits, where kernels sum two products in int16 (255 * 64 * 2 fits).
    Weighted operators in `without_integer_kernel` would be computed in float between their pairs, and stay in float.
    """

    name: str
    symmetric: bool
    int32_bias: bool
    quantize_outputs: bool
    residual_branch_only: bool
    weight_limit: int = 127
    without_integer_kernel: tuple[str, ...] = ("ConvTranspose", "DeformConv", "GRU", "LSTM", "RNN")


TENSORRT = Placement("tensorrt", symmetric=True, int32_bias=False, quantize_outputs=False, residual_branch_only=True)
ORT_CPU = Placement("ort-cpu", symmetric=False, int32_bias=True, quantize_outputs=True, residual_branch_only=False)
ORT_CPU_7BIT = replace(ORT_CPU, name="ort-cpu-7bit", weight_limit=64)
