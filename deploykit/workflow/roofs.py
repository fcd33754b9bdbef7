"""The roofs of a table's rows: what the CPU reaches, measured once and kept in the store, or a GPU's data sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from deploykit.backends.device import LocalGpu
from deploykit.bench.environment import Machine
from deploykit.bench.peaks import CpuPeaks, measure_cpu_peaks
from deploykit.errors import DeploykitError
from deploykit.plan.gpus import Gpu, gpu_by_device
from deploykit.results.roofline import RooflineShare
from deploykit.results.row import Row
from deploykit.spec import COST_BASED_FUSIONS, TensorSpec
from deploykit.store import Writer
from deploykit.workflow.engine import Built
from deploykit.workflow.export import Exported
from deploykit.workflow.workspace import Workspace

WEIGHT_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
READS = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}  # TensorRT's names, which a GPU's table goes by


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphWork:
    """MACs of one batch, and the parameters of the nodes that have them; both are 0 where shapes are not known."""

    macs: int
    params: int


@dataclass(frozen=True, slots=True)
class _Roof:
    """G(FL)OP/s, GB/s, and the bytes that the last-level cache may keep from one run to the next."""

    name: str
    gigaops: float
    bandwidth_gbs: float
    cache: int


@dataclass
class Roofs:
    """`gpu` is the GPU that the user named, if any: its figures stand where that is the one that is here."""

    workspace: Workspace
    machine: Machine
    gpu: Gpu | None
    cpu: CpuPeaks | None = field(default=None, init=False)  # once it was needed

    def marked(self, rows: Sequence[tuple[Row, Built | None]], *, tf32: bool) -> list[Row]:
        """The rows with their share of the roofline.

        Peaks that were taken while the machine was busy are too low. So where a row passes those of the CPU they are
        taken once more, and the better ones count.
        """
        found = [self._marked(row, built, tf32=tf32) for row, built in rows]
        above = any(row.roofline and row.roofline.wrong and not _on_gpu(row) for row in found)
        if above and self.cpu is not None and (again := self._measured(attempt=2)) is not None:
            self.cpu = self.cpu.best(again)
            found = [self._marked(row, built, tf32=tf32) for row, built in rows]
        return found

    def _marked(self, row: Row, built: Built | None, *, tf32: bool) -> Row:
        timed = row.device_ms or row.latency_ms
        if built is None or timed is None or timed.median <= 0:
            return row
        if built.typed is None and _has_other_macs(built.exported):
            return row
        roof = self._gpu_roof(row, tf32=tf32) if _on_gpu(row) else self._cpu_roof(row)
        work = graph_work(self.workspace, built.exported, row.batch) if roof else None
        if roof is None or work is None or not work.macs:
            return row
        moved = work.params * WEIGHT_BYTES[row.precision] + _io_bytes(built, row.batch)
        share = RooflineShare(
            roof=roof.name,
            compute_ms=2 * work.macs / (roof.gigaops * 1e6),
            memory_ms=max(0, moved - roof.cache) / (roof.bandwidth_gbs * 1e6),
            measured_ms=timed.median,
        )
        return replace(row, roofline=share)

    def _cpu_roof(self, row: Row) -> _Roof | None:
        """None where the CPU has no rate for the row's type, or nothing could be measured."""
        self.cpu = self.cpu or self._measured(attempt=1)
        peak = self.cpu.peak(row.precision) if self.cpu else None
        if self.cpu is None or peak is None:
            return None
        name = f"this CPU on {self.cpu.threads} threads, measured"
        return _Roof(name, peak, self.cpu.bandwidth_gbs, self.machine.cpu.cache_bytes or 0)

    def _gpu_roof(self, row: Row, *, tf32: bool) -> _Roof | None:
        """None for a GPU that no table has, or a type that it has no figure for."""
        here = self.machine.gpu
        gpu = _named_or_known(self.gpu, here) if here else None
        peak = gpu.peak(READS[row.precision], tf32=tf32) if gpu else None
        if gpu is None or here is None or peak is None:
            return None
        return _Roof(f"{gpu.name} by its data sheet", 1e3 * peak, gpu.bandwidth_gbs, here.cache)

    def _measured(self, *, attempt: int) -> CpuPeaks | None:
        """Kept with what tells this machine from another; None, and a warning, where no worker could run."""
        cpu, threads = self.machine.cpu, self.machine.threads

        def make(_: Writer) -> CpuPeaks:
            with self.workspace.timed("measure the peak rates of this CPU"):
                return measure_cpu_peaks(threads=threads, cache_bytes=cpu.cache_bytes)

        parts = {
            "model": cpu.model,
            "cores": cpu.cores,
            "flags": cpu.flags,
            "cache": cpu.cache_bytes,
            "memory": self.machine.memory_bytes,
            "os": self.machine.os,
            "threads": threads,
            "attempt": attempt,
        }
        try:
            request = {"cpu": cpu.model, "threads": threads}
            entry, _ = self.workspace.get_or_make("peaks", parts, make, request=request, facts=CpuPeaks)
        except DeploykitError as error:
            self.workspace.warn_once(f"no roofline: the peak rates of this CPU could not be measured: {error}")
            return None
        return entry.facts_as(CpuPeaks)


def graph_work(workspace: Workspace, exported: Exported, batch: int) -> GraphWork:
    """What the exported graph computes; counted once and kept, since a graph is long in the reading."""

    def make(_: Writer) -> GraphWork:
        from deploykit import graph
        from deploykit.workflow.transforms import read_graph

        costs = graph.weighted_costs(read_graph(exported.path), batch=batch).values()
        return GraphWork(macs=sum(cost.macs for cost in costs), params=sum(cost.params for cost in costs))

    parts = {"graph": exported.digest, "batch": batch}
    entry, _ = workspace.get_or_make("work", parts, make, request=parts, facts=GraphWork)
    return entry.facts_as(GraphWork)


def _has_other_macs(exported: Exported) -> bool:
    """Whether the graph was rewritten for its cost, so that its MACs are not those of the module."""
    passes = exported.facts.ledger.passes
    return any(record.rewritten for record in passes if record.name in COST_BASED_FUSIONS)


def _on_gpu(row: Row) -> bool:
    """By the device's own clock, or by the provider that the flavour names: a session that has no such clock."""
    return row.device_ms is not None or "cuda" in row.flavour.lower()


def _named_or_known(named: Gpu | None, here: LocalGpu) -> Gpu | None:
    return named if named is not None and named.target == here.capability else gpu_by_device(here.name)


def _io_bytes(built: Built, batch: int) -> int:
    """Inputs and outputs of one batch; one whose size is free counts nothing."""
    return sum(_nbytes(spec, batch) for spec in (*built.engine.inputs, *built.engine.outputs) if not spec.open)


def _nbytes(spec: TensorSpec, batch: int) -> int:
    return math.prod(spec.at_batch(batch)) * np.dtype(spec.dtype).itemsize
