"""The weights of a checkpoint, put into the network that they fit. Imports torch when called."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.errors import CheckpointMismatch, UsageError
from deploykit.io.checkpoint.fit import TOP, PrefixMatch, Wanted, candidates, named, nothing, preferred
from deploykit.io.checkpoint.tensors import StoredTensor, dense_tensor, tensors_of
from deploykit.io.loader import read_checkpoint
from deploykit.spec import ModelSpec, WeightsOrigin
from deploykit.zoo.registry import build_module, card_of, cards, construct, own_module

if TYPE_CHECKING:
    from torch import Tensor, nn

SHOWN = 3  # names that a message lists of each kind
STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")  # of BatchNorm; they are no parameters
COUNTER = "num_batches_tracked"  # of BatchNorm; inference does not read it
ALIKE = 3.0  # a network that a file may be of has between a third and three times its numbers

# ATen's random fills; a constructor's initialization is made of these.
RANDOM_FILLS = ("bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network with its weights. `model` has the classes and channels that a checkpoint told; `origin` no digest."""

    model: ModelSpec
    module: "nn.Module"
    origin: WeightsOrigin


def load_module(model: ModelSpec, weights: Path, *, training: bool = False) -> "nn.Module":
    """The network alone of `load_checkpoint`."""
    return load_checkpoint(model, weights, training=training).module


def load_checkpoint(model: ModelSpec, weights: Path, *, training: bool = False) -> Loaded:
    """The network with every tensor from the state dict in `weights` that fits it (see `checkpoint.fit`).

    Names and shapes must match one to one behind a prefix; only BatchNorm's `num_batches_tracked` and copies of tied
    weights may be absent, and auxiliary heads may be there or not. With `training` the network has its heads; a head
    that the file lacks has seeded weights. Numbers of another width (float16, bfloat16, float64) are converted to
    float32. Where a zoo network's head or first convolution has other sizes in the file, the network gets them, unless
    `model` says otherwise.

    Where several state dicts fit, `model.weights_key` names one; without it the raw weights are taken, and
    the origin warns. Raises CheckpointMismatch with the closest table and the first names that are missing, extra,
    misshapen, not of a float type or not finite; and whatever `loader.read_checkpoint` and `registry.card_of` raise.
    """
    card_of(model)
    stored = tensors_of(read_checkpoint(weights), weights)
    module = _constructed(model, training=training)
    wanted = _wanted(model, module, training=training)
    fitting = candidates(stored, wanted)
    notes: tuple[str, ...] = ()
    if not any(one.fits for one in fitting):
        resized, notes = _resized(model, fitting, stored)
        if resized != model:
            model, module = resized, _constructed(resized, training=training)
            wanted = _wanted(model, module, training=training)
            fitting = candidates(stored, wanted)
    chosen, warnings = _chosen(model, weights, fitting, wanted, stored)
    state = module.state_dict()
    tensors = {name: dense_tensor(full, stored[full], weights) for name, full in chosen.matched.items()}
    _require_values(model, weights, chosen, state, tensors)
    kinds = {str(one.dtype).removeprefix("torch.") for name, one in tensors.items() if state[name].is_floating_point()}
    _copy(state, tensors)
    origin = WeightsOrigin(
        kind="torchvision" if model.published else "file",
        file="" if model.published else weights.name,
        key="" if chosen.where == TOP else chosen.where,
        notes=(*notes, *_said(chosen), *_converted(kinds), *_idle_seed(model)),
        warnings=warnings,
    )
    return Loaded(model, module, origin)


def _constructed(model: ModelSpec, *, training: bool) -> "nn.Module":
    """The network that a checkpoint is loaded into. Only a factory's, or one that trains, keeps numbers of its own."""
    if model.is_factory:
        return own_module(model, training=training)[0]
    if training:
        return build_module(model, training=True)
    with without_random_fills():
        return construct(model)


@contextmanager
def without_random_fills() -> "Iterator[None]":
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


def _wanted(model: ModelSpec, module: "nn.Module", *, training: bool) -> Wanted:
    import torch

    heads = tuple(f"{name}." for name in card_of(model).auxiliary)
    state = {name: tensor for name, tensor in module.state_dict().items() if torch.is_tensor(tensor)}
    shared: dict[tuple[int, tuple[int, ...]], set[str]] = {}
    for name, tensor in state.items():
        if tensor.numel():
            shared.setdefault((tensor.data_ptr(), tuple(tensor.shape)), set()).add(name)
    return Wanted(
        shapes={name: tuple(tensor.shape) for name, tensor in state.items()},
        optional={name for name in state if name.endswith(COUNTER) or (training and name.startswith(heads or ("\0",)))},
        aliases={name: frozenset(names) for names in shared.values() if len(names) > 1 for name in names},
        unread=() if training else heads,
    )


