"""The ONNX operators that hold weights, and those of quantized graphs: one list for typing, plan and audit.

A convolution or a product is one kernel that carries the node's name. A compiler takes a recurrent operator apart into
nameless products and generated code, and the code alone carries the name.
"""

CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv")
PRODUCTS = ("Gemm", "MatMul")
RECURRENT = ("GRU", "LSTM", "RNN")
WEIGHTED_OPS = (*CONVOLUTIONS, *PRODUCTS, *RECURRENT)

INTEGER_OPS = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")  # weighted, of integers
QUANTIZED_OPS = (*INTEGER_OPS, "DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear")


def is_quantized(op_type: str) -> bool:
    """Whether an operator makes integers of real numbers, or computes with such: ONNX's and ONNX Runtime's QLinear*."""
    return op_type in QUANTIZED_OPS or op_type.startswith("QLinear")
