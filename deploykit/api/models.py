"""Networks: by name in the zoo, by a function that makes one, by an `.onnx` file, or as a live module."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from deploykit.api.checked import checked
from deploykit.api.modules import Example, example_shapes, snapshot_of
from deploykit.api.workspace import path_of
from deploykit.errors import UsageError
from deploykit.spec import (
    InputRange,
    InputShape,
    ModelSpec,
    PreprocessRequest,
    Scalar,
    parse_input_range,
    parse_input_shape,
)

if TYPE_CHECKING:
    from torch import nn

    from deploykit.modules.live import Snapshot

TORCHVISION, SEEDED = "torchvision", "seeded"
Shapes: TypeAlias = str | InputShape | Sequence[int] | Sequence[str | InputShape]
Ranges: TypeAlias = str | InputRange | Sequence[str | InputRange]


@dataclass(frozen=True, slots=True)
class Model:
    """A network before export: `spec` says which, and what is changed about it.

    `snapshot` is the copy of a live module; None for every other kind of network.
    """

    spec: ModelSpec
    snapshot: Snapshot | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The short name that tables and messages use."""
        return self.spec.label


Network: TypeAlias = "Model | ModelSpec | str | PathLike[str] | nn.Module"


@checked
def zoo(
    name: str,
    *,
    weights: str | PathLike[str] | None = None,
    weights_key: str | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    init_from: str | None = None,
    image_size: int | None = None,
    width_mult: float | None = None,
    input_shape: Shapes = (),
    preprocess: str | PreprocessRequest | None = None,
    seed: int = 0,
) -> Model:
    """A network that deploykit or an installed plug-in ships; `list_models` lists them.

    Args:
        name: The network's name, such as `"resnet50"`.
        weights: A checkpoint file, `"torchvision"` for the published weights of torchvision, or None for random
            weights drawn from `seed`.
        weights_key: Which state dict of the checkpoint to load where several fit, such as `"model_ema"`.
        num_classes: Size of the output; None takes the checkpoint's, else the network's own.
        in_channels: Channels of the images; None takes the checkpoint's, else the network's own.
        init_from: VGG only: the network whose layers initialize this one, as in the paper.
        image_size: Side of the square input, pixels; None takes the network's own.
        width_mult: MobileNet's width multiplier.
        input_shape: Shape of one image, `(3, 224, 320)`, or the same as text, in which a size may be a range
            `"3,[224:320:640],224"`.
        preprocess: How images become inputs, `"imagenet"` or `"mean=0.5,std=0.5"`; None takes the network's own.
        seed: Seed of random weights and of generated inputs.

    Returns:
        The network, with the batch left free: images are float32 (batch, channels, height, width).

    Raises:
        UnknownName: No network has this name; the message has the nearest ones.
        UsageError: The network does not take one of the options.
    """
    model = from_name(
        name,
        weights=weights,
        weights_key=weights_key,
        num_classes=num_classes,
        in_channels=in_channels,
        init_from=init_from,
        image_size=image_size,
        width_mult=width_mult,
        input_shape=input_shape,
        preprocess=preprocess,
        seed=seed,
    )
    if model.spec.is_onnx or model.spec.is_factory:
        other = "from_onnx" if model.spec.is_onnx else "from_factory"
        raise UsageError(f"{name} is not a network of the zoo", hint=f"use {other}({name!r})")
    from deploykit.zoo.registry import card_of

    card_of(model.spec)
    return model


@checked
def from_factory(
    factory: str,
    *,
    input_shape: Shapes,
    input_range: Ranges = (),
    factory_args: Mapping[str, Scalar] | None = None,
    weights: str | PathLike[str] | None = None,
    weights_key: str | None = None,
    preprocess: str | PreprocessRequest | None = None,
    seed: int = 0,
) -> Model:
    """A network that a function of yours returns, with the weights that it returns.

    Every process that needs the network imports the function anew, so it has to be importable by its name.

    Args:
        factory: `"package.module:function"`; the function returns an `nn.Module`.
        input_shape: Shape of one image, `(3, 224, 224)`, or one text per input, `"ids=batchx16:int64"`.
        input_range: Numbers that an input may hold where they are not images: `"ids=0:30000"`.
        factory_args: Keyword arguments that the function is called with.
        weights: A checkpoint file, `"seeded"` for random weights, or None for those that the function returns.
        weights_key: Which state dict of the checkpoint to load where several fit.
        preprocess: How images become inputs; None assumes ImageNet's normalization for three channels.
        seed: Seed of what the function draws at random and of generated inputs.

    Returns:
        The network. Nothing has been imported yet.

    Raises:
        UsageError: The options contradict each other.
    """
    model = from_name(
        factory,
        input_shape=input_shape,
        input_range=input_range,
        factory_args=factory_args,
        weights=weights,
        weights_key=weights_key,
        preprocess=preprocess,
        seed=seed,
    )
    if not model.spec.is_factory:
        raise UsageError(f"{factory!r} is not package.module:function", hint="write the module's name, a colon, a name")
    return model


