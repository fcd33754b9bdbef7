"""The passes that every network goes through, in order, and the ledger of what each of them did."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from deploykit.errors import DeploykitError, one_line
from deploykit.graph.cleanup import CLEAN_UP
from deploykit.graph.fold_batchnorm import fold_batchnorm
from deploykit.graph.rewrite import GraphPass, PassResult, Refusal
from deploykit.graph.verify import Interface, verify, verify_names

CNN_PASSES: tuple[GraphPass, ...] = (*CLEAN_UP, fold_batchnorm)


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One pass over one graph: the outputs it rewrote, what it refused and why, and what it cost."""

    name: str
    rewritten: tuple[str, ...]
    refused: tuple[Refusal, ...]
    nodes_before: int
    nodes_after: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ledger:
    passes: tuple[PassRecord, ...]

    def __getitem__(self, name: str) -> PassRecord:
        """The record of the pass called `name`; KeyError when it did not run."""
        for record in self.passes:
            if record.name == name:
                return record
        raise KeyError(name)

    @property
    def nodes_before(self) -> int:
        return self.passes[0].nodes_before if self.passes else 0

    @property
    def nodes_after(self) -> int:
        return self.passes[-1].nodes_after if self.passes else 0


def optimise(model: ir.Model, *, passes: Sequence[GraphPass] = CNN_PASSES) -> Ledger:
    """Run `passes` over `model`, in place, and verify the graph after each.

    Raises DeploykitError, naming the pass, when one fails or leaves a broken graph.
    """
    interface = Interface.of(model)
    records = [_record(graph_pass, model, interface) for graph_pass in passes]
    if records:
        verify_names(model, after=records[-1].name)
    return Ledger(tuple(records))


def _record(graph_pass: GraphPass, model: ir.Model, interface: Interface) -> PassRecord:
    nodes_before, started = len(model.graph), time.perf_counter()
    result = _run(graph_pass, model)
    verify(model, interface, after=result.name)
    return PassRecord(
        name=result.name,
        rewritten=tuple(result.rewritten),
        refused=tuple(result.refused),
        nodes_before=nodes_before,
        nodes_after=len(model.graph),
        seconds=time.perf_counter() - started,
    )


def _run(graph_pass: GraphPass, model: ir.Model) -> PassResult:
    try:
        return graph_pass(model)
    except DeploykitError:
        raise
    except Exception as error:  # a library's pass on a foreign graph may raise anything
        name = getattr(graph_pass, "name", None) or getattr(graph_pass, "__name__", repr(graph_pass))
        cause = error.__cause__ or error
        raise DeploykitError(f"graph pass {name} failed: {type(cause).__name__}: {one_line(cause)}") from error
