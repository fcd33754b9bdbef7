"""What only training has: auxiliary outputs, and the loss that papers give them."""

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import cross_entropy


class WithAuxiliary(NamedTuple):
    """What a network with auxiliary heads returns in training mode: logits (N, classes), and one such per head,
    the head nearest to the input first."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...]


def training_loss(
    outputs: Tensor | WithAuxiliary, labels: Tensor, *, auxiliary_weight: float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """Cross entropy of the logits plus `auxiliary_weight` times that of each auxiliary head, as one number.

    `labels` are class indices (N,). With `label_smoothing` e, the true class is wanted with probability 1 - e, and e is
    shared by all classes alike (Szegedy et al., arXiv 1512.00567, section 7).
    """
    if not isinstance(outputs, WithAuxiliary):
        return cross_entropy(outputs, labels, label_smoothing=label_smoothing)
    heads = (cross_entropy(head, labels, label_smoothing=label_smoothing) for head in outputs.auxiliary)
    return cross_entropy(outputs.logits, labels, label_smoothing=label_smoothing) + auxiliary_weight * sum(heads)
