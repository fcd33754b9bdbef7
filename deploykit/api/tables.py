"""Calibration: the ranges of activations that INT8 is made with, and what INT8 does to each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploykit.api.checked import checked
from deploykit.api.choices import Data, Targets, build_spec, targets_of
from deploykit.api.graphs import ExportedGraph, network_of
from deploykit.api.models import Model, Network
from deploykit.api.modules import Example
from deploykit.api.workspace import StorePath, open_workspace, path_of
from deploykit.errors import UsageError
from deploykit.io.files import write_text
from deploykit.results.calibration import CalibrationResult, ShardResult
from deploykit.spec import BatchRange, BuildSpec, Calibration, Fusions, Precision, Progress, Repair, Target
from deploykit.store import Writer

if TYPE_CHECKING:
    from deploykit.precision.calibrate.ranges import Range
    from deploykit.precision.calibrate.table import CalibrationTable
    from deploykit.results.sensitivity import Sensitivity
    from deploykit.workflow.export import Exported
    from deploykit.workflow.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class CalibratedTable(PathLike[str]):
    """A calibration table in the store: one range for each activation of one graph.

    Where a path of a table is taken, this is too. `result` is what `deploykit calibrate --json` prints.
    """

    path: Path
    table: CalibrationTable = field(repr=False)
    result: CalibrationResult = field(repr=False)

    @property
    def ranges(self) -> Mapping[str, Range]:
        """Activation -> its range, in the activation's own units."""
        return self.table.ranges

    @property
    def method(self) -> str:
        """The algorithm that chose the ranges."""
        return self.table.method

    @property
    def images(self) -> int:
        """How many images the activations were observed on."""
        return self.table.images

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the table to `path` as JSON and return that path. Raises UsageError where it cannot be written."""
        return write_text(path_of("the path of the table", path), self.table.to_json())

    def to_json(self) -> str:
        """What `deploykit calibrate --json` prints."""
        return self.result.to_json()

    def __fspath__(self) -> str:
        return str(self.path)


@checked
def calibrate(
    network: Network | ExportedGraph,
    *,
    example: Example | None = None,
    data: Data = None,
    images: int = Calibration().images,
    method: str = Calibration().method,
    percentile: float = Calibration().percentile,
    repair: str | Repair = "none",
    fusions: str | Fusions | None = None,
    store: StorePath = None,
    progress: Progress | None = None,
) -> CalibratedTable:
    """Observe every activation of a network on images and choose its range for INT8.

    The images are streamed, and counted once: a second `method` on the same images requires no second pass.

    Args:
        network: A network as `export` takes it, or an exported graph.
        example: Inputs of an `nn.Module`, as for `from_module`.
        data: Images: a folder, an `.npz`, MNIST's idx files, a recipe `.toml`, or `"noise"`; None takes demo images.
        images: How many of them.
        method: `"minmax"`, `"percentile"`, `"mse"` or `"entropy"`.
        percentile: Share of the values, in percent, that the method `"percentile"` keeps.
        repair: The repairs that INT8 will be built with; `"equalize"` changes the graph that a table belongs to.
        fusions: As for `export`; None is `"safe"`, or those of the exported graph.
        store: Folder of the artifact store; None is the graph's, $DEPLOYKIT_STORE, else `engines`.
        progress: Called with (stage, steps done, steps in all); None is silent.

    Returns:
        The table, for `build(..., precision="int8", calibration=table)`.

    Raises:
        UsageError: An option is wrong, or the images do not fit the network.
        UnsupportedGraph: There are no inputs that the network can run on.
    """
    from deploykit.workflow.calibrate import calibrate as observed
    from deploykit.workflow.calibrate import table_result

    calibration = Calibration(images=_count(images), method=method, percentile=percentile)
    ready = _prepared(network, example, data, calibration, repair, fusions, store, progress)
    table, facts = observed(ready.workspace, ready.exported, ready.spec)
    path = _kept(ready.workspace, table)
    return CalibratedTable(
        path=path, table=table, result=table_result(table, path, exported=ready.exported, data=facts)
    )


@checked
def calibrate_shard(
    network: Network | ExportedGraph,
    *,
    example: Example | None = None,
    shard: str | tuple[int, int],
    output: str | PathLike[str],
    data: Data = None,
    images: int = Calibration().images,
    repair: str | Repair = "none",
    fusions: str | Fusions | None = None,
    store: StorePath = None,
    progress: Progress | None = None,
) -> ShardResult:
    """Count one part of a calibration, for `merge_shards`. An interrupted part goes on where it stopped.

    Args:
        network: A network as `export` takes it, or an exported graph.
        example: Inputs of an `nn.Module`, as for `from_module`.
        shard: Which part of how many, `"1/4"` or `(1, 4)`.
        output: The file that the counts are written to.
        data: As for `calibrate`.
        images: Images of all parts together.
        repair: As for `calibrate`.
        fusions: As for `calibrate`.
        store: As for `calibrate`.
        progress: As for `calibrate`.

    Returns:
        What was counted: `shard`, `file`, `batches`, `images`, `activations`, `peak_memory_bytes`.

    Raises:
        UsageError: An option is wrong, or `output` is of another calibration.
        UntrustedArtifact: `output` exists and is not such a file.
    """
    from deploykit.workflow.calibrate import Shard, observe_shard, write_shard

    part = Shard.parse(shard if isinstance(shard, str) else "/".join(map(str, shard)))
    calibration = Calibration(images=_count(images))
    ready = _prepared(network, example, data, calibration, repair, fusions, store, progress)
    kept = path_of("output", output)
    found = observe_shard(ready.workspace, ready.exported, ready.spec, shard=part, kept=kept)
    return write_shard(kept, found)


@checked
def merge_shards(
    shards: Sequence[str | PathLike[str]],
    *,
    output: str | PathLike[str],
    method: str = Calibration().method,
    percentile: float = Calibration().percentile,
) -> CalibratedTable:
    """Join the parts of one calibration into its table, bit for bit that of one pass.

    Args:
        shards: The files that `calibrate_shard` wrote, all of them, in any order.
        output: The file that the table is written to.
        method: As for `calibrate`.
        percentile: As for `calibrate`.

    Returns:
        The table at `output`.

    Raises:
        UsageError: A part is missing, doubled or of another calibration.
        UntrustedArtifact: A file is not a part of a calibration.
    """
    from deploykit.workflow.calibrate import merge_files, table_result

    calibration = Calibration(method=method, percentile=percentile)
    table = merge_files([path_of("a shard", each) for each in shards]).table(
        calibration.method, percentile=calibration.percentile
    )
    path = write_text(path_of("output", output), table.to_json())
    return CalibratedTable(path=path, table=table, result=table_result(table, path))


@checked
def sensitivity(
    network: Network | ExportedGraph,
    *,
    example: Example | None = None,
    data: Data = None,
    images: int = Calibration().images,
    method: str = Calibration().method,
    percentile: float = Calibration().percentile,
    repair: str | Repair = "none",
    max_drop: float | None = None,
    min_sqnr: float | None = None,
    test_images: int | None = None,
    target: Targets = None,
    gpu_table: str | PathLike[str] | None = None,
    fusions: str | Fusions | None = None,
    store: StorePath = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Try every layer in INT8 by itself, and search for a small set of layers to keep in FP16.

    Args:
        network: A network as `export` takes it, or an exported graph.
        example: Inputs of an `nn.Module`, as for `from_module`.
        data: As for `calibrate`; with labels where `max_drop` is given.
        images: Calibration images.
        method: As for `calibrate`.
        percentile: As for `calibrate`.
        repair: As for `calibrate`.
        max_drop: Search for a small set of layers to keep in FP16 so that the network loses at most this many
            percentage points of top-1; None sets no such limit.
        min_sqnr: The same, so that the network's outputs reach this SQNR, in dB; None sets no such limit.
        test_images: Images that each mixed graph is measured on; None is 16, with `max_drop` 512.
        target: As for `export`; a GPU by name adds its roofline.
        gpu_table: As for `export`.
        fusions: As for `calibrate`.
        store: As for `calibrate`.
        progress: As for `calibrate`.

    Returns:
        The loss of each layer, and the mixed graphs that were tried.

    Raises:
        UsageError: An option is wrong, or `max_drop` is asked of images without labels.
        GateFailed: Even with only one layer in INT8 the limit is missed.
    """
    from deploykit.tuning.sensitivity import Aim, measure

    aim = Aim(max_drop=max_drop, min_sqnr=min_sqnr)
    targets, gpu = targets_of(target, gpu_table)
    calibration = Calibration(images=_count(images), method=method, percentile=percentile)
    ready = _prepared(network, example, data, calibration, repair, fusions, store, progress, targets)
    return measure(ready.workspace, ready.exported, ready.spec, aim=aim, images=test_images, gpu=gpu)


