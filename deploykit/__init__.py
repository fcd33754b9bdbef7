"""deploykit takes convolutional networks from PyTorch through ONNX to TensorRT engines, and proves what comes out.

The names below say what is wanted; `deploykit.workflow` does it. Importing this package loads no framework.
"""

from deploykit.errors import DeploykitError
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision, Preprocessing, Target, TensorSpec

__all__ = [
    "BatchRange",
    "BuildSpec",
    "DeploykitError",
    "ModelSpec",
    "Precision",
    "Preprocessing",
    "Target",
    "TensorSpec",
]
