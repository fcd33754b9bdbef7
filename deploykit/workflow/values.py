"""What the stages hand on: a graph in float32, a typed graph, an engine, each with the facts of its making."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.backends.protocol import (
    Engine,
    ModuleSource,
    TypedGraph,
)
from deploykit.plan.model import EnginePlan
from deploykit.spec import (
    Placement,
    Precision,
    Reason,
    Signature,
    SizeRange,
    TensorSpec,
    WeightsOrigin,
)
from deploykit.store import Entry


@dataclass(frozen=True, kw_only=True)
class Exported(Signature):
    """The optimized float32 graph of one network. `module` is None for an `.onnx` file.

    `model` has the classes and channels that a checkpoint told.
    """

    path: Path
    digest: str
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
