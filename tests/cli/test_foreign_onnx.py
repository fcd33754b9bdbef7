"""A user's own .onnx file: what can run does, and what cannot is said in one line where it concerns."""

import json
import shutil

import numpy as np
import onnx
import pytest
from one_line import complaint
from seeded_onnx import LIGHT, write_seeded

FAILED, USAGE, GATE = 1, 2, 3
IMAGES = "float[N, 3, 32, 32]"
HEAD = "p = GlobalAveragePool (a) f = Flatten (p) y = Gemm <transB = 1> (f, v)"
BRANCHES = f"""g ({IMAGES} x) => (float[N, 10] y) {{
    m = ReduceMax <keepdims = 0> (x) t = Constant <value = float {{100.0}}> () b = Greater (m, t)
    a = If (b) <then_branch = one () => (float[N, 8, 30, 30] o) {{ o = Conv (x, w) }},
                else_branch = other () => (float[N, 8, 30, 30] o) {{ c = Conv (x, w) o = Relu (c) }}>
    {HEAD} }}"""


@pytest.fixture
def network(tmp_path):
    """Write a text graph; `w` (8, channels, 3, 3) and `v` (10, 8) are seeded weights."""

    def write(text, *, channels=3, dtype=np.float32, opset=20, ir=10, as_inputs=False):
        header = f'<ir_version: {ir}, opset_import: ["" : {opset}, "com.microsoft" : 1, "acme" : 1]> '
        model, random = onnx.parser.parse_model(header + text), np.random.default_rng(0)
        for name, shape in {"w": (8, channels, 3, 3), "v": (10, 8)}.items():
            array = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
            model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(dtype), name))
            if as_inputs:
                kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
                model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
        onnx.save(model, tmp_path / "network.onnx")
        return tmp_path / "network.onnx"

    return write


def rows_of(done):
    assert "Traceback" not in done.stderr
    return {(row["backend"], row["precision"]): row for row in json.loads(done.stdout)["rows"]}


