"""The same image files by several pipelines into one network: where they differ, and what that costs.

All run the exported graph in ONNX Runtime in float32, so that nothing but the inputs differs. Every step is looked at
alone: it gets what the reference's steps made before it, and the reference's steps go on from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from deploykit.bench import fingerprint
from deploykit.data.dataset import RawImage, Skipped, rank
from deploykit.data.feeds import runs
from deploykit.data.inputs import DEMO
from deploykit.data.pipelines import (
    STEPS,
    Pipeline,
    in_pixels,
    pillow_pipeline,
    reference_pipeline,
    torchvision_pipeline,
)
from deploykit.data.preprocessing_faults import explained, faults_of
from deploykit.errors import DeploykitError, UnsupportedGraph, UsageError, one_line
from deploykit.host import installed_version, usable_cores
from deploykit.parity import distance, joined, top1
from deploykit.results.from_bytes import (
    BytesConditions,
    BytesEnvironment,
    BytesReport,
    OutputDifference,
    PipelineRow,
    PixelDifference,
    StepCost,
)
from deploykit.spec import BuildSpec, Feed, Preprocessing
from deploykit.spec.arrays import Array
from deploykit.workflow.check_stem import stem_of_bytes, with_uint8_stem
from deploykit.workflow.end_to_end import image_files, require_images
from deploykit.workflow.export import Exported, export
from deploykit.workflow.workspace import Workspace

IMAGES = 16
LIMIT = 1.0  # of 255, on average: a rounding to bytes more than the reference has
NOTHING = 1e-3  # of 255: what float32 leaves
Function = Callable[[Path], Any]


def verify_from_bytes(
    workspace: Workspace, spec: BuildSpec, pipelines: Mapping[str, Function], *, count: int = IMAGES
) -> BytesReport:
    """Every pipeline beside the network's declaration, on `count` images of `spec.data`.

    `pipelines` are functions of a user's: from the path of an image to the array that the network takes, one image.
    Raises UsageError for a network that takes no images, and data without image files that can be decoded.
    """
    exported = export(workspace, spec.model, spec.fusions)
    exported.require_sizes()
    how = require_images(exported)
    dataset = image_files(spec.data)
    images, broken = _drawn(dataset.images, spec.model.seed, count)
    compared = _Compared(workspace, exported, how.recipe, images)
    rows = [
        compared.known("Pillow", lambda: pillow_pipeline(how.recipe), f"Pillow {installed_version('pillow')}"),
        compared.known(
            "torchvision", _torchvision(how.recipe), f"torchvision {installed_version('torchvision') or ''}"
        ),
        compared.stem(spec),
        *(compared.unknown(name, function) for name, function in pipelines.items()),
    ]
    faults = tuple(compared.cost(fault.step, fault.said, fault.pipeline) for fault in faults_of(how.recipe))
    machine = fingerprint(threads=usable_cores(), seed=spec.model.seed, tf32=False)
    conditions = BytesConditions(
        model=exported.model.label,
        **exported.weights.facts(),
        data=str(spec.data or DEMO),
        files=len(dataset.images) + len(dataset.unusable),
        images=tuple(raw.name for raw in images),
        undecodable=tuple(map(str, (*dataset.unusable, *broken))),
        preprocessing=str(how),
        network=f"ONNX Runtime {installed_version('onnxruntime-gpu', 'onnxruntime')}, float32",
        limit=LIMIT,
    )
    return BytesReport(
        environment=BytesEnvironment(**machine.facts(), conditions=conditions),
        rows=tuple(rows),
        faults=tuple(fault for fault in faults if fault.input.max > NOTHING),
    )


def _drawn(images: Sequence[RawImage], seed: int, count: int) -> tuple[list[RawImage], list[Skipped]]:
    """`count` images that can be decoded, in seeded order, and those that were met and cannot."""
    sound, broken = list[RawImage](), list[Skipped]()
    for raw in sorted(images, key=lambda raw: rank(seed, raw.name)):
        if len(sound) == count:
            break
        if fault := raw.fault():
            broken.append(Skipped(raw.name, fault))
        else:
            sound.append(raw)
    if not sound:
        raise UsageError(f"none of {len(images)} image files can be decoded, the first: {broken[0]}")
    return sound, broken


def _torchvision(recipe: Preprocessing) -> Callable[[], Pipeline | str]:
    """The pipeline, or why it cannot be run here."""

    def make() -> Pipeline | str:
        if find_spec("torchvision") is None:
            return "torchvision is not installed; pip install torchvision"
        return torchvision_pipeline(recipe)

    return make


@dataclass
class _Compared:
    """What each pipeline is compared with, computed once."""

    workspace: Workspace
    exported: Exported
    recipe: Preprocessing
    images: Sequence[RawImage]

    @cached_property
    def reference(self) -> Pipeline:
        return reference_pipeline(self.recipe)

    @cached_property
    def steps(self) -> list[list[Any]]:
        """Of each image what goes into the reference's steps, one after the other, and what comes out of the last."""
        found = []
        for raw in self.images:
            values: list[Any] = [raw]
            for step in STEPS:
                values.append(self.reference.step(step)(values[-1]))
            found.append(values)
        return found

    @cached_property
    def inputs(self) -> list[Array]:
        return [values[-1] for values in self.steps]

    @cached_property
    def session(self) -> Any:
        from deploykit.ort_session import open_session

        return open_session(self.exported.path)

    @cached_property
    def outputs(self) -> Feed:
        return self.answers(self.inputs)

    def answers(self, inputs: Sequence[Array]) -> Feed:
        """What the network says of inputs, one an image."""
        return _answers(self.session, self.exported, inputs)

    def known(self, name: str, make: Callable[[], Pipeline | str], flavour: str) -> PipelineRow:
        """A pipeline whose steps are known."""
        try:
            pipeline = make()
            if isinstance(pipeline, str):
                return PipelineRow(pipeline=name, state="unavailable", reason=pipeline)
            with self.workspace.timed(f"from bytes by {name}"):
                found = [pipeline(raw) for raw in self.images]
                said = dict(pipeline.said)
                costs = tuple(self.cost(step, said[step], pipeline) for step in STEPS if step in said)
        except DeploykitError as error:
            return PipelineRow(pipeline=name, state="unavailable", reason=str(error))
        steps = tuple(cost for cost in costs if cost.input.max > NOTHING)
        return self._row(name, flavour, self.difference(found), self.outcome(self.answers(found)), steps)

    def unknown(self, name: str, function: Function) -> PipelineRow:
        """A function of a user's: what it does is found by what comes out of it."""
        shape = self.inputs[0].shape
        with self.workspace.timed(f"from bytes by {name}"):
            try:
                found = [_called(function, raw, shape) for raw in self.images]
            except Exception as error:  # noqa: BLE001 - a user's code raises what it likes
                reason = (
                    str(error) if isinstance(error, DeploykitError) else f"{type(error).__name__}: {one_line(error)}"
                )
                return PipelineRow(pipeline=name, state="failed", reason=reason)
            named = explained(found, self.images, self.recipe)
            steps = tuple(self.cost(fault.step, fault.said, fault.pipeline) for fault in named)
        return self._row(name, "", self.difference(found), self.outcome(self.answers(found)), steps)

    def stem(self, spec: BuildSpec) -> PipelineRow:
        """Bytes into the graph with the uint8 stem, which normalizes them."""
        name = "uint8 stem"
        try:
            with self.workspace.timed(f"from bytes by the {name}"):
                stemmed = with_uint8_stem(self.workspace, self.exported, spec.fusions)
                pixels = [values[-2] for values in self.steps]
                inside = stem_of_bytes(self.recipe, pixels)
                from deploykit.ort_session import open_session

                answers = _answers(open_session(stemmed.path), stemmed, pixels)
        except DeploykitError as error:
            return PipelineRow(pipeline=name, state="unavailable", reason=str(error))
        difference = self.difference(inside)
        cost = StepCost("normalize", "in the graph, in float32", difference)
        return self._row(name, "", difference, self.outcome(answers), (cost,) if difference.max > NOTHING else ())

    def cost(self, step: Any, said: str, pipeline: Pipeline) -> StepCost:
        """One step of `pipeline` in the place of the reference's."""
        at = STEPS.index(step)
        found = [self.reference.after(step, pipeline.step(step)(values[at])) for values in self.steps]
        difference = self.difference(found)
        if difference.max <= NOTHING:
            return StepCost(step, said, difference)
        return StepCost(step, said, difference, self.outcome(self.answers(found)))

    def difference(self, inputs: Sequence[Array]) -> PixelDifference:
        each = [
            np.abs(in_pixels(found - expected, self.recipe))
            for found, expected in zip(inputs, self.inputs, strict=True)
        ]
        return PixelDifference(
            float(np.mean([array.mean() for array in each])), float(np.max([array.max() for array in each]))
        )

    def outcome(self, answers: Feed) -> OutputDifference:
        """How far answers are from those to the reference's inputs."""
        worst = min(distance(answers[name], expected).sqnr_db for name, expected in self.outputs.items())
        ranked = [top1(answers[name], expected) for name, expected in self.outputs.items()]
        count = len(self.images)
        if len(ranked) != 1 or ranked[0] is None or ranked[0].of != count:
            return OutputDifference(worst, count)
        return OutputDifference(worst, count, round(ranked[0].agreement * count))

    def _row(
        self,
        name: str,
        flavour: str,
        difference: PixelDifference,
        outcome: OutputDifference,
        steps: tuple[StepCost, ...],
    ) -> PipelineRow:
        holds = difference.mean <= LIMIT
        named = "; ".join(f"{cost.step}: {cost.said}" for cost in steps) or "no usual fault explains it"
        return PipelineRow(
            pipeline=name,
            flavour=flavour,
            state="measured",
            reason="" if holds else f"its inputs differ by {difference.mean:.3g} of 255 on average ({named})",
            input=difference,
            output=outcome,
            steps=steps,
            verdict="pass" if holds else "fail",
        )