def _resized(
    model: ModelSpec, closest: list[PrefixMatch], stored: "Mapping[str, StoredTensor]"
) -> tuple[ModelSpec, tuple[str, ...]]:
    """The model with the classes and channels that a file's head and first layer have, and what was read off.

    Raises CheckpointMismatch where the model says other numbers.
    """
    notes = []
    if not closest or model.is_factory:
        return model, ()
    for option, what in (("num_classes", "classes"), ("in_channels", "input channels")):
        if option not in card_of(model).options:
            continue
        read = _sizes(model, option, closest[0], stored)
        if not read:
            continue
        name, size = read
        given = getattr(model, option)
        if given is not None and given != size:
            raise CheckpointMismatch(
                f"{model.weights} has {size} {what} ({name} is {_shape(stored[closest[0].matched[name]].shape)}), "
                f"not {given}",
                hint=f"leave out --{option.replace('_', '-')}",
            )
        if given is None:
            model = _with_size(model, option, size)
            notes.append(f"{size} {what}, from {name}")
    return model, tuple(notes)


def _with_size(model: ModelSpec, option: str, size: int) -> ModelSpec:
    return replace(model, num_classes=size) if option == "num_classes" else replace(model, in_channels=size)


def _sizes(
    model: ModelSpec, option: str, closest: PrefixMatch, stored: "Mapping[str, StoredTensor]"
) -> tuple[str, int] | None:
    """(tensor, size) of a file's tensors where the network's own size comes from `option`; None if it is the same.

    Which axes those are is seen by building the network, without numbers, with another size. All of those tensors must
    say the same, but for auxiliary heads.
    """
    import torch

    card = card_of(model)
    size = getattr(model, option) or (card.classes if option == "num_classes" else card.channels)
    with torch.device("meta"):
        one, other = (construct(_with_size(model, option, value)).state_dict() for value in (size, size + 1))
    told: dict[int, str] = {}
    for name, tensor in one.items():
        axes = [axis for axis, length in enumerate(tensor.shape) if length != other[name].shape[axis]]
        full = closest.matched.get(name)
        if len(axes) == 1 and full is not None and (read := _read_size(stored[full].shape, tensor.shape, axes[0])):
            told.setdefault(read, name)
    if len(told) != 1 or size in told:
        return None
    ((read, name),) = told.items()
    return name, read


def _read_size(shape: tuple[int, ...], wanted: tuple[int, ...], axis: int) -> int | None:
    """The size of one axis, where all the others are as they should be."""
    same = len(shape) == len(wanted) and all(
        length == own for place, (length, own) in enumerate(zip(shape, wanted, strict=True)) if place != axis
    )
    return shape[axis] if same else None


def _chosen(
    model: ModelSpec, weights: Path, fitting: list[PrefixMatch], wanted: Wanted, stored: "Mapping[str, StoredTensor]"
) -> tuple[PrefixMatch, tuple[str, ...]]:
    """The state dict to load, and a warning where others fit as well. Raises CheckpointMismatch where none fits."""
    usable = [one for one in fitting if one.fits and (model.weights_key or not one.for_training)]
    if not usable:
        raise _mismatch(model, weights, fitting, wanted, stored)
    if model.weights_key is not None:
        if chosen := named(usable, model.weights_key):
            return preferred(chosen), ()
        raise UsageError(
            f"{weights} has no weights of {model.label} under {model.weights_key!r}",
            hint=f"--weights-key takes {', '.join(one.where for one in usable)}",
        )
    chosen_one = preferred(usable)
    if len(usable) == 1:
        return chosen_one, ()
    listed = ", ".join(one.where + (" (averaged)" if one.averaged else "") for one in usable)
    others = " or ".join(f"--weights-key {one.where}" for one in usable if one is not chosen_one)
    return chosen_one, (
        f"{weights.name} holds {len(usable)} state dicts that fit: {listed}; {chosen_one.where} is taken, "
        f"the others with {others}",
    )


