"""LeNet-5 trained on scikit-learn's digits: 1,797 grey images of 8 x 8 pixels, ten classes."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch.nn import functional

from deploykit.data.images import center_crop, normalize
from deploykit.spec import ModelSpec
from deploykit.zoo import registry

SPEC = ModelSpec("lenet5")
EPOCHS, BATCH, RATE = 15, 64, 4e-3


def digits():
    """uint8 (1797, 8, 8) and the labels."""
    found = load_digits()
    return np.rint(found.images * 255 / 16).astype(np.uint8), found.target.astype(np.int64)


def folds(count, parts, seed=0):
    """Index arrays (train, test) of each fold: every image is tested once."""
    order = np.random.default_rng(seed).permutation(count)
    for part in np.array_split(order, parts):
        yield np.setdiff1d(order, part), part


def write_archive(path: Path, pixels, labels) -> Path:
    np.savez(path, images=pixels, labels=labels)
    return path


def train(path: Path, pixels, labels, *, seed=0) -> Path:
    """A checkpoint of LeNet-5 trained on images prepared as `evaluate` prepares them; some seconds on one thread."""
    recipe = registry.preprocessing(SPEC)
    prepared = [normalize(center_crop(Image.fromarray(image).convert("RGB"), recipe), recipe, 1) for image in pixels]
    images, truth = torch.from_numpy(np.stack(prepared)), torch.from_numpy(labels)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # threads of a network this small wait for each other
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = registry.build_module(ModelSpec("lenet5", seed=seed)).train()
        optimizer = torch.optim.Adam(network.parameters())
        steps = EPOCHS * -(-len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        for _ in range(EPOCHS):
            for index in torch.randperm(len(images)).split(BATCH):
                optimizer.zero_grad()
                functional.cross_entropy(network(images[index]), truth[index]).backward()
                optimizer.step()
                schedule.step()
    torch.set_num_threads(before)
    save_file(network.state_dict(), path)
    return path
