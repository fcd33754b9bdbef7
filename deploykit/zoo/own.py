"""What a user's module needs before it can be exported: out of its wrapper, materialized, on the CPU, in float32.

Importing this module imports no torch.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploykit.errors import UsageError, one_line

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Inside, torch's, NumPy's and Python's global generators start from `seed`; afterwards they are as they were.

    A constructor that draws its weights then draws the same ones in every process.
    """
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def prepared(module: "nn.Module", run: "Callable[[nn.Module], object]") -> "tuple[nn.Module, tuple[str, ...]]":
    """The network itself, in float32 on the CPU, and what was changed for that.

    DataParallel, DistributedDataParallel, AveragedModel and what torch.compile returns hand on to the module inside
    them, which takes their place; a wrapper of the user's own has a forward of its own and stays. Lazy layers get their
    shapes from one `run`. Raises UsageError where that run fails.
    """
    from torch.nn.parameter import is_lazy

    module = unwrapped(module)
    if any(is_lazy(one) for one in _tensors(module)):
        _materialize(module, run)
    notes = []
    kinds = {str(one.dtype).removeprefix("torch.") for one in _tensors(module) if one.is_floating_point()}
    if other := sorted(kinds - {"float32"}):
        notes.append(f"{', '.join(other)} tensors converted to float32")
    devices = {one.device.type for one in _tensors(module)} - {"cpu", "meta"}
    if kinds and "float32" not in kinds:
        _convert_attributes(module)
    module = module.float()
    return (module.cpu() if devices else module), tuple(notes)


def unwrapped(module: "nn.Module") -> "nn.Module":
    """The module inside wrappers of torch's that do nothing on one CPU."""
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel
    from torch.optim.swa_utils import AveragedModel

    while True:
        if isinstance(module, nn.DataParallel | DistributedDataParallel | AveragedModel):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        else:
            return module


def _materialize(module: "nn.Module", run: "Callable[[nn.Module], object]") -> None:
    module.eval()
    try:
        run(module)
    except Exception as error:  # a user's code raises what it likes
        raise UsageError(
            f"the network's lazy layers cannot be run on an input to get their shapes: {one_line(error)}",
            hint="check the --input-shape, or run the network once in its function",
        ) from error


def _convert_attributes(module: "nn.Module") -> None:
    """`Module.float` leaves plain attributes as they are; in a module that was of another type they come along."""
    import torch

    for holder in module.modules():
        for name, value in list(vars(holder).items()):
            if torch.is_tensor(value) and value.is_floating_point():
                setattr(holder, name, value.float())


def _tensors(module: "nn.Module") -> "Iterator[Tensor]":
    yield from module.parameters()
    yield from module.buffers()
