"""The inspector's JSON in the two forms that are documented, written by hand: no GPU has answered with these."""

import copy
import json

import pytest

from deploykit.errors import BuildFailed
from deploykit.plan.audit import CAST, REQUANTISE, audit
from deploykit.plan.inspector import read_inspector
from deploykit.plan.model import PlanTensor
from deploykit.plan.summary import summarize
from deploykit.spec import Precision

N = 8  # images
WEIGHTED = {"conv1": "Conv", "conv2": "Conv", "fc": "Gemm"}
NHWC8 = "Channel major FP16 format where channel % 8 == 0"
LINEAR = "Row major linear FP32"


def tensor(name, shape, told, **fields):
    return {"Name": name, "Location": "Device", "Dimensions": [N, *shape], "Format/Datatype": told, **fields}


def layer(name, kind, inputs, outputs, metadata="", **fields):
    told = {"Name": name, "LayerType": kind, "Inputs": inputs, "Outputs": outputs, **fields}
    return {**told, "TacticValue": "0x0000000000000000", "StreamId": 0, "Metadata": metadata}


def weights(dtype, count):
    return {"Type": dtype, "Count": count}


def tensorrt_10():
    """FP16: a cast, two convolutions of which the second takes the residual, a view, and a product that Myelin made."""
    x, half = tensor("x", (3, 32, 32), LINEAR), tensor("x half", (3, 32, 32), NHWC8)
    a, b = tensor("a", (64, 32, 32), NHWC8), tensor("b", (64, 32, 32), NHWC8 + ".")
    word = {"Name": "b flat", "Dimensions": [N, 65536], "Format/Datatype": "Half"}
    y = {"Name": "y", "Dimensions": [N, 10], "Format/Datatype": "Float"}
    return {
        "Layers": [
            layer("Reformatting CopyNode for Input Tensor 0 to conv1", "Reformat", [x], [half], Origin="REFORMAT"),
            layer(
                "conv1 + relu1",
                "CaskConvolution",
                [half],
                [a],
                "[ONNX Layer: conv1]\x1e[ONNX Layer: relu1]",
                ParameterType="Convolution",
                Weights=weights("Half", 1728),
                Bias=weights("Half", 64),
                TacticName="sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc",
            ),
            layer(
                "conv2 + sum + relu2",
                "CaskGemmConvolution",
                [a, a],
                [b],
                "[ONNX Layer: conv2]\x1f[ONNX Layer: sum]\x1f[ONNX Layer: relu2]",
                Weights=weights("Half", 36_864),
                Bias=weights("Half", 0),
            ),
            layer("flat", "NoOp", [b], [word], "[ONNX Layer: flat]"),
            {
                "Name": "__myl_Fc_myl0_0",
                "LayerType": "fusion",
                "Inputs": [word],
                "Outputs": [y],
                "TacticName": "sm80_xmma_gemm_f16f16_by_fusion_tactic",
                "StreamId": 0,
                "Metadata": "[ONNX Layer: fc][ONNX Layer: fc/cast]",
            },
        ],
        "Bindings": ["x", "y"],
    }


def split(found):
    """The same in TensorRT 11's form."""
    found = copy.deepcopy(found)
    words = {LINEAR: ("Float", "(Linear) Row major linear format"), "Float": ("Float", ""), "Half": ("Half", "")}
    for item in found["Layers"]:
        for one in item["Inputs"] + item["Outputs"]:
            told = one.pop("Format/Datatype", None)
            if told:
                one["Datatype"], one["Format"] = words.get(told, ("Half", "(NHWC) Channel major format"))
        for role in ("Weights", "Bias"):
            told = item.pop(role, None)
            if told:
                one = {"Name": role.lower(), "Dimensions": [told["Count"]], "Datatype": told["Type"], "Format": ""}
                item.setdefault("Constants", []).append(one)
    del found["Bindings"]
    found["I/O Tensors"] = [
        {"Name": "x", "IOMode": "Input", "DataType": "Float", "Dimensions": [-1, 3, 32, 32], "ProfileInfo": []},
        {"Name": "y", "IOMode": "Output", "DataType": "Float", "Dimensions": [-1, 10], "ProfileInfo": []},
    ]
    return found


def read(found, *, weighted=WEIGHTED, precision=Precision.FP16, batch=N):
    """TensorRT does not escape the bytes between a layer's nodes."""
    text = found if isinstance(found, str) else json.dumps(found)
    return read_inspector(
        text.replace("\\u001e", "\x1e").replace("\\u001f", "\x1f"),
        compiler="tensorrt 10.16.1",
        precision=precision,
        batch=batch,
        targets=("sm_90",),
        engine_bytes=123,
        weighted=weighted,
    )


def edited(change):
    found = tensorrt_10()
    change(found["Layers"], found)
    return found


INPUT, MAP, OUTPUT = N * 3 * 32 * 32, N * 64 * 32 * 32, N * 10


