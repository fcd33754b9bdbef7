"""The training loss, against its formulas written out in double precision."""

import pytest
import torch

from deploykit.errors import UsageError
from deploykit.spec import ModelSpec
from deploykit.zoo.registry import check_training_size
from deploykit.zoo.training import WithAuxiliary, training_loss

CLASSES = 7


def logits(seed, *, batch=5):
    return 3 * torch.randn(batch, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([0, 6, 3, 3, 1])


def smoothed_cross_entropy(scores, labels, smoothing):
    """arXiv 1512.00567, section 7: q'(k) = (1 - e) [k is the label] + e / K; the mean over images of -sum q' log p."""
    total = 0.0
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        partition = sum(torch.tensor(row, dtype=torch.float64).exp().tolist())
        for k, score in enumerate(row):
            wanted = (1 - smoothing) * (k == label) + smoothing / CLASSES
            total -= wanted * (score - torch.tensor(partition, dtype=torch.float64).log().item())
    return total / len(labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
def test_plain_logits_give_the_smoothed_cross_entropy(smoothing):
    scores = logits(0)
    loss = training_loss(scores, LABELS, label_smoothing=smoothing)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(smoothed_cross_entropy(scores, LABELS, smoothing), rel=1e-12)


def test_the_loss_is_not_smoothed_unless_asked():
    scores = logits(1)
    assert training_loss(scores, LABELS).item() == pytest.approx(smoothed_cross_entropy(scores, LABELS, 0), rel=1e-12)


def test_a_sure_and_right_answer_costs_nothing_and_with_smoothing_something():
    sure = 1000 * torch.nn.functional.one_hot(LABELS, CLASSES).double()
    assert training_loss(sure, LABELS).item() == 0
    assert training_loss(sure, LABELS, label_smoothing=0.1).item() == pytest.approx(100 * (CLASSES - 1) / CLASSES)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("heads", [0, 1, 2])
def test_each_head_adds_its_weighted_loss(heads, smoothing, weight):
    auxiliary = tuple(logits(10 + head) for head in range(heads))
    loss = training_loss(
        WithAuxiliary(logits(2), auxiliary), LABELS, auxiliary_weight=weight, label_smoothing=smoothing
    )
    extra = sum(smoothed_cross_entropy(scores, LABELS, smoothing) for scores in auxiliary)
    expected = smoothed_cross_entropy(logits(2), LABELS, smoothing) + weight * extra
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_the_weight_means_nothing_to_plain_logits():
    assert torch.equal(training_loss(logits(3), LABELS, auxiliary_weight=0.3), training_loss(logits(3), LABELS))


def test_gradients_reach_logits_and_heads_in_proportion_to_the_weight():
    main, head = logits(4).requires_grad_(), logits(4).requires_grad_()
    training_loss(WithAuxiliary(main, (head,)), LABELS, auxiliary_weight=0.3, label_smoothing=0.1).backward()
    assert main.grad.abs().min() > 0
    torch.testing.assert_close(head.grad, 0.3 * main.grad, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("inception_v2", 298, "inception_v2 cannot be trained on images of 298 pixels; its .* take 299 to 346"),
        ("inception_v2", 347, "take 299 to 346"),
        ("inception_v3", 128, "inception_v3 cannot be trained on images of 128 pixels; its .* take 299 or more"),
        ("googlenet_paper", 271, "take 223 to 270"),
    ],
)
def test_images_that_auxiliary_heads_cannot_take_are_refused_before_any_work(name, size, message):
    with pytest.raises(UsageError, match=message):
        check_training_size(ModelSpec(name, image_size=size))
    check_training_size(ModelSpec(name))
