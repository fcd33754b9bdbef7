"""Weights in and out of a network: checkpoints of torchvision and timm, and seeded ones. Imports torch when called."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.errors import CheckpointMismatch
from deploykit.loader import read_checkpoint
from deploykit.spec import ModelSpec
from deploykit.zoo.registry import build_module, construct, find_card, input_spec

if TYPE_CHECKING:
    from torch import Tensor, nn

NOISE_BATCHES, NOISE_BATCH = 2, 8  # images that BatchNorm statistics are estimated on
SHOWN = 3  # names that a message lists of each kind

# ATen's random fills; a constructor's initialisation is made of these.
RANDOM_FILLS = ("bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_")


def load_module(model: ModelSpec, weights: Path) -> "nn.Module":
    """The network with every tensor from `weights` (.safetensors, .pth, .pt), float32, in eval mode, on the CPU.

    Names and shapes must match one to one; only BatchNorm's `num_batches_tracked` may be absent, for inference does
    not read it. Float tensors of another width (float16, bfloat16, float64) are converted to float32. Checkpoints
    wrapped as `{"state_dict": ...}` or named with a `module.` prefix are unwrapped by `loader.read_checkpoint`.

    Raises CheckpointMismatch with the first names that are missing, extra, misshapen, not of a float type or not
    finite, and whatever `loader.read_checkpoint` and `registry.input_spec` raise.
    """
    import torch

    with _without_random_fills():
        module = construct(model)
    state = module.state_dict()
    found = read_checkpoint(weights)
    _require_fit(model, state, weights, found)
    with torch.no_grad():
        for name, tensor in found.items():
            state[name].copy_(tensor)
    return module


def seeded_state(model: ModelSpec) -> "dict[str, Tensor]":
    """The state of a network with weights from `model.seed` and BatchNorm statistics estimated on seeded noise.

    The noise has the model's image size. Takes 0.2 s for a small network and a few seconds for ResNet-152.
    """
    import torch

    from deploykit.zoo.initialise import calibration_noise, estimate_batchnorm

    module = build_module(model)
    noise = calibration_noise(input_spec(model), batches=NOISE_BATCHES, batch=NOISE_BATCH, seed=model.seed)
    estimate_batchnorm(module, (torch.from_numpy(batch) for batch in noise))
    return dict(module.state_dict())


def write_state(state: "Mapping[str, Tensor]", path: Path) -> None:
    """Write a state dict as safetensors; the same tensors give the same bytes. Raises OSError, as any write does."""
    from safetensors.torch import save

    path.write_bytes(save({name: tensor.detach().contiguous() for name, tensor in state.items()}))


@contextmanager
def _without_random_fills() -> "Iterator[None]":
    """Inside, random fills leave a tensor's memory as it is: every weight is about to be loaded anyway."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    fills = {getattr(torch.ops.aten, name) for name in RANDOM_FILLS}

    class SkipFills(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            return args[0] if func.overloadpacket in fills else func(*args, **(kwargs or {}))

    with SkipFills():  # type: ignore[no-untyped-call]
        yield


def _require_fit(model: ModelSpec, state: "Mapping[str, Tensor]", weights: Path, found: "Mapping[str, Tensor]") -> None:
    common = [name for name in state if name in found]
    troubles = {
        "missing": [name for name in state if name not in found and not name.endswith(".num_batches_tracked")],
        "extra": [name for name in found if name not in state],
        "misshapen": [
            f"{name} is {_shape(found[name])} instead of {_shape(state[name])}"
            for name in common
            if found[name].shape != state[name].shape
        ],
        "not float": [
            f"{name} is {str(found[name].dtype).removeprefix('torch.')}"
            for name in common
            if state[name].is_floating_point() and not found[name].is_floating_point()
        ],
        "with NaN, infinity or a negative variance": [name for name in common if not _computable(name, found[name])],
    }
    if not any(troubles.values()):
        return
    twin = find_card(model.name).twin
    raise CheckpointMismatch(
        f"{weights} does not fit {model.label}: "
        + "; ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in troubles.items() if names),
        hint=f"names and shapes are those of {twin.replace(':', ' ')}" if twin and model.width_mult is None else "",
    )


def _computable(name: str, tensor: "Tensor") -> bool:
    """Finite throughout (`sum` carries NaN and infinity along); a BatchNorm's variance not below zero."""
    import torch

    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    finite = bool(tensor.sum(dtype=torch.float64).isfinite())
    return finite and not (name.endswith(".running_var") and bool((tensor < 0).any()))


def _shape(tensor: "Tensor") -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