def _called(function: Function, raw: RawImage, shape: tuple[int, ...]) -> Array:
    """What a user's function makes of a file. Raises UsageError for what is no input of that shape."""
    found = np.asarray(function(raw.path))
    if found.shape == (1, *shape):
        found = found[0]
    if found.shape != shape or found.dtype.kind not in "fiu":
        raise UsageError(
            f"it gives {found.dtype}{list(found.shape)} for {raw.name}, the network takes numbers of {list(shape)}"
        )
    if not np.isfinite(found).all():
        raise UsageError(f"it gives NaN or infinity for {raw.name}")
    return found.astype(np.float64)


def _answers(session: Any, network: Exported, inputs: Sequence[Array]) -> Feed:
    """The outputs for as many images, whole batches at a time where the graph takes nothing else."""
    from deploykit.ort_session import compute

    (spec,) = network.inputs
    size = network.fixed_batch or 1
    if size > 1 and None in network.batch_axes.values():
        raise UnsupportedGraph(f"{network.model.label} joins the images of a batch: they cannot be compared")
    filled = [*inputs, *[inputs[-1]] * (-len(inputs) % size)]
    feed = {spec.name: np.stack(filled)}
    names = [output.name for output in network.outputs]
    answers = [compute(session, names, part) for part in runs(feed, network.inputs, size)]
    return {name: array[: len(inputs)] for name, array in joined(answers, network.batch_axes).items()}
