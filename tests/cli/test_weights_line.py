"""Every answer of every command says where the weights come from, in text and in JSON."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch

from deploykit.spec import ModelSpec
from deploykit.zoo.registry import build_module

FACTORY = """
import torch
from torch import nn

def bare():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

def trained():
    net = bare()
    net.load_state_dict({name: torch.full_like(tensor, 0.25) for name, tensor in net.state_dict().items()})
    return net

def broken():
    net = trained()
    torch.nn.init.constant_(net[0].weight[:1, :1, :1, :1], float("nan"))
    return net

def classifier():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
"""
COMMANDS = {
    "export": ("export", "--no-check"),
    "calibrate": ("calibrate", "--images", "4"),
    "build": ("build",),
    "inspect": ("inspect", "--precision", "fp32"),
    "verify": ("verify", "--backends", "ort"),
    "bench": ("bench", "--backends", "ort", "--max-seconds", "1"),
    "steps": ("bench", "--mode", "forward", "--batch", "2", "--steps", "2", "--burn-in", "0"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "weights_line_net.py").write_text(FACTORY)
    state = build_module(ModelSpec("test_convnet", seed=3)).state_dict()
    averaged = {name: tensor * 2 if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averaged}, folder / "last.pth.tar")
    return folder


def said(command, done):
    assert done.returncode in (0, 3), done.stderr
    answer = json.loads(done.stdout)
    if command in ("verify", "bench", "steps"):
        answer = answer["environment"]["conditions"]
        assert {row["weights"] for row in json.loads(done.stdout)["rows"]} == {answer["weights"]}
    return answer


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=[pytest.mark.full] if name == "steps" else []) for name in COMMANDS]
)
def test_every_command_says_own_in_json_and_text(run, folder, image_folder, command):
    name, *options = COMMANDS[command]
    asked = (name, "weights_line_net:trained", "--input-shape", "3,16,16", *options)
    asked += ("--data", image_folder) if name in ("calibrate", "verify") else ()
    answer = said(command, run(*asked, "--json", path=folder))
    assert (answer["weights"], len(answer["weights_digest"]), answer["weights_notes"]) == (
        "own, as the function returned them",
        64,
        [],
    )
    done = run(*asked, path=folder)
    assert [line.split(None, 1) for line in done.stdout.splitlines() if line.startswith("weights")] == [
        ["weights", "own, as the function returned them"]
    ]
    assert "nobody trained" not in done.stderr


def test_random_weights_of_an_engine_are_warned_of_once(run):
    done = run("build", "test_convnet", "--seed", "4")
    assert re.search(r"^weights +random, seed 4$", done.stdout, re.MULTILINE)
    assert done.stderr.count("nobody trained (random, seed 4)") == 1
    assert "nobody trained" not in run("export", "test_convnet", "--no-check").stderr


def test_seeded_weights_of_a_factory_are_asked_for(run, folder):
    asked = ("export", "weights_line_net:trained", "--input-shape", "3,16,16", "--no-check", "--json")
    answer = json.loads(run(*asked, "--weights", "seeded", path=folder).stdout)
    own = json.loads(run(*asked, path=folder).stdout)
    assert (answer["weights"], own["weights"]) == ("random, seed 0", "own, as the function returned them")
    assert answer["digest"] != own["digest"]


def test_a_checkpoint_is_named_with_its_table_and_its_rivals(run, folder):
    asked = ("export", "test_convnet", "--weights", folder / "last.pth.tar", "--no-check", "--json")
    done = run(*asked)
    raw = json.loads(done.stdout)
    assert raw["weights"] == f"last.pth.tar (state_dict, {raw['weights_digest'][:12]})"
    assert "2 state dicts that fit" in raw["weights_notes"][0]
    assert done.stderr.count("the others with --weights-key state_dict_ema") == 1
    averaged = json.loads(run(*asked, "--weights-key", "state_dict_ema").stdout)
    assert averaged["weights"].startswith("last.pth.tar (state_dict_ema, ")
    assert averaged["digest"] != raw["digest"]
    missing = run("export", "test_convnet", "--weights-key", "ema")
    assert (missing.returncode, "give the checkpoint: --weights FILE" in missing.stderr) == (2, True)


def test_an_engine_of_the_store_says_what_it_was_built_of(run, folder):
    asked = ("weights_line_net:trained", "--input-shape", "3,16,16")
    built = json.loads(run("build", *asked, "--json", path=folder).stdout)
    found = json.loads(run("inspect", built["engine"], "--json").stdout)
    assert (found["weights"], found["weights_digest"]) == (
        "own, as the function returned them",
        built["weights_digest"],
    )


def test_random_weights_stay_known_to_be_random_once_a_file_carries_them(run, tmp_path):
    """One graph, under two names, makes one engine."""
    assert run("export", "test_convnet", "--no-check", "-o", tmp_path / "net.onnx").returncode == 0
    built = [json.loads(run("build", model, "--json").stdout) for model in ("test_convnet", tmp_path / "net.onnx")]
    assert [each["weights"] for each in built] == ["random, seed 0", "own, from net.onnx"]
    assert built[0]["typed_digest"] == built[1]["typed_digest"]
    found = json.loads(run("inspect", built[0]["engine"], "--json").stdout)
    assert found["weights"] == "random, seed 0"


def test_classes_of_a_checkpoint_reach_the_answer(run, tmp_path):
    torch.save(build_module(ModelSpec("test_resnet", num_classes=4)).state_dict(), tmp_path / "mine.pth")
    answer = json.loads(run("export", "test_resnet", "--weights", tmp_path / "mine.pth", "--no-check", "--json").stdout)
    assert answer["weights_notes"] == ["4 classes, from fc.weight"]
    assert answer["model"] == "test_resnet-4classes"
    wrong = run("export", "test_resnet", "--weights", tmp_path / "mine.pth", "--num-classes", "5")
    assert (wrong.returncode, "leave out --num-classes" in wrong.stderr) == (2, True)


def test_weights_of_a_file_are_said_to_be_the_file_s(run, folder):
    exported = json.loads(run("export", "test_convnet", "--no-check", "--json").stdout)
    (folder / "net.onnx").write_bytes(Path(exported["onnx"]).read_bytes())
    assert "own, from net.onnx" in run("export", folder / "net.onnx", "--no-check").stdout
    told = json.loads(run("export", folder / "net.onnx", "--no-check", "--json").stdout)
    assert told["weights_digest"] == hashlib.sha256((folder / "net.onnx").read_bytes()).hexdigest()


def test_weights_that_hold_nan_are_warned_of_in_any_precision(run, folder):
    asked = ("build", "weights_line_net:broken", "--input-shape", "3,16,16")
    done = run(*asked, "--json", path=folder)
    (note,) = json.loads(done.stdout)["weights_notes"]
    assert note.startswith("0.weight holds NaN (1 of ")
    assert done.stderr.count(f"deploykit: warning: {note}") == 1
    refused = run(*asked, "--precision", "fp16", path=folder)
    assert (refused.returncode, refused.stderr.count("no precision cures that")) == (3, 2)


def test_a_plan_s_kernels_add_up_and_a_node_without_one_is_explained(run, folder):
    """At batch 1 TensorRT-RTX makes a small matrix product a generated kernel."""
    asked = ("build", "weights_line_net:classifier", "--input-shape", "3,16,16", "--batch", "1")
    plan = json.loads(run(*asked, "--json", path=folder).stdout)["plan"]
    text = run(*asked, path=folder).stdout
    (line,) = re.findall(r"^kernels +\d.*", text, re.MULTILINE)
    assert sum(int(count) for count in re.findall(r"(\d+) [a-z]", line)) == plan["kernels"]
    assert ("small ones are computed inside generated kernels" in text) == bool(plan["unmatched"])
