"""What the stages hand on: a graph in float32, a typed graph, an engine, each with the facts of its making."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.backends.protocol import Engine, ModuleSource, TypedGraph
from deploykit.errors import UsageError
from deploykit.spec import BatchRange, ModelSpec, Precision, TensorSpec
from deploykit.store import Entry


@dataclass(frozen=True)
class Exported:
    """The optimised float32 graph of one network. `module` is None for an `.onnx` file."""

    model: ModelSpec
    path: Path
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    module: ModuleSource | None
    facts: Mapping[str, Any]
    hit: bool

    @property
    def random_weights(self) -> bool:
        return self.module is not None and self.model.weights is None

    def image_input(self) -> TensorSpec:
        """The one image input; raises UsageError where the network takes something else."""
        spec = self.inputs[0]
        if len(self.inputs) != 1 or len(spec.shape) != 4 or spec.dtype != "float32":
            shapes = ", ".join(f"{item.name} {item.dtype}{list(item.shape)}" for item in self.inputs)
            raise UsageError(
                f"{self.model.name} takes {shapes}", hint="deploykit feeds one float32 image input (batch, C, H, W)"
            )
        return spec

    def require_batch(self, batch: BatchRange) -> None:
        """Raises UsageError for a batch that the graph does not take, or a size other than the batch that is free."""
        for spec in self.inputs:
            free = [size for size in spec.shape[1:] if isinstance(size, str)]
            if free:
                raise UsageError(
                    f"{self.model.name}: input {spec.name} leaves {', '.join(free)} open",
                    hint="export it with fixed sizes; only the batch may be free",
                )
            fixed = spec.shape[0] if spec.shape else None
            if isinstance(fixed, int) and not fixed == batch.optimum == batch.maximum:
                raise UsageError(f"{self.model.name} takes batches of {fixed} only", hint=f"give --batch {fixed}")

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


def specs_of(found: list[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """Tensor specifications as a manifest keeps them."""
    return tuple(TensorSpec(item["name"], tuple(item["shape"]), item["dtype"]) for item in found)
