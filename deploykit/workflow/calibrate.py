"""The calibration table of INT8: in the one pass that a build makes by itself, by shards, or given as a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.data.inputs import (
    NOISE,
    PREPARED,
    SYNTHETIC,
    DataFacts,
    Inputs,
    calibration_inputs,
    unprepared,
)
from deploykit.data.preparation import PreparationFacts, preprocessing_of, takes_images
from deploykit.errors import UsageError
from deploykit.host import peak_memory_bytes
from deploykit.io.files import write_text
from deploykit.io.loader import read_text
from deploykit.precision.reports import EqualizationReport
from deploykit.results.calibration import CalibrationResult, CalibrationSource, ShardResult
from deploykit.spec import BuildSpec, QuantizationPolicy, Repair
from deploykit.store import Writer
from deploykit.store.key import cache_key
from deploykit.workflow.export import Exported
from deploykit.workflow.workspace import Workspace, source

if TYPE_CHECKING:
    import onnx_ir as ir

    from deploykit.precision.calibrate.observations import Observations
    from deploykit.precision.calibrate.table import CalibrationTable


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 0) of `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`1/4` is the first of four."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise UsageError(f"cannot read shard {text!r}", hint="write i/n with i from 1 to n, such as 1/4")
        return cls(int(index) - 1, int(count))


def calibrate(
    workspace: Workspace, exported: Exported, spec: BuildSpec, *, read: Callable[[], ir.Model] | None = None
) -> tuple[CalibrationTable, CalibrationSource]:
    """The calibration table of the optimized graph, and over what it was made. `read` stands in for reading the graph.

    Raises UsageError, UntrustedArtifact for a table that is given and does not fit, or is none.
    """
    asked = spec.calibration
    if exported.quantized:
        raise UsageError(
            f"{exported.model.label} is quantized by its author: there is nothing to calibrate",
            hint="build it with --precision int8, or give the float network",
        )
    if asked.table is not None:
        given = given_table(asked.table, exported)
        workspace.warn_once(unprepared(exported.model, given[0].preprocessing))
        return given
    observations, facts = observe(workspace, exported, spec, read=read)
    table = observations.table(asked.method, percentile=asked.percentile)
    return table, _source_of(table, facts)


def observe(
    workspace: Workspace, exported: Exported, spec: BuildSpec, *, read: Callable[[], ir.Model] | None = None
) -> tuple[Observations, DataFacts]:
    """What the activations of the optimized graph are on the calibration images, and what those were.

    An interrupted collection goes on where it stopped: its counts lie beside the store's entries meanwhile.
    """
    inputs = calibration_inputs(exported, spec)
    workspace.warn_once(unprepared(exported.model, inputs.preparation))
    parts = {"graph": exported.digest, "data": inputs.digest}
    kept = workspace.store.root / "unfinished" / f"{cache_key({**parts, 'source': source()})}.json"

    def make(writer: Writer) -> None:
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        stage = f"calibrate on {len(inputs)} images"
        with workspace.timed(stage):
            said = partial(workspace.progress, f"{stage}: batch")
            seen = observe_inputs(exported, inputs, shard=Shard(), kept=kept, progress=said, read=read)
        writer.write("observations.json", seen.to_json())
        kept.unlink(missing_ok=True)

    request = {"model": exported.model, "data": spec.data}
    entry, _ = workspace.get_or_make("observations", parts, make, request=request, files=("observations.json",))
    from deploykit.precision.calibrate.observations import Observations

    return Observations.from_json(entry.path("observations.json").read_bytes()), inputs.facts


def equalized(workspace: Workspace, exported: Exported, spec: BuildSpec) -> Exported:
    """The graph that INT8 is made of: `exported`, its channels evened out where `spec.repair` says so.

    A calibration table belongs to this graph.
    """
    if not spec.repair.equalize:
        return exported
    inputs = calibration_inputs(exported, spec)

    def make(writer: Writer) -> EqualizationReport:
        from deploykit.workflow import transforms

        with workspace.timed("equalize channels"):
            content, report = transforms.equalize_channels(exported.path, inputs.feeds())
        writer.write("model.onnx", content)
        return report

    parts = {"graph": exported.digest, "data": inputs.digest}
    request = {"model": exported.model, "data": spec.data}
    entry, hit = workspace.get_or_make(
        "equalized", parts, make, request=request, facts=EqualizationReport, files=("model.onnx",)
    )
    path, digest = entry.path("model.onnx"), entry.files["model.onnx"].sha256
    facts = replace(exported.facts, equalized=entry.facts_as(EqualizationReport))
    return replace(exported, path=path, digest=digest, facts=facts, hit=hit)


def observe_inputs(
    exported: Exported,
    inputs: Inputs,
    *,
    shard: Shard,
    kept: Path | None,
    progress: Callable[[int, int], None],
    read: Callable[[], ir.Model] | None = None,
) -> Observations:
    """Count a shard. What `kept` holds of it already is taken over, and what there is is written there now and then.

    `progress` is told how many batches are done, and of how many. `read` stands in for reading the graph.

    Raises UsageError where `kept` is of another calibration, or there are fewer batches than shards; UntrustedArtifact
    where it is no such file.
    """
    from deploykit.precision.calibrate.collect import observe
    from deploykit.precision.calibrate.observations import CalibrationRun, Observations
    from deploykit.workflow.transforms import read_graph

    run = CalibrationRun(
        graph_digest=exported.digest,
        data_digest=inputs.digest,
        preprocessing=inputs.preparation,
        batches=len(inputs) // inputs.run,
    )
    seen = _begun(Observations(run, shard.index, shard.count), kept)
    batches = seen.batches
    if not batches:
        raise UsageError(f"{seen.run.batches} batches cannot be cut into {shard.count} shards", hint="use fewer shards")
    if not seen.finished:
        observe(
            read() if read else read_graph(exported.path),
            islice(inputs.feeds(), batches.start, batches.stop),
            seen,
            progress=lambda done: progress(done, len(batches)),
            checkpoint=(lambda found: _keep(kept, found)) if kept else None,
        )
    return seen


def observe_shard(
    workspace: Workspace, exported: Exported, spec: BuildSpec, *, shard: Shard, kept: Path
) -> Observations:
    """One part of the calibration that `spec` asks for. Raises as `inputs_for` and `observe_inputs`."""
    inputs = calibration_inputs(exported, spec)
    workspace.warn_once(unprepared(exported.model, inputs.preparation))
    stage = f"count shard {shard.index + 1}/{shard.count} of {len(inputs)} images"
    with workspace.timed(stage):
        said = partial(workspace.progress, f"{stage}: batch")
        return observe_inputs(exported, inputs, shard=shard, kept=kept, progress=said)


def table_result(
    table: CalibrationTable, path: Path | None, *, exported: Exported | None = None, data: DataFacts | None = None
) -> CalibrationResult:
    """What is to be said of a table, and of the network and the images where it was made of them here."""
    weights = exported.weights.facts() if exported else None
    return CalibrationResult(
        model=exported.model.label if exported else None,
        weights=weights["weights"] if weights else None,
        weights_digest=weights["weights_digest"] if weights else None,
        weights_notes=weights["weights_notes"] if weights else (),
        table=path,
        method=table.method,
        images=table.images,
        activations=len(table.ranges),
        graph_digest=table.graph_digest,
        data_digest=table.data_digest,
        image_names=data.image_names if data else None,
        skipped=data.skipped if data else None,
        data=data.data if data else None,
        preprocessing=data.preprocessing if data else PreparationFacts(said=table.preprocessing),
        note=SYNTHETIC if table.preprocessing.startswith(NOISE) else None,
        peak_memory_bytes=peak_memory_bytes(),
    )


def _source_of(table: CalibrationTable, data: DataFacts) -> CalibrationSource:
    return CalibrationSource(
        method=table.method,
        images=table.images,
        data=data.data,
        preprocessing=data.preprocessing,
        image_names=data.image_names,
        skipped=data.skipped,
        note=data.note,
    )


def describe_int8(spec: BuildSpec, calibration: Inputs | None, *, said: str = "") -> str:
    """How a table's INT8 rows were made: what gave their ranges, which layers they have, what was repaired.

    `said` is put after the images that gave the ranges.
    """
    asked = spec.calibration
    if asked.table is not None:
        ranges = f"table {asked.table}"
    elif calibration is not None:
        how = f"percentile {asked.percentile:g}" if asked.method == "percentile" else asked.method
        ranges = f"{how} over {len(calibration)} inputs: {calibration.source}{said}"
    else:
        return ""
    policy = "" if spec.policy == QuantizationPolicy() else f"layers: {spec.policy}"
    repair = "" if spec.repair == Repair() else f"repair: {spec.repair}"
    return "; ".join(filter(None, (ranges, policy, repair)))


def _begun(fresh: Observations, kept: Path | None) -> Observations:
    if kept is None or not kept.exists():
        return fresh
    found = type(fresh).from_json(read_text(kept))
    if (found.run, found.index, found.shards) != (fresh.run, fresh.index, fresh.shards):
        raise UsageError(
            f"{kept} is {found.said} of another calibration", hint="delete it, or write this one to another file"
        )
    return found


def _keep(path: Path, found: Observations) -> None:
    write_text(path, found.to_json())


def write_shard(path: Path, found: Observations) -> ShardResult:
    """The shard as a file, and what is to be said of it."""
    write_text(path, found.to_json())
    return ShardResult(
        shard=f"{found.index + 1}/{found.shards}",
        file=path,
        batches=len(found.batches),
        images=found.images,
        activations=len(found.histograms),
        peak_memory_bytes=peak_memory_bytes(),
    )


def merge_files(paths: Sequence[Path]) -> Observations:
    """The whole calibration of shard files. Raises as `read_text`, `Observations.from_json` and `merge`."""
    from deploykit.precision.calibrate.observations import Observations, merge

    return merge([Observations.from_json(read_text(path)) for path in paths])


def given_table(path: Path, exported: Exported) -> tuple[CalibrationTable, CalibrationSource]:
    """A table that the user names, for `exported`, and what is to be said of it.

    Raises UsageError where it is of another graph or of images prepared otherwise, UntrustedArtifact where it is none.
    """
    from deploykit.precision.calibrate.table import CalibrationTable

    table = CalibrationTable.from_json(read_text(path))
    table.require_graph(exported.digest)
    source = CalibrationSource(
        method=table.method,
        images=table.images,
        table=str(path),
        data=f"those of the table {path}",
        preprocessing=PreparationFacts(said=table.preprocessing),
    )
    if table.preprocessing.startswith(NOISE):
        return table, replace(source, preprocessing=None, note=SYNTHETIC)
    if table.preprocessing == PREPARED:
        return table, source
    if takes_images(exported) and table.preprocessing != (wanted := str(preprocessing_of(exported))):
        raise UsageError(
            f"{path} was made of images prepared otherwise: {table.preprocessing}", hint=f"the network takes {wanted}"
        )
    return table, source
