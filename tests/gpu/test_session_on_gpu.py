import numpy as np
import onnxruntime
import pytest
import small_graphs
from small_graphs import FLOAT, HALF, INT8, spec

from deploykit.backends import get_backend
from deploykit.backends.device import find_gpu
from deploykit.errors import InvalidFeed
from deploykit.spec import Precision

# Relative L2 against ONNX Runtime on the CPU, which computes FP16 graphs in float32.
LIMITS = {Precision.FP32: 1e-5, Precision.FP16: 5e-3, Precision.INT8: 1e-2}


@pytest.fixture(params=["trt", "trt-rtx"])
def backend(request):
    found = get_backend(request.param)
    lacking = found.lacking() if request.param == "trt" else found.unavailable()
    if lacking:
        pytest.skip(str(lacking))
    return found


def build(backend, folder, text=FLOAT, precision=Precision.FP32):
    typed = small_graphs.write(folder, text, precision)
    here = spec(batch="1:4:8", targets=(str(find_gpu().capability),))
    engine = backend.build(typed, here)
    assert engine.reason is None
    return typed, engine


def expected(typed, feed):
    reference = onnxruntime.InferenceSession(typed.path, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in typed.outputs]
    return dict(zip(names, reference.run(names, feed), strict=True))


@pytest.mark.parametrize(
    ("text", "precision"), [(FLOAT, Precision.FP32), (HALF, Precision.FP16), (INT8, Precision.INT8)]
)
def test_results_agree_with_onnx_runtime(backend, tmp_path, text, precision):
    typed, engine = build(backend, tmp_path, text, precision)
    with backend.open(engine) as session:
        for batch in (4, 8, 1):
            feed = small_graphs.feed(typed, batch, seed=batch)
            found = session.run(feed)
            for name, wanted in expected(typed, feed).items():
                error = np.linalg.norm(found[name] - wanted) / np.linalg.norm(wanted)
                assert error < LIMITS[precision]


def test_bound_feeds_are_timed_and_keep_their_results(backend, tmp_path):
    typed, engine = build(backend, tmp_path)
    feeds = [small_graphs.feed(typed, batch, seed=batch) for batch in (2, 8)]
    with backend.open(engine) as session:
        bounds = [session.bind(feed) for feed in feeds]
        for bound in (*bounds, *bounds):
            bound.launch()
        bounds[-1].synchronize()
        assert all(bound.device_ms() > 0 for bound in bounds)
        with session.current():
            for bound, feed in zip(bounds, feeds, strict=True):
                np.testing.assert_allclose(bound.fetch()["y"], expected(typed, feed)["y"], rtol=1e-4, atol=1e-5)


def test_a_batch_outside_the_profile_is_refused(backend, tmp_path):
    typed, engine = build(backend, tmp_path)
    with backend.open(engine) as session, pytest.raises(InvalidFeed, match="profile"):
        session.run(small_graphs.feed(typed, 9))


def test_torch_shares_the_device(backend, tmp_path):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch was built without CUDA")
    typed, engine = build(backend, tmp_path)
    tensor = torch.ones(4, device="cuda")
    with backend.open(engine) as session:
        session.run(small_graphs.feed(typed, 2))
        assert float(tensor.sum()) == 4.0
    assert float((tensor + 1).sum()) == 8.0
