"""What a network's weights are: stated in every answer, so that nobody takes random ones for trained ones."""

from dataclasses import dataclass
from typing import Literal, TypedDict

DIGEST_SHOWN = 12  # hex digits


class WeightsFacts(TypedDict):
    """What every JSON answer says of a network's weights."""

    weights: str
    weights_digest: str | None
    weights_notes: tuple[str, ...]


NO_WEIGHTS: WeightsFacts = {"weights": "", "weights_digest": None, "weights_notes": ()}


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOrigin:
    """The origin of the weights.

        own             a factory's, as it returned them, a `live` module's, or those of an `.onnx` file (`file`)
        file            a checkpoint: `file` is its name, `key` the state dict in it ("" for the whole file)
        torchvision     its published ones
        random          seeded: nothing was trained

    `digest` is the SHA-256 of the values, of an `.onnx` file that of the file. `taken_over` names the network that some
    layers came from. `notes` say what was read off a checkpoint or converted, `warnings` what a user should look at.
    """

    kind: Literal["own", "file", "torchvision", "random"]
    file: str = ""
    live: bool = False
    key: str = ""
    digest: str = ""
    seed: int = 0
    taken_over: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def random(self) -> bool:
        """Whether not all of them come from a training."""
        return self.kind == "random" or bool(self.taken_over)

    def __str__(self) -> str:
        match self.kind:
            case "random":
                said = f"random, seed {self.seed}"
            case "file":
                said = f"{self.file} ({', '.join(filter(None, (self.key, self.digest[:DIGEST_SHOWN])))})"
            case "own" if self.file:
                said = f"own, from {self.file}"
            case "own":
                said = "own, of the module as it was given" if self.live else "own, as the function returned them"
            case kind:
                said = f"{kind}, {self.file}" if self.file else kind
        return f"{said}, layers of {self.taken_over} taken over" if self.taken_over else said

    def facts(self) -> WeightsFacts:
        """Its part of a JSON answer."""
        return {
            "weights": str(self),
            "weights_digest": self.digest or None,
            "weights_notes": (*self.notes, *self.warnings),
        }
