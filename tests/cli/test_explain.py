"""`verify --explain`: each planted fault is caught, the layer named, and the pasted option works."""

import json

import numpy as np
import onnx
import pytest
from faults import bgr, dropped_bias, planted, scaled_weight, transposed, wrong_scale
from test_keep_fp32 import NORM

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
        pytest.param(
            scaled_weight,
            "layer1.0.conv2",
            "layer1.0.conv2: its weight is 1.2 times the network's",
            marks=pytest.mark.full,
        ),
        (dropped_bias, "layer2.0.conv1", "layer2.0.conv1: its bias is missing"),
        pytest.param(
            transposed,
            "layer2.1.conv1",
            "layer2.1.conv1: its weight is transposed: axes 2 and 3",
            marks=pytest.mark.full,
        ),
        pytest.param(
            bgr,
            "conv1",
            "conv1: its weight has its input channels in reverse order (BGR for RGB)",
            marks=pytest.mark.full,
        ),
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


def test_an_overflow_is_located_and_the_layers_kept_cure_it(run, explained, tmp_path):
    model = onnx.parser.parse_model(NORM)
    random = np.random.default_rng(0)
    for name, shape, scale in (("w", (4, 3, 3, 3), 300.0), ("v", (4, 4, 3, 3), 1.0)):
        weight = (scale * random.standard_normal(shape)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "norm.onnx")
    asked = (tmp_path / "norm.onnx", "--precision", "fp16", "--backends", "ort")
    code, _, found = explained(*asked)
    assert (code, found["first"]["node"], found["first"]["broken"]) == (GATE, "square", True)
    assert found["said"].startswith("the loss begins in square (Pow square): its values are NaN or infinite")
    assert found["cured"].endswith("dB, pass")
    options = [part for option in found["options"] for part in option.split()]
    assert options[:2] == ["--keep-fp32", "square"]
    assert run("verify", *asked, *options).returncode == 0


def test_a_table_with_a_wrong_range_is_located_and_the_excluded_layer_cures_it(run, explained, shared_store, tmp_path):
    table = dk.calibrate(NETWORK, store=shared_store).save(tmp_path / "table.json")
    found = json.loads(table.read_text())
    found["ranges"]["images"] = {end: 100.0 * value for end, value in found["ranges"]["images"].items()}
    table.write_text(json.dumps(found))
    asked = (NETWORK, "--precision", "int8", "--backends", "ort", "--table", table)
    code, _, explanation = explained(*asked)
    assert (code, explanation["first"]["node"]) == (GATE, "conv1")
    assert explanation["options"] == ["--int8-exclude conv1"]
    assert run("verify", *asked, "--int8-exclude", "conv1").returncode == 0


def test_probes_observe_what_the_plan_writes_and_change_no_kernel(run):
    done = run("verify", NETWORK, "--precision", "fp16", "--backends", "trt-rtx", "--explain", "--json")
    (row,) = json.loads(done.stdout)["rows"]
    probes = row["explanation"]["probes"]
    assert done.returncode == 0
    assert probes["neutral"]
    assert probes["kernels"] == probes["kernels_with_probes"] == row["plan"]["kernels"]
    assert {"relu", "relu_1", "relu_2"} <= set(probes["tensors"])
    assert row["explanation"]["said"].startswith("fc (fc) loses most by itself")
    said = run("verify", NETWORK, "--precision", "fp16", "--backends", "trt-rtx", "--explain").stdout
    assert "With all of them as outputs the compiler makes the same" in said
    assert "The 8 worst of 22 layers, on 2 images:" in said


@pytest.mark.full
@pytest.mark.parametrize(
    ("precision", "fault", "option"),
    [("fp16", scaled_weight, "--keep-fp32"), ("int8", wrong_scale, "--int8-exclude")],
    ids=["fp16", "int8"],
)
def test_inception_v3_names_the_module_and_the_option_cures_it(
    run, explained, shared_store, tmp_path, precision, fault, option
):
    exported = dk.export("inception_v3", check=False, store=shared_store)
    typed = dk.build(exported, precision=precision, backend="ort", store=shared_store).typed_path
    layers = [node.name for node in onnx.load(typed, load_external_data=False).graph.node if node.op_type == "Conv"]
    node = layers[len(layers) // 2]
    file = planted(typed, tmp_path / "fault.onnx", fault, node)
    asked = ("inception_v3", "--precision", precision, "--backends", "ort", "--typed", file)
    code, _, found = explained(*asked)
    assert (code, found["first"]["node"]) == (GATE, node)
    options = [part for each in found["options"] for part in each.split()]
    assert options[:2] == [option, node]
    assert run("verify", *asked, *options).returncode == 0