@checked
def from_onnx(
    path: str | PathLike[str],
    *,
    input_shape: Shapes = (),
    input_range: Ranges = (),
    preprocess: str | PreprocessRequest | None = None,
    seed: int = 0,
) -> Model:
    """The network of an `.onnx` file.

    Args:
        path: The file; external data lies beside it.
        input_shape: Sizes of inputs that the file leaves free: `"x=batchx3x224x224"`, or a range of sizes.
        input_range: Numbers that an input may hold where they are not images: `"ids=0:30000"`.
        preprocess: How images become inputs; None takes what the file notes, else assumes ImageNet's normalization.
        seed: Seed of generated inputs.

    Returns:
        The network. The file is read, and checked, by whatever uses it first.

    Raises:
        UsageError: There is no such file, or its name does not end in `.onnx`.
    """
    file = path_of("the path of the .onnx file", path)
    model = from_name(str(file), input_shape=input_shape, input_range=input_range, preprocess=preprocess, seed=seed)
    if not model.spec.is_onnx:
        raise UsageError(f"{file} is not an .onnx file", hint="export the network to ONNX, or use zoo(...)")
    return model


@checked
def from_module(
    module: nn.Module,
    *,
    example: Example | None = None,
    input_shape: Shapes = (),
    input_range: Ranges = (),
    preprocess: str | PreprocessRequest | None = None,
    seed: int = 0,
) -> Model:
    """A live module, with the weights and BatchNorm statistics that it has now.

    A copy is taken, in eval mode, float32 and on the CPU; `weights.notes` of the exported graph lists what was
    converted. The module itself keeps its mode, device and types, and training that goes on does not reach the copy.

    Args:
        module: The network; wrappers such as DataParallel and what torch.compile returns are taken off the copy.
        example: Inputs as forward takes them, whose first dimension is the batch and stays free: one tensor (the
            input is then called `images`), several in the order of forward's parameters, or a mapping by their names.
        input_shape: The shapes in place of an example: `(3, 224, 224)` for images, or `"ids=batchx16:int64"`.
        input_range: Numbers that an input may hold where they are not images: `"ids=0:30000"`.
        preprocess: How images become inputs; None assumes ImageNet's normalization for three channels.
        seed: Seed of generated inputs.

    Returns:
        The network. Keep it, or a graph made of it, for as long as it is used.

    Raises:
        UsageError: The inputs are not known, or the module cannot be copied or has no plain values.
    """
    if not _is_module(module):
        raise UsageError(
            f"a {type(module).__name__} is not an nn.Module", hint="give an instance of a subclass of torch.nn.Module"
        )
    shapes = _shapes(input_shape)
    _require_values(preprocess)
    if (example is None) == (not shapes):
        raise UsageError(
            f"the inputs of {type(module).__name__} are {'not known' if example is None else 'said twice'}",
            hint="give either an example, example=torch.zeros(1, 3, 224, 224), or input_shape=(3, 224, 224)",
        )
    spec = ModelSpec(
        name=f"live:{type(module).__name__}",
        seed=seed,
        input_shape=shapes if example is None else example_shapes(module, example),
        preprocess=PreprocessRequest.parse(preprocess) if isinstance(preprocess, str) else preprocess,
        input_ranges=_ranges(input_range),
    )
    snapshot = snapshot_of(module, spec)
    return Model(replace(spec, live=snapshot.token), snapshot)


