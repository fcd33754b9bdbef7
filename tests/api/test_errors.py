"""What is wrong with a request is an error of deploykit's own, before any work starts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import Identity

import deploykit as dk

IMAGE = np.zeros((1, 3, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("ask", "kind", "fault"),
    [
        (lambda: dk.zoo("lenet6"), dk.UnknownName, "lenet5"),
        (lambda: dk.zoo(None), dk.UsageError, "name None is not text"),
        (lambda: dk.zoo("lenet5", seed="a"), dk.UsageError, "seed 'a' is not a whole number"),
        (lambda: dk.zoo("lenet5", image_size="a"), dk.UsageError, "image_size 'a' is not a whole number"),
        (lambda: dk.zoo("lenet5", image_size=32.5), dk.UsageError, "image_size 32.5 is not a whole number"),
        (lambda: dk.zoo("lenet5", num_classes=True), dk.UsageError, "num_classes True is not a whole number"),
        (lambda: dk.zoo("mobilenet", width_mult="a"), dk.UsageError, "width_mult 'a' is not a number"),
        (lambda: dk.zoo("lenet5", preprocess=3), dk.UsageError, "preprocess is a int"),
        (lambda: dk.zoo("lenet5", input_shape=3), dk.UsageError, "3 is not the shape of an input"),
        (
            lambda: dk.from_factory("a:b", input_shape=(3, 8, 8), factory_args=[3]),
            dk.UsageError,
            "factory_args is a list",
        ),
        (lambda: dk.from_module(lambda x: x, example=IMAGE), dk.UsageError, "a function is not an nn.Module"),
        (lambda: dk.from_module(Identity, example=IMAGE), dk.UsageError, "a type is not an nn.Module"),
        (lambda: dk.from_module(Identity(), example=IMAGE, seed=None), dk.UsageError, "seed None is not a whole"),
        (lambda: dk.from_onnx(3), dk.UsageError, ".onnx file is a int, not a path"),
        (lambda: dk.export("lenet5", store="a\0b"), dk.UsageError, "holds a null character"),
        (lambda: dk.open(3), dk.UsageError, "the engine is a int, not a path"),
        (lambda: dk.merge_shards([3], output="t.json"), dk.UsageError, "a shard is a int, not a path"),
        (lambda: dk.zoo(5), dk.UsageError, "name 5 is not text"),
        (lambda: dk.zoo("lenet5", weights=5), dk.UsageError, "weights is a int"),
        (lambda: dk.export("lenet5", store=5), dk.UsageError, "store is a int"),
        (lambda: dk.zoo("net.onnx"), dk.UsageError, "net.onnx"),
        (lambda: dk.zoo("mynet:build", input_shape=(3, 8, 8)), dk.UsageError, "use from_factory"),
        (lambda: dk.zoo("lenet5", image_size=0), dk.UsageError, "too small"),
        (lambda: dk.zoo("lenet5", input_shape=(0, 1)), dk.UsageError, "size below 1"),
        (lambda: dk.zoo("lenet5", input_shape=[None]), dk.UsageError, "not the shape of an input"),
        (lambda: dk.zoo("lenet5", weights="torchvision"), dk.UsageError, "torchvision has no weights"),
        (lambda: dk.from_factory("resnet50", input_shape=(3, 8, 8)), dk.UsageError, "not package.module:function"),
        (lambda: dk.from_onnx("nowhere.onnx"), dk.UsageError, "nowhere.onnx"),
        (lambda: dk.from_onnx("resnet50"), dk.UsageError, "not an .onnx file"),
        (lambda: dk.export(3), dk.UsageError, "a int is not a network"),
        (lambda: dk.export("lenet5", example=np.zeros((1, 1, 32, 32))), dk.UsageError, "inputs of a module"),
        (lambda: dk.export("lenet5", stem="jpeg"), dk.UsageError, "unknown stem"),
        (lambda: dk.export("lenet5", fusions="fold_all"), dk.UnknownName, "fold_all"),
        (lambda: dk.calibrate("lenet5", images=0), dk.UsageError, "calibration images"),
        (lambda: dk.calibrate("lenet5", method="guess"), dk.UnknownName, "guess"),
        (lambda: dk.calibrate("lenet5", fusions="auto"), dk.UsageError, "do not take fusions auto"),
        (lambda: dk.calibrate_shard("lenet5", shard=(3, 2), output="x"), dk.UsageError, "shard"),
        (lambda: dk.sensitivity("lenet5", min_sqnr=-1), dk.UsageError, "min-sqnr"),
        (lambda: dk.build("lenet5", precision="fp12"), dk.UnknownName, "fp12"),
        (lambda: dk.build("lenet5", backend="tvm"), dk.UnknownName, "tvm"),
        (lambda: dk.build("lenet5", batch=0), dk.UsageError, "batch"),
        (lambda: dk.build("lenet5", batch=True), dk.UsageError, "batch"),
        (lambda: dk.build("lenet5", batch=(8, 1)), dk.UsageError, "batch"),
        (lambda: dk.build("lenet5", batch=1.5), dk.UsageError, "batch"),
        (lambda: dk.build("lenet5", target="sm_1x"), dk.UsageError, "sm_1x"),
        (lambda: dk.build("lenet5", gpu_table="gpus.toml"), dk.UsageError, "GPU table"),
        (lambda: dk.build("lenet5", accept_rtx_plan=True), dk.UsageError, "requires the precision best"),
        (lambda: dk.build("lenet5", keep_fp32="fc*"), dk.UsageError, "keep_fp32 requires fp16"),
        (lambda: dk.build("lenet5", precision=16), dk.UsageError, "precision 16 is not text"),
        (lambda: dk.build("lenet5", backend=None), dk.UsageError, "backend None is not text"),
        (lambda: dk.build("lenet5", target=89), dk.UsageError, "not a compute capability"),
        (lambda: dk.build("lenet5", data=7), dk.UsageError, "data is a int"),
        (lambda: dk.build("lenet5", calibration=7), dk.UsageError, "calibration is a int"),
        (lambda: dk.build("lenet5", fusions=7), dk.UsageError, "fusions 7 is not text"),
        (lambda: dk.build("lenet5", policy=7), dk.UsageError, "policy 7 is not text"),
        (lambda: dk.build("lenet5", repair=7), dk.UsageError, "repair 7 is not text"),
        (lambda: dk.verify("lenet5", backends=7), dk.UsageError, "not a list of names"),
        (lambda: dk.verify("lenet5", calibration="table.json"), dk.UsageError, "calibration requires int8"),
        (lambda: dk.verify("lenet5", precisions="int8", keep_io=False), dk.UsageError, "keep_io requires fp16"),
        (lambda: dk.verify("lenet5", backends=[]), dk.UsageError, "no backends"),
        (lambda: dk.verify("lenet5", precisions=()), dk.UsageError, "no precisions"),
        (lambda: dk.verify("lenet5", policy="plan"), dk.UsageError, "decided by build"),
        (lambda: dk.verify("lenet5", threads=-1), dk.UsageError, "threads"),
        (lambda: dk.bench("lenet5", max_seconds=0), dk.UsageError, "max_seconds"),
        (lambda: dk.bench_steps("lenet5", mode="backward"), dk.UnknownName, "backward"),
        (lambda: dk.evaluate("lenet5", data="noise"), dk.UsageError, "labeled images"),
        (lambda: dk.inspect("lenet5", fusions="auto"), dk.UsageError, "inspect does not take fusions"),
        (lambda: dk.inspect("gone.engine"), dk.UsageError, "there is no engine gone.engine"),
        (lambda: dk.open("gone.engine"), dk.UsageError, "there is no engine gone.engine"),
        (lambda: dk.build("lenet5", fusion_seconds="a"), dk.UsageError, "fusion_seconds 'a' is not a number"),
        (lambda: dk.build("lenet5", tf32="no"), dk.UsageError, "tf32 'no' is not True or False"),
        (lambda: dk.build("lenet5", precision="fp16", keep_io=0), dk.UsageError, "keep_io 0 is not True or False"),
        (lambda: dk.build("lenet5", precision="fp16", keep_fp32=3), dk.UsageError, "keep_fp32 3 is not text"),
        (lambda: dk.build("lenet5", precision="fp16", keep_fp32=[3]), dk.UsageError, "keep_fp32 .3. is not text"),
        (lambda: dk.build("lenet5", options={}), dk.UsageError, "options {} is not a BuilderOptions"),
        (lambda: dk.build("lenet5", strict="trt"), dk.UsageError, "strict 'trt' is not True or False"),
        (lambda: dk.open("gone.engine", threads=1.5), dk.UsageError, "threads 1.5 is not a whole number"),
        (lambda: dk.verify("lenet5", threads="4"), dk.UsageError, "threads '4' is not a whole number"),
        (lambda: dk.verify("lenet5", typed=4), dk.UsageError, "typed is a int, not a path"),
        (lambda: dk.bench("lenet5", max_seconds="1"), dk.UsageError, "max_seconds '1' is not a number"),
        (lambda: dk.bench("lenet5", throughput="yes"), dk.UsageError, "throughput 'yes' is not True or False"),
        (lambda: dk.bench_steps("lenet5", steps=None), dk.UsageError, "steps None is not a whole number"),
        (lambda: dk.evaluate("lenet5", data="x", limit="3"), dk.UsageError, "limit '3' is not a whole number"),
        (lambda: dk.export("lenet5", check=None), dk.UsageError, "check None is not True or False"),
        (lambda: dk.zoo("lenet5", weights_key=3), dk.UsageError, "weights_key 3 is not text"),
        (lambda: dk.list_models(3), dk.UsageError, "pattern 3 is not text"),
        (lambda: dk.list_models("nothing*"), dk.UnknownName, "nothing"),
        (lambda: dk.merge_shards(["gone.json"], output="t.json"), dk.UsageError, "gone.json"),
    ],
)
def test_a_wrong_request(ask, kind, fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=fault):
        ask()
    assert not Path("engines").exists()


def test_a_graph_keeps_the_fusions_that_it_has(lenet):
    with pytest.raises(dk.UsageError, match="has its fusions already"):
        dk.build(lenet, fusions="none")


def test_a_graph_for_bytes_is_used_as_a_file(shared_store):
    graph = dk.export("lenet5", stem="uint8", store=shared_store, check=False)
    assert graph.inputs[0].dtype == "uint8"
    with pytest.raises(dk.UsageError, match="from_onnx"):
        dk.build(graph)


def test_a_table_of_another_graph_is_refused(table, shared_store):
    with pytest.raises(dk.UsageError, match="graph"):
        dk.build("test_resnet", precision="int8", calibration=table, backend="ort", store=shared_store)


def test_best_is_undecided_without_a_gpu_and_has_the_figures(lenet):
    with pytest.raises(dk.PrecisionUndecided, match="undecided") as raised:
        dk.build(lenet, precision="best", data="noise", target="sm_89", batch=2)
    assert raised.value.exit_code == 1
    assert raised.value.result is not None


def test_options_that_an_engine_does_not_read_are_warned_of(lenet, table):
    with pytest.warns(dk.UnreadOption) as caught:
        dk.build(lenet, backend="ort", calibration=table, repair="bias", keep_io=False, data="noise")
    assert [str(each.message) for each in caught] == [
        "calibration, repair have no effect: nothing is quantized at fp32",
        "keep_io has no effect: inputs and outputs stay float32 at fp32",
        "data has no effect: no input data is used at fp32",
    ]
    assert {each.filename for each in caught} == {__file__}


def test_threads_below_zero_are_refused(runnable):
    with pytest.raises(dk.UsageError, match="threads is -1"):
        dk.open(runnable, threads=-1)


def test_a_copy_goes_to_a_path(runnable, lenet):
    for artifact in (runnable, lenet):
        with pytest.raises(dk.UsageError, match="is a int, not a path"):
            artifact.save(3)


@pytest.mark.parametrize(
    ("feed", "fault"),
    [
        (None, "the inputs are a NoneType, not a mapping"),
        (np.zeros((1, 1, 32, 32), np.float32), "the inputs are a ndarray, not a mapping"),
        ({"images": [[1.0]]}, "input 'images' is a list, not a NumPy array"),
        ({"images": torch.zeros(1, 1, 32, 32)}, "input 'images' is a Tensor, not a NumPy array"),
        ({"images": None}, "input 'images' is a NoneType"),
        ({3: None, "x": None}, "unknown input 3"),
    ],
)
def test_a_wrong_feed(runnable, feed, fault):
    with dk.open(runnable) as session, pytest.raises(dk.InvalidFeed, match=fault):
        session.run(feed)


@pytest.mark.parametrize("backend", ["ort", "torch", "null"])
def test_a_closed_session_says_so_and_closes_twice(lenet, shared_store, backend):
    session = dk.open(dk.build(lenet, backend=backend, store=shared_store))
    session.close()
    session.close()
    with pytest.raises(dk.ExecutionFailed, match="this session is closed"):
        session.run({"images": np.zeros((1, 1, 32, 32), np.float32)})
