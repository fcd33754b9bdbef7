"""Figures by hand on a GPU of round numbers: 10 TFLOP/s in FP32, 100 GB/s, so 10 MFLOP and 100 kB in a microsecond."""

import json

import pytest

from deploykit.codec import encode
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import PlanTensor
from deploykit.plan.roofline import roofline
from deploykit.spec import Target

GPU = Gpu(
    name="round",
    target=Target(8, 9),
    fp32_tflops=10,
    tf32_tflops=20,
    fp16_tflops=40,
    int8_tops=80,
    bandwidth_gbs=100,
)
BARE = Gpu(name="bare", target=Target(7, 0), fp32_tflops=10, bandwidth_gbs=100)


@pytest.fixture
def product(make_layer):
    """Reads 2 x 10,000 and writes 2 x 10,000 elements; 500 MMAC."""

    def make(dtype, macs=500_000_000, name="conv"):
        return make_layer(
            name, "correlation", [("x", dtype, 100, 10, 10)], [("y", dtype, 100, 10, 10)], nodes=["conv"], macs=macs
        )

    return make


@pytest.mark.parametrize(
    ("dtype", "tf32", "compute_us", "memory_us"),
    [
        ("Float", False, 100, 1.6),  # 1e9 FLOP / 10 TFLOP/s; 4 * 40,000 bytes / 100 GB/s
        ("Float", True, 50, 1.6),
        ("Half", False, 25, 0.8),
        ("Half", True, 25, 0.8),
        ("Int8", False, 12.5, 0.4),
    ],
)
def test_a_product_takes_the_peak_of_the_type_it_reads(product, make_plan, dtype, tf32, compute_us, memory_us):
    found = roofline(make_plan(product(dtype), weighted={"conv": "Conv"}), GPU, tf32=tf32)
    (layer,) = found.layers
    assert layer.compute_us == pytest.approx(compute_us, rel=1e-12)
    assert layer.memory_us == pytest.approx(memory_us, rel=1e-12)
    assert (layer.us, layer.binds) == (layer.compute_us, "compute")
    assert found.total_us == layer.us
    assert layer.intensity == pytest.approx(1e9 / (memory_us * 1e5), rel=1e-12)


def test_memory_binds_below_the_ridge_and_compute_above(product, make_plan):
    plan = make_plan(product("Half"), weighted={"conv": "Conv"})
    ridge = roofline(plan, GPU).ridges["Half"]
    assert ridge == 400  # 40 TFLOP/s over 100 GB/s
    at_ridge = ridge * 80_000 / 2
    below, above = (
        roofline(make_plan(product("Half", macs=int(at_ridge * factor))), GPU).layers[0] for factor in (0.99, 1.01)
    )
    assert (below.binds, below.us) == ("memory", below.memory_us)
    assert (above.binds, above.us) == ("compute", above.compute_us)


def test_kernels_add_up_and_each_is_bound_for_itself(product, make_layer, make_plan):
    pool = make_layer("pool", "maxpool", [("y", "Half", 100, 10, 10)], [("z", "Half", 100, 5, 5)], nodes=["pool"])
    silent = make_layer("s", "signal", [], [])
    found = roofline(make_plan(product("Half"), silent, pool, weighted={"conv": "Conv"}), GPU)
    assert [layer.name for layer in found.layers] == ["conv", "pool"]
    assert found.layers[1].compute_us == 0
    assert found.layers[1].us == pytest.approx(0.5, rel=1e-12)  # 2 * 2 * 12,500 bytes
    assert found.total_us == pytest.approx(25.5, rel=1e-12)
    assert found.memory_bound_us == pytest.approx(0.5, rel=1e-12)
    assert found.memory_share == pytest.approx(0.5 / 25.5, rel=1e-12)
    assert found.binds == "compute"


def test_weights_are_read_once_per_batch(make_layer, make_plan):
    weights = (PlanTensor("w", (50, 1000), "Half"),)
    layer = make_layer("fc", "gemm", [("x", "Half", 1000)], [("y", "Half", 50)], constants=weights)
    one, two = (roofline(make_plan(layer, batch=batch), GPU).total_us for batch in (1, 2))
    assert one == pytest.approx((100_000 + 2_100) / 1e5, rel=1e-12)
    assert two == pytest.approx((100_000 + 4_200) / 1e5, rel=1e-12)


def test_a_type_without_a_peak_is_bound_by_memory_and_named(product, make_plan):
    found = roofline(make_plan(product("Half"), weighted={"conv": "Conv"}), BARE)
    (layer,) = found.layers
    assert layer.compute_us is None
    assert layer.us == layer.memory_us
    assert found.without_peak == (layer,)
    assert found.ridges == {}


def test_a_plan_that_was_never_told_its_macs_says_so(product, make_plan):
    assert not roofline(make_plan(product("Half", macs=0), weighted={"conv": "Conv"}), GPU).has_macs
    assert roofline(make_plan(product("Half"), weighted={"conv": "Conv"}), GPU).has_macs
    assert roofline(make_plan(), GPU).has_macs
    assert roofline(make_plan(), GPU).memory_share == 0


def test_it_goes_into_json_as_a_lower_bound(product, make_plan):
    found = json.loads(json.dumps(encode(roofline(make_plan(product("Int8"), weighted={"conv": "Conv"}), GPU))))
    assert found["lower_bound_us"] == 12.5
    assert found["ridges_flop_per_byte"] == {"Int8": 800}
    assert found["layers"][0]["binds"] == "compute"
    assert found["gpu"]["target"] == "sm_89"
