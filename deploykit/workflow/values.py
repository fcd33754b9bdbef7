"""What the stages hand on: a graph in float32, a typed graph, an engine, each with the facts of its making."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.backends.protocol import (
    Engine,
    ModuleSource,
    TypedGraph,
)
from deploykit.errors import UsageError
from deploykit.plan.model import EnginePlan
from deploykit.spec import (
    BATCH,
    BatchRange,
    ModelSpec,
    Placement,
    Precision,
    Reason,
    SizeRange,
    TensorSpec,
    WeightsOrigin,
)
from deploykit.store import Entry


@dataclass(frozen=True)
class Exported:
    """The optimized float32 graph of one network. `module` is None for an `.onnx` file.

    `model` has the classes and channels that a checkpoint told.
    """

    model: ModelSpec
    path: Path
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    module: ModuleSource | None
    facts: Mapping[str, Any]
    hit: bool
    weights: WeightsOrigin = WeightsOrigin(kind="own")  # noqa: RUF009 - a frozen value

    @property
    def random_weights(self) -> bool:
        return self.weights.random

    @property
    def quantized(self) -> bool:
        """Whether the file came with its own Q/DQ pairs, or with operators of integers."""
        return "int8" in self.facts.get("computes_in", ())

    @property
    def fixed_batch(self) -> int | None:
        """The one batch that the graph takes; None where the batch is free."""
        return fixed_batch_of(self.inputs)

    @property
    def batch_axes(self) -> dict[str, int | None]:
        """The axis of each output along which the images of a batch lie; None where it has no such axis.

        It is the axis whose size has the name that the batch has among the inputs, else the first free one; where the
        batch is fixed, the first of that size.
        """
        free = next((spec.shape[0] for spec in self.inputs if spec.shape and isinstance(spec.shape[0], str)), None)
        return {spec.name: _axis_of(spec.shape, free, self.fixed_batch) for spec in self.outputs}

    def run_length(self, batch: int, preferred: int) -> int:
        """Images a run where `preferred` would do best: an input or output that has no free batch needs whole ones."""
        whole = any(not spec.shape or isinstance(spec.shape[0], int) for spec in self.inputs) or None in (
            self.batch_axes.values()
        )
        return (self.fixed_batch or batch) if whole else preferred

    def require_batch(self, batch: BatchRange) -> None:
        """Raises UsageError for a batch that the graph does not take, or a size other than the batch that is free."""
        self.require_sizes()
        fixed = self.fixed_batch
        if fixed is not None and not fixed == batch.optimum == batch.maximum:
            raise UsageError(f"{self.model.name} takes batches of {fixed} only", hint=f"give --batch {fixed}")

    def require_sizes(self) -> None:
        """Raises UsageError where a size other than the batch is free, and nobody said within which range."""
        for spec in self.inputs:
            if not spec.open:
                continue
            fixed = ["224" if size in spec.open else str(size) for size in spec.shape]
            ranged = ["[32:224:512]" if size in spec.open else str(size) for size in spec.shape]
            raise UsageError(
                f"{self.model.name}: input {spec.name} leaves {', '.join(dict.fromkeys(spec.open))} open",
                hint=f"fix it: --input-shape {spec.name}={'x'.join(_pasted(fixed))}, or keep it free within a range of "
                f"min:opt:max: --input-shape '{spec.name}={'x'.join(_pasted(ranged))}'",
            )

    def as_typed(self, precision: Precision) -> TypedGraph:
        """This graph as the typed graph of FP32, and as a stand-in for one that is still to be made."""
        return TypedGraph(self.path, self.digest, precision, None, self.inputs, self.outputs)


@dataclass(frozen=True)
class Typed:
    """A typed graph; `facts` holds the `report` of its making and, for INT8, the `calibration`."""

    graph: TypedGraph
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Built:
    """An engine and what it came from. `entry` is None and `seconds` too where the backend compiles nothing."""

    exported: Exported
    typed: Typed | None
    engine: Engine
    entry: Entry | None
    hit: bool
    seconds: float | None

    @property
    def plan(self) -> EnginePlan | None:
        """What was compiled, layer by layer; None where the compiler tells nothing."""
        return stored_plan(self.entry) if self.entry else None


def _axis_of(shape: tuple[int | str, ...], free: int | str | None, fixed: int | None) -> int | None:
    texts = {axis: size for axis, size in enumerate(shape) if isinstance(size, str)}
    named = [axis for axis, size in texts.items() if free in re.split(r"\W+", size)]
    return next(iter(named or [axis for axis, size in enumerate(shape) if size == fixed] or texts), None)


def _pasted(sizes: list[str]) -> list[str]:
    """The sizes as --input-shape takes them: a free batch by that name."""
    return [sizes[0] if sizes[0].isdecimal() else BATCH, *sizes[1:]]


def fixed_batch_of(inputs: tuple[TensorSpec, ...]) -> int | None:
    """The one batch that these inputs take; None where it is free. A first dimension is the batch."""
    sizes = [spec.shape[0] for spec in inputs if spec.shape]
    return None if any(isinstance(size, str) for size in sizes) else next(iter(sizes), 1)  # type: ignore[return-value]


def stored_plan(entry: Entry) -> EnginePlan | None:
    """The plan that lies beside a stored engine."""
    if "plan.json" not in entry.files:
        return None
    return EnginePlan.from_dict(json.loads(entry.path("plan.json").read_bytes()))


def stored_weights(entry: Entry) -> WeightsOrigin | None:
    """Where the weights of a stored engine came from; None where its build did not say."""
    found = entry.facts.get("weights")
    return WeightsOrigin.from_dict(found) if found else None


def stored_typed(entry: Entry, precision: Precision, placement: Placement | None) -> Typed:
    """The typed graph of a store's entry, with the facts of its making."""
    graph = TypedGraph(
        path=entry.path("typed.onnx"),
        digest=entry.files["typed.onnx"].sha256,
        precision=precision,
        placement=placement.name if placement else None,
        inputs=specs_of(entry.facts["inputs"]),
        outputs=specs_of(entry.facts["outputs"]),
    )
    return Typed(graph, entry.facts)


def stored_engine(entry: Entry, typed: TypedGraph) -> Engine:
    """The engine as its build left it, from the store's manifest."""
    facts = entry.facts
    reason = facts["reason"]
    return Engine(
        backend=facts["backend"],
        flavour=facts["flavour"],
        precision=typed.precision,
        inputs=specs_of(facts["inputs"]),
        outputs=specs_of(facts["outputs"]),
        reason=Reason(reason["what"], reason["fix"]) if reason else None,
        note=facts["note"],
        path=entry.path("model.engine"),
        typed_digest=typed.digest,
        plan=facts["plan"],
    )


def specs_of(found: list[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """Tensor specifications as a manifest keeps them."""
    return tuple(
        TensorSpec(
            item["name"],
            tuple(item["shape"]),
            item["dtype"],
            tuple((name, SizeRange(**sizes)) for name, sizes in item.get("ranges", ())),
        )
        for item in found
    )