class _Ready(NamedTuple):
    """The graph that a table belongs to; `model` is held because a live module lives as long as it."""

    model: Model
    workspace: Workspace
    exported: Exported
    spec: BuildSpec


def _prepared(
    network: Network | ExportedGraph,
    example: Example | None,
    data: Data,
    calibration: Calibration,
    repair: str | Repair,
    fusions: str | Fusions | None,
    store: StorePath,
    progress: Progress | None,
    targets: tuple[Target, ...] = (Target(8, 9),),
) -> _Ready:
    """Raises UsageError for fusions that are still to be searched for."""
    from deploykit.workflow.calibrate import equalized
    from deploykit.workflow.export import export

    model, named, place = network_of(network, example, fusions, store)
    if named.auto:
        raise UsageError(
            "calibrate and sensitivity do not take fusions auto",
            hint="name the fusions, or export with auto and give the graph",
        )
    spec = build_spec(
        model.spec,
        precision=Precision.FP32,
        batch=BatchRange(),
        targets=targets,
        data=data,
        calibration=calibration,
        repair=repair,
        fusions=named,
    )
    workspace = open_workspace(place, progress)
    return _Ready(model, workspace, equalized(workspace, export(workspace, model.spec, named), spec), spec)


def _count(images: int) -> int:
    if not 1 <= images <= 1_000_000:
        raise UsageError(f"{images} calibration images", hint="give a number from 1 to 1000000")
    return images


def _kept(workspace: Workspace, table: CalibrationTable) -> Path:
    """The table as a file of the store."""
    text = table.to_json()

    def make(writer: Writer) -> Mapping[str, Any]:
        writer.write("table.json", text)
        return {}

    request = {"graph": table.graph_digest}
    entry, _ = workspace.get_or_make("table", {"table": text}, make, request=request, files=("table.json",))
    return entry.path("table.json")
