"""A network's weights: a factory's own, a checkpoint's, torchvision's or seeded ones. Imports torch when called."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from deploykit.errors import BackendMissing, DeploykitError, UsageError, one_line
from deploykit.modules.state import restore
from deploykit.spec import ModelSpec, WeightsOrigin
from deploykit.weights_file import Loaded, load_checkpoint, load_module, without_random_fills
from deploykit.zoo.registry import build_module, cards, construct, find_card, input_specs, own_module

if TYPE_CHECKING:
    from torch import Tensor, nn

    from deploykit.zoo.vgg import VGG

NOISE_BATCHES, NOISE_BATCH = 2, 8  # images that BatchNorm statistics are estimated on


def load_network(model: ModelSpec, *, training: bool = False) -> Loaded:
    """The network that `model` asks for, with the weights that it asks for; float32, on the CPU.

    In eval mode and without auxiliary heads; with `training`, in training mode and with them, and then BatchNorm
    statistics of seeded weights are not estimated, for training does not read them.

    Raises as `load_checkpoint`, `registry.card_of` and the network's own function do.
    """
    if model.weights is not None and model.init_from is None:
        return load_checkpoint(model, model.weights, training=training)
    if model.is_factory and not model.seeded:
        module, notes = own_module(model, training=training)
        drawn = (f"--seed {model.seed} seeds what the function initializes at random, not weights that it loads",)
        said = drawn if model.seed and not model.live else ()
        return Loaded(model, module, WeightsOrigin(kind="own", live=bool(model.live), notes=(*notes, *said)))
    origin = WeightsOrigin(kind="random", seed=model.seed, taken_over=model.init_from or "")
    if model.weights is not None:
        origin = replace(origin, kind="file", file=model.weights.name)
    if training and model.init_from is None:
        return Loaded(model, build_module(model, training=True), origin)
    return Loaded(model, seeded_module(model).train(training), origin)


def seeded_module(model: ModelSpec) -> "nn.Module":
    """The network with weights from `model.seed` and BatchNorm statistics estimated on seeded noise, in eval mode.

    The noise has the model's image size. With `model.init_from`, the layers that the network's paper takes over from
    that other network have its weights: those of the checkpoint `model.weights`, else seeded ones. Takes 0.2 s for a
    small network and a few seconds for ResNet-152.
    """
    import torch

    from deploykit.data.noise import noise_feeds
    from deploykit.zoo.initialize import estimate_batchnorm

    module = build_module(model)
    if model.init_from is not None:
        donor = replace(model, name=model.init_from, init_from=None)
        taken = build_module(donor) if model.weights is None else load_module(donor, model.weights)
        cast("VGG", module).initialize_from(cast("VGG", taken))
    noise = noise_feeds(
        input_specs(model), count=NOISE_BATCHES, batch=NOISE_BATCH, seed=model.seed, ranges=model.input_ranges
    )
    estimate_batchnorm(module, ({name: torch.from_numpy(array) for name, array in feed.items()} for feed in noise))
    return module


def seeded_state(model: ModelSpec) -> "dict[str, Tensor]":
    """The state dict of `seeded_module`."""
    return dict(seeded_module(model).state_dict())


def restored_module(model: ModelSpec, state: Path) -> "nn.Module":
    """The network with the state that `module_state.write_state` left, in eval mode.

    A network of the zoo draws no numbers first; a factory's function is called as it was when the state was taken.
    """
    if model.is_factory:
        module, _ = own_module(model)
    else:
        with without_random_fills():
            module = construct(model)
    restore(module, state)
    return module


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
