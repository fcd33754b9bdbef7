"""A user's module as reference: run as the row runs, in float32 and in float64, and trusted with neither.

Somebody's `forward` may draw random numbers, keep state, raise, or cast to float32 on the way. Each is noticed here: a
module that answers twice differently has no reference, and one that does not follow `.double()` all the way is referred
to its exported graph raised to double, which the row says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from deploykit.errors import ExecutionFailed, one_line
from deploykit.modules.calling import call
from deploykit.modules.outputs import flatten_outputs
from deploykit.parity.reference import (
    FIRST,
    MODULE_SOURCE,
    BatchAxes,
    Outputs,
    Reference,
    double_runs,
    joined,
    require_repeatable,
    unlike,
)
from deploykit.spec.arrays import Array

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    from torch import nn

Feed = Mapping[str, Array]
CONVOLUTION_ARGUMENTS = 9  # of aten.convolution


def module_reference(
    module: nn.Module,
    feeds: Sequence[Feed],
    names: Sequence[str],
    *,
    axes: BatchAxes = FIRST,
    exported: Callable[[], ir.Model] | None = None,
    keep_apart: Collection[str] = (),
) -> Reference:
    """`module` (eval mode, on the CPU) on `feeds`, run by run; it comes back in the types that it had.

    `names` are those of its outputs, `axes` and `keep_apart` as for `joined`. `exported` gives its graph, which stands
    in where the module does not compute in float64 when asked to. Raises ExecutionFailed where `forward` raises or
    answers in another structure or the same images twice differently, and as `graph_reference` where the graph does.
    """
    float32 = [_answer(module, feed, names) for feed in feeds]
    _require_repeatable(module, feeds[0], names, float32[0])
    exact, strays = _in_double(module, feeds, names)
    source = MODULE_SOURCE
    if exact is None:
        if exported is None:
            raise ExecutionFailed(f"the module does not compute in float64: {strays}")
        exact = double_runs(exported(), feeds)
        source = f"exported graph in float64: the module does not follow .double(), {strays}"
    loose = {*keep_apart, *unlike(axes, float32, exact)}
    return Reference(joined(exact, axes, loose), joined(float32, axes, loose), source)


def _in_double(module: nn.Module, feeds: Sequence[Feed], names: Sequence[str]) -> tuple[list[Outputs] | None, str]:
    """The answers in float64, or None and what keeps the module from giving them."""
    import torch

    parameters = [(parameter, parameter.dtype) for parameter in module.parameters()]
    buffers = [(owner._buffers, dict(owner._buffers)) for owner in module.modules()]
    watch = _narrowing()
    try:
        module.double()
        answers = [_answer(module, feed, names, torch.float64, watch) for feed in feeds]
    except ExecutionFailed as error:
        return None, str(error)
    finally:
        for parameter, dtype in parameters:
            parameter.data = parameter.data.to(dtype)  # to float64 and back is exact
        for kept, before in buffers:
            kept.update(before)
    return (None, watch.said) if watch.said else (answers, "")


def _answer(
    module: nn.Module,
    feed: Feed,
    names: Sequence[str],
    dtype: torch.dtype | None = None,
    watch: AbstractContextManager[Any] | None = None,
) -> Outputs:
    """One run. Real inputs are cast to `dtype` where one is given; `watch` is around `forward` and nothing else."""
    import torch

    tensors = {name: torch.from_numpy(np.array(array)) for name, array in feed.items()}  # forward may write into them
    if dtype is not None:
        tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    try:
        with torch.no_grad(), watch or nullcontext():
            result = call(module, tensors)
    except Exception as error:  # forward is anybody's code
        raise ExecutionFailed(f"forward raises {type(error).__name__}: {one_line(error)}") from error
    results = flatten_outputs(result)
    if len(results) != len(names):
        raise ExecutionFailed(f"forward returns {len(results)} outputs here, the exported graph has {len(names)}")
    return {name: tensor.numpy() for name, tensor in zip(names, results, strict=True)}


def _require_repeatable(module: nn.Module, feed: Feed, names: Sequence[str], first: Outputs) -> None:
    """Raises ExecutionFailed where the same images get other answers the second time, with the likely cause."""
    state = {name: tensor.clone() for name, tensor in module.named_buffers()}
    again = _answer(module, feed, names)
    changed = next((name for name, tensor in module.named_buffers() if not state[name].equal(tensor)), None)
    because = (
        f"forward changes its own buffer {changed}"
        if changed
        else "it draws random numbers (a dropout that is on?) or keeps a state"
    )
    require_repeatable(first, again, "the module", because)


def _depthwise(func: Any, args: tuple[Any, ...]) -> torch.Tensor | None:
    """The answer of a depthwise convolution in float64, where PyTorch takes minutes; None for any other operation."""
    import torch

    if func is not torch.ops.aten.convolution.default or len(args) != CONVOLUTION_ARGUMENTS:
        return None
    x, w, bias, step, pads, spread, transposed, _, groups = args
    if transposed or x.dtype != torch.float64 or w.dtype != torch.float64 or x.ndim != w.ndim:
        return None
    from deploykit.parity.operators import depthwise, is_depthwise

    if not is_depthwise(x, w, groups):
        return None
    rank = x.ndim - 2
    around = [(pad, pad) for pad in (pads if len(pads) == rank else [*pads] * rank)]
    step, spread = ([*given] * rank if len(given) < rank else [*given] for given in (step, spread))
    return torch.from_numpy(
        depthwise(x.numpy(), w.numpy(), None if bias is None else bias.numpy(), around, step, spread)
    )


def _narrowing() -> Any:
    """A context that notes in `said` the first operation that makes real numbers narrower than float64."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Narrowing(TorchDispatchMode):  # type: ignore[no-untyped-call]
        said = ""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = _depthwise(func, args) if not kwargs else None
            made = func(*args, **(kwargs or {})) if made is None else made
            if not self.said:
                for leaf in tree_leaves(made):
                    if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.dtype != torch.float64:
                        self.said = f"{func} makes {str(leaf.dtype).removeprefix('torch.')}"
                        break
            return made

    return Narrowing()  # type: ignore[no-untyped-call]
