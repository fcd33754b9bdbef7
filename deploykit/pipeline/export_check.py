"""Is an exported graph the network it came from? ONNX Runtime at two batches against the module in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from deploykit.parity import Limits, ParityResult, Reference, graph_reference, judge, module_reference
from deploykit.pipeline.artefacts import Artefacts, Exported, read_graph
from deploykit.spec import Precision

BATCHES = (1, 3)  # a batch that was frozen at export fails one of them
SEED = 1  # other images than those that BatchNorm statistics were estimated on


def check_export(artefacts: Artefacts, exported: Exported) -> ParityResult:
    """The verdict on seeded 1/f noise images: no photographs are needed for it."""
    from deploykit.ort_session import open_session
    from deploykit.zoo.initialise import calibration_noise

    spec = exported.image_input()
    images = next(calibration_noise(spec, batches=1, batch=sum(BATCHES), seed=SEED))
    with artefacts.timed("compare with float64"):
        reference = reference_outputs(exported, images)
        runner = open_session(read_graph(exported.path), optimise=True)
        names = [output.name for output in exported.outputs]
        parts = [runner.run(names, {spec.name: part}) for part in np.split(images, np.cumsum(BATCHES)[:-1])]
    engine = dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
    return judge(engine, None, reference, Limits(Precision.FP32, random_weights=exported.random_weights))


def reference_outputs(exported: Exported, images: np.ndarray[Any, Any]) -> Reference:
    """Of the module in float64, or of the graph where an `.onnx` file has no module."""
    if exported.module is None:
        return graph_reference(read_graph(exported.path), {exported.inputs[0].name: images})
    return module_reference(exported.module.load(), images, tuple(output.name for output in exported.outputs))
