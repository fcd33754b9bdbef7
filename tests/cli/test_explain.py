"""`verify --explain`: each planted fault is caught, the layer named, and the pasted option works."""

import json

import pytest
from faults import bgr, dropped_bias, planted, scaled_weight, transposed, wrong_scale

import deploykit as dk

GATE = 3
NETWORK = "test_resnet"


@pytest.fixture(scope="module")
def typed(shared_store):
    """The file of the typed graph that deploykit makes of the network."""

    def make(precision):
        exported = dk.export(NETWORK, check=False, store=shared_store)
        return dk.build(exported, precision=precision, backend="trt-rtx", store=shared_store).typed_path

    return make


@pytest.fixture
def explained(run):
    """Exit code, the row and its explanation; then the same with the options that it names."""

    def start(*arguments):
        done = run("verify", *arguments, "--explain", "--json")
        assert done.stdout, done.stderr
        (row,) = json.loads(done.stdout)["rows"]
        return done.returncode, row, row["explanation"]

    return start


@pytest.mark.parametrize(
    ("fault", "node", "cause"),
    [
        (scaled_weight, "layer1.0.conv2", "layer1.0.conv2: its weight is 1.2 times the network's"),
        (dropped_bias, "layer2.0.conv1", "layer2.0.conv1: its bias is missing"),
        (transposed, "layer2.1.conv1", "layer2.1.conv1: its weight is transposed: axes 2 and 3"),
        (bgr, "conv1", "conv1: its weight has its input channels in reverse order (BGR for RGB)"),
    ],
    ids=lambda it: getattr(it, "__name__", None),
)
def test_a_fault_in_a_typed_graph_is_located_and_the_pasted_option_cures_it(
    run, explained, typed, tmp_path, fault, node, cause
):
    file = planted(typed("fp16"), tmp_path / "fault.onnx", fault, node)
    asked = (NETWORK, "--precision", "fp16", "--backends", "ort", "--typed", file)
    code, row, found = explained(*asked)
    assert (code, row["parity"]["verdict"]) == (GATE, "fail")
    assert (found["first"]["layer"], found["first"]["node"]) == (node, node)
    assert found["cause"].startswith(cause)
    assert found["options"] == [f"--keep-fp32 {node}"]
    assert found["cured"].endswith("dB, pass")
    cured = run("verify", *asked, "--keep-fp32", node, "--json")
    assert cured.returncode == 0, cured.stderr
    assert "as in the network, in float32" in json.loads(cured.stdout)["rows"][0]["note"]


def test_a_wrong_scale_is_located_and_the_excluded_layer_cures_it(run, explained, typed, tmp_path):
    file = planted(typed("int8"), tmp_path / "fault.onnx", wrong_scale, "conv1")
    asked = (NETWORK, "--precision", "int8", "--backends", "ort", "--typed", file)
    code, _, found = explained(*asked)
    assert code == GATE
    assert found["first"]["node"] == "conv1"
    assert "too coarse for values up to" in found["cause"]
    assert found["options"] == ["--int8-exclude conv1"]
    assert run("verify", *asked, "--int8-exclude", "conv1", "--json").returncode == 0
