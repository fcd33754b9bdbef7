"""A TensorRT session with real pycuda and a CUDA driver in host memory; only TensorRT's runtime is a fake.

What runs for real: every allocation, pinned buffer, copy, stream, event and context call of the session, and its
checks. What does not: TensorRT's loading and computing (tests/gpu has that, on a GPU).
"""

import gc
import json
import sys
from dataclasses import replace

import fake_tensorrt
import numpy as np
import onnxruntime
import pytest
import small_graphs
from small_graphs import FLOAT, HALF

from deploykit.backends import foreign_engine, get_backend, nvinfer
from deploykit.backends import tensorrt as tensorrt_backend
from deploykit.backends import tensorrt_rtx as tensorrt_rtx_backend
from deploykit.backends.cuda import PrimaryContext
from deploykit.backends.device import find_gpu
from deploykit.backends.nvinfer_session import NvinferSession, inspect_engine
from deploykit.backends.protocol import (
    Engine,
)
from deploykit.errors import DeviceOutOfMemory, ExecutionFailed, InvalidFeed, UntrustedArtifact
from deploykit.spec import Precision, TensorSpec

trt = pytest.importorskip("tensorrt_rtx")

TWO_INPUTS = """
g (float[batch, 4] left, float[batch, 4] right) => (float[batch, 4] sum, float[batch, 4] product) {
    sum = Add(left, right)
    product = Mul(left, right)
}
"""


class Case:
    def __init__(self, folder, text=FLOAT, precision=Precision.FP32):
        self.typed = small_graphs.write(folder, text, precision)
        content = fake_tensorrt.serialize(self.typed.path.read_bytes(), 1, 4, 8)
        self.engine = Engine(
            "trt", "fake", precision, self.typed.inputs, self.typed.outputs, content=content, typed_digest="0"
        )

    def open(self):
        return NvinferSession(fake_tensorrt.FakeTensorRT(trt), self.engine)

    def feed(self, batch, seed=1):
        return small_graphs.feed(self.typed, batch, seed)

    def expected(self, feed):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        reference = onnxruntime.InferenceSession(self.typed.path, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in reference.get_outputs()]
        return dict(zip(names, reference.run(names, dict(feed)), strict=True))


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_driver_is_found_as_a_gpu():
    assert find_gpu().name == "host memory (no GPU)"


@pytest.mark.parametrize(("text", "precision"), [(FLOAT, Precision.FP32), (HALF, Precision.FP16), (TWO_INPUTS, "fp32")])
def test_results_equal_onnx_runtimes_exactly(driver, tmp_path, text, precision):
    case = Case(tmp_path, text, Precision(precision))
    with case.open() as session:
        for batch, seed in ((4, 1), (8, 2), (1, 3), (4, 4)):
            feed = case.feed(batch, seed)
            assert_same(session.run(feed), case.expected(feed))


def test_a_result_is_the_callers_own(driver, case):
    first, second = case.feed(2, 1), case.feed(2, 2)
    with case.open() as session:
        kept = session.run(first)
        session.run(second)
    assert_same(kept, case.expected(first))


def test_a_feed_that_is_not_contiguous(driver, case):
    feed = {"x": np.asfortranarray(case.feed(3)["x"])}
    with case.open() as session:
        assert_same(session.run(feed), case.expected(feed))


def test_memory_grows_with_the_batch_and_is_kept_for_smaller_ones(driver, case):
    with case.open() as session:
        session.run(case.feed(2))
        small = driver.allocations_made
        session.run(case.feed(2, 2))
        session.run(case.feed(1))
        assert driver.allocations_made == small
        session.run(case.feed(8))
        assert small < driver.allocations_made <= 2 * small
        assert driver.device_bytes == 8 * 8 * 16 * 16 * 4 + 8 * 10 * 4


def test_bound_feeds_keep_their_own_memory_and_shape(driver, case):
    feeds = [case.feed(2, 1), case.feed(8, 2), case.feed(2, 3)]
    with case.open() as session:
        bounds = [session.bind(feed) for feed in feeds]
        made = driver.allocations_made
        for index in (0, 1, 2, 1, 0):
            bounds[index].launch()
            bounds[index].synchronize()
            assert bounds[index].device_ms() > 0
        assert driver.allocations_made == made
        assert_same(session.run(feeds[0]), case.expected(feeds[0]))
        with session.current():
            for bound, feed in zip(bounds, feeds, strict=True):
                assert_same(bound.fetch(), case.expected(feed))


