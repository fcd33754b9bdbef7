"""The rows of a table on image files, from their bytes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploykit.bench import BenchSettings, Latency, TimedBlock, latency
from deploykit.bench.end_to_end import Recipe, StageSamples, run_end_to_end
from deploykit.data.archive import takes
from deploykit.data.dataset import ImageDataset, RawImage, Skipped, open_dataset, rank
from deploykit.data.inputs import DEMO
from deploykit.data.labeled import classes_of
from deploykit.data.preparation import Preparation, preparation_of, takes_images
from deploykit.errors import UnsupportedGraph, UsageError
from deploykit.host import installed_version
from deploykit.parity.accuracy import TOP
from deploykit.results.end_to_end import EndToEnd, EndToEndRow, StageTime
from deploykit.spec import BuildSpec, DataSource, Precision, Signature
from deploykit.workflow.batch import with_batch
from deploykit.workflow.export import export
from deploykit.workflow.rows import BuiltRow, RefusedRow, asked_rows, build_rows, head_of
from deploykit.workflow.workspace import Workspace

MOST_IMAGES = 256  # that are read, drawn by the seed


def end_to_end(
    workspace: Workspace,
    spec: BuildSpec,
    backends: Sequence[str],
    precisions: Sequence[Precision],
    settings: BenchSettings,
    *,
    strict: bool = False,
) -> EndToEnd:
    """Every row on the images of `spec.data`, each in a process of its own.

    Raises UsageError for a network that takes no images, and where no image file of the data can be decoded.
    """
    spec = with_batch(workspace, spec)
    exported = export(workspace, spec.model, spec.fusions)
    how = require_images(exported)
    dataset = image_files(spec.data)
    chosen = sorted(dataset.images, key=lambda raw: rank(spec.model.seed, raw.name))[:MOST_IMAGES]
    sound, broken = _decodable(workspace, chosen)
    if not sound:
        raise UsageError(f"none of {len(dataset.images)} image files can be decoded, the first: {broken[0]}")
    recipe = _recipe(exported, how, spec.batch.optimum)
    asked = asked_rows(spec, backends, precisions, strict=strict)
    lines = build_rows(workspace, asked)
    running = [line for line in lines if isinstance(line, BuiltRow) and line.runs]
    engines = [(line.asked.label, line.built.engine) for line in running]
    found = run_end_to_end(engines, sound, recipe, settings, workspace.progress) if engines else None
    samples = iter(found.rows if found else ())
    rows = [_row(line, next(samples) if line.runs else None, spec.model.seed) for line in lines]
    return EndToEnd(
        data=str(spec.data or DEMO),
        files=len(dataset.images) + len(dataset.unusable),
        used=len(sound),
        undecodable=tuple(map(str, (*dataset.unusable, *broken))),
        preprocessing=str(how),
        decoder=f"Pillow {installed_version('pillow')}",
        top=recipe.top,
        timed_images=found.images if found else 0,
        rounds=found.rounds if found else 0,
        seconds=found.seconds if found else 0.0,
        stopped_by=found.stopped_by if found else "",
        rows=tuple(rows),
    )


def require_images(network: Signature) -> Preparation:
    """How images are prepared for the network. Raises UsageError for one that takes none."""
    if not takes_images(network):
        raise UsageError(
            f"{network.model.label} takes {takes(network)}, which is not an image input",
            hint="give a network that takes images",
        )
    return preparation_of(network)


def image_files(data: DataSource) -> ImageDataset:
    """The image files of a folder or a recipe, or the demo images. Raises UsageError for what holds no files."""
    if data is not None and not isinstance(data, Path):
        raise UsageError(f"--data {data} has no image files", hint="give a folder of images")
    dataset = open_dataset(data)
    if any(raw.pixels is not None for raw in dataset.images):
        raise UsageError(
            f"{data} holds pixels, not image files: nothing is to be decoded", hint="give a folder of images"
        )
    if not dataset.images:
        raise UsageError(f"{data} has no image that can be read, the first: {dataset.unusable[0]}")
    return dataset


def _decodable(workspace: Workspace, images: Sequence[RawImage]) -> tuple[list[RawImage], list[Skipped]]:
    sound, broken = [], []
    for number, raw in enumerate(images):
        workspace.progress("read the image files", number, len(images))
        if fault := raw.fault():
            broken.append(Skipped(raw.name, fault))
        else:
            sound.append(raw)
    workspace.progress("read the image files", len(images), len(images))
    return sound, broken


def _recipe(network: Signature, how: Preparation, batch: int) -> Recipe:
    (spec,) = network.inputs
    recipe = Recipe(how.recipe, spec, batch)
    try:
        return replace(recipe, output=network.outputs[0].name, top=min(TOP, classes_of(network)))
    except UnsupportedGraph:  # no classifier: its answer is not ranked
        return recipe


def _row(line: BuiltRow | RefusedRow, samples: StageSamples | None, seed: int) -> EndToEndRow:
    found = EndToEndRow(**head_of(line, failure=samples.failure if samples else None))
    if samples is None or samples.failure is not None:
        return found
    every = _counted(samples.total)
    stages = tuple(
        StageTime(stage, _latency(blocks, seed), sum(_counted(blocks)) / sum(every))
        for stage, blocks in samples.stages.items()
    )
    total, rate = _latency(samples.total, seed), 1e9 * len(every) / sum(every)
    return replace(found, stages=stages, total_ms=total, images_per_second=rate)


def _latency(blocks: Sequence[TimedBlock], seed: int) -> Latency:
    found = latency(blocks, seed=seed)
    assert found is not None  # noqa: S101 - a row that did not fail has a block
    return found


def _counted(blocks: Sequence[TimedBlock]) -> list[int]:
    """The samples that count: all but the first of each block."""
    return [sample for block in blocks for sample in block.samples_ns[1:]]
