"""`verify` on networks whose outputs one energy ratio would pass: nothing false is a pass, and each answer says why."""

import json

import numpy as np
import onnx
import pytest

GATE = 3
NETWORKS = """
import torch
from torch import nn

class Head(nn.Module):
    def __init__(self, out=6):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.o = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, out, 1)

    def maps(self, x):
        return self.o(torch.relu(self.a(x)))

class Depth(Head):
    def __init__(self):
        super().__init__(1)

    def forward(self, x):
        return 1000 + 0.3 * self.maps(x)

class Labels(Head):
    def forward(self, x):
        return self.maps(x).argmax(1)

class Picked(Head):
    def forward(self, x):
        y = self.maps(x).flatten(2)
        score, index = y[:, 4:].sigmoid().amax(1).topk(10)
        return torch.gather(y[:, :4].transpose(1, 2), 1, index[:, :, None].expand(-1, -1, 4)), score, index

class OverBatch(Head):
    def forward(self, x):
        y = self.maps(x)
        return (y - y.mean((0, 2, 3), keepdim=True)).flatten(1)

class Casts(Head):
    def forward(self, x):
        return self.maps(x).mean((2, 3)).float()

class Draws(Head):
    def forward(self, x):
        return nn.functional.dropout(self.maps(x), 0.3, True).flatten(1)
"""


@pytest.fixture(scope="module")
def verify(run, tmp_path_factory):
    """The exit code of `verify` on a network of the file above, and its rows by backend and precision."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "awkward.py").write_text(NETWORKS)

    def start(network, *options):
        done = run("verify", f"awkward:{network}", "--input-shape", "3,16,16", "--json", *options, path=folder)
        rows = json.loads(done.stdout)["rows"]
        return done.returncode, {(row["backend"], row["precision"]): row["parity"] for row in rows}

    return start


def test_depth_around_an_offset_is_judged_by_what_varies(verify):
    code, rows = verify("Depth", "--backends", "ort", "--precision", "fp32,fp16")
    assert code == GATE
    assert rows["ort", "fp32"]["verdict"] == "pass"
    half = rows["ort", "fp16"]
    assert (half["verdict"], half["broken"]) == ("fail", True)
    assert half["sqnr_db"] > 60
    assert half["reason"].startswith("values collapsed: ")
    assert "1 distinct value is left of " in half["reason"]


@pytest.mark.parametrize("network", ["Labels", "Picked"])
def test_whole_numbers_and_what_a_ranking_picked_are_compared_as_what_they_are(verify, network):
    code, rows = verify(network, "--backends", "ort", "--precision", "fp32,int8")
    assert code == 0, [row["reason"] for row in rows.values()]
    kinds = [[output["kind"] for output in row["outputs"]] for row in rows.values()]
    assert kinds == [["whole"] if network == "Labels" else ["ranked", "real", "ranked"]] * 2
    shares = [output["agreement"]["share"] for row in rows.values() for output in row["outputs"] if output["agreement"]]
    assert min(shares) > 0.9


def test_rows_that_depend_on_each_other_are_compared_in_the_same_batches(verify):
    code, rows = verify("OverBatch", "--batch", "5", "--backends", "ort", "--precision", "fp32,fp16")
    assert code == 0, [row["reason"] for row in rows.values()]
    for row in rows.values():
        assert row["reference"].endswith("rows of a batch depend on each other: all ran in batches of 5")


def test_a_module_that_casts_is_compared_with_its_graph_in_float64(verify):
    code, rows = verify("Casts", "--backends", "ort", "--precision", "fp32")
    assert code == 0
    reference = rows["ort", "fp32"]["reference"]
    assert reference.startswith("exported graph in float64: the module does not follow .double(), ")


def test_a_network_that_answers_twice_differently_is_inconclusive(verify):
    code, rows = verify("Draws", "--backends", "ort", "--precision", "fp32")
    assert code == GATE
    assert rows["ort", "fp32"]["verdict"] == "inconclusive"
    assert "it draws random numbers" in rows["ort", "fp32"]["reason"]


SELECTED = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 8, 8] images) => (int64[K, 3] found) {
    s = Constant <value = int64[3] {-1, 48, 4}> () flat = Reshape (images, s) boxes = Abs (flat)
    m = ReduceMean <keepdims = 0> (flat, last) a = Unsqueeze (m, one) scores = Sigmoid (a)
    found = NonMaxSuppression (boxes, scores, most, overlap, least) }
"""


def test_a_selection_is_compared_run_by_run_whatever_its_size(run, tmp_path):
    model = onnx.parser.parse_model(SELECTED)
    constants = {"last": np.array([2]), "one": np.array([1]), "most": np.array([20]),
                 "overlap": np.array([0.5], np.float32), "least": np.array([0.6], np.float32)}  # fmt: skip
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(model, tmp_path / "selected.onnx")
    done = run("verify", tmp_path / "selected.onnx", "--backends", "ort", "--json", "--batch", "4")
    (row,) = json.loads(done.stdout)["rows"]
    assert (done.returncode, row["parity"]["verdict"]) == (0, "pass"), row
    assert row["parity"]["kind"] == "selected"
    assert row["parity"]["agreement"]["of"] > 50