def test_a_bound_feed_that_is_dropped_gives_its_memory_back(driver, case):
    with case.open() as session:
        session.run(case.feed(1))
        before = driver.device_bytes
        bound = session.bind(case.feed(8))
        assert driver.device_bytes > before
        del bound
        gc.collect()
        assert driver.device_bytes == before


def test_the_primary_context_is_retained_while_open_and_never_left_current(driver, case):
    with case.open() as session:
        assert driver.contexts_retained == 1
        session.run(case.feed(1))
        assert driver.contexts_current == 0
    assert driver.contexts_retained == 0


def test_two_sessions_share_the_device(driver, tmp_path):
    one = Case(tmp_path)
    with one.open() as first, one.open() as second:
        assert driver.contexts_retained == 2
        feed = one.feed(2)
        assert_same(first.run(feed), second.run(feed))


@pytest.mark.parametrize(
    ("feed", "complaint"),
    [
        ({}, "input 'x' is missing"),
        ({"x": np.zeros((1, 8, 16, 16), np.float32), "z": np.zeros(1)}, "unknown input 'z'"),
        ({"x": np.zeros((1, 8, 16, 16), np.float64)}, "input 'x' is float64"),
        ({"x": np.zeros((1, 8, 16, 15), np.float32)}, "input 'x' has shape"),
        (
            {"x": np.zeros((9, 8, 16, 16), np.float32)},
            r"outside the engine's profile \(1, 8, 16, 16\) to \(8, 8, 16, 16\)",
        ),
    ],
)
@pytest.mark.parametrize("method", ["run", "bind"])
def test_a_wrong_feed_is_refused_before_any_memory_is_taken(driver, case, method, feed, complaint):
    with case.open() as session:
        with pytest.raises(InvalidFeed, match=complaint):
            getattr(session, method)(feed)
        assert driver.live_blocks == 0


@pytest.mark.parametrize("method", ["run", "bind"])
def test_out_of_memory_is_deploykits_error_and_leaves_the_session_usable(driver, case, method, monkeypatch):
    one_image = 8 * 16 * 16 * 4
    monkeypatch.setenv("CUDA_SHIM_MEMORY", str(3 * one_image))
    with case.open() as session:
        with pytest.raises(DeviceOutOfMemory, match=r"the GPU is full: .*out of memory.*smaller batch"):
            getattr(session, method)(case.feed(8))
        feed = case.feed(1)
        assert_same(session.run(feed), case.expected(feed))


def test_out_of_memory_inside_tensorrt(driver, case, monkeypatch):
    def exhausted(self, handle):
        logger = self._engine._logger
        logger.log(logger.ERROR, "Error Code 2: OutOfMemory (Requested size was 1 bytes.)")
        return False

    monkeypatch.setattr(fake_tensorrt.FakeExecutionContext, "execute_async_v3", exhausted)
    with case.open() as session, pytest.raises(DeviceOutOfMemory, match="OutOfMemory"):
        session.run(case.feed(1))


def test_a_failure_inside_tensorrt_is_quoted(driver, case, monkeypatch):
    def fail(self, handle):
        logger = self._engine._logger
        logger.log(logger.ERROR, "Error Code 1: Cuda Runtime (an illegal memory access)")
        return False

    monkeypatch.setattr(fake_tensorrt.FakeExecutionContext, "execute_async_v3", fail)
    with case.open() as session, pytest.raises(ExecutionFailed, match="an illegal memory access") as caught:
        session.run(case.feed(1))
    assert not isinstance(caught.value, DeviceOutOfMemory)


def test_an_engine_that_does_not_load_leaves_nothing_behind(driver, case):
    object.__setattr__(case.engine, "content", b"rubbish")
    with pytest.raises(ExecutionFailed, match="could not load the engine: the engine is not an engine"):
        case.open()


def test_an_engine_with_other_tensors_than_its_manifest_is_refused(driver, case):
    object.__setattr__(case.engine, "inputs", (TensorSpec("x", ("batch", 8, 16, 16), "float16"),))
    with pytest.raises(UntrustedArtifact, match="not those of its manifest: x"):
        case.open()


def test_a_context_that_cannot_be_made_leaves_nothing_behind(driver, case, monkeypatch):
    monkeypatch.setattr(fake_tensorrt.FakeEngine, "create_execution_context", lambda self: None)
    with pytest.raises(ExecutionFailed, match="execution context"):
        case.open()


