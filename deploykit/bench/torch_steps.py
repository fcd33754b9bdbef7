"""What one timed step of eager PyTorch does, forward alone or forward and backward; run in a worker process.

The input is one batch of seeded noise images of the network's size, the same at every step and on the device before the
first. Whatever a step computed stays on the device, and a step ends when the device has finished.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from deploykit.backends.quoted import quoted
from deploykit.backends.torch import configure
from deploykit.errors import DeviceOutOfMemory, UnknownName, UsageError
from deploykit.modules.live import receive
from deploykit.spec import ModelSpec
from deploykit.zoo import registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Mode(StrEnum):
    """What a step of eager PyTorch does: a forward pass, or a forward and a backward pass."""

    FORWARD = "forward"
    FORWARD_BACKWARD = "forward-backward"

    @classmethod
    def parse(cls, text: str) -> Mode:
        try:
            return cls(text.strip().lower())
        except ValueError:
            raise UnknownName("mode", text, [member.value for member in cls]) from None

    @property
    def step(self) -> str:
        """What one step does, in words."""
        if self is Mode.FORWARD:
            return "one batch forward, in eval mode under inference_mode"
        return "gradients set to None, one batch forward in training mode, loss, backward; no optimizer step"


@dataclass(frozen=True, slots=True)
class _Steps:
    """`batch` images a step. `flavour` names the device as `backends.torch.flavour_here` does.

    `pickled` is a live module (`modules.live`), b"" for a network that its name is enough for.
    """

    model: ModelSpec
    batch: int
    flavour: str
    pickled: bytes = field(default=b"", repr=False)

    def _placed(self, *, threads: int, training: bool) -> tuple[nn.Module, Tensor, torch.device]:
        """The module and its batch of images on their device."""
        device = configure(self.flavour, threads=threads)
        if self.pickled:
            receive(self.model.live, self.pickled)
        return _module(self.model, training=training).to(device), _noise(self.model, self.batch).to(device), device


class Forward(_Steps):
    """Inference."""

    __slots__ = ()

    @quoted("PyTorch")
    def prepare(self, *, threads: int) -> TorchStep:
        """Raises CheckpointMismatch for a checkpoint of another network."""
        import torch

        module, images, device = self._placed(threads=threads, training=False)

        def work() -> Tensor:
            with torch.inference_mode():
                found: Tensor = module(images)
            return found

        return TorchStep(work, device)


class ForwardBackward(_Steps):
    """Training up to the gradients: dropout, batch statistics and auxiliary heads as the paper has them.

    Labels are drawn from the seed, and so are dropout's masks, anew at every step.
    """

    __slots__ = ()

    @quoted("PyTorch")
    def prepare(self, *, threads: int) -> TorchStep:
        """Raises CheckpointMismatch, and UsageError for a network whose output is not one score per class."""
        import torch

        from deploykit.zoo.training import training_loss

        module, images, device = self._placed(threads=threads, training=True)
        card = registry.card_of(self.model)
        random = torch.Generator().manual_seed(self.model.seed)
        labels = torch.randint(self._classes(), (self.batch,), generator=random).to(device)
        torch.manual_seed(self.model.seed)

        def work() -> Tensor:
            module.zero_grad(set_to_none=True)
            loss = training_loss(
                module(images),
                labels,
                auxiliary_weight=card.auxiliary_weight,
                label_smoothing=card.label_smoothing,
            )
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        return TorchStep(work, device)

    def _classes(self) -> int:
        outputs = registry.output_specs(self.model)
        match [spec.shape for spec in outputs]:
            case [(_, int(classes))]:
                return classes
        shapes = ", ".join(f"{spec.name}{list(spec.shape)}" for spec in outputs)
        raise UsageError(
            f"{self.model.name} returns {shapes}, and cross entropy takes one output of (batch, classes)",
            hint="time it with --mode forward",
        )


class TorchStep:
    """Work on a device, launched and waited for. `result` is what the last step computed: scores, or the loss."""

    def __init__(self, work: Callable[[], Tensor], device: torch.device) -> None:
        self._work = work
        self._device = device
        self.result: Tensor | None = None
        self.synchronize()

    @quoted("PyTorch")
    def launch(self) -> None:
        self.result = self._work()

    @quoted("PyTorch")
    def synchronize(self) -> None:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize()

    def device_ms(self) -> float | None:
        """None: steps are timed by the host's clock alone."""
        return None


def describe_loss(model: ModelSpec) -> str:
    """The loss of a training step: `cross entropy + 0.3 x auxiliary, label smoothing 0.1`."""
    card = registry.card_of(model)
    said = f"cross entropy + {card.auxiliary_weight:g} x auxiliary" if card.auxiliary else "cross entropy"
    return f"{said}, label smoothing {card.label_smoothing:g}" if card.label_smoothing else said


def _module(model: ModelSpec, *, training: bool) -> nn.Module:
    """The network with the weights that the model asks for; heads that a checkpoint lacks have seeded ones."""
    from deploykit.weights import load_network

    return load_network(model, training=training).module


def _noise(model: ModelSpec, batch: int) -> Tensor:
    import torch

    from deploykit.zoo.initialize import calibration_noise

    try:
        (images,) = calibration_noise(registry.input_spec(model), batches=1, batch=batch, seed=model.seed)
    except MemoryError as error:
        raise DeviceOutOfMemory(f"{batch} images do not fit into memory", hint="give a smaller --batch") from error
    return torch.from_numpy(images)
