"""Networks whose training can be looked at. Each factory leaves what it made in MADE."""

import torch
from torch import nn

from deploykit.zoo.training import WithAuxiliary

MADE = []
CLASSES = 5
HEADED = {
    "factory": "stepping_networks:headed", "family": "tiny", "image_size": 8, "classes": CLASSES, "params": 1,
    "macs": 1, "preprocessing": {"resize": 8, "crop": 8}, "auxiliary": ["aux"], "auxiliary_weight": 0.3,
    "label_smoothing": 0.1,
}  # fmt: skip


class Headed(nn.Module):
    """BatchNorm and, in training, a head beside the classifier; no dropout, so that a step repeats bit for bit."""

    def __init__(self, *, auxiliary):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4 * 64, CLASSES)
        if auxiliary:
            self.aux = nn.Linear(4 * 64, CLASSES)
        self.modes = []

    def forward(self, images):
        self.modes.append((self.training, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        maps = self.bn(self.convolution(images)).flatten(1)
        logits = self.classifier(maps)
        return WithAuxiliary(logits, (self.aux(maps),)) if self.training else logits


class _NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("there is no gradient here\nat all")


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(192, CLASSES)

    def forward(self, images):
        return _NoGradient.apply(self.classifier(images.flatten(1)))


class Hungry(nn.Module):
    """Takes a petabyte in training alone."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(192, CLASSES)

    def forward(self, images):
        if self.training:
            torch.empty(2**50, dtype=torch.uint8)
        return self.classifier(images.flatten(1))


class Two(nn.Module):
    def forward(self, images):
        return images.flatten(1), images.mean(1)


def headed(auxiliary=True):
    MADE.append(Headed(auxiliary=auxiliary))
    return MADE[-1]


def dropout():
    MADE.append(nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.Dropout(0.5), nn.Linear(64, CLASSES)))
    return MADE[-1]


def fails():
    return Fails()


def hungry():
    return Hungry()


def two():
    return Two()
