"""A user's network run on zeros, to learn what it returns. Importing this module imports no torch."""

from typing import TYPE_CHECKING

from deploykit.errors import UsageError
from deploykit.modules.calling import call, require_inputs
from deploykit.modules.outputs import output_specs_of
from deploykit.modules.torch_errors import explain
from deploykit.spec import TensorSpec

if TYPE_CHECKING:
    from torch import nn

IMAGES = "images"  # the input of a network of the zoo, and of a factory that names none
PROBED_BATCHES = (2, 3)  # images a run: what differs between the two grows with the batch


def probed_outputs(name: str, module: "nn.Module", inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """What a module returns for zeros of these inputs, at two batch sizes.

    Raises UsageError where it cannot be run so, or returns something other than tensors; `name` is the network's.
    """
    require_inputs(name, module, [each.name for each in inputs])
    found = []
    for batch in PROBED_BATCHES:
        try:
            found.append(run_at(module, inputs, batch))
        except Exception as error:  # a user's code raises what it likes
            raise _cannot_run(name, module, inputs, batch, error) from error
    try:
        return output_specs_of(found, PROBED_BATCHES, taken=[each.name for each in inputs])
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", hint=error.hint) from error


def run_at(module: "nn.Module", inputs: tuple[TensorSpec, ...], batch: int) -> object:
    """What the module answers to zeros."""
    import torch

    shown = {each.name: torch.zeros(each.at_batch(batch), dtype=getattr(torch, each.dtype)) for each in inputs}
    with torch.no_grad():  # inference_mode would make the parameters of lazy layers unusable outside it
        return call(module, shown)


def _cannot_run(
    name: str, module: "nn.Module", inputs: tuple[TensorSpec, ...], batch: int, error: Exception
) -> UsageError:
    """Why the network failed on `batch` images of the shape asked for: the shape, or that number of images."""
    reason = explain(error)
    for other in (1, *PROBED_BATCHES):
        if other == batch:
            break
        try:
            run_at(module, inputs, other)
        except Exception:  # noqa: BLE001, S112 - the error of the batch that was asked for first is told
            continue
        shape = "x".join(map(str, inputs[0].at_batch(1)[1:]))
        return UsageError(
            f"{name} runs on {other} image{'s' if other > 1 else ''} of {shape} and not on {batch}: {reason.what}",
            hint="take the batch from the input (x.shape[0], x.flatten(1)) instead of writing it down",
        )
    return UsageError(
        f"{name} cannot run on {_shown(inputs)}: {reason.what}", hint=reason.hint or _other_inputs(inputs)
    )


def _shown(inputs: tuple[TensorSpec, ...]) -> str:
    if len(inputs) == 1 and inputs[0].name == IMAGES:
        return f"images of {'x'.join(map(str, inputs[0].at_batch(1)[1:]))}"
    return ", ".join(map(str, inputs))


def _other_inputs(inputs: tuple[TensorSpec, ...]) -> str:
    if any(each.dtype != "float32" for each in inputs):
        return "give the --input-shape and the --input-range it takes"
    if len(inputs) == 1 and inputs[0].name == IMAGES:
        return "give the --input-shape it takes"
    return f"give the --input-shape it takes; whole numbers are said by --input-range {inputs[-1].name}=0:1000"