def test_initializers_among_the_inputs_of_an_old_file_are_weights(run, network, image_folder):
    path = network(f"g ({IMAGES} x) => (float[N, 10] y) {{ c = Conv (x, w) a = Relu (c) {HEAD} }}", opset=11, ir=3,
                   as_inputs=True)  # fmt: skip
    done = run(
        "verify", path, "--backends", "ort,trt", "--precision", "fp32,fp16,int8", "--data", image_folder, "--json"
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(done)
    assert {row["parity"]["verdict"] for row in rows.values()} == {"pass"}
    assert {row["note"] for row in rows.values()} <= {"", "computed in float32"}


def test_several_inputs_and_four_channels_are_fed_noise_which_is_said(run, network):
    path = network("""g (float[N, 4, 24, 32] x, float[N, 8] z) => (float[N, 10] y) {
        c = Conv (x, w) a = Relu (c) p = GlobalAveragePool (a) f = Flatten (p) h = Mul (f, z)
        y = Gemm <transB = 1> (h, v) }""", channels=4)  # fmt: skip
    done = run("bench", path, "--backends", "ort,trt", "--precision", "fp32,int8", "--batch", "3", "--max-seconds", "2",
               "--data", "noise", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["environment"]["conditions"]["inputs"]
    assert "seeded noise: the network takes x float32[N, 4, 24, 32], z float32[N, 8]" in said
    rows = rows_of(done)
    for backend in ("ort", "trt"):
        assert "calibrated on noise: speed only" in rows[backend, "int8"]["note"]
        assert "noise" not in rows[backend, "fp32"]["note"]
        assert rows[backend, "fp32"]["parity"]["verdict"] == "pass"
    assert rows["ort", "int8"]["latency_ms"]["median"] > 0
    built = run("build", path, "--precision", "int8", "--data", "noise")
    assert "calibrated on noise: speed only" in built.stdout
    unasked = run("build", path, "--precision", "int8")
    assert unasked.returncode == USAGE
    assert "nothing to calibrate INT8 on; give --data FILE.npz" in complaint(unasked)
    refused = run("verify", path, "--backends", "ort", "--data", path.parent)
    assert refused.returncode == USAGE
    assert "which is not an image input" in complaint(refused)


def test_int8_of_a_fixed_batch_is_calibrated_at_that_batch(run, network, image_folder):
    path = network(f"g (float[3, 3, 32, 32] x) => (float[3, 10] y) {{ c = Conv (x, w) a = Relu (c) {HEAD} }}")
    done = run("verify", path, "--backends", "ort", "--precision", "int8", "--batch", "3:3:3", "--data", image_folder,
               "--calibration-images", "4", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rows_of(done)["ort", "int8"]["parity"]["images"] == 9  # eight image_folder, and one to fill the batch


def test_control_flow_runs_in_fp32_and_has_no_other_precision(run, network, image_folder):
    path = network(BRANCHES)
    done = run(
        "verify", path, "--backends", "ort,trt", "--precision", "fp32,fp16,int8", "--data", image_folder, "--json"
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(done)
    assert rows["ort", "fp32"]["parity"]["verdict"] == rows["trt", "fp32"]["parity"]["verdict"] == "pass"
    for backend in ("ort", "trt"):
        for precision in ("fp16", "int8"):
            assert rows[backend, precision]["state"] == "unavailable"
            assert "If node 'a' holds a subgraph" in rows[backend, precision]["reason"]
    refused = run("build", path, "--precision", "fp16")
    assert refused.returncode == USAGE
    assert "If node 'a' holds a subgraph; build in fp32" in complaint(refused)


def test_an_operator_without_a_float64_value_is_held_to_onnx_runtime_on_the_file(run, network, image_folder):
    path = network(f"""g ({IMAGES} x) => (float[N, 10] y) {{
        a = com.microsoft.FusedConv <activation = "Relu"> (x, w) {HEAD} }}""")
    done = run("bench", path, "--backends", "ort", "--max-seconds", "1", "--data", image_folder, "--json")
    assert done.returncode == 0, done.stderr
    row = rows_of(done)["ort", "fp32"]
    assert row["latency_ms"]["median"] > 0
    assert row["parity"]["reference"].startswith("ONNX Runtime in float32 on the file as it came: node ")
    assert "com.microsoft.FusedConv, none of ONNX's operators" in row["parity"]["reference"]


def test_what_had_to_be_put_right_in_a_file_is_said_in_every_answer(run, network):
    path = network(f"g ({IMAGES} x) => (float[N, 10] y) {{ c = Conv (x, w) a = Relu (c) {HEAD} }}")
    proto = onnx.load(path)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    for node in proto.graph.node:
        node.name = "same"
    onnx.save(proto, path)
    shape, names = (
        "the shape of output 'y' is not declared and was inferred",
        "nodes are called 'same'; all but the first were renamed",
    )
    text = run("export", path).stdout
    assert shape in text
    assert names in text
    assert [shape in json.dumps(found) for found in (json.loads(run("export", path, "--json").stdout)["notes"],)] == [
        True
    ]
    rows = rows_of(run("verify", path, "--backends", "ort", "--data", "noise", "--json"))
    assert names in rows["ort", "fp32"]["note"]


def test_an_operator_that_no_runtime_knows_is_named_in_every_row(run, network, image_folder, tmp_path):
    path = network(f"g ({IMAGES} x) => (float[N, 10] y) {{ c = Conv (x, w) a = acme.Swoosh (c) {HEAD} }}")
    done = run("verify", path, "--backends", "ort,trt", "--data", image_folder, "--json")
    assert done.returncode == FAILED
    rows = rows_of(done)
    assert {row["state"] for row in rows.values()} == {"failed"}
    assert rows["ort", "fp32"]["reason"] == (
        "ONNX Runtime rejects the graph: acme:Swoosh(-1) is not a registered function/op"
    )
    assert "Swoosh" in rows["trt", "fp32"]["reason"]
    exported = run("export", path, "-o", tmp_path / "out.onnx")
    assert exported.returncode == GATE
    assert "acme.Swoosh, none of ONNX's operators" in exported.stdout
    assert "nan" not in exported.stdout
    assert "Swoosh" in {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}


def test_integers_are_not_made_up_but_the_network_is_compiled(run, network):
    path = network(f"""g (int32[N, 3, 32, 32] counts) => (float[N, 10] y) {{
        x = Cast <to = 1> (counts) c = Conv (x, w) a = Relu (c) {HEAD} }}""")
    done = run("verify", path, "--backends", "ort,trt", "--json")
    assert done.returncode == GATE, done.stderr
    rows = rows_of(done)
    assert (rows["ort", "fp32"]["state"], rows["trt", "fp32"]["state"]) == ("unavailable", "built")
    assert "cannot generate test data for input counts int32[N, 3, 32, 32]" in rows["ort", "fp32"]["reason"]
    assert rows["trt", "fp32"]["plan"]["kernels"] > 0
    alone = run("verify", path, "--backends", "ort")
    assert alone.returncode == USAGE
    assert "cannot generate test data" in complaint(alone)


def test_a_file_that_is_float16_already_runs_as_it_is(run, network, image_folder):
    text = f"g (float16[N, 3, 32, 32] x) => (float16[N, 10] y) {{ c = Conv (x, w) a = Relu (c) {HEAD} }}"
    done = run("verify", network(text, dtype=np.float16), "--backends", "ort,trt", "--precision", "fp32,fp16", "--data",
               image_folder, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(done)
    for backend in ("ort", "trt"):
        assert "the file as it is, which computes in float16" in rows[backend, "fp32"]["note"]
        assert 40 < rows[backend, "fp32"]["parity"]["sqnr_db"] < 90
        assert "float16 by its author" in rows[backend, "fp16"]["note"]
        assert rows[backend, "fp16"]["parity"]["verdict"] == "pass"


def test_open_sizes_are_exported_and_said(run, network):
    done = run(
        "export", network(f"g (float[N, 3, H, W] x) => (float[N, 10] y) {{ c = Conv (x, w) a = Relu (c) {HEAD} }}")
    )
    assert done.returncode == GATE
    assert "leaves H, W open; fix it: --input-shape x=batchx3x224x224" in done.stdout


@pytest.fixture
def own_store(tmp_path):
    """Engines and graphs of half a gigabyte are not left to pytest's habit of keeping old folders."""
    yield tmp_path / "store"
    shutil.rmtree(tmp_path / "store", ignore_errors=True)


LARGE = [pytest.param(name, marks=pytest.mark.full) for name in ("shufflenet", "inception_v1", "resnet50")]


@pytest.mark.parametrize("name", LARGE)
def test_a_shipped_graph_whose_answer_is_constant_is_inconclusive(run, own_store, name):
    path = LIGHT / f"light_{name}.onnx"
    exported = run("export", path, store=own_store)
    assert exported.returncode == GATE
    assert "does not vary over 2 different inputs; agreement says nothing" in exported.stderr
    assert "that was on noise: `verify` judges the network on images" in exported.stderr
    for precision in ("fp32", "fp16"):
        built = run("build", path, "--batch", "1", "--precision", precision, store=own_store)
        assert built.returncode == 0, built.stderr
    done = run("verify", path, "--backends", "ort,trt", "--json", store=own_store)
    assert done.returncode == GATE
    for row in rows_of(done).values():
        assert row["parity"]["verdict"] == "inconclusive"
        assert "does not vary over 12 different inputs; agreement says nothing" in row["parity"]["reason"]


@pytest.mark.parametrize("name", LARGE)
def test_a_shipped_graph_with_weights_goes_all_the_way(run, own_store, tmp_path, name):
    path = write_seeded(name, tmp_path / f"{name}.onnx")
    try:
        exported = run("export", path, "--json", store=own_store)
        assert exported.returncode == 0, exported.stdout + exported.stderr
        assert json.loads(exported.stdout)["check"]["verdict"] == "pass"
        for precision in ("fp32", "fp16", "int8"):
            built = run("build", path, "--batch", "1", "--precision", precision, "--json", store=own_store)
            assert built.returncode == 0, built.stderr
            plan = json.loads(built.stdout)["plan"]
            assert plan["weighted_matched"] == plan["weighted_nodes"] > 0
        verified = run("verify", path, "--backends", "ort,trt", "--precision", "fp32,fp16", "--json", store=own_store)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert {row["parity"]["verdict"] for row in rows_of(verified).values()} == {"pass"}
        timed = run("bench", path, "--backends", "ort,trt", "--precision", "fp32,int8", "--max-seconds", "5", "--json",
                    store=own_store)  # fmt: skip
        rows = rows_of(timed)
        assert rows["ort", "fp32"]["parity"]["verdict"] == "pass"
        assert rows["ort", "int8"]["latency_ms"]["median"] > 0
        assert rows["trt", "int8"]["plan"]["kernels"] > 0
    finally:
        path.unlink()