def test_an_engine_read_from_the_store(driver, case, tmp_path):
    stored = tmp_path / "model.engine"
    stored.write_bytes(case.engine.content)
    case.engine = replace(case.engine, path=stored, content=None)
    feed = case.feed(2)
    with case.open() as session:
        assert_same(session.run(feed), case.expected(feed))


def test_a_closed_session_says_so_and_closes_twice(driver, case):
    session = case.open()
    bound = session.bind(case.feed(1))
    session.close()
    session.close()
    for call in (lambda: session.run(case.feed(1)), lambda: session.bind(case.feed(1)), bound.launch):
        with pytest.raises(ExecutionFailed, match="this session is closed"):
            call()


def counted(monkeypatch, name):
    calls, real = [], getattr(fake_tensorrt.FakeExecutionContext, name)

    def counting(self, *arguments):
        calls.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(fake_tensorrt.FakeExecutionContext, name, counting)
    return calls


def test_feeds_that_take_turns_set_shapes_only_where_they_differ(driver, case, monkeypatch):
    feeds = [case.feed(2, 1), case.feed(2, 2), case.feed(4, 3)]
    with case.open() as session:
        bounds = [session.bind(feed) for feed in feeds]
        bounds[0].launch()
        shapes, addresses = counted(monkeypatch, "set_input_shape"), counted(monkeypatch, "set_tensor_address")
        bounds[0].launch()
        assert (shapes, addresses) == ([], [])
        bounds[1].launch()
        assert (shapes, len(addresses)) == ([], 2)
        bounds[2].launch()
        bounds[0].launch()
        assert shapes == [("x", (4, 8, 16, 16)), ("x", (2, 8, 16, 16))]
        with session.current():
            for bound, feed in zip(bounds, feeds, strict=True):
                assert_same(bound.fetch(), case.expected(feed))


def test_a_shape_that_was_refused_is_not_taken_for_set(driver, case, monkeypatch):
    with case.open() as session:
        session.run(case.feed(2))
        with monkeypatch.context() as patched:
            patched.setattr(fake_tensorrt.FakeExecutionContext, "set_input_shape", lambda *arguments: False)
            with pytest.raises(ExecutionFailed, match="does not take input 'x'"):
                session.run(case.feed(4))
        shapes = counted(monkeypatch, "set_input_shape")
        feed = case.feed(2, 5)
        assert_same(session.run(feed), case.expected(feed))
        assert shapes == [("x", (2, 8, 16, 16))]


def broken_device(monkeypatch):
    def fail(self):
        raise self._driver.LogicError("cuStreamSynchronize failed: an illegal memory access was encountered")

    monkeypatch.setattr(PrimaryContext, "synchronize", fail)


def test_a_broken_device_does_not_keep_the_memory(driver, case, monkeypatch):
    session = case.open()
    session.run(case.feed(2))
    session.bind(case.feed(4))
    broken_device(monkeypatch)
    with pytest.raises(ExecutionFailed, match="illegal memory access"):
        session.close()
    assert not any(driver.alive().values())


def fail_on_a_broken_device(case, monkeypatch):
    with case.open() as session:
        session.run(case.feed(2))
        broken_device(monkeypatch)
        raise ZeroDivisionError("the first error")


def test_a_broken_device_does_not_hide_the_first_error(driver, case, monkeypatch):
    with pytest.raises(ZeroDivisionError, match="the first error") as caught:
        fail_on_a_broken_device(case, monkeypatch)
    assert "illegal memory access" in caught.value.__notes__[0]
    assert not any(driver.alive().values())


def run_and_raise(case):
    with case.open() as session:
        session.run(case.feed(4))
        session.bind(case.feed(4))
        raise ZeroDivisionError


def test_everything_is_freed_when_the_body_raises(driver, case):
    with pytest.raises(ZeroDivisionError):
        run_and_raise(case)


def test_an_error_that_still_holds_a_buffer_does_not_keep_it_alive(driver, case, monkeypatch):
    def fail(self, host, device):
        raise ExecutionFailed("the copy failed")

    monkeypatch.setattr(PrimaryContext, "copy_out", fail)
    session = case.open()
    with pytest.raises(ExecutionFailed, match="the copy failed") as caught:
        session.run(case.feed(1))
    session.close()
    assert not any(driver.alive().values())
    assert caught.tb is not None


