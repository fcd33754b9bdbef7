"""The table that fits, wherever it lies; what does not fit is answered with the closest one."""

import argparse

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deploykit.errors import CheckpointMismatch, UntrustedArtifact, UsageError
from deploykit.spec import ModelSpec
from deploykit.weights_file import load_checkpoint
from deploykit.zoo.registry import build_module

MODEL = ModelSpec("test_resnet")
STATE = {name: tensor.clone() for name, tensor in build_module(ModelSpec("test_resnet", seed=3)).state_dict().items()}
EMA = {name: tensor * 1.5 if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}
OPTIMIZER = {"state": {0: {"momentum_buffer": torch.ones(8, 3, 3, 3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def behind(prefix, state=STATE):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def inside(wrapper):
    return {name.replace("layer1.0.", f"layer1.0.{wrapper}."): tensor for name, tensor in STATE.items()}


LAYOUTS = {
    "a tutorial": ({"epoch": 3, "model_state_dict": STATE, "optimizer_state_dict": OPTIMIZER}, "model_state_dict"),
    "torchvision": ({"model": STATE, "optimizer": OPTIMIZER, "args": argparse.Namespace(lr=0.1)}, "model"),
    "ImageNet example": ({"state_dict": behind("module."), "best_acc1": torch.tensor(71.2)}, "state_dict.module"),
    "Lightning": ({"state_dict": behind("model."), "hyper_parameters": {"lr": 0.1}}, "state_dict.model"),
    "torch.compile": (behind("_orig_mod."), "_orig_mod"),
    "compiled and distributed": (behind("module._orig_mod."), "module._orig_mod"),
    "Lightning, compiled": ({"state_dict": behind("model._orig_mod.")}, "state_dict.model._orig_mod"),
    "a backbone": ({"state_dict": behind("backbone."), "meta": {"epoch": 3}}, "state_dict.backbone"),
    "one deep": ({"ema": {"state_dict": {"inner": STATE}}}, "ema.state_dict.inner"),
    "averaged": ({"n_averaged": torch.tensor(3), **behind("module.")}, "module"),
    "one in a list": ({"nets": [STATE]}, "nets.0"),
    "compiled inside": (inside("_orig_mod"), ""),
    "distributed inside, in a table": ({"net": inside("module")}, "net"),
    "thop": ({**STATE, "total_ops": torch.zeros(1), "layer1.total_params": torch.zeros(1)}, ""),
    "a loss with weights": ({**behind("model."), "criterion.weight": torch.ones(5)}, "model"),
    "a loss beside the names": ({**STATE, "loss_fn.weight": torch.ones(5)}, ""),
    "another network beside": (
        {"state_dict": {**behind("net."), **behind("critic.", {"w": torch.ones(2)})}},
        "state_dict.net",
    ),
    "arrays": ({name: tensor.numpy() for name, tensor in STATE.items()}, ""),
    "in two tables": ({"weights": STATE, "state_dict": STATE}, "weights"),
    "head apart": (
        {
            "state_dict": {
                **behind("backbone.", {n: t for n, t in STATE.items() if n[:2] != "fc"}),
                **behind("head.", {n: t for n, t in STATE.items() if n[:2] == "fc"}),
            }
        },
        "state_dict",
    ),
}


@pytest.fixture
def saved(tmp_path):
    def save(content):
        torch.save(content, tmp_path / "net.pth")
        return tmp_path / "net.pth"

    return save


def assert_loaded(loaded, state=STATE):
    found = loaded.module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_table_that_fits_is_found_wherever_it_lies(saved, layout):
    content, key = LAYOUTS[layout]
    loaded = load_checkpoint(MODEL, saved(content))
    assert_loaded(loaded)
    assert (loaded.origin.kind, loaded.origin.key, loaded.origin.warnings) == ("file", key, ())


def test_npz_and_safetensors_are_read_whatever_their_name(tmp_path):
    np.savez(tmp_path / "net.npz", **{name: tensor.numpy() for name, tensor in STATE.items()})
    save_file(behind("module."), tmp_path / "net.model")
    for name in ("net.npz", "net.model"):
        assert_loaded(load_checkpoint(MODEL, tmp_path / name))


def test_what_lies_beside_the_network_is_named(saved):
    origin = load_checkpoint(MODEL, saved({**behind("model."), "criterion.weight": torch.ones(5)})).origin
    assert origin.notes == ("1 other tensor of the file is not part of the network (criterion.weight)",)


@pytest.mark.parametrize(
    ("content", "raw", "averaged"),
    [
        ({"state_dict": STATE, "state_dict_ema": EMA}, "state_dict", "state_dict_ema"),
        ({"model_ema": {"n_averaged": torch.tensor(7), **behind("module.", EMA)}, "model": STATE},
         "model", "model_ema.module"),
        ({**behind("model."), **behind("ema_model.", EMA)}, "model", "ema_model"),
        ({"params_ema": EMA, "params": STATE}, "params", "params_ema"),
        ({**STATE, "swa": EMA}, ".", "swa"),
    ],
)  # fmt: skip
def test_raw_weights_are_taken_with_a_warning_and_the_key_chooses(saved, content, raw, averaged):
    path = saved(content)
    loaded = load_checkpoint(MODEL, path)
    assert_loaded(loaded)
    (warning,) = loaded.origin.warnings
    assert f"{raw} is taken, the others with --weights-key {averaged}" in warning
    assert f"{averaged} (averaged)" in warning
    for key in (averaged, averaged.partition(".")[0]):
        chosen = load_checkpoint(ModelSpec("test_resnet", weights=path, weights_key=key), path)
        assert_loaded(chosen, EMA)
        assert chosen.origin.warnings == ()
    assert_loaded(load_checkpoint(ModelSpec("test_resnet", weights=path, weights_key=raw), path))


def test_averaged_weights_alone_are_taken_and_said(saved):
    origin = load_checkpoint(MODEL, saved({"ema": {"module": STATE}, "epoch": 1})).origin
    assert (origin.key, origin.notes) == ("ema.module", ("averaged weights",))


def test_a_key_that_is_not_there_is_answered_with_those_that_are(saved):
    path = saved({"state_dict": STATE, "state_dict_ema": EMA})
    with pytest.raises(UsageError, match="under 'emma'; --weights-key takes state_dict, state_dict_ema"):
        load_checkpoint(ModelSpec("test_resnet", weights=path, weights_key="emma"), path)


def test_an_optimizer_s_state_is_never_taken_for_weights(saved):
    path = saved({"optimizer": {"momentum": STATE}, "model": EMA})
    loaded = load_checkpoint(MODEL, path)
    assert_loaded(loaded, EMA)
    assert loaded.origin.warnings == ()
    with pytest.raises(CheckpointMismatch, match=r"optimizer\.momentum alone, which is an optimizer's state"):
        load_checkpoint(MODEL, saved({"optimizer": {"momentum": STATE}}))


def test_a_deeper_network_does_not_fit(saved):
    deeper = {**STATE, "layer2.2.conv1.weight": torch.ones(16, 16, 3, 3)}
    with pytest.raises(CheckpointMismatch, match=r"1 extra \(layer2\.2\.conv1\.weight\)"):
        load_checkpoint(MODEL, saved(deeper))
    with pytest.raises(
        CheckpointMismatch, match=r"1 extra \(model\.layer2\.2\.conv1\.weight\); \d+ of its \d+ tensors fit under model"
    ):
        load_checkpoint(MODEL, saved(behind("model.", deeper)))


def test_the_closest_table_is_reported(saved):
    broken = {name: tensor for name, tensor in STATE.items() if name != "bn1.weight"}
    broken["conv1.weight"] = torch.ones(8, 3, 5, 5)
    content = {"state_dict": behind("model.", broken), "teacher": {"conv1.weight": STATE["conv1.weight"]}}
    total = len(STATE)
    with pytest.raises(CheckpointMismatch) as caught:
        load_checkpoint(MODEL, saved(content))
    assert "1 missing (bn1.weight); 1 misshapen (conv1.weight is 8x3x5x5 instead of 8x3x3x3)" in str(caught.value)
    assert f"{total - 2} of its {total} tensors fit under state_dict.model" in str(caught.value)


def test_tensors_are_never_matched_by_order(saved):
    renamed = {f"tensor_{index}": tensor for index, tensor in enumerate(STATE.values())}
    with pytest.raises(CheckpointMismatch, match=r"0 of its \d+ tensors fit"):
        load_checkpoint(MODEL, saved(renamed))


def test_only_what_is_taken_has_to_be_sound(saved):
    content = {"model": STATE, "stale": {"w": torch.eye(3).to_sparse()}}
    assert_loaded(load_checkpoint(MODEL, saved(content)))
    claims = {**STATE, "fc.weight": torch.ones(1).expand(10, 16)}
    with pytest.raises(UntrustedArtifact, match=r"model\.fc\.weight is not a plain tensor"):
        load_checkpoint(MODEL, saved({"model": claims}))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight


class Wrapped(nn.Module):
    """A wrapper with a forward of its own."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(4, 4)


FACTORIES = f"{__name__}:"


@pytest.mark.parametrize("dropped", ["one.weight", "two.weight"])
def test_tied_weights_need_one_of_their_names(saved, dropped):
    state = {name: torch.full_like(tensor, 3.0) for name, tensor in Tied().state_dict().items() if name != dropped}
    loaded = load_checkpoint(ModelSpec(f"{FACTORIES}Tied", input_shape=(4, 4, 4)), saved(state)).module
    assert float(loaded.two.weight[0, 0]) == float(loaded.one.weight[0, 0]) == 3.0


@pytest.mark.parametrize("prefix", ["", "module.", "state.module."])
def test_a_wrapper_of_the_user_s_own_takes_weights_with_and_without_its_name(saved, prefix):
    state = {f"{prefix}{name}": torch.full_like(tensor, 2.0) for name, tensor in nn.Linear(4, 4).state_dict().items()}
    loaded = load_checkpoint(ModelSpec(f"{FACTORIES}Wrapped", input_shape=(4, 4, 4)), saved(state)).module
    assert float(loaded.module.weight[0, 0]) == 2.0
