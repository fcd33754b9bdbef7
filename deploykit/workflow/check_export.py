"""Is an exported graph the network it came from? ONNX Runtime at two batches against float64."""

from __future__ import annotations

import math

import numpy as np

from deploykit.data.inputs import require_feedable
from deploykit.data.noise import noise_feeds
from deploykit.errors import DeploykitError, ExecutionFailed
from deploykit.parity import OutputParity, ParityResult, apart, joined, judge
from deploykit.spec import Feed, Precision
from deploykit.workflow.export import Exported
from deploykit.workflow.judge import nature_of, reference_outputs
from deploykit.workflow.workspace import Workspace

BATCHES = (1, 3)  # a batch that was frozen on the way fails one of them; a file may have fixed its own
SEED = 1  # other images than those that BatchNorm statistics were estimated on


def check_export(workspace: Workspace, exported: Exported) -> ParityResult:
    """The verdict on seeded noise: no images are needed for it.

    Of a network that cannot be fed, run or evaluated it is inconclusive: the exported graph is there nonetheless.
    """
    from deploykit.ort_session import compute, open_session

    nature = nature_of(exported)
    try:
        feeds = _feeds(exported)
        with workspace.timed("compare with float64"):
            reference = reference_outputs(exported, feeds, kinds=nature.kinds)
            session = open_session(exported.path)
            names = [output.name for output in exported.outputs]
            answers = [compute(session, names, feed) for feed in feeds]
            loose = {name for name, array in reference.exact.items() if apart(array)}
            engine = joined(answers, exported.batch_axes, loose)
    except DeploykitError as error:
        if exported.module is not None and not isinstance(error, ExecutionFailed):
            raise
        return _unchecked(exported, str(error))
    limits = nature.limits(Precision.FP32, random_weights=exported.random_weights)
    return judge(engine, None, reference, limits, kinds=nature.kinds)


def _feeds(exported: Exported) -> list[Feed]:
    require_feedable(exported)
    inputs, fixed, ranges = exported.inputs, exported.fixed_batch, exported.model.input_ranges
    if fixed is not None:
        return list(noise_feeds(inputs, count=2, batch=fixed, seed=SEED, ranges=ranges))
    if exported.run_length(2, 1) == 1:
        (images,) = noise_feeds(inputs, count=1, batch=sum(BATCHES), seed=SEED, ranges=ranges)
        parts = {name: np.split(array, np.cumsum(BATCHES)[:-1]) for name, array in images.items()}
        return [{name: parts[name][index] for name in parts} for index in range(len(BATCHES))]
    return [
        feed
        for batch in BATCHES
        for feed in noise_feeds(inputs, count=1, batch=batch, seed=SEED + batch, ranges=ranges)
    ]


def _unchecked(exported: Exported, reason: str) -> ParityResult:
    outputs = tuple(
        OutputParity(
            output.name, "engine", "inconclusive", f"not checked: {reason}", precision_limit_text="", floor=math.nan
        )
        for output in exported.outputs
    )
    return ParityResult(outputs, images=0, reference="none", weights_kind="given weights")
