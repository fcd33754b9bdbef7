"""Weights in and out of a network: checkpoints of torchvision and timm, and seeded ones. Imports torch when called."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deploykit.errors import BackendMissing, CheckpointMismatch, DeploykitError, UsageError, one_line
from deploykit.loader import read_checkpoint
from deploykit.spec import ModelSpec
from deploykit.zoo.registry import build_module, card_of, cards, construct, find_card, input_specs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from deploykit.zoo.vgg import VGG

NOISE_BATCHES, NOISE_BATCH = 2, 8  # images that BatchNorm statistics are estimated on
SHOWN = 3  # names that a message lists of each kind
STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")  # of BatchNorm; they are no parameters

# ATen's random fills; a constructor's initialisation is made of these.
RANDOM_FILLS = ("bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_")


def load_module(model: ModelSpec, weights: Path, *, training: bool = False) -> "nn.Module":
    """The network with every tensor from `weights` (.safetensors, .pth, .pt), float32, in eval mode, on the CPU.

    Names and shapes must match one to one; only BatchNorm's `num_batches_tracked` may be absent, for inference does
    not read it, and auxiliary heads may be there or not. With `training` the network has its heads and is in training
    mode; a head that the file lacks has seeded weights. Float tensors of another width (float16, bfloat16, float64)
    are converted to float32. Checkpoints wrapped as `{"state_dict": ...}` or named with a `module.` prefix are
    unwrapped by `loader.read_checkpoint`.

    Raises CheckpointMismatch with the first names that are missing, extra, misshapen, not of a float type or not
    finite, and with the network that the file looks like; and whatever `loader.read_checkpoint` and
    `registry.card_of` raise.
    """
    import torch

    heads = tuple(f"{name}." for name in card_of(model).auxiliary)
    if training:
        module = build_module(model, training=True)
    else:
        with _without_random_fills():
            module = construct(model)
    state = module.state_dict()
    found = read_checkpoint(weights)
    unread = {name for name in found if name.startswith(heads) and name not in state}
    optional = {name for name in state if name.startswith(heads)} if training else set()
    used = {name: tensor for name, tensor in found.items() if name not in unread}
    needed = {name: tensor for name, tensor in state.items() if name in found or name not in optional}
    _require_fit(model, needed, weights, used)
    with torch.no_grad():
        for name, tensor in used.items():
            state[name].copy_(tensor)
    return module


def seeded_state(model: ModelSpec) -> "dict[str, Tensor]":
    """The state of a network with weights from `model.seed` and BatchNorm statistics estimated on seeded noise.

    The noise has the model's image size. With `model.init_from`, the layers that the network's paper takes over from
    that other network have its weights: those of the checkpoint `model.weights`, else seeded ones. Takes 0.2 s for a
    small network and a few seconds for ResNet-152.
    """
    import torch

    from deploykit.data.noise import noise_feeds
    from deploykit.zoo.initialise import estimate_batchnorm

    module = build_module(model)
    if model.init_from is not None:
        donor = ModelSpec(model.init_from, image_size=model.image_size, seed=model.seed)
        taken = build_module(donor) if model.weights is None else load_module(donor, model.weights)
        cast("VGG", module).initialise_from(cast("VGG", taken))
    noise = noise_feeds(
        input_specs(model), count=NOISE_BATCHES, batch=NOISE_BATCH, seed=model.seed, ranges=model.input_ranges
    )
    estimate_batchnorm(module, ({name: torch.from_numpy(array) for name, array in feed.items()} for feed in noise))
    return dict(module.state_dict())


def published_checkpoint(name: str) -> Path:
    """The file with torchvision's published weights of a network, downloaded into torch.hub's folder when it is new.

    They are those whose top-1 stands on the network's card. Raises UsageError where torchvision publishes none,
    BackendMissing where torchvision is not installed, and DeploykitError where the file cannot be downloaded or is
    not the one that was published.
    """
    library, _, theirs = find_card(name).twin.partition(":")
    if library != "torchvision":
        able = ", ".join(card.name for card in cards().values() if card.twin.startswith("torchvision:"))
        raise UsageError(f"torchvision has no weights of {name}", hint=f"it has those of {able}")
    try:
        from torchvision.models import get_model_weights
    except ImportError as error:
        raise BackendMissing("torchvision is not installed", hint="pip install torchvision") from error
    from torch import hub

    url = str(get_model_weights(theirs)[find_card(name).top1_source.split()[-1]].url)
    path = Path(hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=False)
        except (OSError, RuntimeError) as error:  # URLError is an OSError, another hash a RuntimeError
            raise DeploykitError(
                f"cannot download {url}: {one_line(error)}", hint="fetch it elsewhere and give --weights FILE"
            ) from error
    return path


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
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Nothing here is compiled, and telling torch to skip it would import torch._dynamo: 0.8 s."""
            return False

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
    raise CheckpointMismatch(
        f"{weights} does not fit {model.label}: "
        + "; ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in troubles.items() if names),
        hint=_hint(model, found),
    )


def _hint(model: ModelSpec, found: "Mapping[str, Tensor]") -> str:
    alike = [name for name in _look_like(found) if name != model.name]
    if alike:
        return f"it looks like weights of {' or '.join(alike)}"
    twin = card_of(model).twin
    return f"names and shapes are those of {twin.replace(':', ' ')}" if twin and model.width_mult is None else ""


def _look_like(found: "Mapping[str, Tensor]") -> list[str]:
    """The networks of the zoo with the very names and shapes of `found`, auxiliary heads and counters aside."""
    import torch

    alike = []
    for card in cards().values():
        heads = tuple(f"{name}." for name in card.auxiliary)
        tensors = {name: tensor for name, tensor in found.items() if not name.startswith(heads)}
        if sum(tensor.numel() for name, tensor in tensors.items() if not name.endswith(STATISTICS)) != card.params:
            continue
        with torch.device("meta"):
            state = construct(ModelSpec(card.name)).state_dict()
        if _shapes(state) == _shapes(tensors):
            alike.append(card.name)
    return alike


def _shapes(state: "Mapping[str, Tensor]") -> "dict[str, tuple[int, ...]]":
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(".num_batches_tracked")}


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
