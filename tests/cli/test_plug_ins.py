"""Networks that another distribution adds, as the command line shows them."""

import json

import pytest

CARD = """
CARD = {"factory": "plugged:network", "family": "plugged", "image_size": 8, "classes": 5,
        "preprocessing": {"resize": 8, "crop": 8}}
BROKEN = {"family": "plugged"}

def network():
    from torch import nn
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
"""


@pytest.fixture(scope="module")
def plugged(tmp_path_factory):
    """A folder with an installed distribution of two entry points, one of them broken."""
    folder = tmp_path_factory.mktemp("plugged")
    (folder / "plugged.py").write_text(CARD)
    info = folder / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    names = "pluggednet = plugged:CARD\nbrokennet = plugged:BROKEN\n"
    (info / "entry_points.txt").write_text(f"[deploykit.models]\n{names}")
    return folder


def test_list_shows_them_and_a_broken_one_hides_no_other(run, plugged):
    done = run("list", "--json", path=plugged)
    assert done.returncode == 0
    models = {model["name"]: model for model in json.loads(done.stdout)["models"]}
    assert models["pluggednet"]["input"] == [3, 8, 8]
    assert models["pluggednet"]["params"] is None
    assert "resnet50" in models
    assert "brokennet" not in models
    assert done.stderr == "deploykit: warning: model brokennet: its card is not complete: 'preprocessing'\n"
    assert "pluggednet" in run("list", "plugged*", path=plugged).stdout


def test_they_take_the_same_road(run, plugged):
    done = run("verify", "pluggednet", "--backends", "torch,ort,trt", "--json", path=plugged)
    assert done.returncode == 0, done.stderr
    assert [row["parity"]["verdict"] for row in json.loads(done.stdout)["rows"]] == ["pass"] * 3