@pytest.mark.parametrize("form", [tensorrt_10(), split(tensorrt_10())], ids=["10", "11"])
def test_both_forms_give_the_same_figures(form):
    plan = read(form)
    assert (plan.source, plan.compiler, plan.engine_bytes) == ("engine inspector", "tensorrt 10.16.1", 123)
    assert [layer.bytes_moved(N) for layer in plan.layers] == [
        (4 + 2) * INPUT,
        2 * (INPUT + MAP + 1728 + 64),
        2 * (3 * MAP + 36_864),
        0,
        2 * MAP + 4 * OUTPUT,
    ]
    found = summarize(plan)
    assert found.kernels == 4
    assert found.kinds == {"CaskConvolution": 1, "CaskGemmConvolution": 1, "NoOp": 1, "Reformat": 1, "fusion": 1}
    assert found.weighted_reads == {"Half": 3}
    assert (found.weighted_matched, found.weighted_nodes, found.unmatched) == (3, 3, ())
    assert (found.weights_bytes, found.activation_bytes, found.scratch_bytes) == (None, None, None)


def test_a_layer_is_read_whole():
    conv, residual, myelin = (read(tensorrt_10()).layers[index] for index in (1, 2, 4))
    assert conv.name == "conv1 + relu1"
    assert conv.nodes == ("conv1", "relu1")
    assert conv.inputs == (PlanTensor("x half", (N, 3, 32, 32), "Half", NHWC8),)
    assert conv.outputs == (PlanTensor("a", (N, 64, 32, 32), "Half", NHWC8),)
    assert conv.constants == (PlanTensor("Weights", (1728,), "Half"), PlanTensor("Bias", (64,), "Half"))
    assert conv.tactic.startswith("sm80_xmma_fprop")
    assert residual.tactic == ""
    assert residual.constants == (PlanTensor("Weights", (36_864,), "Half"),)
    assert residual.outputs[0].format == NHWC8
    assert myelin.nodes == ("fc", "fc/cast")
    assert myelin.outputs == (PlanTensor("y", (N, 10), "Float", ""),)


@pytest.mark.parametrize(
    ("told", "dtype"),
    [
        ("Row major linear FP32 format (kLINEAR)", "Float"),
        ("Row major linear FP16 format", "Half"),
        ("Channel major BFloat16 format where channel % 8 == 0", "BFloat16"),
        ("Four wide channel vectorized row major Int8 format", "Int8"),
        ("Thirty-two wide channel vectorized row major Int8 format with 3 spatial dimensions", "Int8"),
        ("Channel major INT8 format where column stride % 32 == 0", "Int8"),
        ("Row major linear UInt8 format", "UInt8"),
        ("Row major linear FP8 format", "FP8"),
        ("Row major linear Int32", "Int32"),
        ("Row major linear Int64 format", "Int64"),
        ("Row major linear BOOL", "Bool"),
        ("Half", "Half"),
        ("BFloat16", "BFloat16"),
    ],
)
def test_the_type_in_a_sentence(told, dtype):
    def change(layers, found):
        layers[0]["Outputs"][0]["Format/Datatype"] = told

    assert read(edited(change)).layers[0].outputs[0].dtype == dtype


def test_dimensions_without_a_context_are_sized_for_the_batch():
    def change(layers, found):
        for item in layers:
            for one in item["Inputs"] + item["Outputs"]:
                one["Dimensions"][0] = -1

    dynamic = edited(change)
    assert read(dynamic).bytes_moved == read(tensorrt_10()).bytes_moved
    assert read(dynamic, batch=1).layers[0].bytes_moved(1) == (4 + 2) * INPUT // N


def test_a_reformatting_layer_converts_and_runs_no_product():
    found = audit(read(tensorrt_10()))
    assert [(item.what, item.layer[:12]) for item in found.conversions] == [(CAST, "Reformatting")]

    def quantize(layers, found):
        layers[0]["Metadata"] = "[ONNX Layer: q]\x1f[ONNX Layer: conv1]"
        layers[0]["Outputs"] = [tensor("q", (3, 32, 32), "Four wide channel vectorized row major Int8 format")]

    plan = read(edited(quantize), precision=Precision.INT8)
    assert [item.what for item in audit(plan).conversions] == [REQUANTISE]
    assert plan.computes_in()["conv1"] == "Half"


@pytest.mark.parametrize("kind", ["NoOp", "Constant", "signal", "wait", "shape_call"])
def test_layers_that_launch_nothing(kind):
    def change(layers, found):
        layers.insert(0, layer("idle", kind, [], []))

    plan = read(edited(change))
    assert len(plan.kernels) == 4
    assert len(plan.layers) == 6


def test_the_product_of_an_engine_that_is_not_ours_is_known_by_its_layers_type():
    found = summarize(read(tensorrt_10(), weighted={}))
    assert (found.weighted_nodes, found.weighted_reads) == (0, {"Half": 2})