def _mismatch(
    model: ModelSpec, weights: Path, closest: list[PrefixMatch], wanted: Wanted, stored: "Mapping[str, StoredTensor]"
) -> CheckpointMismatch:
    """How the closest state dict differs from the network."""
    one = closest[0] if closest else nothing(wanted, stored)
    if one.for_training and one.fits:
        return CheckpointMismatch(
            f"{weights} has tensors of {model.label} under {one.where} alone, which is an optimizer's state",
            hint="give the checkpoint with the weights",
        )
    misshapen = [
        f"{name} is {_shape(stored[one.matched[name]].shape)} instead of {_shape(wanted.shapes[name])}"
        for name in one.misshapen
    ]
    troubles = {"missing": list(one.missing), "extra": list(one.extra), "misshapen": misshapen}
    place = "" if one.where == TOP else f" under {one.where}"
    table = {name: item for name, item in stored.items() if not closest or item.container == one.container}
    return CheckpointMismatch(
        f"{weights} does not fit {model.label}: "
        + "; ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in troubles.items() if names)
        + f"; {one.right} of its {len(wanted.shapes)} tensors fit{place}",
        hint=_hint(model, table),
    )


def _require_values(
    model: ModelSpec, weights: Path, chosen: PrefixMatch, state: "Mapping[str, Tensor]", stored: "Mapping[str, Tensor]"
) -> None:
    troubles = {
        "not float": [
            f"{name} is {str(tensor.dtype).removeprefix('torch.')}"
            for name, tensor in stored.items()
            if state[name].is_floating_point() and not tensor.is_floating_point()
        ],
        "with NaN, infinity or a negative variance": [
            name for name, tensor in stored.items() if not _computable(name, tensor)
        ],
    }
    if any(troubles.values()):
        place = "" if chosen.where == TOP else f" ({chosen.where})"
        raise CheckpointMismatch(
            f"{weights}{place} does not fit {model.label}: "
            + "; ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in troubles.items() if names)
        )


def _copy(state: "Mapping[str, Tensor]", tensors: "Mapping[str, Tensor]") -> None:
    import torch

    with torch.no_grad():
        for name, tensor in tensors.items():
            state[name].copy_(tensor)


def _said(chosen: PrefixMatch) -> Iterator[str]:
    if chosen.pieces:
        yield f"put together from {', '.join(f'{piece}.*' for piece in chosen.pieces)}"
    if chosen.averaged:
        yield "averaged weights"
    if beside := [name for name in chosen.beside if not name.endswith(("total_ops", "total_params", "n_averaged"))]:
        several = f"{len(beside)} other tensors of the file are" if len(beside) > 1 else "1 other tensor of the file is"
        yield f"{several} not part of the network ({_first(beside)})"


def _converted(kinds: set[str]) -> Iterator[str]:
    if other := sorted(kinds - {"float32"}):
        yield f"{', '.join(other)} tensors converted to float32"


def _idle_seed(model: ModelSpec) -> Iterator[str]:
    if model.seed:
        yield f"--seed {model.seed} has no effect on these weights"


def _hint(model: ModelSpec, stored: "Mapping[str, StoredTensor]") -> str:
    alike = [name for name in _look_like(stored) if name != model.name]
    if alike:
        return f"it looks like weights of {' or '.join(alike)}"
    twin = card_of(model).twin
    return f"names and shapes are those of {twin.replace(':', ' ')}" if twin and model.width_mult is None else ""


def _look_like(stored: "Mapping[str, StoredTensor]") -> list[str]:
    """The networks of the zoo that a file's table fits, whatever their classes and channels.

    Those are tried whose number of parameters is not far from what lies in it.
    """
    numbers = sum(math.prod(item.shape) for name, item in stored.items() if not name.endswith(STATISTICS))
    near = [card.name for card in cards().values() if card.params and 1 / ALIKE < numbers / card.params < ALIKE]
    return [name for name in near if _fits_a_form_of(ModelSpec(name), stored)]


def _fits_a_form_of(model: ModelSpec, stored: "Mapping[str, StoredTensor]") -> bool:
    import torch

    for _ in range(2):
        with torch.device("meta"):
            close = candidates(stored, _wanted(model, construct(model), training=False))
        if any(one.fits for one in close):
            return True
        resized, _notes = _resized(model, close, stored)
        if resized == model:
            return False
        model = resized
    return False


def _computable(name: str, tensor: "Tensor") -> bool:
    """Finite throughout (`sum` carries NaN and infinity along); a BatchNorm's variance not below zero."""
    import torch

    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    finite = bool(tensor.sum(dtype=torch.float64).isfinite())
    return finite and not (name.endswith(".running_var") and bool((tensor < 0).any()))


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "a scalar"


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
