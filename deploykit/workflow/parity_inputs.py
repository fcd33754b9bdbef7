"""What the rows of a comparison are shown, and who judges their answers; nothing is read before a row needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from deploykit.bench import RowJob, RowSamples, describe_inputs
from deploykit.data.feeds import joined_feeds, runs, whole_runs
from deploykit.data.images import assert_disjoint
from deploykit.data.inputs import ImageInputs, Inputs, calibration_inputs, inputs_for, unprepared
from deploykit.data.noise import can_draw, white_noise
from deploykit.data.preparation import image_axes
from deploykit.errors import DeploykitError, UnsupportedGraph
from deploykit.parity import Parity, ParityResult, Undecided
from deploykit.spec import BuildSpec, Feed, Precision
from deploykit.spec.shapes import End
from deploykit.workflow.calibrate import describe_int8
from deploykit.workflow.engine import Built
from deploykit.workflow.export import Exported
from deploykit.workflow.judge import Judge
from deploykit.workflow.rows import BuiltRow
from deploykit.workflow.workspace import Workspace

IMAGES, NOISE = 8, 4  # behind a parity verdict
ENDS: tuple[End, ...] = ("minimum", "maximum")
AT_ENDS = 2  # images at the smallest and at the largest sizes
ROTATED = 4  # timed inputs that take turns


@dataclass
class ParityInputs:
    """Inputs for rows of the network `exported` at `precisions`, which are `timed` or not, and `judged` or not."""

    workspace: Workspace
    exported: Exported
    spec: BuildSpec
    precisions: tuple[Precision, ...]
    timed: bool
    seed: int
    judged: bool = True

    @cached_property
    def calibration(self) -> Inputs | None:
        """What INT8 is calibrated on; None where no row is INT8, the file came quantized, or there is nothing.

        Rows that have nothing to be calibrated on say so.
        """
        if Precision.INT8 not in self.precisions or self.exported.quantized:
            return None
        try:
            return calibration_inputs(self.exported, self.spec)
        except UnsupportedGraph:
            return None

    @cached_property
    def test(self) -> Inputs:
        """Images for parity and for the timed inputs; none of them is a calibration image."""
        spec, batch = self.spec, self.spec.batch.optimum
        count = max(IMAGES, ROTATED * batch) if self.timed else IMAGES
        images = inputs_for(self.exported, "test", count=count, batch=batch, data=spec.data)
        self.workspace.warn_once(unprepared(spec.model, images.preparation))
        if isinstance(self.calibration, ImageInputs) and isinstance(images, ImageInputs):
            assert_disjoint(self.calibration.images, images.images)
        return images

    @cached_property
    def images(self) -> Feed:
        with self.workspace.timed(f"prepare {len(self.test)} test images"):
            return joined_feeds(list(self.test.feeds()))

    @cached_property
    def judge(self) -> Judge:
        """The judge on IMAGES images, or as many as an archive has, and NOISE of white noise, in whole batches."""
        inputs, run = self.exported.inputs, self.test.run
        shown, noise = min(whole_runs(IMAGES, run), len(self.test)), whole_runs(NOISE, run)
        images = joined_feeds(runs(self.images, inputs, run)[: shown // run])
        batch, ranges = self.spec.batch.optimum, self.spec.model.input_ranges
        if not all(can_draw(spec, ranges) for spec in inputs):  # nor was anything but given arrays shown
            return Judge(self.workspace, self.exported, images, shown, shown, batch, self.calibration)
        white = white_noise(inputs, count=noise, run=run, seed=self.seed, ranges=ranges)
        both = joined_feeds([images, white])
        return Judge(self.workspace, self.exported, both, shown + noise, shown, batch, self.calibration)

    @cached_property
    def ends(self) -> dict[str, Judge]:
        """Judges for the smallest and the largest of the sizes that a network leaves free, by what they are called.

        `bench` times the optimum alone.
        """
        return {name: found for name, found in self._at_ends.items() if isinstance(found, Judge)}

    @cached_property
    def _at_ends(self) -> dict[str, Judge | DeploykitError]:
        """Each end's judge, or why nothing can be shown there, which costs no row its verdict at the optimum."""
        found: dict[str, Judge | DeploykitError] = {}
        if self.timed or not any(spec.ranges for spec in self.exported.inputs):
            return found
        for end in ENDS:
            try:
                found[f"{end} sizes"] = self._judge_at(end)
            except DeploykitError as error:
                found[f"{end} sizes"] = error
        return found

    def _judge_at(self, end: End) -> Judge:
        """The judge on images whose short side is resized to that of the input at least, whatever `resize=` says."""
        inputs = tuple(spec.fixed_at(end) for spec in self.exported.inputs)
        sized, data = replace(self.exported, inputs=inputs), self.spec.data
        if (asked := sized.model.preprocess) and (axes := image_axes(sized)):
            filling = asked.filling(min(axes.height, axes.width))
            sized = replace(sized, model=replace(sized.model, preprocess=filling))
        batch = self.spec.batch.optimum
        given = data if not isinstance(data, Path) or data.suffix != ".npz" else None  # of one size
        shown = inputs_for(sized, "test", count=AT_ENDS, batch=batch, data=given)
        images = joined_feeds(list(shown.feeds()))
        return Judge(self.workspace, sized, images, len(shown), len(shown), batch, self.calibration)

    def job(self, row: BuiltRow) -> RowJob:
        """What a row's worker is to do: its timed inputs, and all that it is judged by."""
        inputs, batch = row.built.engine.inputs, self.spec.batch.optimum
        timed = runs(self.images, inputs, batch)[:ROTATED] if self.timed else []
        judges = (self.judge, *self.ends.values()) if self.judged else ()
        shown = [feed for judge in judges for feed in judge.feeds(inputs)]
        return RowJob(label=row.asked.label, engine=row.built.engine, feeds=tuple(timed), parity=tuple(shown))

    def parity(self, built: Built, samples: RowSamples | None) -> Parity | None:
        """The verdict on what a row's worker answered, or on its typed graph where it was only compiled.

        What keeps it from being reached costs this row's verdict and no other row's figures. It is that of the optimum
        sizes, unless they pass and the ends of a range do not.
        """
        if not self.judged:
            return None
        if samples is None and built.typed is None:
            return Undecided("the row has neither an engine that runs here nor a typed graph")
        outputs = iter(samples.outputs) if samples else None
        try:
            found = _judged(self.judge, built, outputs)
            others = {name: _judged(judge, built, outputs) for name, judge in self.ends.items()}
        except DeploykitError as error:
            return Undecided(str(error))
        for name, other in others.items():
            if found.verdict == "pass" and other.verdict != "pass":
                said = (replace(output, reason=f"at its {name}: {output.reason}") for output in other.outputs)
                return replace(other, outputs=tuple(said))
        return found

    @property
    def preparation(self) -> str:
        """How images were prepared, if any were shown."""
        shown = vars(self).get("test")
        return str(shown.how) if isinstance(shown, ImageInputs) else ""

    @property
    def int8(self) -> str:
        """What INT8 rows were calibrated on; "" where there are none."""
        if self.calibration is None:
            return ""
        return describe_int8(self.spec, self.calibration, said=" (none of them is a test input)")

    def describe(self, jobs: Sequence[RowJob], cache_bytes: int | None) -> str:
        """What was shown to the rows that ran; "" where none did."""
        if not jobs:
            return ""
        feeds = f"{describe_inputs(jobs[0].feeds, cache_bytes)}; " if self.timed else ""
        said = f"{feeds}{self.test.source}"
        said += "".join(f"; {text}" for text in self._said_of_ends())
        passed_over = (*self.test.skipped, *(self.calibration.skipped if self.calibration else ()))
        skipped = list(dict.fromkeys(passed_over))
        return f"{said}; {len(skipped)} skipped ({'; '.join(skipped)})" if skipped else said

    def _said_of_ends(self) -> Iterator[str]:
        if self.ends:
            yield f"parity also judged at the {' and '.join(self.ends)} of the input"
        for name, found in self._at_ends.items():
            if isinstance(found, DeploykitError):
                yield f"parity not judged at the {name} of the input: {found}"
            elif (there := found.exported.model.preprocess) and there != self.exported.model.preprocess:
                yield f"at the {name} of the input images are resized to {there.resize}: resize= does not fill them"


def _judged(judge: Judge, built: Built, outputs: Iterator[Feed] | None) -> ParityResult:
    """The verdict on the outputs that are this judge's, which are the next ones."""
    count = len(judge.feeds(built.engine.inputs))
    return judge.verdict(built, None if outputs is None else list(islice(outputs, count)))