def test_further_profiles_are_left_out():
    def change(layers, found):
        for item in copy.deepcopy(layers):
            layers.append({**item, "Name": f"{item['Name']} [profile 1]"})
        found["Bindings"] += ["x [profile 1]", "y [profile 1]"]

    assert read(edited(change)) == read(tensorrt_10())


def test_metadata_that_the_onnx_parser_did_not_write_names_no_node():
    def change(layers, found):
        layers[0]["Metadata"] = "[CONVOLUTION]-[aten_ops.convolution.default]"
        del layers[3]["Metadata"]

    plan = read(edited(change))
    assert (plan.layers[0].nodes, plan.layers[3].nodes) == ((), ())


def test_a_nodes_name_may_hold_brackets():
    def change(layers, found):
        layers[3]["Metadata"] = "[ONNX Layer: flat[0], [1]]\x1f[ONNX Layer: conv2]__gemm_from_conv1x1[ONNX Layer: z]"

    assert read(edited(change)).layers[3].nodes == ("flat[0], [1]", "conv2", "z")


@pytest.mark.parametrize("layers", [["conv1 + relu1", "conv2"], []])
def test_an_engine_without_details_is_refused_with_the_fix(layers):
    with pytest.raises(BuildFailed, match=r"reports (only the names of layers|no layers)") as caught:
        read({"Layers": layers, "Bindings": ["x", "y"]})
    assert "DETAILED" in caught.value.hint


def test_types_that_depend_on_shapes_are_refused_with_the_fix():
    def change(layers, found):
        layers[1]["Inputs"][0]["Format/Datatype"] = "N/A due to dynamic shapes"

    with pytest.raises(BuildFailed, match="does not report types") as caught:
        read(edited(change))
    assert "execution context" in caught.value.hint


def put(index, *path):
    """Set what the path leads to in a layer; "-" takes it out."""

    def change(layers, found):
        *steps, last, value = path
        at = layers[index]
        for step in steps:
            at = at[step]
        if value == "-":
            del at[last]
        else:
            at[last] = value

    return edited(change)


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ("", "no JSON"),
        ('{"Layers": [{"Metadata": "{"a": 1}"}]}', "no JSON"),
        ([], "no list of layers"),
        ({"Bindings": ["x"]}, "no list of layers"),
        ({**tensorrt_10(), "Bindings": []}, "neither I/O Tensors nor Bindings"),
        ({"Layers": tensorrt_10()["Layers"]}, "neither I/O Tensors nor Bindings"),
        ({**tensorrt_10(), "Bindings": ["x", "z"]}, "no layer that touches 'z'"),
        ({**tensorrt_10(), "Bindings": [{"name": "x"}]}, "leaves Name out"),
        ({"Layers": [tensorrt_10()["Layers"][0], 7], "Bindings": ["x"]}, "leaves Name out"),
        (put(1, "Name", "-"), "leaves Name out"),
        (put(1, "LayerType", "-"), "leaves LayerType out"),
        (put(1, "Inputs", "-"), "without a list of Inputs"),
        (put(1, "Outputs", {}), "without a list of Outputs"),
        (put(1, "Inputs", 0, "half"), "a tensor in a form"),
        (put(1, "Inputs", 0, "Dimensions", "-"), "a tensor in a form"),
        (put(1, "Inputs", 0, "Dimensions", ["N", 3]), "a tensor in a form"),
        (put(1, "Inputs", 0, "Dimensions", [-2, 3]), "a tensor in a form"),
        (put(1, "Inputs", 0, "Name", 3), "leaves Name out"),
        (put(1, "Inputs", 0, "Format/Datatype", "-"), "leaves Datatype out"),
        (put(1, "Inputs", 0, "Format/Datatype", "Unknown format"), "unknown type 'Unknown format'"),
        (put(1, "Inputs", 0, "Format/Datatype", "Row major FP4 format"), "unknown type"),
        (put(1, "Inputs", 0, "Format/Datatype", "FP32 or FP16"), "unknown type"),
        (put(1, "Weights", 1728), "tells a layer's Weights"),
        (put(1, "Bias", "Count", "64"), "tells a layer's Bias"),
        (put(1, "Bias", "Type", "Int4"), "unknown type 'Int4'"),
        (put(1, "Metadata", ["conv1"]), "leaves Metadata out"),
        (put(1, "Metadata", "[ONNX Layer: conv1]; [ONNX Layer: relu1]"), "origin in a form"),
    ],
)
def test_another_form_is_an_error_that_asks_for_a_report(found, complaint):
    with pytest.raises(BuildFailed, match=complaint) as caught:
        read(found)
    assert "report this with the version of TensorRT" in caught.value.hint


def test_layers_that_name_none_of_the_graphs_products_are_an_error():
    with pytest.raises(BuildFailed, match="runs any of the 1 nodes with weights"):
        read(tensorrt_10(), weighted={"conv9": "Conv"})
