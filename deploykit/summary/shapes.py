"""Results of the commonest ATen operators on meta tensors, which have a shape and no data.

torch can make them too, but for these it has the rules in Python, whose first use imports torch._dynamo: 0.8 s, more
than all else that a summary does. Whatever is not here, or not in the plain form, is left to torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from deploykit.summary.aten import tensors

# Element by element, with a result of the operands' type.
KEEPING = {"add", "hardtanh", "leaky_relu", "mul", "relu", "sigmoid", "sub", "tanh"}
BATCHNORM = {"native_batch_norm", "_native_batch_norm_legit_no_training"}


def result_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What `func`, an ATen overload, returns in eval mode."""
    name, given = func.overloadpacket.__name__, tensors((args, kwargs))
    first = given[0] if given else None
    if first is None or first.device.type != "meta":
        return func(*args, **kwargs)
    alike = all((one.shape, one.dtype) == (first.shape, first.dtype) for one in given)
    match name:
        case _ if name in BATCHNORM:
            return torch.empty_like(first), first.new_empty(0), first.new_empty(0)
        case _ if name in KEEPING and alike and first.is_floating_point():
            return torch.empty_like(first)
        case _ if name.removesuffix("_") in KEEPING and name.endswith("_"):
            return first
        case "cat" if _joins(given, *args[1:]):
            axis = args[1] if len(args) > 1 else 0
            return first.new_empty(
                [*first.shape[:axis], sum(one.shape[axis] for one in given), *first.shape[axis + 1 :]]
            )
        case "addmm" if len(args) == 3 and not kwargs:
            return first.new_empty([args[1].shape[0], args[2].shape[1]])
        case "mean" if len(args) == 3 and not kwargs:
            return _mean(first, *args[1:])
        case _:
            return func(*args, **kwargs)


def _joins(given: Sequence[Tensor], axis: int = 0) -> bool:
    """Whether they differ along a counted-from-the-front `axis` alone."""
    shapes = {(one.dtype, *one.shape[:axis], -1, *one.shape[axis + 1 :]) for one in given}
    return axis >= 0 and len(shapes) == 1


def _mean(maps: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    reduced = {axis % maps.dim() for axis in axes}
    kept = [(index, 1 if index in reduced else size) for index, size in enumerate(maps.shape)]
    return maps.new_empty([size for index, size in kept if keep or index not in reduced])
