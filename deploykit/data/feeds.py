"""Feeds, one array for each input of a network: joined along axis 0, and cut into runs."""

from collections.abc import Sequence

import numpy as np

from deploykit.data.noise import Feed, rows
from deploykit.spec import TensorSpec


def runs(feed: Feed, inputs: Sequence[TensorSpec], size: int) -> list[Feed]:
    """What lies one after the other along axis 0, as runs of `size` images in the types of `inputs`."""
    taken = {spec.name: rows(spec, size) for spec in inputs}
    count = max(-(-len(feed[name]) // each) for name, each in taken.items())
    return [
        {
            spec.name: feed[spec.name][number * taken[spec.name] : (number + 1) * taken[spec.name]].astype(spec.dtype)
            for spec in inputs
        }
        for number in range(count)
    ]


def joined_feeds(feeds: Sequence[Feed]) -> Feed:
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def whole_runs(count: int, run: int) -> int:
    """`count`, rounded up to a multiple of `run`."""
    return -(-count // run) * run
