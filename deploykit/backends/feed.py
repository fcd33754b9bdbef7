"""The check every session makes before it runs: a feed names each input once, in its type and shape."""

from collections.abc import Mapping

import numpy as np

from deploykit.errors import InvalidFeed
from deploykit.spec import Feed, TensorSpec


def check_feed(inputs: tuple[TensorSpec, ...], feed: Feed) -> int:
    """The batch of the feed: the size that free first dimensions share (1 where none is free). Raises InvalidFeed."""
    if not isinstance(feed, Mapping):
        raise InvalidFeed(
            f"the inputs are a {type(feed).__name__}, not a mapping",
            hint=f"give arrays by name: {', '.join(spec.name for spec in inputs)}",
        )
    names = {spec.name for spec in inputs}
    if unknown := sorted(set(feed) - names, key=str):
        raise InvalidFeed(f"unknown input {unknown[0]!r}", hint=f"the inputs are {', '.join(sorted(names))}")
    free: dict[str, int] = {}
    for spec in inputs:
        if spec.name not in feed:
            raise InvalidFeed(f"input {spec.name!r} is missing", hint=f"feed {_describe(spec)}")
        array = feed[spec.name]
        if not isinstance(array, np.ndarray):
            raise InvalidFeed(
                f"input {spec.name!r} is a {type(array).__name__}, not a NumPy array",
                hint=f"feed {_describe(spec)}; a tensor has .numpy(), a list goes through np.asarray",
            )
        if array.dtype.name != spec.dtype:
            raise InvalidFeed(f"input {spec.name!r} is {array.dtype.name}", hint=f"feed {_describe(spec)}")
        fits = len(array.shape) == len(spec.shape) and all(
            size == (free.setdefault(wanted, size) if isinstance(wanted, str) else wanted) and size > 0
            for size, wanted in zip(array.shape, spec.shape, strict=True)
        )
        if not fits:
            raise InvalidFeed(f"input {spec.name!r} has shape {tuple(array.shape)}", hint=f"feed {_describe(spec)}")
    batches = (free[str(spec.shape[0])] for spec in inputs if spec.shape and isinstance(spec.shape[0], str))
    return next(batches, 1)


def _describe(spec: TensorSpec) -> str:
    return f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"
