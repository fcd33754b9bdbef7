"""From image files to a network's input: pipelines side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.api.checked import checked
from deploykit.api.choices import Data, batch_range, build_spec, targets_of
from deploykit.api.graphs import ExportedGraph, network_of
from deploykit.api.models import Network
from deploykit.api.modules import Example
from deploykit.api.workspace import StorePath, open_workspace
from deploykit.errors import UsageError
from deploykit.spec import Fusions, Precision, Progress
from deploykit.zoo.factory import find_factory, search_current_directory

if TYPE_CHECKING:
    from deploykit.results.from_bytes import BytesReport

FromPath = Callable[[Path], Any]
Pipelines = str | Iterable[str] | Mapping[str, FromPath]
OWN_NAMES = ("Pillow", "torchvision", "uint8 stem")


@checked
def verify_from_bytes(
    network: Network | ExportedGraph,
    *,
    example: Example | None = None,
    data: Data = None,
    pipelines: Pipelines = (),
    images: int = 16,
    fusions: str | Fusions | None = None,
    store: StorePath = None,
    progress: Progress | None = None,
) -> BytesReport:
    """Compare pipelines from image files to the network's input, step by step, and what their differences cost.

    The network's own declaration of its preprocessing is the reference. Beside it stand Pillow as deploykit uses it,
    torchvision's transforms on tensors, the graph that takes bytes (`export(stem="uint8")`), and functions of yours,
    whose faults are named by what comes out of them.

    Args:
        network: A network as `export` takes it, or an exported graph; one that takes images.
        example: Inputs of an `nn.Module`, as for `from_module`.
        data: A folder of images or a recipe `.toml`; None takes the demo images.
        pipelines: Functions from the path of an image to the array that the network takes for it, by name, or
            `"package.module:function"`, one or several.
        images: How many images are compared, drawn by the network's seed.
        fusions: As for `export`; None is `"safe"`, or those of the exported graph.
        store: Folder of the artifact store; None is $DEPLOYKIT_STORE, else `engines`.
        progress: Called with (stage, steps done, steps in all); None is silent.

    Returns:
        The report: one row per pipeline, and what usual faults would cost this network. `raise_if_failed` raises a
        verdict.

    Raises:
        UsageError: The network takes no images, or no image file can be decoded.
    """
    from deploykit.workflow.from_bytes import verify_from_bytes as verified

    if images < 1:
        raise UsageError(f"images is {images}", hint="give 1 or more")
    model, named, place = network_of(network, example, fusions, store)
    spec = build_spec(
        model.spec,
        precision=Precision.FP32,
        batch=batch_range(None, 1),
        targets=targets_of(None, None)[0],
        data=data,
        fusions=named,
    )
    return verified(open_workspace(place, progress), spec, _functions(pipelines), count=images)


def _functions(pipelines: Pipelines) -> dict[str, FromPath]:
    """The functions by name. Raises UsageError for what is none, or has the name of a pipeline of ours."""
    if isinstance(pipelines, Mapping):
        found = dict(pipelines)
    else:
        search_current_directory()
        names = [pipelines] if isinstance(pipelines, str) else list(pipelines)
        if wrong := [name for name in names if not isinstance(name, str) or ":" not in name]:
            raise UsageError(f"pipeline {wrong[0]!r} names no function", hint="write package.module:function")
        found = {name: find_factory(name) for name in names}
    for name, function in found.items():
        if not callable(function) or name in OWN_NAMES:
            said = "is the name of one of ours" if name in OWN_NAMES else f"is a {type(function).__name__}"
            raise UsageError(f"pipeline {name!r} {said}", hint="give a function of the path of an image, by its name")
    return found