@checked
def from_name(
    name: str,
    *,
    weights: str | PathLike[str] | None = None,
    weights_key: str | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    init_from: str | None = None,
    image_size: int | None = None,
    width_mult: float | None = None,
    input_shape: Shapes = (),
    input_range: Ranges = (),
    preprocess: str | PreprocessRequest | None = None,
    factory_args: Mapping[str, Scalar] | None = None,
    seed: int = 0,
) -> Model:
    """What the command line calls MODEL: a network of the zoo, `package.module:function` or an `.onnx` file.

    Args:
        name: The network, as `zoo`, `from_factory` or `from_onnx` take it.
        weights: As for `zoo` and `from_factory`.
        weights_key: As for `zoo` and `from_factory`.
        num_classes: As for `zoo`.
        in_channels: As for `zoo`.
        init_from: As for `zoo`.
        image_size: As for `zoo`.
        width_mult: As for `zoo`.
        input_shape: As for `zoo`, `from_factory` and `from_onnx`.
        input_range: As for `from_factory` and `from_onnx`.
        preprocess: As for `zoo`, `from_factory` and `from_onnx`.
        factory_args: As for `from_factory`.
        seed: As for `zoo`, `from_factory` and `from_onnx`.

    Returns:
        The network.

    Raises:
        UsageError: An option does not fit this kind of network, or a file is not there.
    """
    if not isinstance(weights, str | PathLike | None):
        raise UsageError(f"weights is a {type(weights).__name__}, not a name", hint="give text or a path")
    _require_values(preprocess, factory_args)
    given = None if weights is None else fspath(weights)
    spec = ModelSpec(
        name=name,
        image_size=image_size,
        width_mult=width_mult,
        weights=None if given in (None, "", SEEDED) else Path(str(given)),
        weights_key=weights_key,
        seeded=given == SEEDED,
        num_classes=num_classes,
        in_channels=in_channels,
        seed=seed,
        input_shape=_shapes(input_shape),
        factory_args=tuple(sorted((factory_args or {}).items())),
        init_from=init_from,
        preprocess=PreprocessRequest.parse(preprocess) if isinstance(preprocess, str) else preprocess,
        input_ranges=_ranges(input_range),
    )
    _require_file(spec)
    return Model(_published(spec, name) if given == TORCHVISION else spec)


def model_of(network: Network, example: Example | None = None) -> Model:
    """Whatever names a network as a `Model`, to be held while it is used. Raises UsageError for what names none.

    `example` gives the inputs of a module.
    """
    if _is_module(network):
        return from_module(network, example=example)
    if example is not None:
        raise UsageError("an example gives the inputs of a module", hint="leave it out, or give the nn.Module itself")
    match network:
        case Model():
            return network
        case ModelSpec():
            _require_file(network)
            return Model(network)
        case str() | PathLike():
            return from_name(fspath(network))
    raise UsageError(
        f"a {type(network).__name__} is not a network",
        hint="give a name of the zoo, package.module:function, a path of an .onnx file, a Model or an nn.Module",
    )


def _is_module(given: object) -> TypeGuard[nn.Module]:
    return "torch" in sys.modules and isinstance(given, sys.modules["torch"].nn.Module)


def _require_values(preprocess: object, factory_args: object = None) -> None:
    """Raises UsageError for an option of a wrong type."""
    if not isinstance(preprocess, str | PreprocessRequest | None):
        raise UsageError(f"preprocess is a {type(preprocess).__name__}, not text", hint='write "imagenet" or "unit"')
    if not isinstance(factory_args, Mapping | None):
        raise UsageError(f"factory_args is a {type(factory_args).__name__}, not a mapping", hint='give {"depth": 2}')


def _require_file(spec: ModelSpec) -> None:
    if spec.is_onnx and not Path(spec.name).is_file():
        from deploykit.zoo.misnamed import missing_file
        from deploykit.zoo.registry import cards

        raise missing_file(spec.name, cards())


def _published(spec: ModelSpec, name: str) -> ModelSpec:
    from deploykit.weights import published_checkpoint

    if spec.is_factory:
        raise UsageError(f"torchvision has no weights of {name}", hint="give a file as weights (--weights)")
    return replace(spec, weights=published_checkpoint(spec.init_from or name), published=True)


def _shapes(given: Shapes) -> tuple[InputShape, ...] | tuple[int, ...]:
    if isinstance(given, str | InputShape):
        given = (given,)
    if not isinstance(given, Sequence):
        raise UsageError(f"{given!r} is not the shape of an input", hint="give (3, 224, 224)")
    numbers = [size for size in given if isinstance(size, int) and not isinstance(size, bool)]
    if numbers and len(numbers) == len(given):
        if min(numbers) < 1:
            raise UsageError(f"input shape {tuple(numbers)} has a size below 1", hint="give (3, 224, 224)")
        return tuple(numbers)
    return tuple(parse_input_shape(each) if isinstance(each, str) else _shape(each) for each in given)


def _shape(given: Any) -> InputShape:
    if not isinstance(given, InputShape):
        raise UsageError(f"{given!r} is not the shape of an input", hint='give (3, 224, 224), or "name=1x3x224x224"')
    return given


def _ranges(given: Ranges) -> tuple[InputRange, ...]:
    several = (given,) if isinstance(given, str | InputRange) else given
    return tuple(parse_input_range(each) if isinstance(each, str) else each for each in several)