@pytest.mark.parametrize(("name", "module"), [("trt", "tensorrt"), ("trt-rtx", "tensorrt_rtx")])
def test_a_backend_opens_its_own_engine(driver, case, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, fake_tensorrt.FakeTensorRT(trt))
    monkeypatch.setattr(tensorrt_rtx_backend, "find_spec", lambda name: True)
    monkeypatch.setattr(tensorrt_backend, "find_spec", lambda name: True)
    monkeypatch.setattr(tensorrt_backend, "installed_version", lambda name: "11.4.0")
    feed = case.feed(2)
    with get_backend(name).open(case.engine) as session:
        assert_same(session.run(feed), case.expected(feed))


def test_an_engine_for_this_device_is_not_held_back(driver, case):
    assert get_backend("trt-rtx").build(case.typed, small_graphs.spec()).reason is None


def test_an_engine_is_inspected_with_the_shapes_of_a_batch(driver, case):
    for batch, expected in ((None, 4), (8, 8)):
        said = inspect_engine(fake_tensorrt.FakeTensorRT(trt), case.engine.content, batch=batch)
        first, *_ = json.loads(said)["Layers"]
        assert first["Inputs"] == [
            {
                "Name": "x",
                "Location": "Device",
                "Dimensions": [expected, 8, 16, 16],
                "Format/Datatype": "Row major linear FP32",
            }
        ]
    assert not any(driver.alive().values())


def test_an_inspector_that_a_context_silences_is_asked_without_one(driver, case, monkeypatch):
    real = fake_tensorrt.FakeEngineInspector.get_engine_information

    def silent(self, form):
        return "" if self.execution_context else real(self, form)

    monkeypatch.setattr(fake_tensorrt.FakeEngineInspector, "get_engine_information", silent)
    assert "N/A due to dynamic shapes" in inspect_engine(fake_tensorrt.FakeTensorRT(trt), case.engine.content)


def test_what_cannot_be_inspected_is_an_error(driver, case):
    with pytest.raises(ExecutionFailed, match="could not load the engine: the engine is not an engine"):
        inspect_engine(fake_tensorrt.FakeTensorRT(trt), b"rubbish")
    with pytest.raises(ExecutionFailed, match=r"does not take input 'x' of shape \(9, 8, 16, 16\)"):
        inspect_engine(fake_tensorrt.FakeTensorRT(trt), case.engine.content, batch=9)


@pytest.mark.parametrize(
    ("text", "precision", "reads", "batch"),
    [(FLOAT, "fp32", {"Float": 3}, 4), (HALF, "fp16", {"Float": 1, "Half": 1}, 8)],
)
def test_full_tensorrt_builds_with_a_plan(driver, tmp_path, monkeypatch, text, precision, reads, batch):
    case = Case(tmp_path, text, Precision(precision))
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.FakeTensorRT(trt))
    monkeypatch.setattr(tensorrt_backend, "find_spec", lambda name: True)
    monkeypatch.setattr(tensorrt_backend, "installed_version", lambda name: "11.4.0")
    monkeypatch.setattr(nvinfer, "compile_engine", lambda *_, **__: nvinfer.Compiled(case.engine.content, "", 0.0))
    spec = small_graphs.spec(batch=f"1:{batch}:8")
    engine = get_backend("trt").build(case.typed, spec)
    assert engine.layers.source == "engine inspector"
    assert engine.layers.targets == (str(find_gpu().capability),)
    assert {tensor.shape[0] for layer in engine.layers.layers for tensor in layer.inputs} == {batch}
    assert engine.plan.weighted_reads == reads
    assert engine.plan.weighted_matched == engine.plan.weighted_nodes == sum(reads.values())
    assert not any(driver.alive().values())


def test_a_foreign_engine_has_the_plan_that_its_inspector_tells(driver, case, monkeypatch):
    monkeypatch.setattr(foreign_engine, "find_spec", lambda name: name == "tensorrt")
    monkeypatch.setattr(foreign_engine, "load_library", lambda name: fake_tensorrt.FakeTensorRT(trt))
    plan = foreign_engine.read_foreign_engine(case.engine.content, precision=Precision.FP32, batch=2)
    assert plan.compiler.startswith("tensorrt ")
    assert plan.layers[0].inputs[0].shape == (2, 8, 16, 16)
    assert plan.engine_bytes == len(case.engine.content)
