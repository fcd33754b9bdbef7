"""The ONNX operators that hold weights: one list, for typing a graph, reading a plan and auditing it.

A convolution or a product is one kernel that carries the node's name. A compiler takes a recurrent operator apart into
nameless products and generated code, and the code alone carries the name.
"""

CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv")
PRODUCTS = ("Gemm", "MatMul")
RECURRENT = ("GRU", "LSTM", "RNN")
WEIGHTED_OPS = (*CONVOLUTIONS, *PRODUCTS, *RECURRENT)

INTEGER_OPS = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")  # weighted, of integers
QUANTIZED_OPS = (*INTEGER_OPS, "DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear")
