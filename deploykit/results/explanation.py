"""What `verify --explain` adds to a row: the layers, where the loss arises, why, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.parity import LayerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What can be observed in a compiled engine without changing it.

    `tensors` are values of the typed graph that the plan materializes, each in the layout that it has there. With all
    of them as outputs the compiler makes the same kernels: `kernels` of them, compared one by one. `passed_over` has
    the values that the plan writes too but whose observation would change it, `reason` why there are no tensors.
    """

    tensors: tuple[str, ...] = ()
    kernels: int = 0
    kernels_with_probes: int = 0
    neutral: bool = False
    passed_over: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`said` is where the loss of a row arises, in a sentence, and `first` that layer; None where there is none.

    `cause` is what its constants and operators are beside the network's. `options` are to be pasted behind the same
    command, and `cured` is what a run with them came to: the proof that the loss arises there. `layers` stand in the
    order of execution, measured on `images`, those with the largest loss; `unpaired` are tensors of the network that
    the other graph has not.
    """

    said: str
    first: LayerError | None = None
    cause: str = ""
    options: tuple[str, ...] = ()
    cured: str = ""
    images: int = 0
    layers: tuple[LayerError, ...] = ()
    unpaired: tuple[str, ...] = ()
    probes: Probes | None = None
