"""The exported graph with a stem of bytes in front of it, and the proof that it still is the same network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deploykit.data.preparation import preparation_of, takes_images
from deploykit.errors import UsageError
from deploykit.parity import Limits, ParityResult, joined, judge
from deploykit.spec import Fusions, Precision, Preprocessing
from deploykit.spec.arrays import Array
from deploykit.spec.reports import PassLedger
from deploykit.store import Writer
from deploykit.workflow.export import Exported
from deploykit.workflow.facts import OptimizedFacts
from deploykit.workflow.judge import reference_outputs
from deploykit.workflow.workspace import Workspace

IMAGES = 4
SEED = 1


def recipe_of(exported: Exported) -> Preprocessing:
    """What the network's card, or the user, says its images are normalized with; UsageError where nobody does."""
    how = preparation_of(exported) if takes_images(exported) else None
    if how is None or how.origin not in ("card", "given"):
        raise UsageError(
            f"how the images of {exported.model.name} are normalized is not known",
            hint="set it with --preprocess, or leave --stem out",
        )
    return how.recipe


def with_uint8_stem(workspace: Workspace, exported: Exported, fusions: Fusions) -> Exported:
    """The same network for images of uint8 (N, H, W, C). Raises UsageError as `recipe_of`."""
    recipe = recipe_of(exported)

    def make(writer: Writer) -> OptimizedFacts:
        from deploykit.workflow import transforms

        with workspace.timed("put the stem in front"):
            content, facts = transforms.prepend_stem(exported.path, recipe, fusions)
        writer.write("model.onnx", content)
        return facts

    parts = {"graph": exported.digest, "recipe": recipe, "fusions": fusions}
    entry, hit = workspace.get_or_make(
        "stem", parts, make, request={"model": exported.model, **parts}, facts=OptimizedFacts, files=("model.onnx",)
    )
    facts = entry.facts_as(OptimizedFacts)
    ledger = PassLedger((*exported.facts.ledger.passes, *facts.ledger.passes))
    return replace(
        exported,
        path=entry.path("model.onnx"),
        digest=entry.files["model.onnx"].sha256,
        inputs=facts.inputs,
        preprocess=facts.preprocess,
        normalizes=facts.normalizes,
        facts=replace(facts, ledger=ledger, notes=facts.notes or exported.facts.notes),
        hit=hit,
    )


def stem_of_bytes(recipe: Preprocessing, images: Sequence[Array]) -> list[Array]:
    """What the stem alone makes of images of bytes (H, W, C): the float32 planes (C, H, W) that the network gets."""
    from deploykit.graph.passes.stem import stem_alone
    from deploykit.ort_session import compute, open_session

    session = open_session(stem_alone(recipe))
    return [compute(session, ["planes"], {"images": pixels[None]})["planes"][0] for pixels in images]


def check_stem(workspace: Workspace, exported: Exported, stemmed: Exported) -> ParityResult:
    """The verdict on random bytes: the graph with its stem against float64 on the same bytes, normalized by hand."""
    from deploykit.ort_session import compute, open_session

    recipe, (spec,) = recipe_of(exported), stemmed.inputs
    pixels = np.random.default_rng(SEED).integers(0, 256, spec.at_batch(IMAGES), dtype=np.uint8)
    mean, std = (np.array(values)[:, None, None] for values in (recipe.mean, recipe.std))
    planes = ((pixels.transpose(0, 3, 1, 2) / recipe.scale - mean) / std).astype(np.float32)
    with workspace.timed("compare with float64"):
        reference = reference_outputs(exported, [{exported.inputs[0].name: planes}])
        session = open_session(stemmed.path)
        names = [output.name for output in stemmed.outputs]
        engine = joined([compute(session, names, {spec.name: pixels})], exported.batch_axes)
    return judge(engine, None, reference, Limits(Precision.FP32, random_weights=exported.random_weights))
