"""Is an exported graph the network it came from? ONNX Runtime at two batches against the module in float64."""

from __future__ import annotations

import numpy as np

from deploykit.parity import Limits, ParityResult, judge
from deploykit.pipeline.artefacts import Artefacts
from deploykit.pipeline.judging import reference_outputs
from deploykit.pipeline.values import Exported
from deploykit.spec import Precision

BATCHES = (1, 3)  # a batch that was frozen on the way fails one of them; a file may have fixed its own
SEED = 1  # other images than those that BatchNorm statistics were estimated on


def check_export(artefacts: Artefacts, exported: Exported) -> ParityResult:
    """The verdict on seeded 1/f noise images: no photographs are needed for it."""
    from deploykit.ort_session import open_session
    from deploykit.zoo.initialise import calibration_noise

    spec = exported.image_input()
    fixed = spec.shape[0]
    batches = (fixed, fixed) if isinstance(fixed, int) else BATCHES
    images = next(calibration_noise(spec, batches=1, batch=sum(batches), seed=SEED))
    with artefacts.timed("compare with float64"):
        reference = reference_outputs(exported, images)
        runner = open_session(exported.path)
        names = [output.name for output in exported.outputs]
        parts = [runner.run(names, {spec.name: part}) for part in np.split(images, np.cumsum(batches)[:-1])]
    engine = dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
    return judge(engine, None, reference, Limits(Precision.FP32, random_weights=exported.random_weights))
